//! The one way in which a file is published: stage, write, fsync, rename, fsync the directory.
//!
//! A staged file is locked by its writer. The lock dies with the writer, so a staged file that can be locked is
//! nobody's, and is swept; no clock and no process id decides that.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FileType, FlockOperation};
use rustix::io::Errno;

use super::dir::Dir;
use crate::ObjectName;

/// A file that is not an object yet. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Stage {
    root: Dir,
    dir: Dir,
    /// Its name in `dir`; `None` once it is published or removed.
    name: Option<String>,
    pub(super) file: Arc<File>,
    /// Bytes written.
    pub(super) written: u64,
}

impl Stage {
    /// Creates a staged file with room for `reserve` bytes.
    pub(super) fn new(root: Dir, reserve: u64) -> io::Result<Self> {
        let dir = root.open_or_make(STAGE_DIR)?;
        let (name, file) = create(&dir)?;
        let stage = Self { root, dir, name: Some(name), file: Arc::new(file), written: 0 };
        if reserve > 0 {
            allocate(&stage.file, reserve)?;
        }
        Ok(stage)
    }

    /// Makes the file, which is durable by now, an object, then its name durable.
    pub(super) fn publish(mut self, object: &ObjectName) -> io::Result<()> {
        let dir = self.rename(object)?;
        // The directory may have been made by a racing put which has not synced it yet, so always both.
        let synced = dir.sync().and_then(|()| self.root.sync());
        if synced.is_err() {
            let _ = dir.unlink(object.part());
        }
        synced
    }

    /// Removes the file.
    pub(super) fn discard(mut self) -> io::Result<()> {
        self.remove()
    }

    fn rename(&mut self, object: &ObjectName) -> io::Result<Dir> {
        let mut attempts = 0;
        loop {
            match self.try_rename(object) {
                // A delete of the last object beside this one removed the directory: make it again.
                Err(error) if error.kind() == ErrorKind::NotFound && attempts < ATTEMPTS_MAX => attempts += 1,
                result => return result,
            }
        }
    }

    fn try_rename(&mut self, object: &ObjectName) -> io::Result<Dir> {
        let from = self.name.as_deref().expect("a stage is published once");
        let dir = match object.prefix() {
            Some(prefix) => self.root.open_or_make(prefix)?,
            None => self.root.descend(None)?,
        };
        self.dir.rename_new(from, &dir, object.part())?;
        self.name = None;
        Ok(dir)
    }

    fn remove(&mut self) -> io::Result<()> {
        self.name.take().map_or(Ok(()), |name| self.dir.unlink(&name))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be removed now is swept later.
        let _ = self.remove();
    }
}

/// Removes the staged files of writers that died.
pub(super) fn sweep(root: &Dir) -> io::Result<()> {
    let dir = root.open_or_make(STAGE_DIR)?;
    for (name, kind) in dir.entries()? {
        if kind == FileType::RegularFile
            && let Ok(file) = dir.open_to_lock(&name)
            && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            // Another sweep may have been faster.
            let _ = dir.unlink(&name);
        }
    }
    Ok(())
}

/// Creates a file with a new name and locks it.
fn create(dir: &Dir) -> io::Result<(String, File)> {
    for _ in 0..ATTEMPTS_MAX {
        let name = format!("{:016x}", RandomState::new().hash_one(0));
        match dir.create(&name) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) if holds(&file)? => return Ok((name, file)),
            Ok(_) => {}
        }
    }
    Err(io::Error::new(ErrorKind::ResourceBusy, "no staged file could be kept from being swept"))
}

/// Locks a file just created. False if a sweep came in between: then it is removed or about to be.
fn holds(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        // A file system without locks: no sweep can lock the file either.
        Err(_) => Ok(true),
        Ok(()) => Ok(file.metadata()?.nlink() > 0),
    }
}

/// Reserves room, so that a full disk says so before the bytes are sent and not after.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    if i64::try_from(bytes).is_err() {
        return Err(Errno::FBIG.into());
    }
    match rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes)) {
        // A file system that cannot reserve finds out while writing.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        result => Ok(result?),
    }
}

/// Starts with a dot, as no name of an object does.
const STAGE_DIR: &str = ".tanner-stage";

/// Each attempt loses a race against a sweep or a delete; losing so many in a row is another fault.
const ATTEMPTS_MAX: u32 = 16;
