//! Names of stores are added to the file and taken out of it; all else in it, comments too, stays as somebody wrote it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use toml_edit::{DocumentMut, Item, Table};

use super::{Config, NamedStore, config_error, places};
use crate::cli::node::make_directory;
use crate::error::Error;

impl Config {
    /// Adds a store to the file in use.
    pub(in crate::cli) fn add(name: &str, store: &NamedStore) -> Result<(), Error> {
        let path = place()?;
        let mut document = read(&path)?;
        let table = toml_edit::ser::to_document(store).map_err(|error| config_error(&path, error))?;
        let mut table = table.as_table().clone();
        if let Some(labels) = table.remove("labels").and_then(|labels| labels.into_table().ok()) {
            table.insert("labels", Item::Table(labels));
        }
        let stores = document.entry("store").or_insert_with(|| {
            let mut stores = Table::new();
            stores.set_implicit(true);
            Item::Table(stores)
        });
        if let Some(stores) = stores.as_table_like_mut() {
            stores.insert(name, Item::Table(table));
        }
        write(&path, &document)
    }

    /// Takes a store out of the file that has it.
    pub(in crate::cli) fn remove(name: &str) -> Result<(), Error> {
        for path in [place()?, places::old_file()] {
            let mut document = read(&path)?;
            let stores = document.get_mut("store").and_then(Item::as_table_like_mut);
            if stores.and_then(|stores| stores.remove(name)).is_some() {
                return write(&path, &document);
            }
        }
        Ok(())
    }
}

fn place() -> Result<PathBuf, Error> {
    let none = || {
        config_error(Path::new("none"), io::Error::other("name a file by --config for the store to be in"))
    };
    places::place().map(|place| place.path).ok_or_else(none)
}

/// What is there; nothing is if there is no file.
fn read(path: &Path) -> Result<DocumentMut, Error> {
    match fs::read_to_string(path) {
        Ok(text) => text.parse().map_err(|error: toml_edit::TomlError| config_error(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(DocumentMut::new()),
        Err(error) => Err(config_error(path, error)),
    }
}

/// Replaces the file, which keeps its mode.
fn write(path: &Path, document: &DocumentMut) -> Result<(), Error> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let written = make_directory(&target).and_then(|()| {
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
        file.write_all(document.to_string().as_bytes())?;
        if let Ok(meta) = fs::metadata(&target) {
            file.as_file().set_permissions(meta.permissions())?;
        }
        file.as_file().sync_all()?;
        file.persist(&target)?;
        Ok(())
    });
    written.map_err(|error| config_error(path, error))
}
