//! The file of settings: stores that have a name, jobs, and what stands for flags that nobody gives.

mod command;
mod job;
mod layers;
mod monitor;
mod places;
mod secret;
mod settings;
mod stored;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tanner_transports::Timetable;

pub(super) use self::command::{ConfigArgs, config};
pub(super) use self::job::{Job, Source};
pub(super) use self::layers::{LayerArgs, command_line, parse};
pub(super) use self::monitor::{Hooks, Monitor};
pub(super) use self::secret::Secret;
use self::settings::Settings;
use super::facts::{self, Size};
use super::node::{self, config_directory, config_error};
use crate::error::Error;
use crate::scheduler::Labels;

/// All that the file says. Nothing else may stand in it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Where it was found; nothing was if this is none.
    #[serde(skip)]
    pub(super) path: Option<PathBuf>,
    /// What stands for flags that neither the command line nor the environment gives.
    #[serde(default)]
    defaults: Settings,
    /// The stores that were given a name: `store:NAME`.
    #[serde(default)]
    pub(super) store: BTreeMap<String, NamedStore>,
    /// What `tanner run NAME` does.
    #[serde(default)]
    pub(super) job: BTreeMap<String, Job>,
    /// Who is told of runs.
    #[serde(default)]
    pub(super) monitor: Monitor,
    /// What is run before and after a backup.
    #[serde(default)]
    pub(super) hooks: Hooks,
}

/// A store that has a name, and what is said of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedStore {
    pub(super) url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) capacity: Option<Size>,
    #[serde(
        default,
        deserialize_with = "facts::rate",
        serialize_with = "facts::write_rate",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) limit: Option<Timetable>,
    #[serde(default, deserialize_with = "facts::cost", skip_serializing_if = "Option::is_none")]
    pub(super) cost: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) priority: Option<i64>,
    /// The file with the token that its server wants before it deletes anything of a finished backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) delete_token_file: Option<PathBuf>,
    /// The same, wherever it is.
    #[serde(default, deserialize_with = "secret::in_file", skip_serializing_if = "Option::is_none")]
    pub(super) delete_token: Option<Secret>,
    /// The keys of a bucket, as the tools of AWS write them; without, those of the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) credentials: Option<Secret>,
    // A table, so behind what is none.
    #[serde(default, deserialize_with = "facts::labels", skip_serializing_if = "Labels::is_empty")]
    pub(super) labels: Labels,
}

impl Config {
    /// What is in the file in use, and names that earlier versions kept in a file of their own.
    ///
    /// # Errors
    /// [`Error::Config`], with line and column.
    pub(super) fn read() -> Result<Self, Error> {
        Self::read_from(places::place(), false)
    }

    /// As [`Self::read`], for whoever asked for nothing of it: then a file that nobody named and that is not ours to read
    /// says nothing.
    pub(super) fn read_if_allowed() -> Result<Self, Error> {
        Self::read_from(places::place(), true)
    }

    fn read_from(place: Option<places::Place>, lenient: bool) -> Result<Self, Error> {
        let Some(place) = place else { return Ok(Self::default()) };
        let text = place.text(lenient)?;
        let mut config = match &text {
            Some(text) => Self { path: Some(place.path.clone()), ..Self::parse(&place.path, text)? },
            None => Self::default(),
        };
        if !place.is_given {
            for (name, store) in Self::old()?.store {
                config.store.entry(name).or_insert(store);
            }
        }
        let wrong = |at, what: &str| wrong_at(&place.path, text.as_deref().unwrap_or_default(), at, what);
        config.check_names().map_err(|(at, what)| wrong(at, &what))?;
        Ok(config)
    }

    /// What `tanner store add` wrote before there was a file of settings.
    fn old() -> Result<Self, Error> {
        let path = places::old_file();
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text),
            Err(_) => Ok(Self::default()),
        }
    }

    /// Reads the text of a file.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        secret::refuse_written(text).map_err(|(at, what)| wrong_at(path, text, at, &what))?;
        node::parse(path, text)
    }

    /// Every store that `to` names by its name alone has to be there.
    fn check_names(&self) -> Result<(), (usize, String)> {
        let jobs = self.job.values().map(|job| &job.settings);
        let named = [&self.defaults].into_iter().chain(jobs).flat_map(Settings::stores);
        let mut unknown = named.filter(|(_, name)| !is_url(name) && !self.store.contains_key(*name));
        unknown.next().map_or(Ok(()), |(at, name)| {
            let known: Vec<&str> = self.store.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            Err((
                at,
                format!(
                    "no store is called {name:?} ({known} is): add [store.{name}], or name a URL or path"
                ),
            ))
        })
    }

    /// The job of that name.
    pub(super) fn job(&self, name: &str) -> Result<&Job, Error> {
        self.job.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.job.keys().map(String::as_str).collect();
            Error::NoSuchJob { name: name.to_owned(), file: self.place(), known: known.join(", ") }
        })
    }

    /// What stands for flags, of a job if there is one, else of all.
    fn settings(&self, job: Option<&str>) -> Result<Settings, Error> {
        let mut settings = self.defaults.clone().of("[defaults]");
        if let Some(name) = job {
            let job = self.job(name)?;
            settings.replace(job.settings.clone().of(&format!("[job.{name}]")));
            settings.replace(job.keep.settings().of(&format!("[job.{name}]")));
        }
        settings.each_store(|name| if is_url(name) { name.to_owned() } else { format!("store:{name}") });
        Ok(settings)
    }

    /// Who is told of a backup, as flags.
    fn told(&self, job: Option<&str>) -> Result<Settings, Error> {
        let mut told = self.monitor.settings(&self.hooks).of("[monitor]");
        if let Some(name) = job {
            let job = self.job(name)?;
            told.replace(job.monitor.settings(&job.hooks).of(&format!("[job.{name}]")));
        }
        Ok(told)
    }

    /// Where it is, or would be.
    fn place(&self) -> String {
        let place = self.path.clone().or_else(|| places::place().map(|place| place.path));
        place.map_or_else(|| "none".into(), |path| path.display().to_string())
    }
}

impl NamedStore {
    /// A store of which nothing is known but where it is.
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            capacity: None,
            limit: None,
            cost: None,
            priority: None,
            delete_token_file: None,
            delete_token: None,
            credentials: None,
            labels: Labels::new(),
        }
    }

    /// The file with the token that its server wants.
    pub(super) fn delete_token(&self) -> Option<PathBuf> {
        self.delete_token_file.clone().or_else(|| self.delete_token.as_ref()?.file())
    }
}

/// What is no name of a store.
fn is_url(text: &str) -> bool {
    text.contains([':', '/'])
}

/// Something wrong in the text of a file.
fn wrong_at(path: &Path, text: &str, at: usize, what: &str) -> Error {
    let what = format!("{}: {what}", node::position(text, at));
    config_error(path, std::io::Error::new(std::io::ErrorKind::InvalidData, what))
}

#[cfg(test)]
mod tests;
