//! `plan`: what a shape costs and survives, before anything is stored.

use bytesize::ByteSize;
use clap::Args;
use serde_json::{Value, json};
use tanner_kernels::{Evidence, Profile};

use super::args::Code;
use super::commands::{evidence, share};
use super::output::{count, size};
use super::{Context, Outcome};
use crate::error::Error;
use crate::guarantee::Level;
use crate::plan::{Failures, Plan, Stores, shape_for, survive_for};

#[derive(Args, Debug)]
pub(super) struct PlanArgs {
    /// The size of what is to be backed up
    #[arg(default_value = "100GB", value_parser = parse_size, value_name = "SIZE")]
    size: ByteSize,

    /// Data blocks: the file is split into this many
    #[arg(short = 'k', long, value_name = "K")]
    data: Option<u64>,

    /// Parity blocks
    #[arg(short = 'm', long, value_name = "M", conflicts_with = "overhead")]
    parity: Option<u64>,

    /// Parity as a share of the data instead, such as 10%
    #[arg(long, value_parser = parse_share, value_name = "PERCENT")]
    overhead: Option<f64>,

    /// The code that makes the parity
    #[arg(long, value_enum, default_value_t, value_name = "CODE")]
    code: Code,

    /// Stores over which the blocks are spread, each getting its turn
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096), value_name = "N")]
    stores: Option<u16>,

    /// Choose the shape: one block for each store, such that any so many stores may be lost
    #[arg(long, requires = "stores", conflicts_with_all = ["data", "parity", "overhead"], value_name = "N")]
    survive: Option<u16>,

    /// Choose the shape: such that the probability to lose the backup in a year is no more than this
    #[arg(long, requires = "stores", requires = "disk_afr", conflicts_with_all = ["data", "parity", "overhead", "survive"], value_parser = parse_part, value_name = "P")]
    target_loss: Option<f64>,

    /// The share of stores that fail in a year, such as 1.5%
    #[arg(long, value_parser = parse_part, value_name = "PERCENT")]
    disk_afr: Option<f64>,

    /// Days until the blocks of a failed store are rebuilt elsewhere
    #[arg(long, default_value_t = 7.0, value_parser = parse_days, value_name = "DAYS")]
    repair_days: f64,
}

pub(super) fn plan(context: &Context, args: &PlanArgs) -> Result<Outcome, Error> {
    let (bytes, stores) = (args.size.as_u64(), args.stores.map(usize::from));
    let failures = args.disk_afr.map(|per_year| Failures { per_year, repair_days: args.repair_days });
    let profile = match (args.survive, args.target_loss, stores, failures) {
        (Some(lost), _, Some(stores), _) => shape_for(stores, lost.into(), bytes)?,
        (_, Some(target), Some(stores), Some(failures)) => {
            let lost =
                survive_for(stores, failures, target).ok_or(Error::NoShape { stores, lost: stores })?;
            shape_for(stores, lost, bytes)?
        }
        _ => {
            let data = args.data.unwrap_or(if args.overhead.is_some() { 20 } else { 10 });
            let parity = match args.overhead {
                Some(share) => parity_for(data, share)?,
                None => args.parity.unwrap_or(5),
            };
            Profile::for_code(args.code.into(), data, parity, bytes)?
        }
    };
    let plan = Plan::new(profile, bytes, stores, failures)?;
    for (label, value) in words(&plan, &profile) {
        context.output.result(&format!("{label:<10} {value}"));
    }
    let mut summary = serde_json::to_value(&plan).unwrap_or(Value::Null);
    summary["threshold"] = json!(plan.guarantee.threshold);
    summary["evidence"] = json!(plan.guarantee.evidence);
    Ok(Outcome { code: 0, summary })
}

/// As many parity blocks as are nearest to such a share of the data.
fn parity_for(data: u64, overhead: f64) -> Result<u64, Error> {
    match (data as f64 * overhead).round() as u64 {
        0 => Err(Error::OverheadTooSmall { data }),
        parity => Ok(parity),
    }
}

