//! `tanner scrub`: all that is stored, gone over again and again.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::args::{ResourceArgs, parse_share};
use super::commands::{blocks_of, report_damages, resources};
use super::encryption::IdentityArgs;
use super::facts::{FactArgs, LimitArgs};
use super::keyring::Keyring;
use super::memory::Memory;
use super::node::make_directory;
use super::output::{Output, count, size, time};
use super::repair::{describe_broken, open_stores};
use super::state::state_file;
use super::{Context, Outcome, clock};
use crate::beside::is_beside;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::fetch::{Found, chain};
use crate::scheduler::Demand;
use crate::scrub::{Scrub, ScrubReport, Scrubbed};

#[derive(Args, Debug)]
pub(super) struct ScrubArgs {
    /// A store; repeat for all that have blocks of these backups
    #[arg(long = "from", value_name = "URL")]
    from: Vec<String>,

    /// With --repair, a store for rebuilt blocks; repeat for more. Without it all of --from may get some
    #[arg(long = "to", requires = "repair", value_name = "URL")]
    to: Vec<String>,

    /// Rebuild what is damaged or missing: where it was, or in another store if that is gone or full
    #[arg(long)]
    repair: bool,

    /// With --repair, a loss that must be survived then, such as "1 host"; repeat for more
    #[arg(long, requires = "repair", value_name = "LOSS")]
    survive: Vec<Demand>,

    /// Read the blocks that were not read for so long, the longest unread first
    #[arg(long, default_value = "30d", value_parser = humantime::parse_duration, env = "TANNER_SCRUB_MAX_AGE", value_name = "TIME")]
    max_age: Duration,

    /// Read all blocks, whenever they were read
    #[arg(long)]
    all: bool,

    /// Of these, read a share drawn at random, such as 5%; one at least
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    sample: Option<f64>,

    /// The file for what was read and when, or none; the default is below the user's directory for state
    #[arg(long, env = "TANNER_SCRUB_CURSOR", value_name = "FILE")]
    cursor: Option<String>,

    #[command(flatten)]
    identity: IdentityArgs,

    #[command(flatten)]
    facts: FactArgs,

    #[command(flatten)]
    limit: LimitArgs,

    #[command(flatten)]
    resources: ResourceArgs,
}

impl ScrubArgs {
    fn cursor(&self) -> Option<PathBuf> {
        state_file(self.cursor.as_deref(), "scrub.json")
    }
}

pub(super) async fn scrub(context: &Context, args: ScrubArgs) -> Result<Outcome, Error> {
    let (stores, may_get) = open_stores(context, &args.from, &args.to, &args.facts, &args.limit)?;
    let (resources, memory) = (resources(context, &args.resources)?, Memory::read()?);
    let cursor_path = args.cursor();
    // Where none can be made, everything is read each time.
    cursor_path.iter().for_each(|path| _ = make_directory(path));
    // Read when a backup is there that takes a key.
    let mut keyring: Option<Option<Keyring>> = None;
    let mut unlock = |found: &mut Found| {
        if found.opened().is_some() {
            return;
        }
        let keyring = keyring.get_or_insert_with(|| Keyring::read(&args.identity).ok());
        if let Some(key) = keyring.as_ref().and_then(|keyring| keyring.key_of(&found.manifest).ok()) {
            // A key that does not fit opens nothing.
            let _ = found.unlock(&key);
        }
    };
    // A protected file is one store.
    let is_beside = stores.iter().any(|store| is_beside(store.url()));
    let scrub = Scrub {
        stores,
        may_get,
        seen: &memory.seen,
        cursor: cursor_path.as_deref().map(Cursor::read).unwrap_or_default(),
        cursor_path,
        now: clock::now(),
        age_min: if args.all { Duration::ZERO } else { args.max_age },
        sample: args.sample,
        repair: args.repair,
        survive: if is_beside { Vec::new() } else { args.survive.clone() },
        unlock: &mut unlock,
    };
    let report = scrub.run(&resources, &context.stop, &context.progress).await?;
    let output = context.output;
    for trouble in &report.troubles {
        output.say(&format!("FAILED {}: {}", trouble.store, trouble.what));
        output.message("event", json!({ "event": "trouble", "store": trouble.store, "what": trouble.what }));
    }
    report.backups.iter().for_each(|scrubbed| say(output, scrubbed));
    let tally = |is: fn(&Scrubbed) -> bool| report.backups.iter().filter(|scrubbed| is(scrubbed)).count();
    let (sound, mended, lost) =
        (tally(Scrubbed::is_sound), tally(Scrubbed::is_mended), tally(|scrubbed| !scrubbed.is_restorable()));
    let (backups, read) = (report.backups.len(), size(report.bytes_read));
    output.result(&format!(
        "{}: {sound} without fault, {mended} repaired, {} with faults, {lost} of them lost",
        count(backups, "backup"),
        backups - sound - mended
    ));
    let oldest = report
        .oldest
        .map_or_else(|| "some were never read".into(), |oldest| format!("all since {}", time(oldest)));
    output.say(&format!(
        "  {} of {} read ({read}); {oldest}",
        report.copies_read,
        count(report.copies, "block")
    ));
    let code = exit_code(&report, args.repair);
    let ids = |is: fn(&Scrubbed) -> bool| -> Vec<String> {
        report
            .backups
            .iter()
            .filter(|scrubbed| is(scrubbed))
            .map(|scrubbed| scrubbed.id.to_string())
            .collect()
    };
    let blocks = |count: fn(&Scrubbed) -> usize| report.backups.iter().map(count).sum::<usize>();
    let repairs = report.backups.iter().filter_map(|scrubbed| scrubbed.repaired.as_ref()?.as_ref().ok());
    let summary = json!({
        "backups": backups,
        "backups_sound": sound,
        "backups_repaired": ids(Scrubbed::is_mended),
        "backups_faulty": ids(|scrubbed| !scrubbed.is_sound() && !scrubbed.is_mended()),
        "backups_lost": ids(|scrubbed| !scrubbed.is_restorable()),
        "blocks": report.copies,
        "blocks_read": report.copies_read,
        "blocks_damaged": blocks(damaged),
        "blocks_rebuilt": blocks(rebuilt),
        "manifests_damaged": blocks(|scrubbed| scrubbed.manifests_damaged),
        "bytes_read": report.bytes_read,
        "bytes_read_for_repairs": repairs.map(|report| report.bytes_read).sum::<u64>(),
        "oldest": report.oldest.map(time),
        "failed_stores": report.troubles.iter().map(|trouble| &trouble.store).collect::<Vec<_>>(),
        "repair": args.repair,
    });
    Ok(Outcome { code, summary })
}

