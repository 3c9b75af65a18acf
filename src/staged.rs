//! The file that a restore writes, before and after it has its name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::decode::{Ends, Failure, Output};
use crate::error::Error;
use crate::fetch::Found;
use crate::geometry::Frame;
use crate::hash::PieceHasher;
use crate::progress::Progress;
use crate::read::Input;
use crate::spool::Slot;

/// The output before it has its name.
pub(crate) struct Staged {
    pub(crate) file: NamedTempFile,
    output: PathBuf,
    pub(crate) directory: PathBuf,
    replace: bool,
}

impl Staged {
    pub(crate) fn create(output: PathBuf, replace: bool, bytes: u64) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Output { path: output.clone(), source };
        match output.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => return Err(failed(io::ErrorKind::IsADirectory.into())),
            Ok(_) if !replace => return Err(Error::OutputExists { path: output }),
            // To replace a device or a link is not what anybody means.
            Ok(metadata) if !metadata.is_file() => return Err(Error::NotAFile { path: output }),
            _ => {}
        }
        let directory = match output.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        let mut builder = tempfile::Builder::new();
        let file = builder
            .prefix(".tanner-restore-")
            .permissions(permissions)
            .tempfile_in(&directory)
            .map_err(failed)?;
        file.as_file().set_len(bytes).map_err(failed)?;
        // No room is better known now than after hours. Some file systems cannot tell.
        let reserved =
            rustix::fs::fallocate(file.as_file(), rustix::fs::FallocateFlags::empty(), 0, bytes.max(1));
        match reserved {
            Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT | rustix::io::Errno::FBIG)) => {
                return Err(failed(error.into()));
            }
            _ => file.as_file().set_len(bytes).map_err(failed)?,
        }
        Ok(Self { file, output, directory, replace })
    }

    /// Writes all of the file.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.as_file().write_all_at(bytes, 0);
        written.map_err(|source| Error::Output { path: self.output.clone(), source })
    }

    /// Makes the file durable, then visible, then its name durable.
    pub(crate) fn publish(self) -> Result<(), Error> {
        let failed = |source: io::Error| Error::Output { path: self.output.clone(), source };
        self.file.as_file().sync_all().map_err(failed)?;
        let exists = |error: &tempfile::PersistError| error.error.kind() == io::ErrorKind::AlreadyExists;
        match self.replace {
            true => self.file.persist(&self.output).map_err(|error| failed(error.error))?,
            false => self.file.persist_noclobber(&self.output).map_err(|error| match exists(&error) {
                true => Error::OutputExists { path: self.output.clone() },
                false => failed(error.error),
            })?,
        };
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }
}

/// A decoding pass into the staged file, which holds the verified data blocks in their places.
pub(crate) struct IntoStaged<'a> {
    pub(crate) found: &'a Found,
    /// The parity blocks that verified.
    pub(crate) parity: &'a BTreeMap<usize, Slot>,
    pub(crate) staged: &'a File,
    /// The blocks that are decoded.
    pub(crate) lost: Vec<usize>,
    /// The hash of the whole source, for branches.
    pub(crate) source: &'a PieceHasher,
    pub(crate) threads: usize,
    pub(crate) progress: &'a Progress,
}

/// Hashes of one restored block: its own, and its part of the source's.
pub(crate) struct Restored {
    pub(crate) block: usize,
    pub(crate) own: PieceHasher,
    pub(crate) source: PieceHasher,
}

impl Ends for IntoStaged<'_> {
    type Results = Vec<Restored>;

    fn frames_at_once(&self) -> usize {
        self.threads
    }

    fn inputs_bytes(&self) -> u64 {
        0
    }

    fn fresh(&self) -> Vec<Restored> {
        let geometry = &self.found.manifest.geometry;
        let own = |block| PieceHasher::new(geometry.block_bytes(block), geometry.is_kib_aligned());
        let restored = |&block: &usize| Restored { block, own: own(block), source: self.source.branch() };
        self.lost.iter().map(restored).collect()
    }

    fn join(all: &mut Vec<Restored>, part: Vec<Restored>) {
        for (sum, part) in all.iter_mut().zip(part) {
            sum.own.join(part.own);
            sum.source.join(part.source);
        }
    }

    fn open(&self, block: usize, frame: Frame) -> Result<Input<'_>, Failure> {
        let (id, geometry) = (self.found.manifest.id, &self.found.manifest.geometry);
        let range = geometry.stored_steps(block, frame, 0..u64::MAX);
        if block < geometry.profile().data() {
            return Ok(Input::Staged(self.staged, geometry.data_range(block).start + range.start, id));
        }
        let slot = self.parity.get(&block).expect("inputs verified");
        Ok(Input::Staged(slot.file(), slot.start() + range.start, id))
    }

    /// Writes the restored steps to their places and hashes them.
    fn take(&self, outputs: &[Output<'_>], restored: &mut Vec<Restored>) -> Result<(), Failure> {
        for (output, restored) in outputs.iter().zip(restored) {
            let at = self.found.manifest.geometry.data_range(output.block).start + output.offset;
            let failed = |source| Error::Staged { id: self.found.manifest.id, source };
            self.staged.write_all_at(output.bytes, at).map_err(failed)?;
            restored.own.add(output.offset, output.bytes);
            restored.source.add(at, output.bytes);
            self.progress.advance(output.bytes.len() as u64);
        }
        Ok(())
    }
}
