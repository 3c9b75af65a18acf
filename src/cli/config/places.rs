//! Where the file of settings is.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{config_directory, config_error};
use crate::error::Error;

/// The file in use.
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Whether the command line or the environment names it.
    pub(super) is_given: bool,
    /// A file that the environment names is one to be; who names one on the command line means one that is there.
    must_be: bool,
}

/// What the command line says of it.
pub(super) fn give(path: Option<&PathBuf>) {
    *GIVEN.lock().unwrap_or_else(PoisonError::into_inner) = path.cloned();
}

/// The one that the command line names, or the environment, or the user's, or the system's; none if there is to be none.
pub(super) fn place() -> Option<Place> {
    let by_flag = GIVEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let must_be = by_flag.is_some();
    let from_env = || std::env::var_os("TANNER_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    match by_flag.or_else(from_env) {
        Some(path) if path.as_os_str() == "none" => None,
        Some(path) => Some(Place { path, is_given: true, must_be }),
        None => {
            let (user, system) = (config_directory().join("config.toml"), Path::new(SYSTEM));
            let path = if !user.exists() && system.exists() { system.to_owned() } else { user };
            Some(Place { path, is_given: false, must_be })
        }
    }
}

/// The user's list of names, as earlier versions wrote it.
pub(super) fn old_file() -> PathBuf {
    config_directory().join("stores.toml")
}

impl Place {
    /// What is in the file; none if there is none, or with `lenient` none that is ours to read.
    pub(super) fn text(&self, lenient: bool) -> Result<Option<String>, Error> {
        match self.read() {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.must_be => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && lenient && !self.is_given => {
                Ok(None)
            }
            Err(error) => Err(config_error(&self.path, error)),
        }
    }

    fn read(&self) -> io::Result<String> {
        let file = File::open(&self.path)?;
        let meta = file.metadata()?;
        if meta.is_file() && meta.mode() & 0o002 != 0 {
            return Err(io::Error::other("everybody may write to it, and it names commands: chmod o-w it"));
        }
        let mut text = String::new();
        if file.take(CONFIG_BYTES_MAX).read_to_string(&mut text)? as u64 == CONFIG_BYTES_MAX {
            return Err(io::Error::other("it is too long to be a file of settings"));
        }
        Ok(text)
    }
}

/// There is one command line.
static GIVEN: Mutex<Option<PathBuf>> = Mutex::new(None);
/// For all users.
const SYSTEM: &str = "/etc/tanner/config.toml";
/// No file of settings is longer, and so its memory.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
