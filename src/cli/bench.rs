//! `tanner bench`: arguments to a report, a report to words, JSON and a page.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::bench_args::{BenchArgs, BenchCommand, E2eArgs, NetArgs};
use super::commands::{refuse_dash, resources};
use super::output::{Output, count, size};
use super::{Context, Outcome};
use crate::bench::net::Listener;
use crate::bench::{Blocks, Codec, Disk, EndToEnd, Kind, Measurement, Net, Recorder, Report, Roof, SCHEMA};
use crate::bench::{compare, page};
use crate::error::Error;
use crate::parallel::blocking;
use crate::resources::{MEMORY_BYTES_DEFAULT, Resources};
use crate::restore::Staged;

pub(super) async fn bench(context: &Context, args: BenchArgs) -> Result<Outcome, Error> {
    if let Some([a, b]) = args.compare.as_deref() {
        return compare_files(context.output, a, b);
    }
    if let Some(BenchCommand::Net(NetArgs { listen: Some(address), .. })) = &args.what {
        return listen(context, address).await;
    }
    // Known before a minute is spent on what could not be written.
    let staged = match &args.page.report {
        Some(path) => {
            refuse_dash(path, "writing to standard output")?;
            Some(Staged::create(path.clone(), args.page.force, 0)?)
        }
        None => None,
    };
    let report = match &args.show {
        Some(path) => compare::read(path)?,
        None => measure(context, args.what).await?,
    };
    describe(context.output, &report);
    if let Some(staged) = staged {
        staged.write(page::page(&report).as_bytes())?;
        staged.publish()?;
    }
    let mut summary = json!({ "bench_version": SCHEMA, "report": report });
    if let Some(path) = args.page.report {
        context.output.say(&format!("wrote {}", path.display()));
        summary["page"] = json!(path.display().to_string());
    }
    Ok(Outcome { code: 0, summary })
}

async fn measure(context: &Context, what: Option<BenchCommand>) -> Result<Report, Error> {
    let mut recorder = Recorder::new(&context.stop, &context.progress);
    match what {
        Some(BenchCommand::Codec(args)) => {
            let (shapes, bytes) = (args.shapes, args.size.as_u64());
            let run =
                Codec { shapes, bytes, rounds: args.rounds.rounds.into(), threads: args.threads.into() };
            recorder = codec(recorder, run).await?;
        }
        Some(BenchCommand::Disk(args)) => {
            let (directories, bytes) = (args.directories, args.size.as_u64());
            Disk { directories, bytes, rounds: args.rounds.rounds.into() }.run(&mut recorder).await?;
        }
        Some(BenchCommand::Net(args)) => {
            let (connect, bytes) = (args.connect, args.size.as_u64());
            let run = Net { connect, bytes, rounds: args.rounds.rounds.into(), streams: args.streams.into() };
            run.run(&mut recorder).await?;
        }
        Some(BenchCommand::E2e(args)) => {
            end_to_end(args)?.run(&mut recorder, &context.registry).await?;
        }
        None => {
            let shapes = QUICK_SHAPES.map(|(data, parity)| Blocks { data, parity }).to_vec();
            let run = Codec { shapes, bytes: QUICK_BYTES, rounds: QUICK_ROUNDS, threads: 0 };
            recorder = codec(recorder, run).await?;
            let (data, parity) = QUICK_SHAPES[0];
            let run = EndToEnd {
                directories: vec![std::env::temp_dir()],
                bytes: QUICK_BYTES,
                rounds: QUICK_ROUNDS,
                shape: Blocks { data, parity },
                resources: Arc::new(Resources::new(0, MEMORY_BYTES_DEFAULT)?),
            };
            run.run(&mut recorder, &context.registry).await?;
        }
    }
    Ok(recorder.report)
}

async fn codec(mut recorder: Recorder, run: Codec) -> Result<Recorder, Error> {
    blocking(move || run.run(&mut recorder).map(|()| recorder)).await
}

fn end_to_end(args: E2eArgs) -> Result<EndToEnd, Error> {
    let directories = if args.to.is_empty() { vec![std::env::temp_dir()] } else { args.to };
    Ok(EndToEnd {
        directories,
        bytes: args.size.as_u64(),
        rounds: args.rounds.rounds.into(),
        shape: Blocks { data: args.data, parity: args.parity },
        resources: resources(&args.resources)?,
    })
}

async fn listen(context: &Context, address: &str) -> Result<Outcome, Error> {
    let listener = Listener::bind(address).await?;
    let at = listener.address.to_string();
    context.output.result(&format!("listening on {at}"));
    context.output.message("event", json!({ "event": "listening", "address": at }));
    listener.serve(&context.stop).await?;
    Ok(Outcome { code: 0, summary: json!({}) })
}

/// Prints a report: the machine, every measurement, and what binds.
fn describe(output: Output, report: &Report) {
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

fn row(measurement: &Measurement) -> Vec<String> {
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

fn compare_files(output: Output, a: &PathBuf, b: &PathBuf) -> Result<Outcome, Error> {
    let (first, second) = (compare::read(a)?, compare::read(b)?);
    let comparisons = compare::compare(&first, &second);
    if comparisons.is_empty() {
        return Err(Error::NothingInCommon { a: a.clone(), b: b.clone() });
    }
    if (&first.machine.cpu, first.machine.cores) != (&second.machine.cpu, second.machine.cores) {
        output.say(&format!("other machines: {} and {}", first.machine.cpu, second.machine.cpu));
    }
    let (mut rows, mut beyond) = (Vec::new(), 0);
    for comparison in &comparisons {
        let (mut row, other) = (row(comparison.a), row(comparison.b));
        let (ratio, exceeds) = (comparison.ratio(), comparison.exceeds_spread());
        let verdict = match exceeds {
            None => "one round: no spread",
            Some(false) => "within the spread",
            Some(true) if ratio > 1.0 => "FASTER",
            Some(true) => "SLOWER",
        };
        beyond += usize::from(exceeds == Some(true));
        row.extend([other[3].clone(), other[4].clone(), format!("{ratio:.3}"), verdict.into()]);
        rows.push(row);
        let subject = comparison.subject;
        output.message(
            "event",
            json!({
                "event": "comparison",
                "kind": subject.kind,
                "name": subject.name,
                "level": subject.level,
                "threads": subject.threads,
                "ratio": ratio,
                "a_median_seconds": comparison.a.median_seconds(),
                "b_median_seconds": comparison.b.median_seconds(),
                "a_spread_ratio": comparison.a.spread(),
                "b_spread_ratio": comparison.b.spread(),
                "exceeds_spread": exceeds,
            }),
        );
    }
    let heads = ["", "level", "threads", &name(a), "spread", &name(b), "spread", "B : A", ""];
    table(output, &heads, &rows);
    let left_out = first.measurements.len() + second.measurements.len() - 2 * comparisons.len();
    output.say(&format!("{beyond} of {} exceed the spread; {left_out} only in one file", comparisons.len()));
    Ok(Outcome {
        code: 0,
        summary: json!({ "compared": comparisons.len(), "exceeding": beyond, "only_in_one": left_out }),
    })
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Columns as wide as their widest cell; the first two begin together, numbers end together.
fn table(output: Output, heads: &[&str], rows: &[Vec<String>]) {
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

/// About a minute with two cores.
const QUICK_SHAPES: [(u64, u64); 2] = [(10, 5), (24, 26)];
const QUICK_BYTES: u64 = 256 << 20;
const QUICK_ROUNDS: usize = 3;
