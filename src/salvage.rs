//! Some of a backup: a range of its bytes, or as much as can still be had of it.
//!
//! A block is right as a whole or not at all, so what is given out is whole blocks or parts of such as verified: data
//! blocks as they lie in their stores, and lost ones as far as the others determine them. The rest is holes, and said to
//! be so.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate};
use tanner_kernels::{BlockSet, RepairPlan};
use tokio::runtime::Handle;

use crate::error::Error;
use crate::fetch::{Damage, DamageKind, Found};
use crate::parallel;
use crate::progress::Progress;
use crate::rebuild::{Rebuild, Sources};
use crate::resources::{Resources, Stop};
use crate::staged::Staged;
use crate::streams::{Item, queue};
use crate::verify::{copies_in, read_copies};

/// What of a backup is wanted, and where it is to go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Salvage {
    /// Bytes of the source.
    pub range: Range<u64>,
    /// The file to write.
    pub path: PathBuf,
    /// Its name if bytes are missing; none if it is not to be written then.
    pub partial_path: Option<PathBuf>,
    /// Whether a file of that name is replaced.
    pub replace: bool,
}

/// What could be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Salvaged {
    /// The file that was written.
    pub path: PathBuf,
    /// Bytes of the source that are missing: holes in the file, where its begin is that of the range.
    pub missing: Vec<Range<u64>>,
    /// Data blocks that were computed.
    pub computed: Vec<usize>,
    /// Copies of blocks that could not be used.
    pub damages: Vec<Damage>,
    /// Bytes that were read.
    pub bytes_read: u64,
}

/// Restores a range of a backup, or what is left of it.
///
/// # Errors
/// If it is encrypted and was not [unlocked](Found::unlock), the file exists and may not be replaced or cannot be written,
/// or bytes are missing and there is no name for such a file. Nothing is left under any name then.
pub async fn salvage(
    found: Found,
    wanted: Salvage,
    resources: &Arc<Resources>,
    stop: &Stop,
    progress: &Arc<Progress>,
) -> Result<Salvaged, Error> {
    found.check_opened()?;
    let bytes = wanted.range.end - wanted.range.start;
    progress.start(bytes);
    let (resources, stop, progress) = (Arc::clone(resources), stop.clone(), Arc::clone(progress));
    let io = Handle::current();
    let run = move || {
        let id = found.manifest.id;
        let mut staged = Staged::for_restore(wanted.path.clone(), wanted.replace, id, bytes, false)?;
        if let Some(partial) = &wanted.partial_path {
            Staged::check(partial, wanted.replace)?;
        }
        let pass = Pass {
            output: Output {
                file: Arc::clone(&staged.scratch.file),
                range: wanted.range.clone(),
                found: &found,
            },
            bytes_read: Arc::default(),
            found: &found,
            resources: &resources,
            stop: &stop,
            progress: &progress,
            io: &io,
        };
        let mut salvaged = pass.run(wanted.partial_path.is_some())?;
        if let Some(partial) = wanted.partial_path.filter(|_| !salvaged.missing.is_empty()) {
            salvaged.path.clone_from(&partial);
            staged.rename(partial)?;
        } else {
            salvaged.path = wanted.path;
        }
        staged.publish()?;
        Ok(salvaged)
    };
    parallel::blocking(run).await
}

/// The staged file, which begins where the range does.
#[derive(Clone)]
struct Output<'a> {
    file: Arc<File>,
    range: Range<u64>,
    found: &'a Found,
}

