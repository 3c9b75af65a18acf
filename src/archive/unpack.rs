//! Unpacking an archive into a directory of its own, whatever whoever made it meant by its names.
//!
//! Each name is walked from the directory down, one component after the other, and no link is ever followed: so nothing is
//! read or written anywhere else. All is unpacked under a name that nobody knows, which becomes the directory's own when
//! everything is there.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::pack::NANOS;
use crate::error::Error;
use crate::resources::Stop;

/// How to unpack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unpack {
    /// The directory to make, or one that is empty.
    pub directory: PathBuf,
    /// Whether files may run with the rights of their owner or group, whoever starts them.
    pub allow_setid: bool,
}

/// What was unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Unpacked {
    /// Files.
    pub files: u64,
    /// Directories that the archive names.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
}

impl Unpack {
    /// Makes sure that the archive can be unpacked there.
    ///
    /// # Errors
    /// [`Error::OutputNotEmpty`] if something is there, [`Error::Output`] if that cannot be told.
    pub fn check(&self) -> Result<(), Error> {
        let failed = |source| Error::Output { path: self.directory.clone(), source };
        match self.directory.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(error)),
            Ok(there) if there.is_dir() => match fs::read_dir(&self.directory).map_err(failed)?.next() {
                None => Ok(()),
                Some(_) => Err(Error::OutputNotEmpty { path: self.directory.clone() }),
            },
            Ok(_) => Err(Error::OutputNotEmpty { path: self.directory.clone() }),
        }
    }

    /// Unpacks an archive, as a whole or not at all.
    ///
    /// # Errors
    /// [`Error::Archive`] if one of its entries is not to be trusted, [`Error::Output`] if it cannot be written.
    pub fn run(&self, archive: &File, stop: &Stop) -> Result<Unpacked, Error> {
        self.check()?;
        // A name that ends with a slash is a directory's, and cannot be that of what is renamed.
        let directory: PathBuf = self.directory.components().collect();
        let failed = |source: io::Error| Error::Output { path: directory.clone(), source };
        let parent = match directory.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut builder = tempfile::Builder::new();
        let staged = builder.prefix(".tanner-").permissions(Permissions::from_mode(0o777)).tempdir_in(parent);
        let staged = staged.map_err(failed)?;
        let root = rustix::fs::open(staged.path(), DIRECTORY, Mode::empty()).map_err(|e| failed(e.into()))?;
        let mut unpacking = Unpacking { unpack: self, root, open: Vec::new(), unpacked: Unpacked::default() };
        unpacking.all(archive, stop)?;
        let Unpacking { root, unpacked, .. } = unpacking;
        sync(&root).map_err(failed)?;
        fs::rename(staged.path(), &directory).map_err(failed)?;
        // It is not there any more.
        let _ = staged.keep();
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        Ok(unpacked)
    }
}

struct Unpacking<'a> {
    unpack: &'a Unpack,
    root: OwnedFd,
    /// Directories that are not finished, each in the one before: they get their modes and times when all is in them.
    open: Vec<(Vec<Vec<u8>>, Attributes)>,
    unpacked: Unpacked,
}

#[derive(Clone, Copy)]
struct Attributes {
    mode: u32,
    modified: Timespec,
}

/// Why an entry is not unpacked.
enum Refused {
    Entry(String),
    Output(io::Error),
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Self {
        Self::Output(error.into())
    }
}

