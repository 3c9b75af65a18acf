//! Sources: files that are read once, into private memory, and must not change meanwhile.
//!
//! Both readers let the kernel do the copy: `pread`, or `process_vm_readv` out of a mapping. So a file that
//! shrinks under the reader is an error code here and never a signal, and no byte is seen twice.
#![expect(unsafe_code, reason = "maps files")]

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::geometry::SOURCE_BYTES_MAX;

/// How a source is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum IoMode {
    /// What measured best for files: pread.
    #[default]
    Auto,
    /// A memory mapping; falls back to pread where the system forbids to copy out of it.
    Mmap,
    /// Positioned reads.
    Pread,
}

/// An open source file.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: File,
    stamp: Stamp,
    mapping: Option<memmap2::Mmap>,
}

/// What tells a changed file from an unchanged one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    bytes: u64,
    inode: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Source {
    /// Opens a regular file.
    ///
    /// # Errors
    /// [`Error::Source`] if it cannot be opened, [`Error::NotAFile`] if it is not a regular file,
    /// [`Error::SourceTooLarge`] beyond [`SOURCE_BYTES_MAX`].
    pub fn open(path: &Path, io: IoMode) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Source { path: path.to_owned(), source };
        // A fifo would block in `open`; its kind is checked again on what was opened.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(Error::NotAFile { path: path.to_owned() });
        }
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::NotAFile { path: path.to_owned() });
        }
        let stamp = Stamp::new(&metadata);
        if stamp.bytes > SOURCE_BYTES_MAX {
            return Err(Error::SourceTooLarge { path: path.to_owned(), bytes: stamp.bytes });
        }
        let mapping = match io {
            // SAFETY: the mapping is never turned into a slice; only the kernel reads from its addresses, and
            // reports pages that are gone as an error.
            IoMode::Mmap if stamp.bytes > 0 => unsafe { memmap2::Mmap::map(&file) }.ok(),
            _ => None,
        };
        Ok(Self { path: path.to_owned(), file, stamp, mapping })
    }

    /// Bytes in the file when it was opened.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.stamp.bytes
    }

    /// When the file was last modified, in seconds since 1970.
    #[must_use]
    pub fn modified(&self) -> Option<u64> {
        u64::try_from(self.stamp.modified.0).ok()
    }

    /// The file's name without directories, if it is text.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Which reader is in use.
    #[must_use]
    pub fn reader(&self) -> &'static str {
        if self.mapping.is_some() { "mmap" } else { "pread" }
    }

    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`Error::SourceChanged`] if the file ends before that, [`Error::Source`] if it cannot be read.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        if into.is_empty() {
            return Ok(());
        }
        if let Some(mapping) = &self.mapping {
            // Else pages are gone, and the file itself says whether it shrank; or the system forbids the call, as some
            // containers do.
            if copy_out(mapping, offset, into) == Ok(into.len()) {
                return Ok(());
            }
        }
        self.file.read_exact_at(into, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.changed("it became shorter"),
            _ => Error::Source { path: self.path.clone(), source },
        })
    }

    /// Makes sure that the file is what it was when it was opened.
    ///
    /// # Errors
    /// [`Error::SourceChanged`] if it is not.
    pub fn check_unchanged(&self) -> Result<(), Error> {
        let failed = |source: io::Error| Error::Source { path: self.path.clone(), source };
        let now = Stamp::new(&self.file.metadata().map_err(failed)?);
        match (now, self.stamp) {
            (now, then) if now == then => {
                // Files of the kernel's own say that they are empty and are not.
                match self.file.read_at(&mut [0], then.bytes).map_err(failed)? {
                    0 => Ok(()),
                    _ => Err(self.changed("it has more bytes than its size says")),
                }
            }
            (now, then) if now.bytes < then.bytes => Err(self.changed("it became shorter")),
            (now, then) if now.bytes > then.bytes => Err(self.changed("it became longer")),
            (now, then) if now.modified != then.modified => Err(self.changed("it was written to")),
            _ => Err(self.changed("its name, links or permissions were changed")),
        }
    }

    fn changed(&self, how: &'static str) -> Error {
        Error::SourceChanged { path: self.path.clone(), how }
    }
}

