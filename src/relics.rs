//! What restores leave that did not end: files that the next one finds, and either goes on with or removes.
//!
//! A restore stages its output as `.tanner-restore-ID-NAME`, where NAME stands for the output's name, and blocks that
//! are no part of the output as `.tanner-restore-ID-NAME.BLOCK`. It locks the first of them. The lock dies with its
//! process, so what can be locked is nobody's; no clock and no process id decides that.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::Error;
use crate::id::BackupId;

/// The files of a restore, which nobody else has.
pub(crate) struct Claim {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) spool: Spool,
    pub(crate) is_resumed: bool,
    pub(crate) has_swept: bool,
}

/// Blocks that a restore has read and not used yet, each in a file beside the staged output. What was verified once is
/// not asked for again: its store may be slow by now, or lie. Dropping it removes them.
pub(crate) struct Spool {
    staged: PathBuf,
    is_kept: bool,
}

impl Claim {
    /// Claims the names of a restore of a backup to `output`, and removes what earlier ones to the same output left, but
    /// for what this one is to `resume`.
    pub(crate) fn new(directory: &Path, output: &Path, id: BackupId, resume: bool) -> Result<Self, Error> {
        let failed = |source| Error::Output { path: output.to_owned(), source };
        let name = output.file_name().unwrap_or_default();
        let name = &blake3::hash(name.as_encoded_bytes()).to_hex()[..NAME_DIGITS];
        let path = directory.join(format!("{PREFIX}{id}-{name}"));
        let mut has_swept = false;
        for relic in relics(directory, name) {
            if relic != path {
                drop(claim(&relic).map_err(failed)?.ok_or(Error::RestoreUnderway { path: relic.clone() })?);
                remove(&relic);
                has_swept = true;
            }
        }
        let file = claim(&path).map_err(failed)?.ok_or(Error::RestoreUnderway { path: path.clone() })?;
        let spool = Spool { staged: path.clone(), is_kept: false };
        let has_left = file.metadata().map_err(failed)?.len() > 0 || !spool.blocks().is_empty();
        if has_left && !resume {
            spool.remove();
            file.set_len(0).map_err(failed)?;
        }
        let (is_resumed, has_swept) = (has_left && resume, has_swept || (has_left && !resume));
        Ok(Self { file, path, spool, is_resumed, has_swept })
    }
}

impl Spool {
    /// The file of a block.
    pub(crate) fn file(&self, block: usize) -> io::Result<File> {
        open(&self.path(block), 0o600)
    }

    /// The blocks that have one.
    pub(crate) fn blocks(&self) -> Vec<usize> {
        let name = self.staged.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let names = names_in(self.staged.parent().unwrap_or(Path::new(".")));
        let block = |file: String| file.strip_prefix(&name)?.strip_prefix('.')?.parse().ok();
        names.filter_map(block).collect()
    }

    /// From here on dropping it leaves everything.
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }

    fn path(&self, block: usize) -> PathBuf {
        let mut path = self.staged.clone().into_os_string();
        path.push(format!(".{block}"));
        path.into()
    }

    /// What cannot be removed now is found by the next restore.
    fn remove(&self) {
        self.blocks().into_iter().for_each(|block| _ = fs::remove_file(self.path(block)));
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if !self.is_kept {
            self.remove();
        }
    }
}

/// The staged outputs, whether they are there or only blocks beside them, of restores to an output of this name.
fn relics(directory: &Path, name: &str) -> Vec<PathBuf> {
    let is_one = |file: &str| {
        let rest = file.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(name)?.strip_suffix('-'));
        rest.is_some_and(|id| id.parse::<BackupId>().is_ok())
    };
    let staged = |file: String| match file.rsplit_once('.') {
        Some((staged, block)) if block.parse::<usize>().is_ok() => staged.to_owned(),
        _ => file,
    };
    let mut relics: Vec<PathBuf> = names_in(directory)
        .map(staged)
        .filter(|file| is_one(file))
        .map(|file| directory.join(file))
        .collect();
    relics.sort_unstable();
    relics.dedup();
    relics
}

/// The names in a directory, as far as it can be read.
fn names_in(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Opens and locks a staged output, which is made if it is not there. None if another process has it.
fn claim(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = open(path, 0o666)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            // A file system without locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        // Whoever had it may have given it another name, or removed it.
        let is_there = path.symlink_metadata().is_ok_and(|found| file.metadata().is_ok_and(same_as(&found)));
        if is_there {
            return Ok(Some(file));
        }
    }
}

/// Opens a file of ours, which is made if it is not there. Its name can be foretold, and the directory may be anybody's:
/// what others put there is refused.
fn open(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(mode);
    let file = options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    let is_ours =
        metadata.is_file() && metadata.nlink() < 2 && metadata.uid() == rustix::process::geteuid().as_raw();
    match is_ours {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} is in the way, and somebody else's", path.display()),
        )),
    }
}

fn same_as(found: &fs::Metadata) -> impl Fn(fs::Metadata) -> bool {
    let inode = (found.dev(), found.ino());
    move |metadata| (metadata.dev(), metadata.ino()) == inode
}

/// Removes a staged output and what is beside it.
fn remove(staged: &Path) {
    drop(Spool { staged: staged.to_owned(), is_kept: false });
    _ = fs::remove_file(staged);
}

const PREFIX: &str = ".tanner-restore-";
/// Of the hash of the output's name: a longer name would not fit beside it.
const NAME_DIGITS: usize = 16;
