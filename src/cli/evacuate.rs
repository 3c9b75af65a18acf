//! `tanner evacuate`: a store that is to be given up.

use clap::Args;
use serde_json::json;

use super::args::ResourceArgs;
use super::commands::{find_in, resources};
use super::encryption::IdentityArgs;
use super::facts::{FactArgs, LimitArgs};
use super::keyring::unlock_if_possible;
use super::output::count;
use super::repair::{describe_broken, open_stores};
use super::{Context, Outcome};
use crate::error::Error;
use crate::evacuate::{Evacuate, Evacuated};
use crate::fetch::{chain, list_parts};
use crate::id::{BackupId, IdError};
use crate::scheduler::Demand;

#[derive(Args, Debug)]
pub(super) struct EvacuateArgs {
    /// The store to give up
    #[arg(value_name = "URL")]
    store: String,

    /// A store for what it has; repeat for more, and for all that have other blocks of the same backups
    #[arg(long = "to", value_name = "URL")]
    to: Vec<String>,

    /// A backup; repeat for more. Without it all that the store has are moved
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,

    /// A loss that must be survived without the store, such as "1 host", or nothing is deleted from it; repeat for more.
    /// Without it what was survived as the blocks were placed
    #[arg(long, value_name = "LOSS")]
    survive: Vec<Demand>,

    /// Say what would be moved, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    #[command(flatten)]
    identity: IdentityArgs,

    #[command(flatten)]
    facts: FactArgs,

    #[command(flatten)]
    limit: LimitArgs,

    #[command(flatten)]
    resources: ResourceArgs,
}

pub(super) async fn evacuate(context: &Context, args: EvacuateArgs) -> Result<Outcome, Error> {
    let from = std::slice::from_ref(&args.store);
    let (stores, may_get) = open_stores(context, from, &args.to, &args.facts, &args.limit)?;
    if args.to.is_empty() || may_get[0] {
        return Err(Error::NoStore { flag: "--to, other than the store that is given up," });
    }
    let resources = resources(context, &args.resources)?;
    let mut ids = args.ids.iter().map(|id| id.parse()).collect::<Result<Vec<BackupId>, IdError>>()?;
    if ids.is_empty() {
        ids = list_parts(&stores[0]).await?;
    }
    let (mut moved, mut left, mut blocks, mut code) = (0, 0, 0, 0);
    for id in ids {
        context.stop.check()?;
        let run = async {
            let mut found = find_in(context, id, stores.clone()).await?;
            unlock_if_possible(context, &mut found, &args.identity);
            let evacuate = Evacuate {
                found,
                leaving: 0,
                may_get: may_get.clone(),
                survive: args.survive.clone(),
                dry_run: args.dry_run,
            };
            evacuate.run(&resources, &context.stop, &context.progress).await
        };
        match run.await {
            Ok(evacuated) => {
                blocks += evacuated.report.rebuilt.len();
                say(context, id, &evacuated, &args);
                if evacuated.has_left || args.dry_run { moved += 1 } else { left += 1 }
            }
            Err(error @ Error::Stopped { .. }) => return Err(error),
            Err(error) => {
                (left, code) = (left + 1, code.max(error.exit_code()));
                context.output.error(&format!("backup {id}: {}", chain(&error)));
            }
        }
    }
    let would = if args.dry_run { "would be " } else { "" };
    let (words, of) = (count(moved, "backup"), count(blocks, "block"));
    context.output.result(&format!("{words} {would}moved, {of} {would}put elsewhere, {left} left"));
    let mut summary =
        json!({ "moved": moved, "left": left, "blocks_moved": blocks, "dry_run": args.dry_run });
    if code != 0 {
        summary["error"] = json!("some backups could not be moved");
    } else if left > 0 {
        code = 3;
    }
    Ok(Outcome { code, summary })
}

fn say(context: &Context, id: BackupId, evacuated: &Evacuated, args: &EvacuateArgs) {
    let dry_run = args.dry_run;
    let (output, report) = (context.output, &evacuated.report);
    let would = if dry_run { "would be " } else { "" };
    for (block, store) in &report.rebuilt {
        output.say(&format!("block {block} of {id} {would}put into {store}"));
        output.message(
            "event",
            json!({ "event": "moved", "id": id.to_string(), "block": block, "store": store }),
        );
    }
    for trouble in report.failed.iter().chain(&evacuated.troubles) {
        output.say(&format!("FAILED {}: {}", trouble.store, trouble.what));
    }
    for block in &report.unplaced {
        output.say(&format!("FAILED block {block} of {id}: no store takes it"));
    }
    describe_broken(output, report, !args.survive.is_empty());
    if !evacuated.has_left && !dry_run {
        output.say(&format!("backup {id} stays where it is, too"));
    }
}
