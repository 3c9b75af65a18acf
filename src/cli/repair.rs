//! The command `repair`.

use serde_json::json;

use super::args::RepairArgs;
use super::commands::{blocks_of, find_in, health_line, health_summary, report_damages, resources};
use super::facts::{FactArgs, LimitArgs};
use super::keyring::unlock_if_possible;
use super::output::{Output, count, size};
use super::protect::named;
use super::{Context, Outcome};
use crate::beside::is_beside;
use crate::error::Error;
use crate::repair::{Repair, RepairReport};
use crate::store::Store;

/// The stores that have blocks and those that may get some, and which of them may.
pub(super) fn open_stores(
    context: &Context,
    from: &[String],
    to: &[String],
    facts: &FactArgs,
    limit: &LimitArgs,
) -> Result<(Vec<Store>, Vec<bool>), Error> {
    let (mut given, mut stores) = (from.to_vec(), Store::open_all(&context.registry, from, "--from")?);
    let mut may_get = vec![to.is_empty(); stores.len()];
    if !to.is_empty() {
        for (to, name) in Store::open_all(&context.registry, to, "--to")?.into_iter().zip(to) {
            let place = stores.iter().position(|store| store.url() == to.url()).unwrap_or_else(|| {
                stores.push(to);
                given.push(name.clone());
                may_get.push(true);
                stores.len() - 1
            });
            may_get[place] = true;
        }
        Store::check_alone(&stores)?;
    }
    facts.apply(&given, &mut stores)?;
    limit.apply(&mut stores);
    Ok((stores, may_get))
}

pub(super) async fn repair(context: &Context, args: RepairArgs) -> Result<Outcome, Error> {
    let (id, from) = named(context, &args.id, &args.from).await?;
    let (stores, may_get) = open_stores(context, &from, &args.to, &args.facts, &args.limit)?;
    let mut found = find_in(context, id, stores).await?;
    // Where its blocks once were is for readers to know; the rest takes no key.
    unlock_if_possible(context, &mut found, &args.identity);
    let resources = resources(context, &args.resources)?;
    // A protected file is one store.
    let survive =
        if found.stores.iter().any(|store| is_beside(store.url())) { Vec::new() } else { args.survive };
    let is_asked = !survive.is_empty();
    let repair = Repair {
        found: found.clone(),
        may_get,
        quick: args.quick,
        dry_run: args.dry_run,
        leaving: None,
        survive,
    };
    let report = repair.run(&resources, &context.stop, &context.progress).await?;

    let output = context.output;
    report_damages(output, &report.damages);
    describe(output, &report, args.dry_run, is_asked, context.seconds());
    output.result(&health_line(&found, &report.health));
    let code = match report.is_complete() {
        true => 0,
        false if args.dry_run => 4,
        false => 3,
    };
    let mut summary = health_summary(&found, &report.health);
    let rebuilt: Vec<usize> = report.rebuilt.iter().map(|(block, _)| *block).collect();
    let failed = report.failed.iter().map(|trouble| json!({ "store": trouble.store, "error": trouble.what }));
    summary["blocks_found_damaged"] = json!(blocks_of(&report.damages));
    summary["blocks_rebuilt"] = json!(rebuilt);
    summary["blocks_sound"] = json!(report.sound.iter().map(|(block, _)| block).collect::<Vec<_>>());
    summary["blocks_unplaced"] = json!(report.unplaced);
    summary["manifests_written"] = json!(report.manifests);
    summary["failed_stores"] = json!(failed.collect::<Vec<_>>());
    summary["broken"] = json!(report.broken.iter().map(ToString::to_string).collect::<Vec<_>>());
    summary["dry_run"] = json!(args.dry_run);
    summary["verified"] = json!(report.verified);
    summary["bytes_read"] = json!(report.bytes_read);
    summary["bytes_read_full"] = json!(report.bytes_read_full);
    Ok(Outcome { code, summary })
}

/// Says what would not be survived any more.
pub(super) fn describe_broken(output: Output, report: &RepairReport, is_asked: bool) {
    for demand in &report.broken {
        output.say(&format!(
            "below target: the loss of any {demand} {}: a new backup is placed anew, and `tanner evacuate` moves what a store \
             has too much of",
            if is_asked {
                "would not be survived"
            } else {
                "was survived as the blocks were placed, and is not now"
            }
        ));
    }
}

fn describe(output: Output, report: &RepairReport, dry_run: bool, is_asked: bool, seconds: f64) {
    let (would, event) = if dry_run { ("would be ", "would_rebuild") } else { ("", "rebuilt") };
    for (block, store) in &report.rebuilt {
        output.say(&format!("block {block} {would}rebuilt in {store}"));
        output.message("event", json!({ "event": event, "block": block, "store": store }));
    }
    for (block, store) in &report.sound {
        output.say(&format!("block {block} in {store} is right by now: it stays"));
        output.message("event", json!({ "event": "sound", "block": block, "store": store }));
    }
    for store in &report.manifests {
        output.say(&format!("the manifest {would}written to {store}"));
    }
    for trouble in &report.failed {
        output.say(&format!("FAILED {}: {}", trouble.store, trouble.what));
    }
    for block in &report.unplaced {
        output.say(&format!("FAILED block {block}: no store takes it"));
    }
    describe_broken(output, report, is_asked);
    let (blocks, manifests) = (report.rebuilt.len(), report.manifests.len());
    if blocks + manifests + report.failed.len() + report.unplaced.len() == 0 {
        output.say(if report.is_complete() { "nothing to repair" } else { "nothing could be repaired" });
    } else {
        let (blocks, manifests) = (count(blocks, "block"), count(manifests, "manifest"));
        output.say(&format!("{blocks} {would}rebuilt, {manifests} {would}written, in {seconds:.2} s"));
    }
    let (read, full) = (size(report.bytes_read), size(report.bytes_read_full));
    match (report.verified, dry_run) {
        (true, false) => output.say(&format!("  {read} read: every block was checked")),
        (true, true) => output.say(&format!("  {read} read or to be read: every block was checked")),
        (false, false) => output.say(&format!(
            "  {read} read; to check every block, too, takes {full}. Blocks that are there were trusted"
        )),
        (false, true) => output.say(&format!(
            "  {read} to be read; to check every block, too, takes {full}. Blocks that are there would be trusted"
        )),
    }
}
