//! Programs that are run before and after.

use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::resources::Stop;

/// Programs that are run, each as its words say, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Hooks {
    /// Before the work begins. It begins whatever comes of them.
    pub(crate) before: Vec<Vec<String>>,
    /// After exit code 0.
    pub(crate) after_success: Vec<Vec<String>>,
    /// After every other one.
    pub(crate) after_failure: Vec<Vec<String>>,
    /// After this time a program is killed, with all that it started.
    pub(crate) time: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        let (before, after_success, after_failure) = Default::default();
        Self { before, after_success, after_failure, time: HOOK_TIME }
    }
}

impl Hooks {
    /// Runs some of the programs; returns what went wrong. They see the environment of the run and these variables more.
    pub(super) async fn run(
        &self,
        name: &str,
        programs: &[Vec<String>],
        variables: &[(&str, String)],
        stop: Option<&Stop>,
    ) -> Vec<String> {
        let mut warnings = Vec::new();
        for words in programs {
            let ended = match words.split_first() {
                Some((program, rest)) => self.run_one(program, rest, variables, stop).await,
                None => Err("it is empty".into()),
            };
            warnings.extend(ended.err().map(|what| format!("the hook {name}: {what}")));
        }
        warnings
    }

    async fn run_one(
        &self,
        program: &str,
        words: &[String],
        variables: &[(&str, String)],
        stop: Option<&Stop>,
    ) -> Result<(), String> {
        let mut command = Command::new(program);
        command.args(words).envs(variables.iter().map(|(name, value)| (name, value)));
        // Standard output is for the result alone.
        let words = std::io::stderr().as_fd().try_clone_to_owned();
        command.stdin(Stdio::null()).stdout(words.map_or_else(|_| Stdio::null(), Stdio::from));
        let mut child = command.process_group(0).spawn().map_err(|error| format!("{program}: {error}"))?;
        let ended = tokio::select! {
            ended = timeout(self.time, child.wait()) => ended,
            () = until_requested(stop) => {
                kill(&mut child).await;
                return Err(format!("{program} was killed: the run is to stop"));
            }
        };
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("{program} failed: {status}")),
            Ok(Err(error)) => Err(format!("{program}: {error}")),
            Err(_) => {
                kill(&mut child).await;
                Err(format!("{program} was killed: it took longer than {:?}", self.time))
            }
        }
    }
}

async fn kill(child: &mut Child) {
    let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait().await;
}

async fn until_requested(stop: Option<&Stop>) {
    let Some(stop) = stop else { return std::future::pending().await };
    while !stop.is_requested() {
        tokio::time::sleep(STOP_PAUSE).await;
    }
}

/// How long a hook may take unless told otherwise.
pub(crate) const HOOK_TIME: Duration = Duration::from_secs(60);
/// How soon a signal is noticed.
const STOP_PAUSE: Duration = Duration::from_millis(50);