/// What a script has to do about it.
fn exit_code(report: &ScrubReport, repair: bool) -> u8 {
    let is_well = |scrubbed: &Scrubbed| scrubbed.is_sound() || scrubbed.is_mended();
    let is_whole = |scrubbed: &Scrubbed| damaged(scrubbed) == 0 && scrubbed.manifests_damaged == 0;
    let reaches_all = report.troubles.is_empty();
    match () {
        () if !report.backups.iter().all(Scrubbed::is_restorable) => 5,
        () if reaches_all && report.backups.iter().all(is_well) => 0,
        // Or nothing is damaged, but less would be survived than was to be.
        () if repair || reaches_all && report.backups.iter().all(is_whole) => 3,
        () => 4,
    }
}

fn damaged(scrubbed: &Scrubbed) -> usize {
    scrubbed.found.as_ref().map_or(0, |(health, _)| blocks_of(&health.damages).len())
}

fn rebuilt(scrubbed: &Scrubbed) -> usize {
    scrubbed.repaired.iter().flatten().map(|report| report.rebuilt.len()).sum()
}

/// Says of a backup what is wrong with it, and what was done.
fn say(output: Output, scrubbed: &Scrubbed) {
    let id = scrubbed.id;
    match &scrubbed.found {
        Err(error) => output.say(&format!("backup {id}: {}", chain(error))),
        Ok((health, troubles)) => {
            if !scrubbed.is_sound() {
                output.say(&format!("backup {id}:"));
            }
            troubles.iter().for_each(|trouble| output.say(&trouble.what));
            report_damages(output, &health.damages);
            if scrubbed.repaired.is_none() {
                scrubbed.broken.iter().for_each(|demand| {
                    output.say(&format!("below target: the loss of any {demand} would not be survived"));
                });
            }
        }
    }
    let repaired = scrubbed.repaired.as_ref();
    match repaired {
        None => {}
        Some(Err(error)) => output.say(&format!("FAILED {}", chain(error))),
        Some(Ok(report)) => {
            report
                .rebuilt
                .iter()
                .for_each(|(block, store)| output.say(&format!("block {block} rebuilt in {store}")));
            report.manifests.iter().for_each(|store| output.say(&format!("the manifest written to {store}")));
            for trouble in &report.failed {
                output.say(&format!("FAILED {}: {}", trouble.store, trouble.what));
            }
            describe_broken(output, report, true);
        }
    }
    let error = scrubbed.found.as_ref().err().or(repaired.and_then(|repaired| repaired.as_ref().err()));
    let health = repaired.and_then(|repaired| repaired.as_ref().ok()).map(|report| &report.health);
    let health = health.or(scrubbed.found.as_ref().ok().map(|(health, _)| health));
    output.message(
        "event",
        json!({
            "event": "scrubbed",
            "id": id.to_string(),
            "sound": scrubbed.is_sound(),
            "repaired": scrubbed.is_mended(),
            "restorable": scrubbed.is_restorable(),
            "blocks_damaged": damaged(scrubbed),
            "blocks_rebuilt": rebuilt(scrubbed),
            "blocks_survivable": health.and_then(|health| health.blocks_survivable),
            "stores_survivable": health.and_then(|health| health.stores_survivable),
            "broken": scrubbed.broken.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "what": error.map(chain),
        }),
    );
}
