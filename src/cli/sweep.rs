//! `tanner sweep`: what unfinished backups left is taken back.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::args::JournalArgs;
use super::output::time;
use super::{Context, Outcome, clock};
use crate::error::Error;
use crate::id::{BackupId, IdError};
use crate::sweep::{Sweep, SweepPlan, Swept};

#[derive(Args, Debug)]
pub(super) struct SweepArgs {
    /// Unfinished backups; the default is all that nobody is making
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    #[command(flatten)]
    journal: JournalArgs,

    /// Only those that began so long ago
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration, value_name = "TIME")]
    older_than: Duration,

    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) async fn sweep(context: &Context, args: SweepArgs) -> Result<Outcome, Error> {
    let ids = args.ids.iter().map(|id| id.parse()).collect::<Result<Vec<BackupId>, IdError>>()?;
    let journals = args.journal.journals();
    let now = clock::now();
    let swept = match &journals {
        None => Vec::new(),
        Some(journals) => {
            let before = now.saturating_sub(args.older_than.as_secs());
            let (dry_run, registry) = (args.dry_run, &context.registry);
            SweepPlan { journals, ids: &ids, before, dry_run, registry }.run().await?
        }
    };
    swept.iter().for_each(|sweep| say(context, sweep, args.dry_run));
    let count = |is: fn(&Swept) -> bool| swept.iter().filter(|sweep| is(&sweep.swept)).count();
    let left = count(|swept| matches!(swept, Swept::Left(_)));
    let summary = json!({
        "unfinished": swept.len(),
        "taken_back": count(|swept| *swept == Swept::TakenBack),
        "finished": count(|swept| *swept == Swept::Finished),
        "running": count(|swept| *swept == Swept::Running),
        "young": count(|swept| *swept == Swept::Young),
        "left": left,
        "dry_run": args.dry_run,
    });
    Ok(Outcome { code: if left > 0 { 3 } else { 0 }, summary })
}

fn say(context: &Context, sweep: &Sweep, dry_run: bool) {
    let Sweep { id, source, created, swept } = sweep;
    let (name, words) = match swept {
        Swept::Running => ("running", "another run is making it".to_owned()),
        Swept::Young => ("young", "it is too young".into()),
        Swept::TakenBack if dry_run => ("taken_back", "would be taken back".into()),
        Swept::TakenBack => ("taken_back", "taken back".into()),
        Swept::Finished => ("finished", "it has a manifest, and stays".into()),
        Swept::Left(troubles) => ("left", format!("something is left: {}", troubles.join("; "))),
    };
    let of = if source.is_empty() { String::new() } else { format!(" of {source} ({})", time(*created)) };
    context.output.result(&format!("{id}{of}: {words}"));
    let troubles = if let Swept::Left(troubles) = swept { troubles.as_slice() } else { &[] };
    let event = json!({
        "event": "unfinished",
        "id": id.to_string(),
        "source": source,
        "created": time(*created),
        "what": name,
        "troubles": troubles,
    });
    context.output.message("event", event);
}
