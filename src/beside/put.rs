//! Data blocks on their way: those of a backup of the file are there already, those of a repair go into it.

use std::fs::{File, FileTimes};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use tanner_transports::{Put, Result, Target, TransportError};

use super::{Data, PIECE_BYTES, blocking};

/// A put of bytes that the file has.
pub(super) struct Discarded {
    pub(super) at: Target,
    pub(super) length: Option<u64>,
    pub(super) written: u64,
}

#[async_trait]
impl Put for Discarded {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.written += bytes.len() as u64;
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        check_length(&self.at, self.length, self.written)
    }

    async fn abandon(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// A put of bytes that are written to the file when all are there.
pub(super) struct InPlace {
    data: Data,
    /// A file without a name beside it.
    staged: Arc<File>,
    written: u64,
    /// Keeps whoever protects the file anew from reading it meanwhile.
    _lock: File,
}

impl InPlace {
    pub(super) async fn begin(data: Data) -> Result<Self> {
        blocking(move || {
            let begun = || {
                data.check_unchanged()?;
                let lock = File::open(super::directory(&data.path))?;
                flock(&lock, FlockOperation::NonBlockingLockShared)?;
                Ok((tempfile::tempfile_in(super::directory(&data.path))?, lock))
            };
            let (staged, lock) = begun().map_err(|error| data.failed(error))?;
            Ok(Self { data, staged: Arc::new(staged), written: 0, _lock: lock })
        })
        .await
    }
}

impl Data {
    /// Decay leaves the time of a file alone, and whoever writes to it does not.
    fn check_unchanged(&self) -> io::Result<()> {
        let Ok(metadata) = self.mark().metadata().or_else(|_| self.path.metadata()) else { return Ok(()) };
        match self.modified {
            Some(modified) if metadata.mtime() != modified.cast_signed() => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "the file was written to after it was protected, and that would be undone: `tanner protect --force` \
                     protects it as it is, and `touch -d @{modified}` says that it is damaged"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// A file that is there while the file is written to, and has its time: if that is cut off, it was nobody else.
    fn mark(&self) -> PathBuf {
        super::directory(&self.path).join("repairing")
    }

    /// Writes all of the block, and leaves the time of the file as it was.
    fn write(&self, staged: &File) -> io::Result<()> {
        self.check_unchanged()?;
        let mut options = File::options();
        let file = match self.path.metadata() {
            Ok(_) => options.write(true).open(&self.path)?,
            // It was lost, and nobody knows who might read it.
            Err(_) => options.write(true).create_new(true).mode(0o600).open(&self.path)?,
        };
        let mark = self.mark();
        let modified = match (mark.metadata(), self.modified) {
            (Ok(mark), _) => mark.modified()?,
            (Err(_), Some(seconds)) if file.metadata()?.len() == 0 => {
                UNIX_EPOCH + Duration::from_secs(seconds)
            }
            (Err(_), _) => file.metadata()?.modified()?,
        };
        let times = FileTimes::new().set_modified(modified);
        let marked = File::create(&mark)?;
        marked.set_times(times)?;
        marked.sync_all()?;
        let length = self.range.end - self.range.start;
        let mut piece = vec![0; usize::try_from(PIECE_BYTES.min(length)).expect("pieces fit in memory")];
        for start in (0..length).step_by(piece.len().max(1)) {
            let count = piece.len().min(usize::try_from(length - start).unwrap_or(usize::MAX));
            staged.read_exact_at(&mut piece[..count], start)?;
            file.write_all_at(&piece[..count], self.range.start + start)?;
        }
        file.set_times(times)?;
        file.sync_all()?;
        std::fs::remove_file(mark)
    }
}

#[async_trait]
impl Put for InPlace {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let (data, staged) = (self.data.clone(), Arc::clone(&self.staged));
        self.written += bytes.len() as u64;
        blocking(move || (&*staged).write_all(&bytes).map_err(|error| data.failed(error))).await
    }

    /// Cut off in between, it leaves a block damaged that was damaged before.
    async fn commit(self: Box<Self>) -> Result<()> {
        let Self { data, staged, written, _lock } = *self;
        check_length(&data.at, Some(data.range.end - data.range.start), written)?;
        blocking(move || data.write(&staged).map_err(|error| data.failed(error))).await
    }

    async fn abandon(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

fn check_length(at: &Target, declared: Option<u64>, written: u64) -> Result<()> {
    match declared.filter(|&declared| declared != written) {
        Some(declared) => Err(TransportError::WrongLength { at: at.clone(), declared, written }),
        None => Ok(()),
    }
}
