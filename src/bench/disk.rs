//! Directories as the disk store uses them: staged, synced, renamed; and read back from the disk, not from memory.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use rustix::fs::{Advice, OFlags};
use tanner_transports::{Disk, DiskIo, ObjectName, Transport, ring};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::recorder::Recorder;
use super::report::{DirectoryFacts, Kind, Subject};
use super::{fill, verified};
use crate::error::Error;
use crate::parallel::blocking;
use crate::resources::Stop;

/// What to measure.
pub(crate) struct Run {
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) bytes: u64,
    pub(crate) rounds: usize,
    pub(crate) io: DiskIo,
}

impl Run {
    /// Measures each directory alone, and all of them at a time.
    ///
    /// # Errors
    /// If a directory is not there or has no room, or what is read back is not what was written.
    pub(crate) async fn run(&self, recorder: &mut Recorder) -> Result<(), Error> {
        check_room(&self.directories, self.bytes)?;
        for directory in &self.directories {
            let facts = facts(directory)?;
            if facts.in_memory {
                recorder.report.note(format!("{} is in memory: no disk was measured there", facts.path));
            } else if !facts.direct {
                recorder.report.note(format!("{} cannot be read past the page cache (O_DIRECT)", facts.path));
            }
            recorder.report.directories.push(facts);
        }
        if let Some(why) = ring::refusal().filter(|_| self.io == DiskIo::Auto) {
            recorder.report.note(format!("positioned I/O was measured, as io_uring cannot be used: {why}"));
        }
        let places = self.directories.iter().map(|directory| Place::new(directory, self.io));
        let places: Vec<Place> = places.collect::<Result<_, _>>()?;
        let pattern = pattern(self.bytes);
        let together = if places.len() > 1 { 2 } else { 1 };
        let times = (self.rounds * places.len() * together * 2) as u64;
        recorder.progress().start(times.saturating_mul(self.bytes));
        for _ in 0..self.rounds {
            recorder.next_round();
            for place in &places {
                self.measure(recorder, std::slice::from_ref(place), &place.path, &pattern).await?;
            }
            if places.len() > 1 {
                self.measure(recorder, &places, ALL, &pattern).await?;
            }
        }
        Ok(())
    }

