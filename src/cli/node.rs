//! Where a node keeps what is its own: its key, and the stores it was told of.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tanner_transports::net::{self, Identity};
use tanner_transports::{ObjectName, Registry, Timetable, TransportError};
use tempfile::NamedTempFile;

use super::facts::Size;
use super::{clock, facts};
use crate::error::Error;
use crate::scheduler::Labels;

/// The transports that tanner brings, and the stores that were given a name.
pub(super) fn registry() -> Registry {
    let mut registry = Registry::lasting();
    net::register(&mut registry, || Identity::load(&key_file(None)).map(Arc::new), token_file);
    registry.register_limit(Arc::new(clock::week_minute));
    registry.register_wrapper("store", |registry, url| {
        let bad = |reason| TransportError::BadUrl { url: url.to_owned(), reason };
        let (_, name) = url.split_once(':').ok_or_else(|| bad("it is store:NAME"))?;
        let stores =
            Stores::read().map_err(|_| bad("the list of stores cannot be read: see `tanner store ls`"))?;
        let store =
            stores.store.get(name).ok_or_else(|| bad("no store has that name: see `tanner store ls`"))?;
        // Names of names could run in a circle.
        if store.url.starts_with("store:") {
            return Err(bad("its URL is a name again"));
        }
        registry.open(&store.url)
    });
    registry
}

/// The file with the node's key.
pub(super) fn key_file(given: Option<&Path>) -> PathBuf {
    let from_env = || std::env::var_os("TANNER_NODE_KEY").filter(|path| !path.is_empty()).map(PathBuf::from);
    given.map(Path::to_owned).or_else(from_env).unwrap_or_else(|| config_directory().join("node.pem"))
}

/// The file with the delete token for the store of this URL: its own, or else the one for all.
fn token_file(url: &str) -> Option<PathBuf> {
    let is_it = |store: &&NamedStore| store.url == url || store.url.ends_with(&format!("+{url}"));
    // A list of stores that cannot be read is an error where one is called by its name.
    let named = Stores::read().ok().and_then(|stores| {
        let mut stores = stores.store.into_values();
        stores.find_map(|store| store.delete_token_file.clone().filter(|_| is_it(&&store)))
    });
    named.or_else(|| {
        let path = std::env::var_os("TANNER_DELETE_TOKEN_FILE").filter(|path| !path.is_empty());
        path.map(PathBuf::from)
    })
}

/// Makes the directory of a file of the node, for its owner alone.
pub(super) fn make_directory(file: &Path) -> io::Result<()> {
    match file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => DirBuilder::new().recursive(true).mode(0o700).create(parent),
        None => Ok(()),
    }
}

/// The stores that were given a name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stores {
    #[serde(default)]
    pub(super) store: BTreeMap<String, NamedStore>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) delete_token_file: Option<PathBuf>,
    // A table, so behind what is none.
    #[serde(default, deserialize_with = "facts::labels", skip_serializing_if = "Labels::is_empty")]
    pub(super) labels: Labels,
}

/// Reads a TOML file's text; an error is one line, and names the line and column of the file.
pub(super) fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        let what = format!("line {line}, column {column}: {}", error.message().replace('\n', ", "));
        config_error(path, io::Error::new(io::ErrorKind::InvalidData, what))
    })
}

impl Stores {
    pub(super) fn file() -> PathBuf {
        let from_env = std::env::var_os("TANNER_CONFIG").filter(|path| !path.is_empty());
        from_env.map_or_else(|| config_directory().join("stores.toml"), PathBuf::from)
    }

    /// Those in the file; none if there is no file.
    pub(super) fn read() -> Result<Self, Error> {
        let path = Self::file();
        match fs::read_to_string(&path) {
            Ok(text) => parse(&path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(config_error(&path, error)),
        }
    }

    /// As [`Self::read`], for whoever called no store by its name: then a file that is not ours to read says nothing.
    pub(super) fn read_if_allowed() -> Result<Self, Error> {
        match fs::File::open(Self::file()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Self::default()),
            _ => Self::read(),
        }
    }

    /// Replaces the file.
    pub(super) fn write(&self) -> Result<(), Error> {
        let path = Self::file();
        let text = toml::to_string(self).map_err(|error| config_error(&path, error))?;
        let written = make_directory(&path).and_then(|()| {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        });
        written.map_err(|error| config_error(&path, error))
    }
}

/// Refuses what could not be written `store:NAME`.
pub(super) fn check_store_name(name: &str) -> Result<(), Error> {
    let checked = ObjectName::check_prefix(name).map_err(TransportError::from);
    if name.is_empty() {
        return Err(TransportError::from(ObjectName::new("").expect_err("no name is empty")).into());
    }
    Ok(checked?)
}

/// A file of settings that cannot be used.
pub(super) fn config_error(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Config { path: path.to_owned(), source: source.into() }
}

fn config_directory() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    base.unwrap_or_else(|| PathBuf::from(".config")).join("tanner")
}
