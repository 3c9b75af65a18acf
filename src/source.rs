//! Sources: files that are read once, into private memory, and must not change meanwhile.
//!
//! All readers let the kernel do the copy: `pread`, `process_vm_readv` out of a mapping, or io_uring. So a file that
//! shrinks under the reader is an error code here and never a signal, and no byte is seen twice.
#![expect(unsafe_code, reason = "maps files")]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use tanner_transports::ring::ReadQueue;

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
    /// Many reads at a time through io_uring, for files that are not in memory yet; falls back to pread where that
    /// cannot be had.
    Uring,
}

/// An open source file.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: Arc<File>,
    stamp: Stamp,
    mapping: Option<memmap2::Mmap>,
    /// Set where io_uring is to be used. A ring that is in use is not in here.
    ring: Option<Mutex<Option<ReadQueue>>>,
    /// Why there is none where it was to be used.
    ring_refusal: Option<String>,
    held_bytes: u64,
}

/// Ranges of a source, read in the order in which they were announced.
pub(crate) struct Reads<'a, R> {
    source: &'a Source,
    ranges: R,
    /// Those that are under way, and the ring that is on it.
    ahead: VecDeque<Range<u64>>,
    ring: Option<ReadQueue>,
    free: Vec<Vec<u8>>,
}

/// What tells a changed file from an unchanged one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
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
        let file = Arc::new(file);
        let ring = (io == IoMode::Uring).then(|| ReadQueue::new(file.clone(), AHEAD_READS)).transpose();
        let (ring, ring_refusal) = match ring {
            Ok(ring) => (ring.map(|ring| Mutex::new(Some(ring))), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Ok(Self { path: path.to_owned(), file, stamp, mapping, ring, ring_refusal, held_bytes: 0 })
    }

    /// What is held in memory, as a file of this name.
    ///
    /// # Errors
    /// If the system has no memory for it.
    pub(crate) fn held(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Source { path: name.into(), source };
        let file = in_memory().map_err(failed)?;
        file.write_all_at(bytes, 0).map_err(failed)?;
        let stamp = Stamp::new(&file.metadata().map_err(failed)?);
        let (path, file) = (name.into(), Arc::new(file));
        let held_bytes = stamp.bytes;
        Ok(Self { path, file, stamp, mapping: None, ring: None, ring_refusal: None, held_bytes })
    }

    /// Bytes of memory that it takes.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes
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

    /// What tells it from a file that was changed between two runs: size, inode, and when it was modified. Not the device,
    /// whose number may be another after the next start of the machine.
    pub(crate) fn stamp(&self) -> [i64; 4] {
        let Stamp { bytes, inode: (_, inode), modified, .. } = self.stamp;
        [bytes.cast_signed(), inode.cast_signed(), modified.0, modified.1]
    }

    /// Which reader is in use.
    #[must_use]
    pub fn reader(&self) -> &'static str {
        match (&self.ring, &self.mapping) {
            (Some(_), _) => "uring",
            (None, Some(_)) => "mmap",
            (None, None) => "pread",
        }
    }

    /// Why the reader that was asked for could not be had, if so.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.ring_refusal.as_deref()
    }

    /// Announces ranges, which [`Reads::next`] then reads in this order. Without a ring that is when it is called; with
    /// one, the ranges that follow are read meanwhile.
    pub(crate) fn reads<R: Iterator<Item = Range<u64>>>(&self, ranges: R) -> Reads<'_, R> {
        let take =
            |ring: &Mutex<Option<ReadQueue>>| ring.lock().unwrap_or_else(PoisonError::into_inner).take();
        Reads {
            source: self,
            ranges,
            ahead: VecDeque::new(),
            ring: self.ring.as_ref().and_then(take),
            free: Vec::new(),
        }
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
            io::ErrorKind::UnexpectedEof => self.changed(SHORTER),
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
        if let Some(how) = self.stamp.change_to(&now) {
            return Err(self.changed(how));
        }
        // Files of the kernel's own say that they are empty and are not.
        match self.file.read_at(&mut [0], now.bytes).map_err(failed)? {
            0 => Ok(()),
            _ => Err(self.changed("it has more bytes than its size says")),
        }
    }

    /// A second reading gave other bytes than the first.
    pub(crate) fn changed_meanwhile(&self) -> Error {
        self.changed("it reads differently now")
    }

    /// The error for a source whose bytes are not those of an earlier run.
    pub(crate) fn changed_before(&self) -> Error {
        self.changed("its bytes are not those that were read before")
    }

    fn changed(&self, how: &'static str) -> Error {
        Error::SourceChanged { path: self.path.clone(), how }
    }
}

