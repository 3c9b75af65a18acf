//! The one way in which a file is published: stage, write, fsync, rename, fsync the directory.
//!
//! A staged file is locked by its writer. The lock dies with the writer, so a staged file that can be locked is
//! nobody's, and is swept; no clock and no process id decides that. A kept one waits for its next writer, under a name
//! that says so and of which object it is, and is swept by the clock.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FileType, FlockOperation};
use rustix::io::Errno;

use super::dir::Dir;
use crate::{KEPT_TIME, ObjectName};

/// A file that is not an object yet. Dropping it removes it, unless it is kept.
#[derive(Debug)]
pub(super) struct Stage {
    root: Dir,
    dir: Dir,
    /// Its name in `dir`; `None` once it is published or removed.
    name: Option<String>,
    /// Whether it outlives its writer.
    pub(super) kept: bool,
    pub(super) file: Arc<File>,
    /// Bytes written.
    pub(super) written: u64,
}

impl Stage {
    /// Creates a staged file with room for `reserve` bytes.
    pub(super) fn new(root: Dir, reserve: u64) -> io::Result<Self> {
        let dir = root.open_or_make(STAGE_DIR)?;
        let (name, file) = create(&dir)?;
        let stage = Self { root, dir, name: Some(name), kept: false, file: Arc::new(file), written: 0 };
        if reserve > 0 {
            allocate(&stage.file, reserve)?;
        }
        Ok(stage)
    }

    /// Opens a kept file behind its first `kept` bytes, with room for `reserve`. `None` while somebody else has it.
    pub(super) fn resume(root: Dir, name: &KeptName, kept: u64, reserve: u64) -> io::Result<Option<Self>> {
        let dir = root.open(STAGE_DIR)?;
        let file = dir.reopen(&name.0)?;
        if !locks(&file)? {
            return Ok(None);
        }
        Self::of_kept(root, dir, name, file, kept, reserve).map(Some)
    }

    /// Goes on with a file that was opened by its kept name and then locked.
    fn of_kept(
        root: Dir,
        dir: Dir,
        name: &KeptName,
        file: File,
        kept: u64,
        reserve: u64,
    ) -> io::Result<Self> {
        // Before it was locked it may have been swept or made an object; and one that was cut off is not what was kept.
        let length = file.metadata()?.len();
        if !dir.names(&name.0, &file)? || length < kept {
            return Err(ErrorKind::NotFound.into());
        }
        if length < reserve {
            allocate(&file, reserve)?;
        }
        let (name, file) = (Some(name.0.clone()), Arc::new(file));
        Ok(Self { root, dir, name, kept: true, file, written: kept })
    }

    /// Lets the file, whose bytes are durable by now, outlive its writer under a durable name.
    pub(super) fn keep(&mut self, object: &ObjectName) -> io::Result<KeptName> {
        let name = self.name.as_mut().expect("it is not published yet");
        if !self.kept {
            let kept = KeptName::new(object);
            self.dir.rename_new(name, &self.dir, &kept.0)?;
            *name = kept.0;
        }
        let kept = KeptName(name.clone());
        self.dir.sync().and_then(|()| self.root.sync())?;
        self.kept = true;
        Ok(kept)
    }

    /// Cuts off what an earlier writer wrote behind the bytes that it kept, and what was reserved.
    pub(super) fn cut(&self) -> io::Result<()> {
        if self.file.metadata()?.len() > self.written { self.file.set_len(self.written) } else { Ok(()) }
    }

    /// Makes the file, which is durable by now, an object, then its name durable.
    pub(super) fn publish(mut self, object: &ObjectName) -> io::Result<()> {
        let renamed = self.rename(object);
        if matches!(&renamed, Err(error) if error.kind() == ErrorKind::AlreadyExists) {
            self.kept = false;
        }
        let dir = renamed?;
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
        if !self.kept {
            // What cannot be removed now is swept later.
            let _ = self.remove();
        }
    }
}

