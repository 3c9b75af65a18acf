//! `tanner forget`: backups that are not wanted any more.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{ArgGroup, Args};
use jiff::tz::TimeZone;
use serde_json::json;

use super::args::JournalArgs;
use super::config::Config;
use super::encryption::IdentityArgs;
use super::keyring::{Keyring, unless_closed};
use super::memory::Memory;
use super::output::{count, time};
use super::{Context, Outcome, clock};
use crate::error::Error;
use crate::fetch::{Found, chain, list_backups};
use crate::forget::Forget;
use crate::id::{BackupId, IdError};
use crate::retention::{Dated, Keep};
use crate::store::Store;
use crate::verify::glance;

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("rules").multiple(true).args(
    ["keep_last", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within"]))]
pub(super) struct ForgetArgs {
    /// Backups to forget, whatever they are; else rules say which ones stay of each source, and all others go
    #[arg(value_name = "ID", conflicts_with = "rules")]
    ids: Vec<String>,

    /// A store; repeat for all that have anything of these backups
    #[arg(long = "from", value_name = "URL")]
    from: Vec<String>,

    /// Keep the last N backups of each source. One that cannot be restored counts for no rule and stays; so does the last
    /// one that can
    #[arg(long, value_name = "N")]
    keep_last: Option<usize>,

    /// Keep the last backup of each of N days that have any, in local time
    #[arg(long, value_name = "N")]
    keep_daily: Option<usize>,

    /// The same of N weeks, which begin on Mondays
    #[arg(long, value_name = "N")]
    keep_weekly: Option<usize>,

    /// The same of N months
    #[arg(long, value_name = "N")]
    keep_monthly: Option<usize>,

    /// The same of N years
    #[arg(long, value_name = "N")]
    keep_yearly: Option<usize>,

    /// Keep what is no more than so much older than the last backup of its source, such as 30d
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    keep_within: Option<Duration>,

    /// Look at backups of the source of this name only
    #[arg(long, conflicts_with = "ids", value_name = "NAME")]
    name: Option<String>,

    /// Say what stays and why, and what would go, and delete nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    #[command(flatten)]
    identity: IdentityArgs,

    #[command(flatten)]
    journal: JournalArgs,
}

impl ForgetArgs {
    fn keep(&self) -> Keep {
        let count = |count: Option<usize>| count.unwrap_or(0);
        Keep {
            last: count(self.keep_last),
            daily: count(self.keep_daily),
            weekly: count(self.keep_weekly),
            monthly: count(self.keep_monthly),
            yearly: count(self.keep_yearly),
            within: self.keep_within,
        }
    }
}

/// A backup whose name and time are known.
struct Known {
    id: BackupId,
    name: String,
    /// The device that signed it.
    signer: Option<String>,
    dated: Dated,
}

/// What became of backups.
#[derive(Default)]
struct Counts {
    kept: usize,
    forgotten: usize,
    left: usize,
    closed: usize,
}

/// `job` is the one that the rules are of, if they are a job's: then they are for its backups and no others.
pub(super) async fn forget(
    context: &Context,
    mut args: ForgetArgs,
    job: Option<&str>,
) -> Result<Outcome, Error> {
    if let Some(job) = job.filter(|_| args.ids.is_empty() && args.name.is_none()) {
        args.name = Some(Config::read()?.job(job)?.source.backup_name(job));
    }
    let stores = Store::open_all(&context.registry, &args.from, "--from")?;
    let mut counts = Counts::default();
    if args.ids.is_empty() {
        // The rules may be those of a job.
        if args.keep().is_empty() {
            return Err(Error::NothingToForget);
        }
        by_rules(context, &args, &stores, &mut counts).await?;
    } else {
        let ids = args.ids.iter().map(|id| id.parse()).collect::<Result<Vec<BackupId>, IdError>>()?;
        for id in ids {
            drop_one(context, &args, &stores, id, None, &mut counts).await?;
        }
    }
    let done = if args.dry_run { "would be forgotten" } else { "forgotten" };
    let Counts { kept, forgotten, left, closed } = counts;
    context.output.say(&format!("{} {done}, {kept} kept", count(forgotten, "backup")));
    let summary = json!({
        "kept": kept, "forgotten": forgotten, "left": left, "closed": closed, "dry_run": args.dry_run,
    });
    Ok(Outcome { code: if left > 0 { 3 } else { 0 }, summary })
}

/// Forgets what no rule keeps.
async fn by_rules(
    context: &Context,
    args: &ForgetArgs,
    stores: &[Store],
    counts: &mut Counts,
) -> Result<(), Error> {
    let mut sources: BTreeMap<(String, Option<String>), Vec<Known>> = BTreeMap::new();
    for known in known(context, args, stores, counts).await? {
        // Whoever can write to a store can add backups of any name: they do not count among those of others.
        sources.entry((known.name.clone(), known.signer.clone())).or_default().push(known);
    }
    let (keep, zone) = (args.keep(), TimeZone::system());
    for ((_, _), mut backups) in sources {
        backups.sort_by_key(|known| (known.dated.created, known.id));
        let dated: Vec<Dated> = backups.iter().map(|known| known.dated).collect();
        for (known, why) in backups.iter().zip(keep.reasons(&dated, &zone)) {
            context.stop.check()?;
            if why.is_empty() {
                drop_one(context, args, stores, known.id, Some(known), counts).await?;
            } else {
                counts.kept += 1;
                say(context, known.id, Some(known), "kept", &why);
            }
        }
    }
    Ok(())
}

/// The backups whose names and times can be read.
async fn known(
    context: &Context,
    args: &ForgetArgs,
    stores: &[Store],
    counts: &mut Counts,
) -> Result<Vec<Known>, Error> {
    let mut ids = Vec::new();
    for store in stores {
        // What is in a store that cannot be read now would be taken for lost.
        ids.extend(list_backups(store).await?);
    }
    ids.sort_unstable();
    ids.dedup();
    let (memory, mut keyring, mut closed) = (Memory::read()?, None, None);
    let mut all = Vec::new();
    for id in ids {
        context.stop.check()?;
        let found = Found::open(stores.to_vec(), id).await;
        let found = found.and_then(|found| memory.check(&found.manifest).map(|()| found));
        let mut found = match found {
            Ok(found) => found,
            Err(error) => {
                counts.kept += 1;
                say(context, id, None, "kept", &[chain(&error)]);
                continue;
            }
        };
        if found.opened().is_none() && keyring.is_none() && closed.is_none() {
            closed = unless_closed(Keyring::read(&args.identity).map(|read| keyring = Some(read)))?;
        }
        let key = keyring.as_ref().map(|keyring: &Keyring| keyring.key_of(&found.manifest));
        if let Some(Ok(key)) = &key {
            // A key that does not fit opens nothing.
            let _ = found.unlock(key);
        }
        let Some(manifest) = found.opened() else {
            let why = match (key, &closed) {
                (Some(Err(error)), _) => chain(&error),
                (_, Some(why)) => why.clone(),
                _ => "no key opens it".into(),
            };
            (counts.kept, counts.closed) = (counts.kept + 1, counts.closed + 1);
            closed = Some(why.clone());
            let why = format!("its name and time are encrypted, so only its id can name it: {why}");
            say(context, id, None, "kept", &[why]);
            continue;
        };
        let (name, created) = (manifest.name.clone(), manifest.created);
        if args.name.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        let is_restorable = glance(&found).await.blocks_survivable.is_some();
        let (signer, dated) = (found.manifest.signer(), Dated { created, is_restorable });
        let signer = signer.map(|device| device.to_string());
        all.push(Known { id, name, signer, dated });
    }
    match closed {
        Some(why) if all.is_empty() && args.name.is_none() => Err(Error::NothingOpens { why }),
        _ => Ok(all),
    }
}

/// Forgets one, or says that it would.
async fn drop_one(
    context: &Context,
    args: &ForgetArgs,
    stores: &[Store],
    id: BackupId,
    known: Option<&Known>,
    counts: &mut Counts,
) -> Result<(), Error> {
    let journals = args.journal.journals();
    let forget = Forget {
        id,
        name: known.map_or("", |known| &known.name),
        stores,
        journals: journals.as_ref(),
        is_optional: !args.journal.is_given(),
        now: clock::now(),
    };
    if args.dry_run {
        let remains = forget.look().await?;
        counts.forgotten += 1;
        let why = format!("{} of it", count(remains.objects, "object"));
        say(context, id, known, "would_forget", &[why]);
        return Ok(());
    }
    let troubles = forget.run().await?;
    if troubles.is_empty() {
        counts.forgotten += 1;
        say(context, id, known, "forgotten", &[]);
    } else {
        counts.left += 1;
        let why: Vec<String> = troubles.into_iter().map(|trouble| trouble.what).collect();
        say(context, id, known, "left", &why);
    }
    Ok(())
}

fn say(context: &Context, id: BackupId, known: Option<&Known>, what: &str, why: &[String]) {
    let created = known.map(|known| time(known.dated.created));
    let of = known.zip(created.as_ref()).map(|(known, created)| format!("  {created}  {}", known.name));
    let words = match what {
        "would_forget" => "would be forgotten",
        "left" => "something is left",
        what => what,
    };
    let why_words = if why.is_empty() { String::new() } else { format!(": {}", why.join(", ")) };
    context.output.result(&format!("{id}{}  {words}{why_words}", of.unwrap_or_default()));
    let event = json!({
        "event": "forget",
        "id": id.to_string(),
        "name": known.map(|known| &known.name),
        "created": created,
        "what": what,
        "why": why,
    });
    context.output.message("event", event);
}