impl Output<'_> {
    /// The bytes of a data block that are wanted, by their places in the source.
    fn of_block(&self, block: usize) -> impl Iterator<Item = Range<u64>> + use<> {
        let wanted = self.range.clone();
        let all = self.found.manifest.geometry.source_ranges(block, 0..u64::MAX);
        all.map(move |of| of.start.max(wanted.start)..of.end.min(wanted.end)).filter(|of| !of.is_empty())
    }

    /// Writes what is wanted of a piece of a data block, decrypted. How many bytes that was.
    fn write(&self, block: usize, offset: u64, piece: &[u8]) -> Result<u64, Error> {
        let (mut rest, mut written) = (piece, 0);
        let of_piece = offset..offset + piece.len() as u64;
        for range in self.found.manifest.geometry.source_ranges(block, of_piece) {
            let place = |at: u64| usize::try_from(at - range.start).expect("within the piece");
            let (now, after) = rest.split_at(place(range.end));
            rest = after;
            let (from, to) = (range.start.max(self.range.start), range.end.min(self.range.end));
            if from < to {
                let mut bytes = now[place(from)..place(to)].to_vec();
                self.found.cipher().iter().for_each(|cipher| cipher.apply(from, &mut bytes));
                let done = self.file.write_all_at(&bytes, from - self.range.start);
                done.map_err(|source| self.failed(source))?;
                written += to - from;
            }
        }
        Ok(written)
    }

    /// Takes back what was written of a block that turned out wrong.
    fn clear(&self, block: usize) -> Result<(), Error> {
        self.of_block(block).try_for_each(|range| self.clear_range(&range))
    }

    fn clear_range(&self, range: &Range<u64>) -> Result<(), Error> {
        let (mut at, end) = (range.start - self.range.start, range.end - self.range.start);
        let holes = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(&self.file, holes, at, end - at).is_ok() {
            return Ok(());
        }
        // Where the file system has no holes there are zeros.
        let zeros = vec![0; ZEROS_BYTES];
        while at < end {
            let count = usize::try_from(end - at).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
            self.file.write_all_at(&zeros[..count], at).map_err(|source| self.failed(source))?;
            at += count as u64;
        }
        Ok(())
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::Staged { id: self.found.manifest.id, source }
    }
}

struct Pass<'a> {
    output: Output<'a>,
    bytes_read: Arc<AtomicU64>,
    found: &'a Found,
    resources: &'a Arc<Resources>,
    stop: &'a Stop,
    progress: &'a Arc<Progress>,
    io: &'a Handle,
}

