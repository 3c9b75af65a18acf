//! What a restore writes to until it is known to be right: the output, and blocks that are no part of it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::relics::Spool;

/// The files of a restore.
pub(crate) struct Scratch {
    /// The output.
    pub(crate) file: Arc<File>,
    beside: Beside,
    /// Whether an earlier restore left something to go on with.
    pub(crate) is_resumed: bool,
    /// Whether what an earlier restore left was removed.
    pub(crate) has_swept: bool,
}

/// Where the blocks are.
enum Beside {
    Nowhere,
    /// In files that another restore finds.
    Named(Spool),
    /// In files without names, in this directory.
    Nameless(PathBuf),
}

impl Scratch {
    /// A file, and no blocks.
    pub(crate) fn of_file(file: File) -> Self {
        Self { file: Arc::new(file), beside: Beside::Nowhere, is_resumed: false, has_swept: false }
    }

    /// Files that another restore finds.
    pub(crate) fn named(file: File, spool: Spool, is_resumed: bool, has_swept: bool) -> Self {
        Self { file: Arc::new(file), beside: Beside::Named(spool), is_resumed, has_swept }
    }

    /// Files without names, which go with this process.
    pub(crate) fn nameless(directory: &Path) -> io::Result<Self> {
        let beside = Beside::Nameless(directory.to_owned());
        let file = Arc::new(tempfile::tempfile_in(directory)?);
        Ok(Self { file, beside, is_resumed: false, has_swept: false })
    }

    /// No room is better known now than after hours. Some file systems cannot tell.
    pub(crate) fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        match fallocate(&self.file, FallocateFlags::empty(), 0, bytes.max(1)) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(error.into()),
            _ => self.file.set_len(bytes),
        }
    }

    /// The file for a block that is no part of the output.
    pub(crate) fn spooled(&self, block: usize) -> io::Result<File> {
        match &self.beside {
            Beside::Nowhere => unreachable!("a restore has files for blocks"),
            Beside::Named(spool) => spool.file(block),
            Beside::Nameless(directory) => tempfile::tempfile_in(directory),
        }
    }

    /// The blocks that have one by a name.
    pub(crate) fn spooled_blocks(&self) -> Vec<usize> {
        if let Beside::Named(spool) = &self.beside { spool.blocks() } else { Vec::new() }
    }

    /// Leaves the blocks to another restore.
    pub(crate) fn keep(&mut self) {
        if let Beside::Named(spool) = &mut self.beside {
            spool.keep();
        }
    }

    /// Removes the blocks.
    pub(crate) fn remove_blocks(&mut self) {
        self.beside = Beside::Nowhere;
    }
}