fn words(plan: &Plan, profile: &Profile) -> Vec<(&'static str, String)> {
    let Plan { data, parity, bytes, stored_bytes, .. } = *plan;
    let (n, threshold) = (profile.blocks(), profile.threshold());
    let mut lines = vec![
        (
            "blocks",
            format!(
                "{data} of data and {parity} of parity, {} each, by the {} code",
                size(plan.block_bytes),
                plan.code
            ),
        ),
        (
            "stored",
            format!(
                "{} for {}: {:.2} times; of each parity block {} are tails",
                size(stored_bytes),
                size(bytes),
                stored_bytes as f64 / bytes.max(1) as f64,
                share_of(plan.tail)
            ),
        ),
        ("restores", format!("from any {threshold} of {n} blocks ({})", evidence(profile))),
        (
            "survives",
            format!(
                "the loss of any {} or fewer, {:.0} % of all",
                count(n - threshold, "block"),
                100.0 * (n - threshold) as f64 / n as f64
            ),
        ),
    ];
    for level in &plan.guarantee.levels {
        lines.push(("", level_words(level, threshold)));
    }
    if let Some((tried, failed)) = plan.guarantee.climb {
        lines.push((
            "",
            format!(
                "a climb towards the worst losses with {} left: {failed} of {tried} fail",
                count(data + 1, "block")
            ),
        ));
    }
    if let Some(blocks) = plan.guarantee.lightest_kernel_blocks {
        let but = if blocks + threshold <= n { "but to" } else { "to" };
        lines.push((
            "",
            format!(
                "{but} lose {blocks} certain blocks is fatal: they hold the lightest kernel of two symbols"
            ),
        ));
    }
    if let Some(stores) = &plan.stores {
        lines.extend(store_words(stores, is_sure(profile)));
    }
    lines.push((
        "costs",
        format!(
            "{:.1} XORs a byte to encode, {:.1} for each lost byte to decode; \
             `tanner bench codec --shapes {data}+{parity}` says how fast that is here",
            plan.encode_xors, plan.decode_xors
        ),
    ));
    lines.push((
        "repair",
        format!(
            "of one lost data block reads as much as {:.1} blocks, {}",
            plan.repair_blocks,
            size((plan.repair_blocks * plan.block_bytes as f64) as u64)
        ),
    ));
    lines
}

fn level_words(level: &Level, threshold: usize) -> String {
    let left = count(level.left, "block");
    let tried = match level.tried {
        0 => String::new(),
        tried => format!(" ({} of {tried} tried)", level.failed),
    };
    match level {
        Level { complete: true, failed: 0, .. } => format!("with {left} left none fails{tried}"),
        Level { worst_stratum, by_lot, .. } if *worst_stratum < 1.0 => {
            let what = if level.left < threshold { "not promised: " } else { "" };
            format!(
                "with {left} left {what}at most {} of losses by lot fail and {} of the worst kind{tried}",
                share(*by_lot),
                share(*worst_stratum)
            )
        }
        Level { by_lot, .. } => {
            let what = if level.left < threshold { "not promised, by estimate: " } else { "by estimate " };
            format!("with {left} left {what}at most {} of losses by lot fail{tried}", share(*by_lot))
        }
    }
}

/// Whether what is promised of blocks is left to no chance.
fn is_sure(profile: &Profile) -> bool {
    matches!(profile.evidence(), Evidence::Proved | Evidence::Tried)
}

fn store_words(stores: &Stores, is_sure: bool) -> Vec<(&'static str, String)> {
    let mut lines = vec![(
        "stores",
        format!(
            "{} with up to {} each: any {} may be lost",
            stores.stores,
            count(stores.blocks_most, "block"),
            stores.survivable
        ),
    )];
    if let Some((losses, fatal)) = stores.beyond {
        let next = count(stores.survivable + 1, "store");
        lines.push(("", format!("of the {losses} losses of {next} {fatal} are fatal")));
    }
    if let Some(loss) = &stores.loss {
        let provided = if is_sure { "" } else { " and the promise holds" };
        lines.push((
            "",
            format!(
                "lost within a year with probability {:.1e}, if stores fail independently, {} % a year, are rebuilt \
                 within {} days{provided}",
                loss.per_year,
                loss.failures.per_year * 100.0,
                loss.failures.repair_days
            ),
        ));
    }
    lines
}

fn share_of(value: f64) -> String {
    format!("{:.2} %", value * 100.0)
}

fn parse_size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| "wanted a size such as 750GB or 2TiB".into())
}

fn parse_share(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let share = number.trim().parse::<f64>().ok().map(|number| number * scale);
    share
        .filter(|share| *share > 0.0 && *share < 1e3)
        .ok_or_else(|| "wanted a share such as 1.5% or 1e-9".into())
}

/// A share of something, which cannot be more than all of it.
fn parse_part(text: &str) -> Result<f64, String> {
    let part = parse_share(text)?;
    if part <= 1.0 { Ok(part) } else { Err("wanted a share of no more than 100%".into()) }
}

fn parse_days(text: &str) -> Result<f64, String> {
    let days = text.parse::<f64>().ok().filter(|days| *days > 0.0 && *days <= 365.0);
    days.ok_or_else(|| "wanted days, from more than 0 to 365".into())
}