impl Pass<'_> {
    fn run(&self, is_partial: bool) -> Result<Salvaged, Error> {
        let (found, blocks) = (self.found, self.found.manifest.hashes.len());
        let (mut held, mut damages) = (found.listed.clone(), Vec::new());
        let mut lost = self.copy(&mut held, &mut damages)?;
        let mut computed = BlockSet::none(blocks);
        for is_known in [false, true] {
            let wanted = if is_partial { self.determined(&held, &lost) } else { lost.clone() };
            if wanted.is_empty() {
                break;
            }
            if self.compute(&held, &wanted, &damages)? {
                computed = wanted;
                break;
            }
            wanted.iter().try_for_each(|block| self.output.clear(block))?;
            if is_known {
                let what = format!("backup {}: a block that was rebuilt", found.manifest.id);
                return Err(Error::WrongHash { what });
            }
            // Something that was read is not what it was taken for: look at all there is.
            self.look(&mut held, &mut damages)?;
        }
        computed.iter().for_each(|block| lost.remove(block));
        let mut missing: Vec<Range<u64>> = Vec::new();
        lost.iter().try_for_each(|block| self.output.clear(block))?;
        let mut ranges: Vec<Range<u64>> = lost.iter().flat_map(|block| self.output.of_block(block)).collect();
        ranges.sort_by_key(|range| range.start);
        for range in ranges {
            match missing.last_mut().filter(|last| last.end == range.start) {
                Some(last) => last.end = range.end,
                None => missing.push(range),
            }
        }
        damages.sort_by_key(|damage| damage.block);
        let (bytes_read, path) = (self.bytes_read.load(Ordering::Relaxed), PathBuf::new());
        Ok(Salvaged { path, missing, computed: computed.iter().collect(), damages, bytes_read })
    }

    /// Copies the data blocks that there are, and returns those that there are not.
    fn copy(&self, held: &mut [BlockSet], damages: &mut Vec<Damage>) -> Result<BlockSet, Error> {
        let (found, data) = (self.found, self.found.manifest.geometry.profile().data());
        let mut lost = BlockSet::none(found.manifest.hashes.len());
        let blocks = (0..data).filter(|&block| self.output.of_block(block).next().is_some());
        let copy = |(): &mut (), block: usize| -> Result<_, Error> {
            let mut wrong = Vec::new();
            for store in (0..found.stores.len()).filter(|&store| found.listed[store].contains(block)) {
                let mut sink = |offset: u64, piece: &[u8]| {
                    self.bytes_read.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    self.progress.advance(self.output.write(block, offset, piece)?);
                    self.stop.check()
                };
                match found.fetch_from(block, store, self.io, &mut sink)? {
                    None => return Ok((block, true, wrong)),
                    Some(kind) => wrong.push((store, kind)),
                }
                self.output.clear(block)?;
            }
            Ok((block, false, wrong))
        };
        let take = |(block, is_there, wrong): (usize, bool, Vec<(usize, DamageKind)>)| {
            for (store, kind) in wrong {
                held[store].remove(block);
                damages.push(found.damage(block, store, kind));
            }
            if !is_there {
                lost.insert(block);
            }
        };
        parallel::each(blocks, COPIERS, || Ok(()), copy, take)?;
        Ok(lost)
    }

    /// Those of the lost blocks that the others determine, each by itself.
    fn determined(&self, held: &[BlockSet], lost: &BlockSet) -> BlockSet {
        if lost.is_empty() || Sources::choose(self.found, held, lost).is_ok() {
            return lost.clone();
        }
        let good = self.found.live_of(held);
        let mut determined = BlockSet::none(lost.blocks());
        for block in lost.iter().take(TRIES_MAX) {
            let mut alone = BlockSet::none(lost.blocks());
            alone.insert(block);
            if RepairPlan::new(self.found.codec.code(), &good, &alone).is_ok() {
                determined.insert(block);
            }
        }
        determined
    }

    /// Computes lost blocks into their places; whether they are right.
    fn compute(&self, held: &[BlockSet], wanted: &BlockSet, damages: &[Damage]) -> Result<bool, Error> {
        let found = self.found;
        let sources = Sources::choose(found, held, wanted)
            .map_err(|_| found.not_recoverable(found.live_of(held).len(), damages.to_vec()))?;
        let (sinks, ends): (Vec<_>, Vec<_>) = wanted
            .iter()
            .map(|block| {
                let (sink, items) = queue();
                ((block, sink), (block, items))
            })
            .unzip();
        let rebuild = Rebuild {
            found: found.clone(),
            held: held.to_vec(),
            sources: Some(Arc::new(sources)),
            sinks,
            resources: Arc::clone(self.resources),
            stop: self.stop.clone(),
            progress: Arc::clone(self.progress),
            io: self.io.clone(),
            bytes_read: Arc::clone(&self.bytes_read),
        };
        // Whatever ends this, the queues of the rebuild end before the writers are waited for.
        std::thread::scope(move |scope| {
            let write = |(block, mut items): (usize, tokio::sync::mpsc::Receiver<Item>)| {
                let mut offset = 0;
                while let Some(item) = items.blocking_recv() {
                    let Item::Bytes(bytes) = item else { continue };
                    self.output.write(block, offset, &bytes)?;
                    offset += bytes.len() as u64;
                }
                Ok::<_, Error>(())
            };
            let start = |end| {
                let thread = std::thread::Builder::new().name("tanner-write".into());
                thread.spawn_scoped(scope, move || write(end)).map_err(|source| Error::Threads { source })
            };
            let writers = ends.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
            let wrong = rebuild.run();
            drop(rebuild);
            for writer in writers {
                writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            Ok(wrong?.is_none())
        })
    }

    /// Reads and checks all that was not found wrong yet.
    fn look(&self, held: &mut [BlockSet], damages: &mut Vec<Damage>) -> Result<(), Error> {
        let copies = copies_in(held);
        let counted = Progress::default();
        let copies = copies.into_iter().map(|(block, store)| (self.found, block, store));
        read_copies(copies, false, self.io, self.stop, &counted, |found, block, store, read| {
            if let Err(kind) = read {
                held[store].remove(block);
                damages.push(found.damage(block, store, kind));
            }
        })?;
        self.bytes_read.fetch_add(counted.get().0, Ordering::Relaxed);
        Ok(())
    }
}

/// Blocks that are read at a time.
const COPIERS: usize = 4;
/// Lost blocks that are tried one by one: each takes the time of a plan.
const TRIES_MAX: usize = 256;
const ZEROS_BYTES: usize = 1 << 20;
