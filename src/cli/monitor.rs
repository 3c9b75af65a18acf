//! Who is told of a run: arguments, and a run with others told of its begin and its end.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{Context, Outcome, failed, peak_memory_bytes};
use crate::error::Error;
use crate::monitor::metrics::{Metrics, label};
use crate::monitor::{Ended, HOOK_TIME, Hooks, Monitor, PingUrl};

#[derive(Args, Debug)]
#[command(next_help_heading = "Monitoring")]
pub(super) struct MonitorArgs {
    /// What the run is called in metrics and hooks; the default is the name of the command
    #[arg(long, global = true, env = "TANNER_JOB", value_parser = parse_job, value_name = "NAME")]
    job: Option<String>,

    /// Write what came of the run to this file, which ends in .prom, for the textfile collector of Prometheus' node exporter:
    /// one file for each job
    #[arg(long, global = true, env = "TANNER_METRICS_FILE", value_name = "FILE")]
    metrics_file: Option<PathBuf>,

    /// Get URL/start when the run begins and URL when it is done; post the exit code and what went wrong to URL/fail when it is
    /// not
    #[arg(long, global = true, env = "TANNER_PING", hide_env_values = true, value_name = "URL")]
    ping: Option<PingUrl>,

    /// A command of the shell to run before the work begins, which begins whatever comes of it; it is given TANNER_COMMAND and
    /// TANNER_JOB
    #[arg(long, global = true, value_name = "COMMAND")]
    hook_before: Option<String>,

    /// A command of the shell to run after success; it is given TANNER_EXIT_CODE and TANNER_ID, too
    #[arg(long, global = true, value_name = "COMMAND")]
    hook_success: Option<String>,

    /// A command of the shell to run after everything else; it is given TANNER_ERROR, too
    #[arg(long, global = true, value_name = "COMMAND")]
    hook_failure: Option<String>,

    /// Time after which a hook is killed
    #[arg(long, global = true, value_parser = humantime::parse_duration, value_name = "TIME")]
    hook_time: Option<Duration>,
}

impl MonitorArgs {
    /// Who is told of a run, which is called as was said, or else as its job.
    pub(super) fn monitor(&self, job: Option<&str>) -> Monitor {
        let shell = |command: &Option<String>| -> Vec<Vec<String>> {
            command.iter().map(|command| ["sh", "-c", command].map(str::to_owned).to_vec()).collect()
        };
        Monitor {
            job: self.job.clone().or_else(|| job.map(str::to_owned)),
            textfile: self.metrics_file.clone(),
            ping_url: self.ping.clone(),
            hooks: Hooks {
                before: shell(&self.hook_before),
                after_success: shell(&self.hook_success),
                after_failure: shell(&self.hook_failure),
                time: self.hook_time.unwrap_or(HOOK_TIME),
            },
        }
    }
}

/// Runs a command, with others told of it.
pub(super) async fn watched(
    context: &Context,
    monitor: &Monitor,
    command: &str,
    run: impl Future<Output = Result<Outcome, Error>>,
) -> Outcome {
    let watch = monitor.begin(command, &context.stop).await;
    let outcome = run.await.unwrap_or_else(|error| failed(context.output, &error));
    let Outcome { code, summary } = &outcome;
    let ended = Ended {
        exit_code: *code,
        id: summary["id"].as_str(),
        error: summary["error"].as_str(),
        seconds: context.seconds(),
        metrics: measures(monitor.job(command), summary),
    };
    watch.end(ended).await.iter().for_each(|what| context.output.warn(what));
    outcome
}

/// What a summary says in numbers. All of it is of one run, so nothing of it only goes up.
fn measures(job: &str, summary: &Value) -> Metrics {
    let mut metrics = Metrics::new();
    let mut add = |name, help, labels: &[(&'static str, &str)], value: Option<f64>| {
        let labels = [("job", job)].iter().chain(labels).map(|(name, value)| label(name, *value)).collect();
        value.into_iter().for_each(|value| metrics.gauge(name, help, &labels, value));
    };
    let number = |field: &str| summary[field].as_f64();
    let length = |field: &str| summary[field].as_array().map(|items| items.len() as f64);
    add("source_bytes", "Bytes of the source", &[], number("bytes"));
    add("coded_bytes", "Bytes of all blocks that are to be stored", &[], number("stored_bytes"));
    add("peak_memory_bytes", "The most memory that the run had", &[], peak_memory_bytes().map(|n| n as f64));

    for (field, op) in [("sent", "put"), ("read", "get")] {
        for of in summary[field].as_array().into_iter().flatten() {
            let (store, bytes) = (dest(&of["store"]), of["bytes"].as_f64());
            add("dest_bytes", "Bytes that a store took or gave", &[("dest", &store), ("op", op)], bytes);
        }
    }
    for failed in summary["failed_stores"].as_array().into_iter().flatten() {
        let store = dest(if failed.is_string() { failed } else { &failed["store"] });
        add("dest_failed", "1 for a store that failed in the last run", &[("dest", &store)], Some(1.0));
    }

    let Some(id) = summary["id"].as_str() else { return metrics };
    let stored = number("blocks_stored").zip(number("blocks"));
    let missing = length("blocks_missing");
    let states = [
        ("ok", number("blocks_good").or(number("blocks_stored"))),
        ("missing", missing.or(stored.map(|(stored, blocks)| blocks - stored))),
        ("corrupt", length("blocks_damaged").zip(missing).map(|(all, missing)| all - missing)),
    ];
    for (state, blocks) in states {
        let labels = [("backup", id), ("state", state)];
        add("blocks", "Blocks of a backup, by how they were found", &labels, blocks);
    }
    let of_backup = [("backup", id)];
    let margin = number("blocks_survivable").or((summary["restorable"] == false).then_some(-1.0));
    let help = "Blocks that may be lost, whichever they are; -1 if it cannot be restored";
    add("margin_blocks", help, &of_backup, margin);
    let help = "Stores that may be lost, whichever they are";
    add("margin_stores", help, &of_backup, number("stores_survivable"));
    metrics
}

/// A store as a label: without the pin of its server.
fn dest(store: &Value) -> String {
    let url = store.as_str().unwrap_or_default();
    url.split_once('#').map_or(url, |(url, _)| url).to_owned()
}

fn parse_job(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match name {
        "" => Err("a job has a name".into()),
        name if name.len() <= JOB_BYTES_MAX && name.chars().all(is_plain) => Ok(name.to_owned()),
        _ => Err(format!("wanted up to {JOB_BYTES_MAX} letters, digits, dots, dashes and underscores")),
    }
}

/// Of a job's name, which is a label of all its measures.
const JOB_BYTES_MAX: usize = 64;
