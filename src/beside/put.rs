//! Data blocks on their way: those of a backup of the file are there already, those of a repair go into it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
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
}

impl InPlace {
    pub(super) async fn begin(data: Data) -> Result<Self> {
        blocking(move || {
            let staged = tempfile::tempfile_in(super::directory(&data.path));
            let staged = staged.map_err(|error| data.failed(error))?;
            Ok(Self { data, staged: Arc::new(staged), written: 0 })
        })
        .await
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
        let Self { data, staged, written } = *self;
        let length = data.range.end - data.range.start;
        check_length(&data.at, Some(length), written)?;
        blocking(move || {
            let copied = || {
                let file = File::options().write(true).create(true).truncate(false).open(&data.path)?;
                let mut piece =
                    vec![0; usize::try_from(PIECE_BYTES.min(length)).expect("pieces fit in memory")];
                for start in (0..length).step_by(piece.len().max(1)) {
                    let count = piece.len().min(usize::try_from(length - start).unwrap_or(usize::MAX));
                    staged.read_exact_at(&mut piece[..count], start)?;
                    file.write_all_at(&piece[..count], data.range.start + start)?;
                }
                file.sync_all()
            };
            copied().map_err(|error| data.failed(error))
        })
        .await
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
