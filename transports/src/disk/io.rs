//! The bytes of files: through the ring, or by positioned calls on tokio's blocking threads. Same bytes, same errors.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use rustix::io::Errno;

use super::blocking;
use crate::ring::{Driver, Ended};
use crate::{Result, Target, TransportError};

/// How a [`Disk`](super::Disk) reads and writes its files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DiskIo {
    /// Through io_uring where this process can, else by positioned calls.
    #[default]
    Auto,
    /// Through io_uring, or not at all.
    Ring,
    /// By positioned calls on threads.
    Positioned,
}

/// A way to do it.
#[derive(Clone, Debug)]
pub(super) enum Io {
    Ring {
        driver: Arc<Driver>,
        /// Whether positioned calls take over when the driver ends.
        or_positioned: bool,
    },
    Positioned,
}

impl Io {
    pub(super) async fn write_all_at(
        &self,
        at: &Target,
        file: &Arc<File>,
        bytes: Bytes,
        offset: u64,
    ) -> Result<()> {
        if let Self::Ring { driver, .. } = self {
            match driver.write_at(file, bytes.clone(), offset).await {
                Err(error) if self.takes_over(&error, REPEATABLE) => {}
                done => return done.map_err(|error| failed(at, error)),
            }
        }
        self.blocking(at, file, move |file| file.write_all_at(&bytes, offset)).await
    }

    /// Makes the bytes of a file durable. An error is final.
    pub(super) async fn sync(&self, at: &Target, file: &Arc<File>) -> Result<()> {
        if let Self::Ring { driver, .. } = self {
            match driver.sync(file).await {
                Err(error) if self.takes_over(&error, !REPEATABLE) => {}
                done => return done.map_err(|error| failed(at, error)),
            }
        }
        self.blocking(at, file, File::sync_all).await
    }

    /// Reads ranges, each cut to what the file has.
    pub(super) async fn read(
        &self,
        at: &Target,
        file: &Arc<File>,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>> {
        if let Self::Ring { driver, .. } = self {
            let reads =
                ranges.iter().map(async |range| driver.read_at(file, buffer(range)?, range.start).await);
            match try_join_all(reads).await {
                Err(error) if self.takes_over(&error, REPEATABLE) => {}
                Err(error) => return Err(failed(at, error)),
                Ok(read) => return Ok(read.into_iter().map(Bytes::from).collect()),
            }
        }
        let ranges = ranges.to_vec();
        self.blocking(at, file, move |file| ranges.iter().map(|range| read_at(file, range)).collect()).await
    }

    /// Whether a positioned call does what ended so in the ring. What the kernel may still be at is done again only if
    /// that harms nothing: the same bytes go to the same place, but the error of a sync is told to one caller only.
    fn takes_over(&self, error: &io::Error, is_repeatable: bool) -> bool {
        match (self, Ended::of(error)) {
            (Self::Ring { or_positioned, .. }, Some(ended)) => {
                *or_positioned && (is_repeatable || !ended.begun)
            }
            _ => was_not_begun(error),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        at: &Target,
        file: &Arc<File>,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (at, file) = (at.clone(), file.clone());
        blocking(&at.clone(), move || work(&file).map_err(|error| failed(&at, error))).await
    }
}

/// Reads a range, cut to what the file has.
fn read_at(file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let mut bytes = buffer(range)?;
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], range.start + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

/// Whether the kernel gave an operation back untouched: it had no thread to do it with, as at a limit of tasks. Then it
/// is done on a thread that there is.
fn was_not_begun(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::CANCELED)
}

fn buffer(range: &Range<u64>) -> io::Result<Vec<u8>> {
    Ok(vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?])
}

fn failed(at: &Target, error: io::Error) -> TransportError {
    TransportError::from_io(at.clone(), error)
}

const REPEATABLE: bool = true;