impl Stamp {
    fn new(metadata: &std::fs::Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            inode: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Copies out of the mapping by the kernel, and gives the pages back so that they do not count as ours.
#[cfg(target_os = "linux")]
fn copy_out(mapping: &memmap2::Mmap, offset: u64, into: &mut [u8]) -> nix::Result<usize> {
    use std::io::IoSliceMut;

    use nix::sys::uio::{RemoteIoVec, process_vm_readv};

    let start = usize::try_from(offset).map_err(|_| nix::Error::EFAULT)?;
    if start.checked_add(into.len()).is_none_or(|end| end > mapping.len()) {
        return Err(nix::Error::EFAULT);
    }
    let from = RemoteIoVec { base: mapping.as_ptr() as usize + start, len: into.len() };
    let end = start + into.len();
    let copied = process_vm_readv(nix::unistd::Pid::this(), &mut [IoSliceMut::new(into)], &[from]);
    // The kernel maps pages around those it was asked for, too; they are given back with them.
    let (first, last) =
        (start / MAPPED_AROUND * MAPPED_AROUND, end.next_multiple_of(MAPPED_AROUND).min(mapping.len()));
    // SAFETY: a shared mapping of a file reads the same after its pages were dropped.
    let _ =
        unsafe { mapping.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, first, last - first) };
    copied
}

/// A huge page, the most that one fault maps.
const MAPPED_AROUND: usize = 2 << 20;

#[cfg(not(target_os = "linux"))]
fn copy_out(_mapping: &memmap2::Mmap, _offset: u64, _into: &mut [u8]) -> nix::Result<usize> {
    Err(nix::Error::ENOSYS)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{IoMode, Source};
    use crate::error::Error;

    fn file(bytes: usize) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&(0..bytes).map(|i| (i % 251) as u8).collect::<Vec<_>>()).unwrap();
        file
    }

    #[test]
    fn both_readers_give_the_same_bytes() {
        let file = file(100_000);
        for (io, reader) in [(IoMode::Auto, "pread"), (IoMode::Pread, "pread"), (IoMode::Mmap, "mmap")] {
            let source = Source::open(file.path(), io).unwrap();
            assert_eq!(source.reader(), reader);
            for (offset, length) in [(0, 100_000), (1, 4097), (99_999, 1), (4096, 8192), (50_000, 0)] {
                let mut into = vec![0; length];
                source.read(offset, &mut into).unwrap();
                assert!(
                    into.iter().enumerate().all(|(i, &byte)| byte == ((offset as usize + i) % 251) as u8)
                );
            }
            source.check_unchanged().unwrap();
        }
    }

    /// A mapped file that is truncated raises SIGBUS in whoever touches it; not here.
    #[test]
    fn a_file_that_shrinks_is_an_error_and_never_a_signal() {
        for io in [IoMode::Pread, IoMode::Mmap] {
            let file = file(1 << 20);
            let source = Source::open(file.path(), io).unwrap();
            let mut into = vec![0; 1 << 19];
            source.read(0, &mut into).unwrap();
            file.as_file().set_len(1000).unwrap();
            let error = source.read(1 << 19, &mut into).unwrap_err();
            assert!(matches!(error, Error::SourceChanged { how: "it became shorter", .. }), "{error}");
            assert_eq!(error.exit_code(), 7);
            assert!(matches!(source.check_unchanged(), Err(Error::SourceChanged { .. })));
        }
    }

    #[test]
    fn a_file_that_is_written_to_is_noticed() {
        for change in ["grow", "overwrite"] {
            let mut file = file(1000);
            let source = Source::open(file.path(), IoMode::Auto).unwrap();
            if change == "overwrite" {
                std::os::unix::fs::FileExt::write_all_at(file.as_file(), b"x", 5).unwrap();
            } else {
                file.write_all(b"more").unwrap();
            }
            assert!(matches!(source.check_unchanged(), Err(Error::SourceChanged { .. })), "{change}");
        }
    }

    /// Their size is 0 and their content is not: a backup of nothing must not pass for one.
    #[test]
    fn files_of_the_kernel_are_not_taken_for_empty() {
        let source = Source::open("/proc/cpuinfo".as_ref(), IoMode::Auto).unwrap();
        assert!(matches!(source.check_unchanged(), Err(Error::SourceChanged { .. })));
    }

    #[test]
    fn what_is_not_a_file_is_refused_by_name() {
        for path in ["/", "/dev/null"] {
            assert!(
                matches!(Source::open(path.as_ref(), IoMode::Auto), Err(Error::NotAFile { .. })),
                "{path}"
            );
        }
        assert!(matches!(Source::open("/no/such".as_ref(), IoMode::Auto), Err(Error::Source { .. })));
    }
}
