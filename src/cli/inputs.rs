//! The readers of files of the program's own that nothing outside can call: for the tests and fuzzers that feed them what a
//! bad disk or somebody else may have written. No promise of the library.

use std::io;
use std::path::Path;

use super::config::Config;
use super::node::parse;
use super::serve::ClientsFile;
use crate::error::Error;
use crate::journal;

/// Reads a journal.
///
/// # Errors
/// If it begins like one and says what none says. (A torn end is no error, but what is left to read of it.)
///
/// # Panics
/// If what was read would not read the same once it is rewritten.
pub fn journal(bytes: &[u8]) -> io::Result<()> {
    journal::check(bytes)
}

/// Reads a file of settings.
///
/// # Errors
/// If it is none.
pub fn settings_file(text: &str) -> Result<(), Error> {
    Config::parse(Path::new("config.toml"), text).map(drop)
}

/// Reads a server's list of its clients.
///
/// # Errors
/// If it is none.
pub fn clients_file(text: &str) -> Result<(), Error> {
    parse::<ClientsFile>(Path::new("clients.toml"), text).map(drop)
}