impl<R: Iterator<Item = Range<u64>>> Reads<'_, R> {
    /// Fills `into` with the next range, whose length it has.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub(crate) fn next(&mut self, into: &mut [u8]) -> Result<(), Error> {
        let Some(ring) = &mut self.ring else {
            let range = self.ranges.next().expect(ANNOUNCED);
            debug_assert_eq!(range.end - range.start, into.len() as u64);
            return self.source.read(range.start, into);
        };
        let mut bytes_ahead: u64 = self.ahead.iter().map(|range| range.end - range.start).sum();
        while self.ahead.is_empty() || (self.ahead.len() < AHEAD_READS as usize && bytes_ahead < AHEAD_BYTES)
        {
            let Some(range) = self.ranges.next() else { break };
            let bytes = range.end - range.start;
            let mut buffer = self.free.pop().unwrap_or_default();
            buffer.resize(usize::try_from(bytes).expect("a chunk is in memory"), 0);
            ring.push(range.start, buffer);
            bytes_ahead += bytes;
            self.ahead.push_back(range);
        }
        let range = self.ahead.pop_front().expect(ANNOUNCED);
        debug_assert_eq!(range.end - range.start, into.len() as u64);
        let failed = |source| Error::Source { path: self.source.path.clone(), source };
        let bytes = match ring.pop().expect(ANNOUNCED) {
            // At a limit of tasks the kernel may have no thread for it, and gives it back untouched.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::CANCELED) => {
                return self.source.read(range.start, into);
            }
            bytes => bytes.map_err(failed)?,
        };
        if bytes.len() < into.len() {
            return Err(self.source.changed(SHORTER));
        }
        into.copy_from_slice(&bytes);
        self.free.push(bytes);
        Ok(())
    }
}

impl Stamp {
    pub(crate) fn new(metadata: &std::fs::Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            inode: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// What was changed since, if anything was.
    pub(crate) fn change_to(&self, now: &Self) -> Option<&'static str> {
        match () {
            () if now == self => None,
            () if now.bytes < self.bytes => Some(SHORTER),
            () if now.bytes > self.bytes => Some("it became longer"),
            () if now.modified != self.modified => Some("it was written to"),
            () => Some("its name, links or permissions were changed"),
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

/// A file that is nowhere but in memory.
#[cfg(target_os = "linux")]
fn in_memory() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};

    Ok(memfd_create("tanner", MemfdFlags::CLOEXEC)?.into())
}

#[cfg(not(target_os = "linux"))]
fn in_memory() -> io::Result<File> {
    tempfile::tempfile()
}

const SHORTER: &str = "it became shorter";
const ANNOUNCED: &str = "only announced ranges are asked for";
/// Reads under way at a time.
const AHEAD_READS: u32 = 64;
/// Bytes under way at a time, about, and so the memory of a reader with a ring. Part of what is set aside for everything
/// that is no chunk buffer.
const AHEAD_BYTES: u64 = 4 << 20;

/// A huge page, the most that one fault maps.
const MAPPED_AROUND: usize = 2 << 20;

#[cfg(not(target_os = "linux"))]
fn copy_out(_mapping: &memmap2::Mmap, _offset: u64, _into: &mut [u8]) -> nix::Result<usize> {
    Err(nix::Error::ENOSYS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

    use super::{IoMode, Source};
    use crate::error::Error;

    fn file(bytes: usize) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&(0..bytes).map(|i| (i % 251) as u8).collect::<Vec<_>>()).unwrap();
        file
    }

    /// Others may have theirs meanwhile, so that only the source knows.
    #[test]
    fn a_reader_that_is_refused_a_ring_of_its_own_says_why_and_reads_without() {
        let file = file(100_000);
        let filter = SeccompFilter::new(
            BTreeMap::from([(nix::libc::SYS_io_uring_setup, vec![])]),
            SeccompAction::Allow,
            SeccompAction::Errno(nix::libc::ENOMEM.unsigned_abs()),
            std::env::consts::ARCH.try_into().unwrap(),
        );
        let filter: BpfProgram = filter.unwrap().try_into().unwrap();
        let refused = std::thread::spawn(move || {
            seccompiler::apply_filter(&filter).unwrap();
            let source = Source::open(file.path(), IoMode::Uring).unwrap();
            let mut read = vec![0; 1000];
            source.reads(std::iter::once(251..1251)).next(&mut read).unwrap();
            assert!(read.iter().zip(0..).all(|(byte, i)| *byte == (i % 251) as u8));
            assert!(Source::open(file.path(), IoMode::Pread).unwrap().refusal().is_none());
            (source.reader(), source.refusal().unwrap().to_owned())
        });
        let (reader, why) = refused.join().unwrap();
        assert_eq!(reader, "pread");
        assert!(why.contains("memory"), "{why}");
    }

    #[test]
    fn all_readers_give_the_same_bytes() {
        let file = file(100_000);
        let uring = if tanner_transports::ring::refusal().is_none() { "uring" } else { "pread" };
        let rows = [
            (IoMode::Auto, "pread"),
            (IoMode::Pread, "pread"),
            (IoMode::Mmap, "mmap"),
            (IoMode::Uring, uring),
        ];
        for (io, reader) in rows {
            let source = Source::open(file.path(), io).unwrap();
            assert_eq!(source.reader(), reader);
            let ranges =
                [0..100_000, 1..4098, 99_999..100_000, 4096..12_288, 50_000..50_000, 99_990..100_000];
            let mut reads = source.reads(ranges.clone().into_iter());
            for range in ranges {
                let (offset, mut into) = (range.start, vec![0; (range.end - range.start) as usize]);
                reads.next(&mut into).unwrap();
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
        for io in [IoMode::Pread, IoMode::Mmap, IoMode::Uring] {
            let file = file(16 << 20);
            let source = Source::open(file.path(), io).unwrap();
            let mut reads = source.reads((0..2).map(|half| half << 23..(half + 1) << 23));
            let mut into = vec![0; 8 << 20];
            reads.next(&mut into).unwrap();
            file.as_file().set_len(1000).unwrap();
            let error = reads.next(&mut into).unwrap_err();
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
