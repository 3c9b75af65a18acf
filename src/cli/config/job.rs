//! Jobs: what to back up, where to, and what to keep of it.

use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::monitor::{Hooks, Monitor};
use super::secret::Argv;
use super::settings::{Key, Settings};

/// `[job.NAME]`: a source, and values of flags for it.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Job {
    pub(in crate::cli) source: Source,
    /// What is to stay when `tanner forget` is run for it.
    pub(super) keep: Keep,
    pub(super) settings: Settings,
    pub(super) monitor: Monitor,
    pub(super) hooks: Hooks,
}

/// What a job backs up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Source {
    /// A file, or several files and directories.
    Paths(Vec<PathBuf>),
    /// What a command prints.
    Command(Argv),
}

/// `keep = { last = 3, daily = 7 }`: how many backups stay, the newest of each day, week, month or year among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Keep {
    last: Option<u32>,
    daily: Option<u32>,
    weekly: Option<u32>,
    monthly: Option<u32>,
    yearly: Option<u32>,
}

impl Keep {
    /// The rules that there are, by name.
    pub(super) fn rules(self) -> impl Iterator<Item = (&'static str, u32)> {
        let Self { last, daily, weekly, monthly, yearly } = self;
        let rules =
            [("last", last), ("daily", daily), ("weekly", weekly), ("monthly", monthly), ("yearly", yearly)];
        rules.into_iter().filter_map(|(name, count)| Some((name, count?)))
    }

    /// As flags: `--keep-last 3`.
    pub(super) fn settings(self) -> Settings {
        let mut settings = Settings::default();
        self.rules().for_each(|(name, count)| settings.set(&format!("keep-{name}"), Some(count.to_string())));
        settings
    }
}

/// A key of a job.
enum JobKey {
    Source,
    Keep,
    Monitor,
    Hooks,
    Other(Key),
}

impl<'de> Deserialize<'de> for JobKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "source" => Ok(Self::Source),
            "keep" => Ok(Self::Keep),
            "monitor" => Ok(Self::Monitor),
            "hooks" => Ok(Self::Hooks),
            other => Key::named(other, true).map(Self::Other),
        }
    }
}

impl<'de> Deserialize<'de> for Job {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Job;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a job: a table with a source")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Job, A::Error> {
                let (mut source, mut keep, mut settings) = (None, Keep::default(), Settings::default());
                let (mut monitor, mut hooks) = (Monitor::default(), Hooks::default());
                while let Some(key) = map.next_key()? {
                    match key {
                        JobKey::Source => source = Some(map.next_value()?),
                        JobKey::Keep => keep = map.next_value()?,
                        JobKey::Monitor => monitor = map.next_value()?,
                        JobKey::Hooks => hooks = map.next_value()?,
                        JobKey::Other(key) => settings.take(key, &mut map)?,
                    }
                }
                let source = source.ok_or_else(|| A::Error::missing_field("source"))?;
                Ok(Job { source, keep, settings, monitor, hooks })
            }
        }
        deserializer.deserialize_map(Table)
    }
}

impl Source {
    /// The name of the backups that a job of this name makes of it.
    pub(in crate::cli) fn backup_name(&self, job: &str) -> String {
        match self {
            Self::Paths(paths) if !self.is_stream() => {
                paths[0].file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
            _ => job.to_owned(),
        }
    }

    /// Whether it has to be read from its begin each time.
    pub(in crate::cli) fn is_stream(&self) -> bool {
        match self {
            Self::Paths(paths) => paths.len() > 1 || paths.iter().any(|path| path.is_dir()),
            Self::Command(_) => true,
        }
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Table {
            Path(PathBuf),
            Command(Argv),
        }
        struct AnySource;
        impl<'de> Visitor<'de> for AnySource {
            type Value = Source;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, a list of paths, or { path = \"/…\" } or { command = [\"…\"] }")
            }

            fn visit_str<E>(self, path: &str) -> Result<Source, E> {
                Ok(Source::Paths(vec![path.into()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Source, A::Error> {
                let mut paths = Vec::new();
                while let Some(path) = list.next_element()? {
                    paths.push(path);
                }
                Ok(Source::Paths(paths))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                Ok(match Table::deserialize(MapAccessDeserializer::new(map))? {
                    Table::Path(path) => Source::Paths(vec![path]),
                    Table::Command(argv) => Source::Command(argv),
                })
            }
        }
        match deserializer.deserialize_any(AnySource)? {
            Self::Paths(paths) if paths.is_empty() => Err(D::Error::custom("an empty list of paths")),
            Self::Paths(paths) => match paths.iter().find(|path| !path.is_absolute()) {
                Some(path) => Err(D::Error::custom(format!(
                    "{} is relative: a job is run from anywhere",
                    path.display()
                ))),
                None => Ok(Self::Paths(paths)),
            },
            command => Ok(command),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paths(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                f.write_str(&paths.join(", "))
            }
            Self::Command(argv) => argv.fmt(f),
        }
    }
}
