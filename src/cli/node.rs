//! Where a node keeps what is its own: its key, and the stores it was told of.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tanner_transports::net::{self, Identity};
use tanner_transports::{ObjectName, Patience, Registry, S3, S3Keys, Target, TransportError};

use super::clock;
use super::config::{Config, NamedStore};
use crate::error::Error;

/// The transports that tanner brings, and the stores that were given a name.
pub(super) fn registry() -> Registry {
    let mut registry = Registry::lasting();
    net::register(&mut registry, || Identity::load(&key_file(None)).map(Arc::new), token_file);
    registry.register_limit(Arc::new(clock::week_minute));
    registry.register("s3", |url| Ok(Arc::new(S3::open(url, &s3_keys(url)?, Patience::default())?)));
    registry.register_wrapper("store", |registry, url| {
        let bad = |reason| TransportError::BadUrl { url: url.to_owned(), reason };
        let (_, name) = url.split_once(':').ok_or_else(|| bad("it is store:NAME"))?;
        let config = Config::read()
            .map_err(|_| bad("the file of settings cannot be read: see `tanner config check`"))?;
        let store =
            config.store.get(name).ok_or_else(|| bad("no store has that name: see `tanner store ls`"))?;
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
    let named = Config::read().ok().and_then(|config| {
        let mut stores = config.store.into_values();
        stores.find_map(|store| store.delete_token().filter(|_| is_it(&&store)))
    });
    named.or_else(|| {
        let path = std::env::var_os("TANNER_DELETE_TOKEN_FILE").filter(|path| !path.is_empty());
        path.map(PathBuf::from)
    })
}

/// The keys of the bucket of this URL: those of the store that has it, or else those of the environment.
fn s3_keys(url: &str) -> Result<S3Keys, TransportError> {
    let spelling = S3::spelling(url)?;
    let is_it = |store: &NamedStore| {
        let inner = store.url.find("s3:").map(|at| &store.url[at..]);
        inner.and_then(|url| S3::spelling(url).ok()).is_some_and(|named| named == spelling)
    };
    let config = Config::read_if_allowed().unwrap_or_default();
    let named = config.store.into_values().find(is_it).and_then(|store| store.credentials);
    let refused = |source| TransportError::Refused { at: Target::store(spelling.clone()), source };
    named.map_or(Ok(S3Keys::Environment), |keys| keys.s3_keys().map_err(|why| refused(io::Error::other(why))))
}

/// Makes the directory of a file of the node, for its owner alone.
pub(super) fn make_directory(file: &Path) -> io::Result<()> {
    match file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => DirBuilder::new().recursive(true).mode(0o700).create(parent),
        None => Ok(()),
    }
}

/// Reads a TOML file's text; an error is one line, and names the line and column of the file.
pub(super) fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let what = format!("{}: {}", position(text, at), error.message().replace('\n', ", "));
        config_error(path, io::Error::new(io::ErrorKind::InvalidData, what))
    })
}

/// The line and column of a byte of a text.
pub(super) fn position(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    format!("line {line}, column {column}")
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

/// The user's directory for settings.
pub(super) fn config_directory() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    base.unwrap_or_else(|| PathBuf::from(".config")).join("tanner")
}
