//! The encoding pass: source → chunk → parity → block hashes → hands of the stores, once through.
//!
//! The reader fills one chunk while the one before is encoded. All of it runs on its own threads; `Bytes`
//! in bounded channels lead to the stores.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use blake3::{Hash, Hasher};
use bytes::Bytes;
use rayon::prelude::*;
use tanner_kernels::{Arena, BlockSet, Bound, Codec, Stores};

use crate::error::Error;
use crate::geometry::{Chunk, Geometry};
use crate::hash::PieceHasher;
use crate::pool::{Pool, Pooled};
use crate::resources::{Resources, Stop};
use crate::source::Source;
use crate::streams::Streams;

/// What a pass needs besides the source.
pub(crate) struct Pass<'a> {
    pub(crate) source: &'a Source,
    pub(crate) codec: &'a Codec,
    pub(crate) geometry: Geometry,
    pub(crate) resources: &'a Resources,
    pub(crate) stop: &'a Stop,
    /// Called with the source bytes of each chunk that is done.
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
    /// The blocks to make. Without parity among them nothing else is read.
    pub(crate) wanted: &'a BlockSet,
    /// Of blocks that were made before, how many bytes, and their hash.
    pub(crate) known: &'a BTreeMap<usize, (u64, Hash)>,
}

/// What a pass found out.
pub(crate) struct Hashes {
    /// Of every block, but true of the wanted ones only.
    pub(crate) blocks: Vec<Hash>,
    /// If all blocks were wanted.
    pub(crate) source: Option<Hash>,
}

/// A chunk whose data streams are filled.
struct Filled {
    chunk: Chunk,
    buffer: Pooled,
}

/// Steps in a chunk and buffers in a pool, as the memory allows.
struct Plan {
    bound: Bound,
    chunk_steps: u64,
    buffers: usize,
}

