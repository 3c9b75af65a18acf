//! Directories held open, in which one component at a time is opened and no symbolic link is followed.
//!
//! A checked component has no slash and is not `..`, so opening it with `O_NOFOLLOW` in a directory that is held
//! open enforces, on every kernel, what `openat2` does with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// A directory. What is done in it takes one component, which the caller has checked.
#[derive(Debug)]
pub(super) struct Dir(File);

impl Dir {
    /// Opens the root of a store. The user chose it, so it may be a symbolic link.
    pub(super) fn open_root(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?.into()))
    }

    /// Makes the root of a store and all above it, durably.
    pub(super) fn make_root(path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if path.is_dir() {
            // Whoever made it may have failed to sync it, or not have come to it yet.
            return match Self::open_root(parent).and_then(|parent| parent.sync()) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            };
        }
        Self::make_root(parent)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Self::open_root(parent)?.sync(),
        }
    }

    pub(super) fn open(&self, component: &str) -> io::Result<Self> {
        Ok(Self(self.open_at(component, OFlags::RDONLY | OFlags::DIRECTORY)?))
    }

    pub(super) fn open_or_make(&self, component: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.0, component, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => self.open(component),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The directory of an object: the one called `prefix` in this one, or this one.
    pub(super) fn descend(&self, prefix: Option<&str>) -> io::Result<Self> {
        prefix.map_or_else(|| self.0.try_clone().map(Self), |prefix| self.open(prefix))
    }

    /// Opens a regular file to read; its length in bytes.
    pub(super) fn file(&self, component: &str) -> io::Result<(File, u64)> {
        let file = self.regular(component, OFlags::RDONLY)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    /// Opens a regular file to go on writing.
    pub(super) fn reopen(&self, component: &str) -> io::Result<File> {
        self.regular(component, OFlags::RDWR)
    }

    /// Whether this is still the name of a file.
    pub(super) fn names(&self, component: &str, file: &File) -> io::Result<bool> {
        let (named, meta) =
            (rustix::fs::statat(&self.0, component, AtFlags::SYMLINK_NOFOLLOW)?, file.metadata()?);
        Ok((named.st_dev, named.st_ino) == (meta.dev(), meta.ino()))
    }

    fn regular(&self, component: &str, access: OFlags) -> io::Result<File> {
        // Without `NONBLOCK` a planted FIFO would hang the open.
        let file = self.open_at(component, access | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(not_a_file()) }
    }

    /// The length of a regular file in bytes.
    pub(super) fn length(&self, component: &str) -> io::Result<u64> {
        let stat = rustix::fs::statat(&self.0, component, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if is_file { u64::try_from(stat.st_size).map_err(io::Error::other) } else { Err(not_a_file()) }
    }

    /// Creates a file that was not there, to write.
    pub(super) fn create(&self, component: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, component, flags, Mode::from_raw_mode(0o666))?.into())
    }

    /// Opens a file to lock it: some file systems lock only what may be written.
    pub(super) fn open_to_lock(&self, component: &str) -> io::Result<File> {
        self.open_at(component, OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    pub(super) fn unlink(&self, component: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, component, AtFlags::empty())?)
    }

    /// Removes a directory if it is empty.
    pub(super) fn remove_dir(&self, component: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, component, AtFlags::REMOVEDIR)?)
    }

    /// Everything in this directory with a UTF-8 name: no object has another.
    pub(super) fn entries(&self) -> io::Result<Vec<(String, FileType)>> {
        let mut entries = Vec::new();
        self.each(|name, kind| entries.push((name.to_owned(), kind)))?;
        Ok(entries)
    }

    /// As [`entries`](Self::entries), of which there may be more than memory is to hold.
    pub(super) fn each(&self, mut what: impl FnMut(&str, FileType)) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            // Not every file system says what an entry is.
            let kind = match entry.file_type() {
                FileType::Unknown => match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(errno.into()),
                },
                kind => kind,
            };
            what(name, kind);
        }
        Ok(())
    }

    /// Makes the names in this directory durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self.0.sync_all() {
            // Some network and FUSE file systems have nothing to sync in a directory.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }

    /// Moves a file to where no file is yet.
    pub(super) fn rename_new(&self, from: &str, to: &Self, name: &str) -> io::Result<()> {
        let mut result = Err(Errno::NOSYS);
        for rename in RENAMES {
            result = rename(self, from, to, name);
            if !matches!(result, Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)) {
                break;
            }
        }
        Ok(result?)
    }

    /// Moves a file to a name that nothing else has.
    pub(super) fn rename(&self, from: &str, to: &Self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, from, &to.0, name)?)
    }

    fn open_at(&self, component: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, component, flags, Mode::empty())?.into())
    }
}

type Rename = fn(&Dir, &str, &Dir, &str) -> rustix::io::Result<()>;

/// Ways to move without overwriting, best first. A file system that does not know one is asked for the next.
const RENAMES: [Rename; 3] = [rename_exclusive, link_and_unlink, check_and_rename];

fn rename_exclusive(dir: &Dir, from: &str, to: &Dir, name: &str) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(&dir.0, from, &to.0, name, rustix::fs::RenameFlags::NOREPLACE)
}

/// For NFS. As exclusive, but a crash in between leaves the old name too, which the sweep removes.
fn link_and_unlink(dir: &Dir, from: &str, to: &Dir, name: &str) -> rustix::io::Result<()> {
    rustix::fs::linkat(&dir.0, from, &to.0, name, AtFlags::empty())?;
    // The object is published: failing to tidy up must not deny that.
    let _ = rustix::fs::unlinkat(&dir.0, from, AtFlags::empty());
    Ok(())
}

/// For file systems without links. Not exclusive against a racing put of the same name, which does not happen
/// while names are unique; always exclusive against what is there already.
fn check_and_rename(dir: &Dir, from: &str, to: &Dir, name: &str) -> rustix::io::Result<()> {
    match rustix::fs::statat(&to.0, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => rustix::fs::renameat(&dir.0, from, &to.0, name),
        Err(errno) => Err(errno),
    }
}

fn not_a_file() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "not a regular file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_publishing_overwrites_an_object() {
        for rename in RENAMES {
            let place = tempfile::tempdir().unwrap();
            let dir = Dir::open_root(place.path()).unwrap();
            for name in ["old", "new"] {
                fs::write(place.path().join(name), name).unwrap();
            }
            assert_eq!(rename(&dir, "new", &dir, "old"), Err(Errno::EXIST));
            assert_eq!(fs::read(place.path().join("old")).unwrap(), b"old");

            rename(&dir, "new", &dir, "fresh").unwrap();
            assert_eq!(fs::read(place.path().join("fresh")).unwrap(), b"new");
            assert!(!place.path().join("new").exists());
        }
    }

    #[test]
    fn a_planted_fifo_does_not_hang_a_restore() {
        let place = tempfile::tempdir().unwrap();
        let dir = Dir::open_root(place.path()).unwrap();
        rustix::fs::mknodat(&dir.0, "fifo", FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
        assert_eq!(dir.file("fifo").unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(dir.length("fifo").unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
