//! What to back up: a file, a stream, or several files and directories.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::Error;
use crate::manifest::{NAME_BYTES_MAX, is_file_name};
use crate::stream::Stream;

#[derive(Args, Debug)]
pub(super) struct SourceArgs {
    /// What to back up: a file; or - for standard input; or several files and directories, as one archive
    #[arg(value_name = "FILE", required_unless_present = "command")]
    files: Vec<PathBuf>,

    /// Back up what a program writes to its standard output; if it fails, there is no backup. No shell is asked: quotes
    /// hold words together, and nothing else is special
    #[arg(long, value_name = "PROGRAM ARGS", conflicts_with = "files", value_parser = words)]
    command: Option<Words>,

    /// What to call a stream or an archive; else that is stdin, the program, or the first of the files
    #[arg(long, value_parser = file_name)]
    name: Option<String>,
}

/// A program and its arguments.
#[derive(Clone, Debug)]
struct Words(Vec<OsString>);

impl SourceArgs {
    /// The stream, unless it is a file. It begins now.
    pub(super) fn stream(&self) -> Result<Option<Stream>, Error> {
        let stream = match (&self.command, self.files.as_slice()) {
            (Some(Words(words)), _) => Stream::command(words)?,
            (None, [file]) if file.as_os_str() == "-" => Stream::stdin()?,
            (None, [file]) if !file.is_dir() => return Ok(None),
            (None, files) => Stream::archive(files)?,
        };
        Ok(Some(match &self.name {
            Some(name) => stream.named(name.clone()),
            None => stream,
        }))
    }

    /// Whether it can be read but once, or has no size of its own.
    pub(super) fn is_stream(&self) -> bool {
        let is_stream = |file: &PathBuf| file.as_os_str() == "-" || file.is_dir();
        self.command.is_some() || self.files.len() > 1 || self.files.iter().any(is_stream)
    }

    /// The file, if it is one.
    pub(super) fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Refuses what cannot be done with a stream, or with a file.
    pub(super) fn check(&self, is_resumed: bool, is_dry_run: bool) -> Result<(), Error> {
        let refused = |flag, why| Err(Error::OfStream { flag, why });
        match self.is_stream() {
            true if is_resumed => refused("--resume", "what was read of a stream cannot be read again"),
            true if is_dry_run => refused("--dry-run", "nobody knows how long a stream is before its end"),
            false if self.name.is_some() => refused("--name", "a file has a name of its own"),
            _ => Ok(()),
        }
    }
}

fn words(text: &str) -> Result<Words, String> {
    let words = shlex::split(text).ok_or("a quote is not closed")?;
    Ok(Words(words.into_iter().map(OsString::from).collect()))
}

fn file_name(text: &str) -> Result<String, String> {
    match is_file_name(text) && !text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err(format!("wanted a file's name: at most {NAME_BYTES_MAX} bytes, without a slash")),
    }
}