impl Pass<'_> {
    /// Runs the pass, on threads of its own.
    pub(crate) fn run(&self, streams: Streams) -> Result<Hashes, Error> {
        let plan = self.plan()?;
        let pool = Pool::new(&plan.bound, plan.buffers);
        let (filled, chunks) = sync_channel(1);
        thread::scope(|scope| {
            let (bound, chunk_steps) = (&plan.bound, plan.chunk_steps);
            let reader = thread::Builder::new().name("tanner-read".into());
            let reader = reader.spawn_scoped(scope, move || self.read(&pool, chunk_steps, &filled));
            let reader = reader.map_err(|source| Error::Threads { source })?;
            let hashes = self.resources.threads().install(move || self.encode(bound, chunks, streams));
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            self.source.check_unchanged()?;
            hashes
        })
    }

    fn plan(&self) -> Result<Plan, Error> {
        let profile = self.geometry.profile();
        let (unit, depth, tail) = (profile.unit(), profile.depth(), profile.tail());
        // Chunks begin at phase 0 and, where pieces are hashed, at whole KiB.
        let multiple = Geometry::chunk_multiple(self.codec.code().phases().len());
        let frame = usize::try_from(self.geometry.frame_steps_max()).expect("frames hold 32 bits");
        let wanted = CHUNK_STEPS_MAX.next_multiple_of(multiple).min(frame);
        // Symbols below a cache line occur in sources so small that one chunk takes them whole.
        let least = if unit == 64 { multiple.min(frame) } else { frame };
        let stream_bytes = |steps: usize| (depth + steps + tail) * unit;
        let needed = |steps, buffers| {
            let bytes = Arena::bytes_for(profile.blocks(), stream_bytes(steps)).map(|bytes| bytes * buffers);
            bytes.map_or(u64::MAX, |bytes| (bytes + profile.data() * depth * unit) as u64)
        };
        let allowed = self.resources.buffer_bytes(self.codec);
        let fewest = if least == frame && self.geometry.frame_count() <= 1 { 1 } else { BUFFERS_MIN };
        let Some(buffers) = (fewest..=BUFFERS_MAX).rev().find(|&buffers| needed(least, buffers) <= allowed)
        else {
            return Err(self.resources.too_little(self.codec, needed(least, fewest)));
        };
        let spare = allowed - needed(least, buffers);
        let more = usize::try_from(spare).unwrap_or(usize::MAX) / (profile.blocks() * buffers * unit);
        let steps = if least + more >= wanted { wanted } else { least + more / multiple * multiple };
        let bound = Bound::new(self.codec.encoder(), stream_bytes(steps), unit)
            .map_err(|_| self.resources.too_little(self.codec, u64::MAX))?;
        Ok(Plan { bound, chunk_steps: steps.max(1) as u64, buffers })
    }

    /// Fills chunk after chunk. Each source byte is read here, once.
    fn read(&self, pool: &Pool, chunk_steps: u64, filled: &SyncSender<Filled>) -> Result<(), Error> {
        let profile = self.geometry.profile();
        let (data, unit, depth) = (profile.data(), profile.unit(), profile.depth());
        let mut history = vec![0; data * depth * unit];
        let is_read = |block: &usize| self.makes_parity() || self.wanted.contains(*block);
        let ranges = |chunk: Chunk| {
            let first = chunk.frame.start + chunk.start;
            let blocks = (0..data).filter(is_read);
            blocks.map(move |block| self.geometry.data_steps(block, first..first + chunk.steps))
        };
        let mut reads = self.source.reads(self.geometry.chunks(chunk_steps).flat_map(ranges));
        for chunk in self.geometry.chunks(chunk_steps) {
            self.stop.check()?;
            let mut buffer = pool.take();
            if chunk.start == 0 {
                history.fill(0);
            }
            let steps = usize::try_from(chunk.steps).expect("a chunk is in memory");
            let streams = buffer.arena().streams_mut().take(data).enumerate();
            let streams = streams.filter(|(block, _)| is_read(block));
            for ((block, stream), range) in streams.zip(ranges(chunk)) {
                let (before, rest) = stream.split_at_mut(depth * unit);
                let (now, after) =
                    rest.split_at_mut(usize::try_from(range.end - range.start).expect("in memory"));
                reads.next(now)?;
                after.fill(0);
                // The next chunk looks back into this one by D symbols.
                if depth > 0 {
                    let history = &mut history[block * depth * unit..][..depth * unit];
                    before.copy_from_slice(history);
                    history.copy_from_slice(&stream[steps * unit..][..depth * unit]);
                }
            }
            if filled.send(Filled { chunk, buffer }).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn encode(&self, bound: &Bound, chunks: Receiver<Filled>, mut streams: Streams) -> Result<Hashes, Error> {
        let profile = self.geometry.profile();
        let (unit, depth) = (profile.unit(), profile.depth());
        let mut source = PieceHasher::new(self.geometry.source_bytes(), self.geometry.is_kib_aligned());
        let mut blocks = vec![Hasher::new(); profile.blocks()];
        let (mut done, steps_in_all) = (0, self.geometry.steps());

        for Filled { chunk, mut buffer } in chunks {
            let steps = usize::try_from(chunk.steps).expect("a chunk is in memory");
            let tail = if chunk.ends_frame() { profile.tail() } else { 0 };
            if self.makes_parity() {
                let threads = self.resources.thread_count();
                let parts = bound.split(buffer.arena(), depth, 0..steps + tail, threads, Stores::Cached);
                parts.into_par_iter().for_each(|part| part.run(self.resources.level()));
            }

            let buffer = buffer.freeze();
            let first = chunk.frame.start + chunk.start;
            let slices: Vec<(usize, Bytes, PieceHasher, bool)> = blocks
                .par_iter_mut()
                .enumerate()
                .filter(|(block, _)| self.wanted.contains(*block))
                .map(|(block, hasher)| {
                    let start = depth * unit;
                    let range = self.geometry.data_steps(block, first..first + chunk.steps);
                    let is_data = block < profile.data();
                    let bytes =
                        if is_data { range.end - range.start } else { ((steps + tail) * unit) as u64 };
                    let end = start + usize::try_from(bytes).expect("a chunk is in memory");
                    let slice = &buffer.stream(block)[start..end];
                    let is_known = update(hasher, slice, self.known.get(&block));
                    let mut branch = source.branch();
                    if is_data {
                        branch.add(range.start, slice);
                    }
                    (block, buffer.slice(block, start..end), branch, is_known)
                })
                .collect();
            let mut data_bytes = 0;
            if slices.iter().any(|&(.., is_known)| !is_known) {
                return Err(self.source.changed_before());
            }
            for (block, slice, branch, _) in slices {
                source.join(branch);
                data_bytes += if block < profile.data() { slice.len() as u64 } else { 0 };
                if !slice.is_empty() {
                    streams.send(self.stop, block, slice)?;
                }
            }
            (self.progress)(data_bytes);
            done += chunk.steps;
            streams.advance(1.0 - done as f64 / steps_in_all as f64);
            streams.checkpoint(self.stop, |block| (blocks[block].count(), blocks[block].finalize()))?;
        }
        // The reader ends early if it is told to.
        if self.stop.is_requested() {
            streams.checkpoint(self.stop, |block| (blocks[block].count(), blocks[block].finalize()))?;
        }
        self.stop.check()?;
        Ok(Hashes { blocks: blocks.iter().map(Hasher::finalize).collect(), source: source.finish() })
    }

    fn makes_parity(&self) -> bool {
        self.wanted.iter().any(|block| block >= self.geometry.profile().data())
    }
}

/// Hashes what comes next of a block; false if that makes known bytes different ones.
fn update(hasher: &mut Hasher, slice: &[u8], known: Option<&(u64, Hash)>) -> bool {
    let left = known.and_then(|(bytes, _)| bytes.checked_sub(hasher.count()));
    let left = left.and_then(|left| usize::try_from(left).ok()).filter(|&left| left <= slice.len());
    let (Some(left), Some((_, hash))) = (left, known) else {
        hasher.update(slice);
        return true;
    };
    let is_known = hasher.update(&slice[..left]).finalize() == *hash;
    hasher.update(&slice[left..]);
    is_known
}

/// 128 KiB of each block: enough for one write, little enough that a chunk is still in the caches when it is written.
const CHUNK_STEPS_MAX: usize = 2048;
/// One that is read, one encoded, and the rest in the hands of the stores.
const BUFFERS_MAX: usize = 4;
const BUFFERS_MIN: usize = 2;
