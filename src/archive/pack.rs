//! Making an archive of what is on the disk.

use std::fs::{File, Metadata};
use std::io::{self, BufWriter, PipeWriter, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, PoisonError};

use rustix::fs::OFlags;
use tar::{Builder, EntryType, Header, HeaderMode};
use walkdir::{DirEntry, WalkDir};

use crate::error::Error;
use crate::source::Stamp;
use crate::stream::{LeftOut, Stream};

impl Stream {
    /// An archive of files and directories, with all that is in these. Links that are named here are followed, and others
    /// are stored as links. What is neither file nor directory nor link is left out.
    ///
    /// # Errors
    /// If one cannot be opened, or two would have the same name.
    pub fn archive(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut named: Vec<(PathBuf, PathBuf)> = Vec::new();
        for path in paths {
            let real = path.canonicalize().map_err(|source| Error::Source { path: path.clone(), source })?;
            let name = name_of(path);
            let is_in = |(_, other): &(PathBuf, PathBuf)| name.starts_with(other) || other.starts_with(&name);
            if let Some((other, _)) = named.iter().find(|named| is_in(named)) {
                return Err(Error::ArchivedTwice { first: other.clone(), second: path.clone() });
            }
            named.push((real, name));
        }
        let last = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = paths.first().and_then(last).unwrap_or_else(|| "files".into());
        let left_out = LeftOut::default();
        let told = Arc::clone(&left_out);
        let stream = Self::made(name, move |into| Packer::new(into, told).pack(&named))?;
        Ok(stream.archived(left_out))
    }
}

struct Packer {
    builder: Builder<BufWriter<PipeWriter>>,
    left_out: LeftOut,
}

impl Packer {
    fn new(into: PipeWriter, left_out: LeftOut) -> Self {
        let mut builder = Builder::new(BufWriter::with_capacity(BUFFER_BYTES, into));
        builder.mode(HeaderMode::Complete);
        Self { builder, left_out }
    }

    fn pack(mut self, named: &[(PathBuf, PathBuf)]) -> Result<(), Error> {
        for (path, name) in named {
            for entry in WalkDir::new(path).sort_by_file_name() {
                let entry = entry.map_err(|error| {
                    let at = error.path().unwrap_or(path).to_owned();
                    failed(&at, error.into())
                })?;
                let below = entry.path().strip_prefix(path).unwrap_or(Path::new(""));
                // Joined with nothing, a file's name would end with a slash.
                let name = if below == Path::new("") { name.clone() } else { name.join(below) };
                self.add(&entry, &name)?;
            }
        }
        let ended = self.builder.into_inner().and_then(|mut into| into.flush());
        ended.map_err(|source| Error::Source { path: "the archive".into(), source })
    }

    fn add(&mut self, entry: &DirEntry, name: &Path) -> Result<(), Error> {
        let path = entry.path();
        let kind = entry.file_type();
        if kind.is_file() {
            return self.file(path, name);
        }
        let metadata = entry.metadata().map_err(|error| failed(path, error.into()))?;
        let added = match () {
            // The directory that is the root of the archive has no name there.
            () if kind.is_dir() && name == Path::new("") => Ok(()),
            () if kind.is_dir() => self
                .header(&metadata, EntryType::Directory)
                .and_then(|mut header| self.builder.append_data(&mut header, name.join(""), io::empty())),
            () if kind.is_symlink() => self.header(&metadata, EntryType::Symlink).and_then(|mut header| {
                self.builder.append_link(&mut header, name, std::fs::read_link(path)?)
            }),
            () => {
                self.left_out.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
                Ok(())
            }
        };
        added.map_err(|error| failed(path, error))
    }

    /// A file, which has to stay what it is while it is read.
    fn file(&mut self, path: &Path, name: &Path) -> Result<(), Error> {
        // What was looked at may be something else by now.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        let mut file = opened.map_err(|error| failed(path, error))?;
        let before = file.metadata().map_err(|error| failed(path, error))?;
        if !before.is_file() {
            return Err(changed(path, "it is no file any more"));
        }
        let added = if before.mtime() < 0 {
            // `append_file` cannot write a time before 1970. It alone finds holes, so these files lose theirs.
            self.header(&before, EntryType::Regular).and_then(|mut header| {
                header.set_size(before.len());
                self.builder.append_data(&mut header, name, (&mut file).take(before.len()))
            })
        } else {
            self.times(&before).and_then(|()| self.builder.append_file(name, &mut file))
        };
        let after = added.and_then(|()| Ok((file.metadata()?, file.stream_position()?)));
        let (after, end) = after.map_err(|error| failed(path, error))?;
        match Stamp::new(&before).change_to(&Stamp::new(&after)) {
            Some(how) => Err(changed(path, how)),
            // Files of the kernel's own say that they are empty and are not.
            None if end > before.len() => Err(changed(path, "it has more bytes than its size says")),
            None => Ok(()),
        }
    }

    fn header(&mut self, metadata: &Metadata, kind: EntryType) -> io::Result<Header> {
        self.times(metadata)?;
        let mut header = Header::new_gnu();
        header.set_metadata_in_mode(metadata, HeaderMode::Complete);
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
        Ok(header)
    }

    /// What the header that follows has no room for: parts of seconds, and seconds before 1970.
    fn times(&mut self, metadata: &Metadata) -> io::Result<()> {
        if metadata.mtime_nsec() == 0 && metadata.mtime() >= 0 {
            return Ok(());
        }
        let nanoseconds = i128::from(metadata.mtime()) * NANOS + i128::from(metadata.mtime_nsec());
        let (sign, size) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.abs());
        let time = format!("{sign}{}.{:09}", size / NANOS, size % NANOS);
        self.builder.append_pax_extensions([("mtime", time.as_bytes())])
    }
}

/// The name of a path within an archive: without what leads out of the current directory.
fn name_of(path: &Path) -> PathBuf {
    let mut name = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => name.push(part),
            Component::ParentDir => name.clear(),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    name
}

fn failed(path: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::NotFound => changed(path, "it is gone"),
        _ => Error::Source { path: path.to_owned(), source },
    }
}

fn changed(path: &Path, how: &'static str) -> Error {
    Error::SourceChanged { path: path.to_owned(), how }
}

pub(super) const NANOS: i128 = 1_000_000_000;
/// As many as a pipe takes.
const BUFFER_BYTES: usize = 64 << 10;