    /// Writes to all these places at a time, then reads back from all.
    async fn measure(
        &self,
        recorder: &mut Recorder,
        places: &[Place],
        name: &str,
        pattern: &Bytes,
    ) -> Result<(), Error> {
        let bytes = self.bytes * places.len() as u64;
        for (job, work) in [(WRITE, Job::Write), (READ, Job::Read)] {
            recorder.stop().check()?;
            let mut jobs = JoinSet::new();
            let began = Instant::now();
            for place in places {
                let (transport, at) = (place.transport.clone(), place.object());
                let (stop, length, pattern) = (recorder.stop().clone(), self.bytes, pattern.clone());
                jobs.spawn(async move {
                    match work {
                        Job::Write => write(&transport, length, &pattern, &stop).await,
                        Job::Read => read(&transport, &at, length, &pattern, &stop).await,
                    }
                });
            }
            while let Some(done) = jobs.join_next().await {
                done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            }
            recorder.add(&subject(name, job, places.len()), bytes, began.elapsed().as_secs_f64());
            recorder.progress().advance(bytes);
            if matches!(work, Job::Write) {
                for place in places {
                    let path = place.object();
                    blocking(move || forget(&path)).await?;
                }
            }
        }
        for place in places {
            place.transport.delete(&object_name()).await?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Job {
    Write,
    Read,
}

/// A store of our own in a directory; gone when dropped.
struct Place {
    path: String,
    transport: Disk,
    root: TempDir,
}

impl Place {
    fn new(directory: &Path, io: DiskIo) -> Result<Self, Error> {
        let root = scratch(directory)?;
        let transport = Disk::open(root.path())?.with_io(io)?;
        Ok(Self { path: directory.display().to_string(), transport, root })
    }

    fn object(&self) -> PathBuf {
        self.root.path().join(object_name().to_string())
    }
}

/// A directory of our own that goes when it is dropped.
pub(super) fn scratch(directory: &Path) -> Result<TempDir, Error> {
    let made = tempfile::Builder::new().prefix(".tanner-bench-").tempdir_in(directory);
    made.map_err(|source| Error::Output { path: directory.to_owned(), source })
}

/// Refuses directories that are not there, and more bytes than they have room for. Directories of one file system
/// share its room.
pub(super) fn check_room(directories: &[PathBuf], bytes: u64) -> Result<(), Error> {
    let mut wanted: Vec<(u64, u64)> = Vec::new();
    for directory in directories {
        let failed = |source| Error::Source { path: directory.clone(), source };
        let metadata = match directory.metadata() {
            Ok(metadata) if metadata.is_dir() => metadata,
            Ok(_) => return Err(Error::BenchDirectory { path: directory.clone() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::BenchDirectory { path: directory.clone() });
            }
            Err(error) => return Err(failed(error)),
        };
        let before = wanted.iter().filter(|(device, _)| *device == metadata.dev()).map(|(_, bytes)| bytes);
        let needed = before.sum::<u64>().saturating_add(bytes);
        let free = free_bytes(directory).map_err(failed)?;
        if needed > free {
            return Err(Error::BenchRoom { path: directory.clone(), needed, free });
        }
        wanted.push((metadata.dev(), bytes));
    }
    Ok(())
}

fn free_bytes(directory: &Path) -> std::io::Result<u64> {
    let room = rustix::fs::statvfs(directory)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

fn facts(directory: &Path) -> Result<DirectoryFacts, Error> {
    let failed = |source: std::io::Error| Error::Output { path: directory.to_owned(), source };
    let probe = tempfile::Builder::new().prefix(".tanner-bench-").tempfile_in(directory).map_err(failed)?;
    let flags = i32::try_from(OFlags::DIRECT.bits()).expect("flags are small");
    let direct = OpenOptions::new().read(true).custom_flags(flags).open(probe.path()).is_ok();
    let kind = rustix::fs::statfs(directory).map_err(|error| failed(error.into()))?.f_type;
    Ok(DirectoryFacts {
        path: directory.display().to_string(),
        free_bytes: free_bytes(directory).map_err(failed)?,
        direct,
        in_memory: u64::try_from(kind).is_ok_and(|kind| [TMPFS, RAMFS].contains(&kind)),
    })
}

async fn write(transport: &Disk, length: u64, pattern: &Bytes, stop: &Stop) -> Result<(), Error> {
    let mut put = transport.put(&object_name(), Some(length)).await?;
    let mut left = length;
    while left > 0 {
        if let Err(stopped) = stop.check() {
            put.abandon().await?;
            return Err(stopped);
        }
        let piece = left.min(pattern.len() as u64);
        put.write(pattern.slice(..usize::try_from(piece).expect("no longer than the pattern"))).await?;
        left -= piece;
    }
    Ok(put.commit().await?)
}

async fn read(transport: &Disk, at: &Path, length: u64, pattern: &Bytes, stop: &Stop) -> Result<(), Error> {
    let mut pieces = transport.get(&object_name(), 0..length).await?;
    let (mut right, mut offset) = (true, 0);
    while let Some(piece) = pieces.next().await {
        stop.check()?;
        let mut piece = piece?;
        while !piece.is_empty() {
            let wanted = &pattern[offset % pattern.len()..];
            let part = piece.split_to(wanted.len().min(piece.len()));
            right &= part == wanted[..part.len()];
            offset += part.len();
        }
    }
    verified(right && offset as u64 == length, || format!("reading back {}", at.display()))
}

/// Drops a file from the page cache, so that it is read from the disk. It was synced, so all of it can go.
fn forget(path: &Path) -> Result<(), Error> {
    let dropped = File::open(path).and_then(|file| Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?));
    dropped.map_err(|source| Error::Source { path: path.to_owned(), source })
}

fn pattern(bytes: u64) -> Bytes {
    let mut pattern = vec![0; usize::try_from(bytes).map_or(PATTERN_BYTES, |bytes| bytes.min(PATTERN_BYTES))];
    fill(&mut pattern, 0);
    pattern.into()
}

fn object_name() -> ObjectName {
    ObjectName::new("bench/0").expect("two words are a name")
}

fn subject(name: &str, job: &str, threads: usize) -> Subject {
    Subject::new(Kind::Disk, format!("{job} {name}"), threads)
}

const WRITE: &str = "write";
const READ: &str = "read";
pub(super) const ALL: &str = "all at a time";
/// Longer than what disks and file systems look back to find repetitions.
const PATTERN_BYTES: usize = 4 << 20;
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
