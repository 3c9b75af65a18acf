//! Who is told of a run: Prometheus by a file, a watchdog by pings, and hooks.
//!
//! None of them fails a run or holds it up for longer than a named time. What fails in them is a warning.

mod hooks;
pub(crate) mod metrics;
mod ping;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;

pub(crate) use self::hooks::{HOOK_TIME, Hooks};
use self::metrics::{LAST_SUCCESS, Metrics, label, last_success};
pub(crate) use self::ping::PingUrl;
use crate::resources::Stop;

/// Who is told of a run, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Monitor {
    /// What the run is called; if nothing else, what its command is.
    pub(crate) job: Option<String>,
    /// The file for the textfile collector of Prometheus' node exporter.
    pub(crate) textfile: Option<PathBuf>,
    /// What is asked for at the start and the end.
    pub(crate) ping_url: Option<PingUrl>,
    /// Programs that are run.
    pub(crate) hooks: Hooks,
}

/// How a run ended.
pub(crate) struct Ended<'a> {
    pub(crate) exit_code: u8,
    /// The backup's id, if it has one.
    pub(crate) id: Option<&'a str>,
    /// What went wrong, if anything did.
    pub(crate) error: Option<&'a str>,
    pub(crate) seconds: f64,
    /// What else was measured.
    pub(crate) metrics: Metrics,
}

/// A run that others were told of, until they are told of its end.
pub(crate) struct Watch<'a> {
    monitor: &'a Monitor,
    command: &'a str,
    started: Option<JoinHandle<Result<(), String>>>,
    warnings: Vec<String>,
}

impl Monitor {
    /// What the run is called.
    pub(crate) fn job<'a>(&'a self, command: &'a str) -> &'a str {
        self.job.as_deref().unwrap_or(command)
    }

    /// Tells that a run begins. The hook has ended when this returns; the ping goes on.
    pub(crate) async fn begin<'a>(&'a self, command: &'a str, stop: &Stop) -> Watch<'a> {
        let start = self.ping_url.as_ref().map(ping::PingUrl::start);
        let started = start.map(tokio::spawn);
        let about = self.about(command);
        let warnings = self.hooks.run("before", &self.hooks.before, &about, Some(stop)).await;
        Watch { monitor: self, command, started, warnings }
    }

    fn about(&self, command: &str) -> Vec<(&'static str, String)> {
        vec![("TANNER_COMMAND", command.to_owned()), ("TANNER_JOB", self.job(command).to_owned())]
    }
}

impl Watch<'_> {
    /// Tells how it ended; returns what went wrong with that.
    pub(crate) async fn end(self, ended: Ended<'_>) -> Vec<String> {
        let Self { monitor, command, started, mut warnings } = self;
        let mut about = monitor.about(command);
        about.push(("TANNER_EXIT_CODE", ended.exit_code.to_string()));
        about.extend(ended.id.map(|id| ("TANNER_ID", id.to_owned())));
        about.extend(ended.error.map(|error| ("TANNER_ERROR", error.to_owned())));
        let (name, hooks) = match ended.exit_code {
            0 => ("after_success", &monitor.hooks.after_success),
            _ => ("after_failure", &monitor.hooks.after_failure),
        };
        let ping = async {
            let mut pings = Vec::new();
            if let Some(started) = started {
                pings.push(started.await.unwrap_or_else(|error| Err(error.to_string())));
            }
            if let Some(url) = &monitor.ping_url {
                pings.push(url.end(ended.exit_code, ended.error).await);
            }
            pings.into_iter().filter_map(Result::err).collect::<Vec<_>>()
        };
        let (hooked, pinged) = tokio::join!(monitor.hooks.run(name, hooks, &about, None), ping);
        warnings.extend(hooked);
        warnings.extend(pinged);
        if let Some(path) = &monitor.textfile {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
            let job = monitor.job(command);
            let metrics = ended.with_times(job, now, last_success(path, job));
            let written = metrics.write(path);
            warnings.extend(written.err().map(|error| format!("no metrics in {}: {error}", path.display())));
        }
        warnings
    }
}

impl Ended<'_> {
    /// The measures with what every run has; `success` is when the job last ended well before.
    fn with_times(self, job: &str, now: f64, success: Option<f64>) -> Metrics {
        let mut metrics = self.metrics;
        let of_job = || vec![label("job", job)];
        let ended = "When the last run of the job ended, in seconds since 1970";
        metrics.gauge("last_run_timestamp_seconds", ended, &of_job(), now);
        let success = if self.exit_code == 0 { Some(now) } else { success };
        if let Some(success) = success {
            let ended = "When the last run of the job with exit code 0 ended, in seconds since 1970";
            metrics.gauge(LAST_SUCCESS, ended, &of_job(), success);
        }
        metrics.gauge("last_exit_code", "Exit code of the last run", &of_job(), self.exit_code.into());
        metrics.gauge("last_duration_seconds", "Time that the last run took", &of_job(), self.seconds);
        metrics
    }
}
