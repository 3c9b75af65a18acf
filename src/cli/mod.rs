//! The command line: arguments as typed become one library call, its outcome becomes words, JSON and an exit
//! code.

mod args;
mod bench;
mod bench_args;
mod bench_words;
mod certify;
mod clock;
mod commands;
mod completions;
mod config;
mod encryption;
mod evacuate;
mod exposure;
mod facts;
mod forget;
mod identity;
#[doc(hidden)]
pub mod inputs;
mod key;
mod keyring;
mod ls;
mod memory;
mod monitor;
mod node;
mod output;
mod placing;
mod plan;
mod protect;
mod repair;
mod run;
mod salvage;
mod schema;
mod scrub;
mod serve;
mod sources;
mod state;
mod store_cmd;
mod sweep;
mod target;
mod threads;
mod ticker;
mod undelete;
mod version;
mod watchdog;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::error::ErrorKind;
use serde_json::{Value, json};
use tanner_transports::{DiskIo, Registry};

use self::args::{Cli, Command, DiskIoMode};
use self::monitor::watched;
use self::output::Output;
use self::threads::Shares;
use self::ticker::Ticker;
use crate::beside::Beside;
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
    run_args(&args.into_iter().collect::<Vec<_>>(), registry)
}

/// Apart from what is generic, so that it is compiled here, and not again in each program.
fn run_args(args: &[OsString], registry: Registry) -> ExitCode {
    exposure::refuse_dumps();
    let flags = || args.iter().take_while(|arg| *arg != "--");
    output::choose_colours(flags());
    let (cli, name) = match parse(args) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error, flags().any(|arg| arg == "--json")),
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
    let code = runtime.block_on(execute(cli, &name, registry, shares));
    // What is still under way was either abandoned or is being cleaned up; neither may hold the exit up.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Arguments and the name of the command, as typed; unless one is a secret: then nothing may repeat it.
fn parse(args: &[OsString]) -> Result<(Cli, String), clap::Error> {
    if let Some(place) = exposure::secret_argument(args) {
        return Err(clap::Error::raw(
            ErrorKind::ValueValidation,
            format!(
                "argument {place} is a secret, and everybody on this machine can read arguments: name the file that holds \
                 it; that secret is better replaced\n"
            ),
        ));
    }
    config::parse(args)
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

async fn execute(cli: Cli, name: &str, mut registry: Registry, shares: Shares) -> u8 {
    let output = Output { json: cli.json, quiet: cli.quiet };
    let disk_io = cli.disk_io.into();
    // Else the disks of a registry with an opener of its own for `file:` stay as they are.
    if cli.disk_io != DiskIoMode::Auto {
        registry.disk_io(disk_io);
    }
    registry.register("beside", |url| Ok(Arc::new(Beside::from_url(url)?)));
    let (progress, stop, began) = (Arc::default(), Stop::default(), Instant::now());
    let context = Context { registry, disk_io, output, shares, progress, stop, began };
    watch_signals(&context.stop, output);
    let ticker = Ticker::start(cli.progress, cli.progress_interval, output, name, &context.progress);
    ticker.heed_signal();
    let monitor = cli.monitor.monitor(cli.layers.job.as_deref());
    let run = async {
        match cli.command {
            Command::Backup(args) => commands::backup(&context, args).await,
            Command::Run(args) => run::run(&context, args, cli.layers).await,
            Command::Restore(args) => commands::restore(&context, args).await,
            Command::Ls(args) => ls::ls(&context, args).await,
            Command::Show(args) => commands::show(&context, args).await,
            Command::Verify(args) => commands::verify(&context, args).await,
            Command::Repair(args) => repair::repair(&context, args).await,
            Command::Scrub(args) => scrub::scrub(&context, args).await,
            Command::Evacuate(args) => evacuate::evacuate(&context, args).await,
            Command::Forget(args) => forget::forget(&context, args, cli.layers.job.as_deref()).await,
            Command::Sweep(args) => sweep::sweep(&context, args).await,
            Command::Protect(args) => protect::protect(&context, args).await,
            Command::Plan(args) => plan::plan(&context, &args),
            Command::Certify(args) => certify::certify(&context, args).await,
            Command::Serve(args) => serve::serve(&context, args).await,
            Command::Undelete(args) => undelete::undelete(&context, args).await,
            Command::Key(args) => key::key(&context, &args).await,
            Command::Store(args) => store_cmd::store(&context, args).await,
            Command::Config(args) => config::config(&context, &args, cli.layers.job.as_deref()),
            Command::Completions(args) => completions::completions(&context, &args),
            Command::Man(args) => completions::man(&context, &args),
            Command::Bench(args) => bench::bench(&context, args).await,
            Command::Schema => schema::schema(&context),
            Command::Version(args) => version::version(&context, &args),
        }
    };
    let outcome = watched(&context, &monitor, name, run).await;
    drop(ticker);
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
        let line = first_paragraph(error);
        output.error(&line);
        output.message("summary", json!({ "exit_code": code, "error": line }));
    } else {
        // Nobody is left to tell if this fails.
        let _ = error.print();
        let _ = std::io::stdout().flush();
    }
    ExitCode::from(code)
}

/// What clap finds wrong, in one line; usage follows it.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

/// The first signal asks the run to stop, the second ends it at once. Neither leaves a backup visible that is none.
fn watch_signals(stop: &Stop, output: Output) {
    use tokio::signal::unix::{SignalKind, signal};
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let Ok(mut signals) = signal(kind) else { continue };
        let number = u8::try_from(kind.as_raw_value()).expect("SIGINT is 2, SIGTERM 15");
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.request(number);
            signals.recv().await;
            let code = 128 + number;
            // On a thread of its own: nobody may be reading, and this ends all the same.
            let summary = json!({ "exit_code": code, "error": "stopped at once by a second signal" });
            std::thread::spawn(move || {
                output.error("stopped at once by a second signal");
                output.message("summary", summary);
                std::process::exit(code.into());
            });
            tokio::time::sleep(LAST_WORDS_TIME).await;
            std::process::exit(code.into());
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

/// For what is said by a run that a second signal ends.
const LAST_WORDS_TIME: Duration = Duration::from_millis(200);
