//! The file that a restore writes, before and after it has its name.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::error::Error;
use crate::id::BackupId;
use crate::relics::Claim;
use crate::scratch::Scratch;

/// The output before it has its name. Dropping it removes it.
pub(crate) struct Staged {
    pub(crate) scratch: Scratch,
    path: TempPath,
    output: PathBuf,
    directory: PathBuf,
    replace: bool,
}

impl Staged {
    /// A file that is to be `output`, or replace it.
    pub(crate) fn create(output: PathBuf, replace: bool) -> Result<Self, Error> {
        let (directory, failed) = (check(&output, replace)?, failed(&output));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tanner-").permissions(std::fs::Permissions::from_mode(0o666));
        let (file, path) = builder.tempfile_in(&directory).map_err(failed)?.into_parts();
        Ok(Self { scratch: Scratch::of_file(file), path, output, directory, replace })
    }

    /// The same for a restore of so many bytes, by a name by which the next restore of this backup to this output finds
    /// it. If that is not to `resume`, it goes without what an earlier one left.
    pub(crate) fn for_restore(
        output: PathBuf,
        replace: bool,
        id: BackupId,
        bytes: u64,
        resume: bool,
    ) -> Result<Self, Error> {
        let directory = check(&output, replace)?;
        let Claim { file, path, spool, is_resumed, has_swept } = Claim::new(&directory, &output, id, resume)?;
        let path = TempPath::try_from_path(path).map_err(failed(&output))?;
        let scratch = Scratch::named(file, spool, is_resumed, has_swept);
        let staged = Self { scratch, path, output, directory, replace };
        staged.scratch.reserve(bytes).map_err(failed(&staged.output))?;
        Ok(staged)
    }

    /// Writes all of the file.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        self.scratch.file.write_all_at(bytes, 0).map_err(failed(&self.output))
    }

    /// Leaves it all to a restore that goes on with it, and says where.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.path.disable_cleanup(true);
        self.scratch.keep();
        self.path.to_path_buf()
    }

    /// Whether a file of this name may be written.
    pub(crate) fn check(output: &Path, replace: bool) -> Result<(), Error> {
        check(output, replace).map(drop)
    }

    /// Gives it another name than it was to have, in the same directory.
    pub(crate) fn rename(&mut self, output: PathBuf) -> Result<(), Error> {
        check(&output, self.replace)?;
        self.output = output;
        Ok(())
    }

    /// Makes the file durable, then visible, then its name durable.
    pub(crate) fn publish(mut self) -> Result<(), Error> {
        let failed = failed(&self.output);
        self.scratch.file.sync_all().map_err(&failed)?;
        // Before the file, by which they would be found.
        self.scratch.remove_blocks();
        let exists = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
        let file = NamedTempFile::from_parts((), self.path);
        let named = match self.replace {
            true => file.persist(&self.output),
            false => file.persist_noclobber(&self.output),
        };
        named.map_err(|error| match exists(&error.error) {
            true if !self.replace => Error::OutputExists { path: self.output.clone() },
            _ => failed(error.error),
        })?;
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }
}

/// Whether the file may be written; its directory.
fn check(output: &Path, replace: bool) -> Result<PathBuf, Error> {
    match output.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => {
            return Err(failed(output)(io::ErrorKind::IsADirectory.into()));
        }
        Ok(_) if !replace => return Err(Error::OutputExists { path: output.to_owned() }),
        // To replace a device or a link is not what anybody means.
        Ok(metadata) if !metadata.is_file() => return Err(Error::NotAFile { path: output.to_owned() }),
        _ => {}
    }
    match output.parent() {
        Some(parent) if parent != Path::new("") => Ok(parent.to_owned()),
        _ => Ok(PathBuf::from(".")),
    }
}

fn failed(output: &Path) -> impl Fn(io::Error) -> Error {
    let path = output.to_owned();
    move |source| Error::Output { path: path.clone(), source }
}
