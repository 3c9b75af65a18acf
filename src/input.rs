//! What a backup is made of: a file, or a stream.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tanner_kernels::Codec;

use crate::chunking::{row_bytes, row_steps};
use crate::error::Error;
use crate::resources::{Resources, Stop};
use crate::source::Source;
use crate::stream::{LeftOut, Stream};

/// A source, and what is recorded of it.
pub(crate) struct Input {
    pub(crate) name: String,
    /// When it was last modified, in seconds since 1970.
    pub(crate) modified: Option<u64>,
    /// If it is an archive, what is not in it.
    pub(crate) left_out: Option<LeftOut>,
    pub(crate) origin: Origin,
}

/// Where the bytes come from.
pub(crate) enum Origin {
    /// A file, which can be read again.
    File(Source),
    /// A stream, which is laid out in rows of so many steps.
    Stream(Mutex<Stream>, u32),
}

impl Input {
    pub(crate) fn of_file(source: Source) -> Self {
        let (name, modified) = (source.name(), source.modified());
        Self { name, modified, left_out: None, origin: Origin::File(source) }
    }

    /// A stream, which is held in memory as a whole if it is not longer than a row: then it is as good as a file.
    ///
    /// # Errors
    /// If it ends badly by then, or the memory does not suffice.
    pub(crate) fn of_stream(
        mut stream: Stream,
        codec: &Codec,
        resources: &Resources,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let (name, left_out) = (stream.name().to_owned(), stream.left_out().cloned());
        let row_steps = row_steps(codec, resources)?;
        let held = stream.whole_within(row_bytes(codec.profile(), row_steps as usize), stop)?;
        let origin = match held {
            Some(held) => Origin::File(Source::held(&name, &held)?),
            None => Origin::Stream(Mutex::new(stream), row_steps),
        };
        Ok(Self { name, modified: None, left_out, origin })
    }

    /// How many bytes there are; nobody knows of a stream.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.file().map(Source::bytes)
    }

    /// The file, if it is one.
    pub(crate) fn file(&self) -> Option<&Source> {
        if let Origin::File(source) = &self.origin { Some(source) } else { None }
    }

    /// What was to be in it and is not.
    pub(crate) fn left_out(&self) -> Vec<PathBuf> {
        let left_out = self.left_out.iter().map(|paths| paths.lock().unwrap_or_else(PoisonError::into_inner));
        left_out.flat_map(|paths| paths.clone()).collect()
    }

    /// The error for bytes that are not those of an earlier run, or pass.
    pub(crate) fn changed(&self, error: impl FnOnce(&Source) -> Error) -> Error {
        error(self.file().expect("nothing else is read again"))
    }
}