/// The name of a kept file: `kept-OBJECT-RANDOM`, of which OBJECT is a hash of the object's name, so that no other
/// object is made of it. It is the token, too.
#[derive(Debug)]
pub(super) struct KeptName(pub(super) String);

impl KeptName {
    fn new(object: &ObjectName) -> Self {
        Self(format!("{}{}", Self::start(object), random()))
    }

    /// The name that a token is, if it is one of this object.
    pub(super) fn parse(token: &[u8], object: &ObjectName) -> Option<Self> {
        let token = std::str::from_utf8(token).ok()?;
        let random = token.strip_prefix(&Self::start(object))?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (random.len() == 16 && random.bytes().all(is_hex)).then(|| Self(token.to_owned()))
    }

    fn start(object: &ObjectName) -> String {
        let hash = blake3::hash(object.as_str().as_bytes()).to_hex();
        format!("{KEPT}{}-", &hash[..16])
    }
}

/// Removes the staged files of writers that died, and what was kept and not written to for a [`KEPT_TIME`].
pub(super) fn sweep(root: &Dir) -> io::Result<()> {
    let dir = root.open_or_make(STAGE_DIR)?;
    for (name, kind) in dir.entries()? {
        if kind == FileType::RegularFile
            && let Ok(file) = dir.open_to_lock(&name)
            && (!name.starts_with(KEPT) || is_forgotten(&file))
            && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            // Another sweep may have been faster.
            let _ = dir.unlink(&name);
        }
    }
    Ok(())
}

/// Whether a file was written to for the last time a [`KEPT_TIME`] ago. A clock that cannot be right forgets nothing.
fn is_forgotten(file: &File) -> bool {
    let written = file.metadata().and_then(|meta| meta.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age > KEPT_TIME))
}

/// The kept files and their bytes, reserved ones too.
pub(super) fn kept(root: &Dir) -> io::Result<Vec<(String, u64)>> {
    let dir = match root.open(STAGE_DIR) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        dir => dir?,
    };
    let names = dir.entries()?.into_iter().map(|(name, _)| name).filter(|name| name.starts_with(KEPT));
    // What is gone meanwhile was swept, published or given up.
    Ok(names.filter_map(|name| dir.length(&name).ok().map(|length| (name, length))).collect())
}

/// Creates a file with a new name and locks it.
fn create(dir: &Dir) -> io::Result<(String, File)> {
    for _ in 0..ATTEMPTS_MAX {
        let name = random();
        match dir.create(&name) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            // A sweep that came in between removes it.
            Ok(file) if locks(&file)? && file.metadata()?.nlink() > 0 => return Ok((name, file)),
            Ok(_) => {}
        }
    }
    Err(io::Error::new(ErrorKind::ResourceBusy, "no staged file could be kept from being swept"))
}

pub(super) fn random() -> String {
    format!("{:016x}", RandomState::new().hash_one(0))
}

/// Locks a file, if nobody else has it.
fn locks(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        // A file system without locks: no sweep can lock the file either.
        _ => Ok(true),
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
/// Starts as no other staged file does.
const KEPT: &str = "kept-";

/// Each attempt loses a race against a sweep or a delete; losing so many in a row is another fault.
const ATTEMPTS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// The last moment at which another program may still have it.
    #[test]
    fn a_file_that_became_an_object_while_it_was_opened_is_not_written_to() {
        let place = tempfile::tempdir().unwrap();
        let root = || Dir::open_root(place.path()).unwrap();
        let object = ObjectName::new("id/7").unwrap();
        let mut stage = Stage::new(root(), 0).unwrap();
        let kept = stage.keep(&object).unwrap();
        let dir = root().open(STAGE_DIR).unwrap();
        let opened = dir.reopen(&kept.0).unwrap();
        stage.publish(&object).unwrap();
        assert!(locks(&opened).unwrap());
        let error = Stage::of_kept(root(), dir, &kept, opened, 0, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
