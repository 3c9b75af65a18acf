//! `tanner bench`: arguments to a report, a report to words, JSON and a page.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::bench_args::{BenchArgs, BenchCommand, E2eArgs, NetArgs};
use super::bench_words::{describe, row, table};
use super::commands::{refuse_dash, resources};
use super::output::Output;
use super::{Context, Outcome};
use crate::bench::net::Listener;
use crate::bench::{Blocks, Ceilings, Codec, Disk, EncryptionModes, EndToEnd, Net, Recorder, Report, SCHEMA};
use crate::bench::{compare, page};
use crate::error::Error;
use crate::parallel::blocking;
use crate::resources::{MEMORY_BYTES_DEFAULT, Resources};
use crate::staged::Staged;

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
            Some(Staged::create(path.clone(), args.page.force)?)
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
            let threads = context.cpu_threads(args.threads.into());
            let run = Codec { shapes, bytes, rounds: args.rounds.rounds.into(), threads };
            recorder = codec(recorder, run).await?;
        }
        Some(BenchCommand::Disk(args)) => {
            let (directories, bytes) = (args.directories, args.size.as_u64());
            let run = Disk { directories, bytes, rounds: args.rounds.rounds.into(), io: context.disk_io };
            run.run(&mut recorder).await?;
        }
        Some(BenchCommand::Net(args)) => {
            let (connect, bytes) = (args.connect, args.size.as_u64());
            let run = Net { connect, bytes, rounds: args.rounds.rounds.into(), streams: args.streams.into() };
            run.run(&mut recorder).await?;
        }
        Some(BenchCommand::E2e(args)) => {
            let run = end_to_end(context, args)?;
            if run.encryption != EncryptionModes::Off {
                // What the cipher could do is said beside what encryption costs.
                let (bytes, rounds) = (run.bytes.min(CEILING_BYTES_MAX), run.rounds);
                let ceilings = Ceilings { bytes, rounds, threads: run.resources.thread_count() };
                recorder = blocking(move || ceilings.run(&mut recorder).map(|()| recorder)).await?;
            }
            run.run(&mut recorder, &context.registry).await?;
        }
        None => {
            let shapes = QUICK_SHAPES.map(|(data, parity)| Blocks { data, parity }).to_vec();
            let threads = context.cpu_threads(0);
            let run = Codec { shapes, bytes: QUICK_BYTES, rounds: QUICK_ROUNDS, threads };
            recorder = codec(recorder, run).await?;
            let (data, parity) = QUICK_SHAPES[0];
            let run = EndToEnd {
                directories: vec![std::env::temp_dir()],
                bytes: QUICK_BYTES,
                rounds: QUICK_ROUNDS,
                shape: Blocks { data, parity },
                encryption: EncryptionModes::Off,
                resources: Arc::new(Resources::new(threads, MEMORY_BYTES_DEFAULT)?),
            };
            run.run(&mut recorder, &context.registry).await?;
        }
    }
    Ok(recorder.report)
}

async fn codec(mut recorder: Recorder, run: Codec) -> Result<Recorder, Error> {
    blocking(move || run.run(&mut recorder).map(|()| recorder)).await
}

fn end_to_end(context: &Context, args: E2eArgs) -> Result<EndToEnd, Error> {
    let directories = if args.to.is_empty() { vec![std::env::temp_dir()] } else { args.to };
    Ok(EndToEnd {
        directories,
        bytes: args.size.as_u64(),
        rounds: args.rounds.rounds.into(),
        shape: Blocks { data: args.data, parity: args.parity },
        encryption: args.encryption,
        resources: resources(context, &args.resources)?,
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

fn compare_files(output: Output, a: &Path, b: &Path) -> Result<Outcome, Error> {
    let (first, second) = (compare::read(a)?, compare::read(b)?);
    let comparisons = compare::compare(&first, &second);
    if comparisons.is_empty() {
        return Err(Error::NothingInCommon { a: a.to_owned(), b: b.to_owned() });
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

/// About a minute with two cores.
const QUICK_SHAPES: [(u64, u64); 2] = [(10, 5), (24, 26)];
const QUICK_BYTES: u64 = 256 << 20;
const QUICK_ROUNDS: usize = 3;
/// Each of two buffers; far more than the caches hold.
const CEILING_BYTES_MAX: u64 = 256 << 20;
