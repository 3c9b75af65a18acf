//! Who is told of backups.

use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

use super::secret::Argv;
use super::settings::Settings;

/// `[monitor]`, or `monitor` of a job, which goes before: who is told of backups. Nothing of it ever fails one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Monitor {
    /// A file of metrics for the node exporter of Prometheus, replaced at the end of each backup: `--metrics-file`. Jobs that
    /// share one overwrite what others said.
    textfile: Option<PathBuf>,
    /// Asked for with `/start`, as it is, and with `/fail` behind it, when a backup begins, succeeds and fails: `--ping`.
    #[serde(serialize_with = "without_path")]
    ping_url: Option<String>,
}

/// Whoever knows the whole URL can ping in its place.
fn without_path<S: Serializer>(url: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let host = |url: &String| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", ""));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
        format!("{scheme}://{}/…", authority.rsplit('@').next().unwrap_or(""))
    };
    url.as_ref().map(host).serialize(serializer)
}

/// `[hooks]`, or `hooks` of a job, which go before: commands to run beside a backup, as words. None of them ever fails it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Hooks {
    /// Before anything is read: `--hook-before`.
    before: Option<Argv>,
    /// After a backup at full redundancy: `--hook-success`.
    after_success: Option<Argv>,
    /// After any other: `--hook-failure`.
    after_failed: Option<Argv>,
}

impl Monitor {
    /// Both as flags, which take commands of the shell.
    pub(super) fn settings(&self, hooks: &Hooks) -> Settings {
        let mut settings = Settings::default();
        settings.set("metrics-file", self.textfile.as_ref().map(|path| path.display().to_string()));
        settings.set("ping", self.ping_url.clone());
        for (flag, hook) in [
            ("hook-before", &hooks.before),
            ("hook-success", &hooks.after_success),
            ("hook-failure", &hooks.after_failed),
        ] {
            settings.set(flag, hook.as_ref().map(ToString::to_string));
        }
        settings
    }
}