impl Unpacking<'_> {
    fn all(&mut self, archive: &File, stop: &Stop) -> Result<(), Error> {
        let left = Cell::new(METADATA_BYTES_MAX);
        let refuse = |name: &[u8], what: String| {
            let name = String::from_utf8_lossy(name).into_owned();
            Error::Archive { name, what }
        };
        let broken = |error: io::Error| refuse(b"what follows the last entry", error.to_string());
        let mut archive = Archive::new(Metered { file: archive, at: 0, left: &left });
        for entry in archive.entries().map_err(broken)? {
            stop.check()?;
            let mut entry = entry.map_err(|error| refuse(b"a broken entry", error.to_string()))?;
            left.set(u64::MAX);
            let name = entry.path_bytes().into_owned();
            self.entry(&name, &mut entry, stop).map_err(|refused| match refused {
                Refused::Entry(what) => refuse(&name, what),
                Refused::Output(source) => Error::Output { path: self.unpack.directory.clone(), source },
            })?;
            stop.check()?;
            left.set(METADATA_BYTES_MAX);
        }
        self.finish_until(&[]).map_err(|refused| match refused {
            Refused::Entry(what) => refuse(b"a directory", what),
            Refused::Output(source) => Error::Output { path: self.unpack.directory.clone(), source },
        })
    }

    fn entry(&mut self, name: &[u8], entry: &mut Entry<'_, impl Read>, stop: &Stop) -> Result<(), Refused> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let path = parts(name)?;
        let attributes = self.attributes(entry)?;
        self.finish_until(&path)?;
        let Some((last, above)) = path.split_last() else {
            // The directory itself.
            return if kind.is_dir() { Ok(()) } else { Err(refused("it has no name")) };
        };
        let above = self.directory(above)?;
        match kind {
            EntryType::Directory => {
                match rustix::fs::mkdirat(&above, last.as_slice(), Mode::from_raw_mode(0o700)) {
                    // It was made for what is in it.
                    Err(Errno::EXIST) => drop(step(&above, last)?),
                    made => made?,
                }
                self.open.push((path, attributes));
                self.unpacked.directories += 1;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().filter(|target| !target.is_empty());
                let target = target.ok_or_else(|| refused("it is a link to nothing"))?;
                rustix::fs::symlinkat(&*target, &above, last.as_slice()).map_err(twice)?;
                let times = attributes.times();
                rustix::fs::utimensat(&above, last.as_slice(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
                self.unpacked.links += 1;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&above, last.as_slice(), flags, Mode::from_raw_mode(0o600));
                let file = File::from(file.map_err(twice)?);
                copy(entry, &file, kind.is_gnu_sparse(), stop)?;
                attributes.give(&file)?;
                self.unpacked.files += 1;
            }
            EntryType::Link => {
                return Err(refused("it is another name of a file, which tanner makes none of"));
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                return Err(refused("it is a device or a pipe"));
            }
            _ => return Err(refused("it is of a kind that is not known")),
        }
        Ok(())
    }

    fn attributes(&self, entry: &mut Entry<'_, impl Read>) -> Result<Attributes, Refused> {
        let broken = |error: io::Error| Refused::Entry(error.to_string());
        let mode = entry.header().mode().map_err(broken)?;
        if mode & SETID != 0 && !self.unpack.allow_setid && !entry.header().entry_type().is_symlink() {
            return Err(refused("it runs with the rights of its owner: --setid allows that"));
        }
        let seconds = entry.header().mtime().map_err(broken)?;
        let mut modified = Timespec { tv_sec: seconds.cast_signed(), tv_nsec: 0 };
        for extension in entry.pax_extensions().map_err(broken)?.into_iter().flatten() {
            let extension = extension.map_err(broken)?;
            if extension.key_bytes() == b"mtime" {
                modified = time(extension.value_bytes()).ok_or_else(|| refused("its time is none"))?;
            }
        }
        Ok(Attributes { mode: mode & MODE, modified })
    }

    /// The directory of this name, which is made if it is not there.
    fn directory(&self, path: &[Vec<u8>]) -> Result<OwnedFd, Refused> {
        let mut directory = self.root.try_clone().map_err(Refused::Output)?;
        for part in path {
            match rustix::fs::mkdirat(&directory, part.as_slice(), Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            directory = step(&directory, part)?;
        }
        Ok(directory)
    }

    /// Finishes the directories in which this is not.
    fn finish_until(&mut self, path: &[Vec<u8>]) -> Result<(), Refused> {
        while let Some((directory, attributes)) = self.open.pop_if(|(open, _)| !path.starts_with(open)) {
            attributes.give(&self.directory(&directory)?)?;
        }
        Ok(())
    }
}

impl Attributes {
    fn times(&self) -> Timestamps {
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        Timestamps { last_access, last_modification: self.modified }
    }

    fn give(&self, to: impl AsFd) -> Result<(), Refused> {
        rustix::fs::fchmod(&to, Mode::from_raw_mode(self.mode))?;
        Ok(rustix::fs::futimens(&to, &self.times())?)
    }
}

/// The parts of a name, none of which leads anywhere but down.
fn parts(name: &[u8]) -> Result<Vec<Vec<u8>>, Refused> {
    if name.starts_with(b"/") {
        return Err(refused("its name is absolute"));
    }
    if name.contains(&0) {
        return Err(refused("its name has a NUL"));
    }
    let parts = name.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    match parts.iter().any(|part| part == b"..") {
        true => Err(refused("its name leads out of the directory")),
        false => Ok(parts),
    }
}

/// One step down, along no link.
fn step(directory: &OwnedFd, part: &[u8]) -> Result<OwnedFd, Refused> {
    match rustix::fs::openat(directory, OsStr::from_bytes(part), DIRECTORY, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => {
            Err(refused("it leads through something that is no directory of the archive"))
        }
        opened => Ok(opened?),
    }
}

/// Writes what an entry holds; of a sparse file not the zeros.
fn copy(from: &mut Entry<'_, impl Read>, to: &File, is_sparse: bool, stop: &Stop) -> Result<(), Refused> {
    let broken = |error: io::Error| Refused::Entry(error.to_string());
    let (size, mut done, mut buffer) = (from.size(), 0, vec![0; COPY_BYTES]);
    loop {
        if stop.is_requested() {
            return Ok(());
        }
        let count = match from.read(&mut buffer).map_err(broken)? {
            0 => break,
            count => count,
        };
        let piece = &buffer[..count];
        if !is_sparse || piece.iter().any(|&byte| byte != 0) {
            to.write_all_at(piece, done).map_err(Refused::Output)?;
        }
        done += count as u64;
    }
    if done != size {
        return Err(refused("it is cut off"));
    }
    to.set_len(size).map_err(Refused::Output)
}

/// A time in seconds, with a fraction or without.
fn time(text: &[u8]) -> Option<Timespec> {
    let text = str::from_utf8(text).ok()?;
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(part) {
        return None;
    }
    let part: i128 = format!("{part:0<9.9}").parse().ok()?;
    let nanoseconds = sign * (i128::from(whole.parse::<i64>().ok()?) * NANOS + part);
    let tv_sec = nanoseconds.div_euclid(NANOS).try_into().ok()?;
    Some(Timespec { tv_sec, tv_nsec: nanoseconds.rem_euclid(NANOS).try_into().ok()? })
}

fn refused(what: &str) -> Refused {
    Refused::Entry(what.to_owned())
}

fn twice(error: Errno) -> Refused {
    if error == Errno::EXIST { refused("something of its name is there already") } else { error.into() }
}

/// Everything on the file system: what was unpacked has many files.
fn sync(root: &OwnedFd) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return Ok(rustix::fs::syncfs(root)?);
    #[cfg(not(target_os = "linux"))]
    return Ok(drop((root, rustix::fs::sync())));
}

/// An archive, of which not more is read between two entries than the headers of one may have.
struct Metered<'a> {
    file: &'a File,
    at: u64,
    left: &'a Cell<u64>,
}

impl Read for Metered<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.get()).map_or(into.len(), |left| left.min(into.len()));
        if most == 0 && !into.is_empty() {
            return Err(io::Error::other("its headers are longer than any"));
        }
        let count = self.file.read_at(&mut into[..most], self.at)?;
        self.at += count as u64;
        self.left.set(self.left.get() - count as u64);
        Ok(count)
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const SETID: u32 = 0o6000;
const MODE: u32 = 0o7777;
/// What is read at a time; runs of zeros as long are holes.
const COPY_BYTES: usize = 64 << 10;
/// Bytes of the headers of one entry: long names, and the map of a sparse file with 300 000 holes. In memory it is several
/// times as much.
const METADATA_BYTES_MAX: u64 = 8 << 20;
