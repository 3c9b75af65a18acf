//! Words about where blocks are, and what losses that survives.

use serde_json::{Value, json};

use super::Outcome;
use super::commands::shape;
use super::output::{Output, count, size};
use crate::backup::{Backup, Planned};
use crate::error::Error;
use crate::fetch::Found;
use crate::margins::{Margins, PlacedMargins};
use crate::scheduler::{Demand, Facts, Margin, Placed, Proof};

/// Says what a backup would be.
pub(super) fn dry_run(
    output: Output,
    backup: &Backup,
    facts: &[Facts],
    explains: bool,
) -> Result<Outcome, Error> {
    let Planned { geometry, placed, stores_survivable, margins: by_label } = backup.plan()?;
    if explains {
        explain(output, &placed, facts);
    }
    let counts = counts(&placed, facts.len());
    output.result(&format!("would store {} as {}", size(geometry.stored_bytes()), shape(geometry.profile())));
    for (store, &blocks) in facts.iter().zip(&counts) {
        output.result(&format!("  {}: {}", store.name, count(blocks, "block")));
    }
    output.result(&format!("  {}", margin_words("store", facts.len(), stores_survivable)));
    describe(output, &placed, &by_label, &[], facts);
    let summary = json!({
        "dry_run": true,
        "bytes": geometry.source_bytes(),
        "stored_bytes": geometry.stored_bytes(),
        "blocks": placed.places.len(),
        "policy": backup.policy.name(),
        "places": placed.places,
        "stores": facts.len(),
        "stores_survivable": stores_survivable,
        "survive": demands(&placed, &[]),
        "labels": margins(&by_label, facts),
    });
    Ok(Outcome { code: 0, summary })
}

/// One line for each block.
pub(super) fn explain(output: Output, placed: &Placed, facts: &[Facts]) {
    for (block, &store) in placed.places.iter().enumerate() {
        let (facts, why) = (&facts[store], &placed.why[store]);
        let labels = facts.all_labels();
        let domains: Vec<String> = labels.iter().map(|(label, value)| format!("{label} {value}")).collect();
        output.say(&format!("block {block} to {} ({}): {why}", facts.name, domains.join(", ")));
        let event =
            json!({ "event": "placed", "block": block, "store": facts.url, "labels": labels, "why": why });
        output.message("event", event);
    }
}

/// What is survived, by demand and by label.
pub(super) fn describe(
    output: Output,
    placed: &Placed,
    margins: &[Margin],
    broken: &[Demand],
    facts: &[Facts],
) {
    for (demand, proof) in &placed.kept {
        if broken.contains(demand) {
            output
                .say(&format!("  below target: by what is stored now the loss of {demand} is NOT survived"));
        } else {
            output.say(&format!("  the loss of {demand} is survived ({proof})"));
        }
    }
    for margin in margins {
        let domains = &margin.domains;
        output.say(&format!("  {}", margin_words(&domains.label, domains.count, margin.survivable)));
        let unknown: Vec<&str> = domains.unknown.iter().map(|&store| facts[store].name.as_str()).collect();
        if !unknown.is_empty() {
            let (label, unknown) = (&domains.label, unknown.join(", "));
            output.say(&format!("    the {label} of {unknown} is not known: each counts as one of its own"));
        }
    }
}

/// What `show` says of labels, from what is there and from the manifest alone.
pub(super) fn show(output: Output, margins: &Margins) {
    let words =
        |margin: &Margin| margin_words(&margin.domains.label, margin.domains.count, margin.survivable);
    margins.now.iter().for_each(|margin| output.result(&format!("{:<10} {}", "", words(margin))));
    if let Some(placed) = &margins.placed {
        let stores = margin_words("store", placed.stores, placed.stores_survivable);
        let all: Vec<String> = [stores].into_iter().chain(placed.margins.iter().map(words)).collect();
        output.result(&format!("{:<10} {}", "as placed", all.join("; ")));
    }
}

/// The same of the manifest alone, for JSON.
pub(super) fn placed(of: &Margins) -> Value {
    let placed = |placed: &PlacedMargins| {
        json!({
            "stores": placed.stores,
            "stores_survivable": placed.stores_survivable,
            "labels": margins(&placed.margins, &[]),
        })
    };
    of.placed.as_ref().map_or(Value::Null, placed)
}

/// What is known of a found backup's stores.
pub(super) fn facts(found: &Found) -> Vec<Facts> {
    found.stores.iter().map(|store| store.facts.clone()).collect()
}

fn margin_words(label: &str, domains: usize, survivable: Option<usize>) -> String {
    match (domains, survivable) {
        (_, None) => "not restorable as it is".into(),
        (1, Some(_)) => format!("all is on one {label}, which may not be lost"),
        (domains, Some(0)) => format!("none of {domains} {label}s may be lost"),
        (domains, Some(lost)) => format!("any {lost} of {domains} {label}s may be lost"),
    }
}

/// For JSON.
pub(super) fn margins(margins: &[Margin], facts: &[Facts]) -> Value {
    let margin = |margin: &Margin| {
        let unknown = margin.domains.unknown.iter().filter_map(|&store| facts.get(store));
        json!({
            "label": margin.domains.label,
            "domains": margin.domains.count,
            "survivable": margin.survivable,
            "unknown": unknown.map(|facts| &facts.url).collect::<Vec<_>>(),
        })
    };
    margins.iter().map(margin).collect()
}

/// For JSON.
pub(super) fn demands(placed: &Placed, broken: &[Demand]) -> Value {
    let demand = |(demand, proof): &(Demand, _)| {
        let is_kept = !broken.contains(demand);
        json!({ "loss": demand.to_string(), "kept": is_kept, "tried": matches!(proof, Proof::Tried(_)) })
    };
    placed.kept.iter().map(demand).collect()
}

fn counts(placed: &Placed, stores: usize) -> Vec<usize> {
    let mut counts = vec![0; stores];
    placed.places.iter().for_each(|&store| counts[store] += 1);
    counts
}
