//! What `tanner bench` prints of a report.

use serde_json::json;

use super::output::{Output, count, size};
use crate::bench::{Kind, Measurement, Paired, Report, Roof};

/// Prints a report: the machine, every measurement, and what binds.
pub(super) fn describe(output: Output, report: &Report) {
    let machine = &report.machine;
    output.result(&format!(
        "{}, {}, {} memory, {}, tanner {}; levels: {}",
        machine.cpu,
        count(machine.cores, "core"),
        machine.memory_bytes.map_or_else(|| "unknown".into(), size),
        machine.kernel,
        machine.tanner,
        machine.levels.join(" ")
    ));
    report.notes.iter().for_each(|note| output.result(&format!("note: {note}")));
    for profile in &report.profiles {
        let taps = profile.taps.map_or_else(String::new, |taps| format!(", N1 {taps}, P {}", profile.period));
        output.result(&format!(
            "{}: {} code{taps}, D {}, any {} of {} restore ({})",
            profile.shape,
            profile.code,
            profile.depth,
            profile.threshold,
            profile.data + profile.parity,
            profile.evidence
        ));
    }
    let rows: Vec<Vec<String>> = report.measurements.iter().map(row).collect();
    output.result("");
    table(output, &["", "level", "threads", "GB/s", "spread", "against a copy"], &with_ratios(report, rows));
    report.measurements.iter().for_each(|measurement| output.message("event", event(measurement)));
    let costs = report.encryption_costs();
    if !costs.is_empty() {
        output.result("");
        let heads = ["", "", "plain GB/s", "encrypted GB/s", "ratio", "round by round"];
        table(output, &heads, &costs.iter().map(cost).collect::<Vec<_>>());
    }
    for Paired { what, plain, encrypted, ratio: [ratio, least, most] } in &costs {
        output.message(
            "event",
            json!({
                "event": "encryption",
                "what": what,
                "plain_bytes_per_second": plain,
                "encrypted_bytes_per_second": encrypted,
                "ratio": ratio,
                "least_ratio": least,
                "most_ratio": most,
            }),
        );
    }
    let roofs = report.roofs();
    if !roofs.is_empty() {
        output.result("");
    }
    for roof in &roofs {
        output.result(&sentence(roof));
        let (binding, bytes_per_second) = roof.binding();
        output.message(
            "event",
            json!({
                "event": "roof",
                "what": roof.what,
                "threads": roof.threads,
                "bytes_per_second": roof.reached,
                "ceilings": roof.ceilings.iter().map(|(name, rate)| json!({ "name": name, "bytes_per_second": rate })).collect::<Vec<_>>(),
                "binding": binding,
                "binding_bytes_per_second": bytes_per_second,
                "share_ratio": roof.share(),
            }),
        );
    }
}

/// The cells that every table has.
pub(super) fn row(measurement: &Measurement) -> Vec<String> {
    let subject = &measurement.subject;
    let kind = match subject.kind {
        Kind::Encode => "encode ",
        Kind::Decode => "decode ",
        _ => "",
    };
    let speed = match measurement.bytes {
        0 => format!("{:.1} µs", measurement.median_seconds() * 1e6),
        _ => format!("{:.2}", measurement.rate() / 1e9),
    };
    let level = subject.level.clone().unwrap_or_default();
    vec![format!("{kind}{}", subject.name), level, subject.threads.to_string(), speed, spread(measurement)]
}

fn spread(measurement: &Measurement) -> String {
    measurement.spread().map_or_else(String::new, |spread| format!("± {:.0} %", spread * 100.0))
}

/// Adds how long each whole job took beside the first, which is the plain copy.
fn with_ratios(report: &Report, mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let copy = report.of(Kind::E2e).next();
    for (row, measurement) in rows.iter_mut().zip(&report.measurements) {
        let ratio = copy.filter(|_| measurement.subject.kind == Kind::E2e);
        let ratio = ratio.and_then(|copy| measurement.times_as_long_as(copy));
        row.push(ratio.map_or_else(String::new, |ratio| format!("{ratio:.2} × its time")));
    }
    rows
}

fn event(measurement: &Measurement) -> serde_json::Value {
    let subject = &measurement.subject;
    json!({
        "event": "measurement",
        "kind": subject.kind,
        "name": subject.name,
        "level": subject.level,
        "threads": subject.threads,
        "bytes": measurement.bytes,
        "median_seconds": measurement.median_seconds(),
        "bytes_per_second": (measurement.bytes > 0).then(|| measurement.rate()),
        "spread_ratio": measurement.spread(),
        "seconds": measurement.seconds,
        "rounds": measurement.rounds,
    })
}

/// The cells of what encryption costs.
fn cost(paired: &Paired) -> Vec<String> {
    let [ratio, least, most] = paired.ratio;
    let gb = |rate: f64| format!("{:.2}", rate / 1e9);
    let (plain, encrypted) = (gb(paired.plain), gb(paired.encrypted));
    vec![
        paired.what.clone(),
        String::new(),
        plain,
        encrypted,
        format!("{ratio:.2}"),
        format!("{least:.2}–{most:.2}"),
    ]
}

/// One line of the roofline.
fn sentence(roof: &Roof) -> String {
    let gb = |rate: f64| format!("{:.2} GB/s", rate / 1e9);
    let threads = count(roof.threads, "thread");
    let (binding, ceiling) = roof.binding();
    match roof.reached {
        Some(reached) => {
            let shares = roof.ceilings.iter().map(|(name, rate)| format!("{:.2} of {name}", reached / rate));
            let shares: Vec<String> = shares.collect();
            format!("{}, {threads}: {} = {}; {binding} binds", roof.what, gb(reached), shares.join(", "))
        }
        None => {
            let all = roof.ceilings.iter().map(|(name, rate)| format!("{name} {}", gb(*rate)));
            let all: Vec<String> = all.collect();
            format!("{} is bound by {binding}: at most {} ({})", roof.what, gb(ceiling), all.join(", "))
        }
    }
}

/// Columns as wide as their widest cell; the first two begin together, numbers end together.
pub(super) fn table(output: Output, heads: &[&str], rows: &[Vec<String>]) {
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    let width = |column: usize| {
        let cells = rows.iter().chain([&heads]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    for row in [&heads].into_iter().chain(rows) {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            let is_word = column < 2 || cell.chars().any(char::is_alphabetic) && column > 4;
            if is_word { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        output.result(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
