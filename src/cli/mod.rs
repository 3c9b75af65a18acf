//! The command line: arguments as typed become one library call, its outcome becomes words, JSON and an exit
//! code.

mod args;
mod bench;
mod bench_args;
mod bench_words;
mod certify;
mod clock;
mod commands;
mod facts;
mod key;
mod node;
mod output;
mod placing;
mod plan;
mod repair;
mod serve;
mod state;
mod store_cmd;
mod sweep;
mod threads;
mod ticker;
mod undelete;
mod version;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use clap::error::ErrorKind;
use serde_json::{Value, json};
use tanner_transports::{DiskIo, Registry};

use self::args::{Cli, Command, DiskIoMode};
use self::output::Output;
use self::threads::Shares;
use self::ticker::Ticker;
use crate::error::Error;
use crate::fetch::chain;
use crate::progress::Progress;
use crate::resources::Stop;

/// Runs the program with these arguments and the transports that tanner brings.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_with(args, node::registry())
}

/// Runs the program with a registry of transports of your own.
pub fn run_with(args: impl IntoIterator<Item = OsString>, registry: Registry) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            let flags = args.iter().take_while(|arg| *arg != "--");
            return usage(&error, flags.into_iter().any(|arg| arg == "--json"));
        }
    };
    raise_descriptor_limit();
    let started = Shares::take().and_then(|shares| Ok((shares, shares.runtime()?)));
    let (shares, runtime) = match started {
        Ok(started) => started,
        Err(error) => {
            let output = Output { json: cli.json, quiet: cli.quiet };
            let Outcome { code, mut summary } = failed(output, &error);
            summary["exit_code"] = json!(code);
            output.message("summary", summary);
            return ExitCode::from(code);
        }
    };
    let code = runtime.block_on(execute(cli, registry, shares));
    // What is still under way was either abandoned or is being cleaned up; neither may hold the exit up.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// What a command came to: an exit code and the fields of its summary.
struct Outcome {
    code: u8,
    summary: Value,
}

/// What every command is given.
struct Context {
    registry: Registry,
    disk_io: DiskIo,
    output: Output,
    shares: Shares,
    progress: Arc<Progress>,
    stop: Stop,
    began: Instant,
}

impl Context {
    fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Threads of computation where so many were asked for; 0: one for each core, or as many as there are.
    fn cpu_threads(&self, asked: usize) -> usize {
        if asked == 0 { self.shares.cpu } else { asked }
    }
}

async fn execute(cli: Cli, mut registry: Registry, shares: Shares) -> u8 {
    let output = Output { json: cli.json, quiet: cli.quiet };
    let disk_io = cli.disk_io.into();
    // Else the disks of a registry with an opener of its own for `file:` stay as they are.
    if cli.disk_io != DiskIoMode::Auto {
        registry.disk_io(disk_io);
    }
    let (progress, stop, began) = (Arc::default(), Stop::default(), Instant::now());
    let context = Context { registry, disk_io, output, shares, progress, stop, began };
    watch_signals(&context.stop);
    let ticker = Ticker::start(cli.progress, cli.progress_interval, output, &context.progress);
    let (name, result) = match cli.command {
        Command::Backup(args) => ("backup", commands::backup(&context, args).await),
        Command::Restore(args) => ("restore", commands::restore(&context, args).await),
        Command::Ls(args) => ("ls", commands::ls(&context, args).await),
        Command::Show(args) => ("show", commands::show(&context, args).await),
        Command::Verify(args) => ("verify", commands::verify(&context, args).await),
        Command::Repair(args) => ("repair", repair::repair(&context, args).await),
        Command::Sweep(args) => ("sweep", sweep::sweep(&context, args).await),
        Command::Plan(args) => ("plan", plan::plan(&context, &args)),
        Command::Certify(args) => ("certify", certify::certify(&context, args).await),
        Command::Serve(args) => ("serve", serve::serve(&context, args).await),
        Command::Undelete(args) => ("undelete", undelete::undelete(&context, args).await),
        Command::Key(args) => ("key", key::key(&context, &args)),
        Command::Store(args) => ("store", store_cmd::store(&context, args).await),
        Command::Bench(args) => ("bench", bench::bench(&context, args).await),
        Command::Version(args) => ("version", version::version(&context, &args)),
    };
    drop(ticker);
    let outcome = result.unwrap_or_else(|error| failed(output, &error));
    let mut summary = json!({ "command": name, "exit_code": outcome.code, "seconds": context.seconds() });
    if let (Value::Object(summary), Value::Object(fields)) = (&mut summary, outcome.summary) {
        summary.insert("peak_memory_bytes".into(), json!(peak_memory_bytes()));
        summary.extend(fields);
    }
    output.message("summary", summary);
    if outcome.code == 0 && Output::is_cut_off() {
        output.error("standard output could not be written");
        return 1;
    }
    outcome.code
}

fn failed(output: Output, error: &Error) -> Outcome {
    if let Error::NotRecoverable { damages, .. } = error {
        commands::report_damages(output, damages);
    }
    let line = chain(error);
    output.error(&line);
    Outcome { code: error.exit_code(), summary: json!({ "error": line }) }
}

/// Wrong arguments, or a question for help.
fn usage(error: &clap::Error, json: bool) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let code = if asked { 0 } else { 2 };
    if json && !asked {
        let output = Output { json, quiet: false };
        let text = error.render().to_string();
        // The first paragraph says what is wrong; usage follows.
        let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let line = lines.join(" ");
        let line = line.trim_start_matches("error: ");
        output.error(line);
        output.message("summary", json!({ "exit_code": code, "error": line }));
    } else {
        // Nobody is left to tell if this fails.
        let _ = error.print();
        let _ = std::io::stdout().flush();
    }
    ExitCode::from(code)
}

/// The first signal asks the run to stop, the second ends it at once. Neither leaves a backup visible that is none.
fn watch_signals(stop: &Stop) {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let Ok(mut signals) = signal(kind) else { continue };
        let number = u8::try_from(kind.as_raw_value()).expect("SIGINT is 2, SIGTERM 15");
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.request(number);
            signals.recv().await;
            std::process::exit(128 + i32::from(number));
        });
    }
}

/// The most memory that this process had resident, where the system tells.
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Every block under way holds a descriptor; the usual soft limit of 1024 is below what wide shapes need.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If the system refuses, opening the blocks says what is wrong.
    let _ = setrlimit(Resource::Nofile, limit);
}
