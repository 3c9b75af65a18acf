//! The encoding pass: source → chunk → (cipher) → parity → block hashes → hands of the stores, once through.
//!
//! The reader fills one chunk while the one before is encoded. All of it runs on its own threads; `Bytes`
//! in bounded channels lead to the stores.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use blake3::{Hash, Hasher};
use bytes::Bytes;
use rayon::prelude::*;
use tanner_kernels::{Arena, BlockSet, Stores};

use crate::chunking::Chunking;
use crate::encrypter::Encrypter;
use crate::error::Error;
use crate::geometry::{Chunk, Geometry};
use crate::hash::PieceHasher;
use crate::input::{Input, Origin};
use crate::pool::{Pool, Pooled};
use crate::resources::{Resources, Stop};
use crate::source::Source;
use crate::stream::Stream;
use crate::streams::Streams;
use crate::tags::TAG_BYTES;

/// What a pass needs besides the source.
pub(crate) struct Pass<'a> {
    pub(crate) source: &'a Input,
    /// What turns the source into what is stored; none if that is the source itself.
    pub(crate) encrypter: Option<&'a Encrypter>,
    pub(crate) chunking: &'a Chunking,
    /// Of a stream, as if it had no end.
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
    /// If all data blocks were hashed.
    pub(crate) source: Option<Hash>,
    /// Of all there was.
    pub(crate) geometry: Geometry,
}

/// A chunk whose data streams are filled.
struct Filled {
    chunk: Chunk,
    /// As far as it is known: that of a stream is another once its end was seen.
    geometry: Geometry,
    buffer: Pooled,
}

impl Pass<'_> {
    /// Runs the pass, on threads of its own.
    pub(crate) fn run(&self, streams: Streams) -> Result<Hashes, Error> {
        let pool = Pool::new(&self.chunking.bound, self.chunking.buffers);
        let (filled, chunks) = sync_channel(1);
        thread::scope(|scope| {
            let reader = thread::Builder::new().name("tanner-read".into());
            let read = move || match &self.source.origin {
                Origin::File(source) => self.read(source, &pool, &filled),
                Origin::Stream(stream, _) => {
                    let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                    self.read_stream(&mut stream, &pool, &filled)
                }
            };
            let reader = reader.spawn_scoped(scope, read);
            let reader = reader.map_err(|source| Error::Threads { source })?;
            let hashes = self.resources.threads().install(move || self.encode(chunks, streams));
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            self.source.file().map_or(Ok(()), Source::check_unchanged)?;
            hashes
        })
    }

    /// Fills chunk after chunk. Each source byte is read here, once.
    fn read(&self, source: &Source, pool: &Pool, filled: &SyncSender<Filled>) -> Result<(), Error> {
        let (geometry, chunk_steps) = (self.geometry, self.chunking.chunk_steps);
        let profile = self.geometry.profile();
        let (data, unit, depth) = (profile.data(), profile.unit(), profile.depth());
        let is_read = |block: &usize| self.is_read(*block);
        let ranges = |chunk: Chunk| {
            let first = chunk.frame.start + chunk.start;
            let blocks = (0..data).filter(is_read);
            blocks.map(move |block| self.geometry.data_steps(block, first..first + chunk.steps))
        };
        let mut reads = source.reads(self.geometry.chunks(chunk_steps).flat_map(ranges));
        for chunk in self.geometry.chunks(chunk_steps) {
            self.stop.check()?;
            let mut buffer = pool.take();
            let streams = buffer.arena().streams_mut().take(data).enumerate();
            let streams = streams.filter(|(block, _)| is_read(block));
            for ((_, stream), range) in streams.zip(ranges(chunk)) {
                let bytes = usize::try_from(range.end - range.start).expect("in memory");
                let (now, after) = stream[depth * unit..].split_at_mut(bytes);
                reads.next(now)?;
                after.fill(0);
            }
            if filled.send(Filled { chunk, geometry, buffer }).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Fills chunk after chunk with the rows of a stream, until that ends: then the last row is laid out anew, as long as
    /// it is.
    fn read_stream(
        &self,
        stream: &mut Stream,
        pool: &Pool,
        filled: &SyncSender<Filled>,
    ) -> Result<(), Error> {
        let (profile, row_steps) = (self.geometry.profile(), self.chunking.chunk_steps);
        let (data, start) = (profile.data(), profile.depth() * profile.unit());
        let (part, mut end) = (usize::try_from(row_steps).expect("in memory") * profile.unit(), 0);
        for chunk in self.geometry.chunks(row_steps) {
            let mut buffer = pool.take();
            let mut row_bytes = 0;
            for into in buffer.arena().streams_mut().take(data) {
                let (now, after) = into[start..].split_at_mut(part);
                row_bytes += stream.fill(now, self.stop)?;
                after.fill(0);
            }
            end += row_bytes as u64;
            let ends = row_bytes < data * part || stream.is_at_end(self.stop)?;
            let (mut chunk, mut geometry) = (chunk, self.geometry);
            if ends {
                geometry = Geometry::striped(*profile, self.row_steps(), end);
                let frame = geometry.frame(chunk.frame.index);
                chunk = Chunk { frame, steps: frame.steps - chunk.start, ..chunk };
                lay_out(buffer.arena(), &geometry, chunk, row_bytes);
            }
            if filled.send(Filled { chunk, geometry, buffer }).is_err() {
                return Ok(());
            }
            if ends {
                return stream.end(self.stop);
            }
        }
        Err(Error::StreamTooLarge { name: stream.name().to_owned() })
    }

    /// Makes of the bytes of a source those that are coded: hashed for the source, held against what was read before, then
    /// encrypted, and behind what came before them.
    fn prepare(
        &self,
        geometry: &Geometry,
        (index, chunk): (u64, Chunk),
        arena: &mut Arena,
        histories: &mut [Vec<u8>],
        source: &mut PieceHasher,
    ) -> Result<(), Error> {
        let rows = self.encrypter.map(|encrypter| encrypter.tags.row(index));
        let known = rows.transpose().map_err(|source| Error::Tags { source })?.flatten();
        let profile = self.geometry.profile();
        let (unit, depth) = (profile.unit(), profile.depth());
        let (first, steps) = (chunk.frame.start + chunk.start, chunk.steps);
        let streams: Vec<_> = arena.streams_mut().zip(histories).enumerate().collect();
        let streams = streams.into_par_iter().filter(|(block, _)| self.is_read(*block));
        let hashed = streams.map(|(block, (stream, history))| {
            let range = geometry.data_steps(block, first..first + steps);
            let bytes = usize::try_from(range.end - range.start).expect("a chunk is in memory");
            let (before, rest) = stream.split_at_mut(depth * unit);
            let (now, mut branch) = (&mut rest[..bytes], source.branch());
            // What is read for its parity alone was hashed before.
            if self.wanted.contains(block) || self.encrypter.is_some() {
                branch.add(range.start, now);
            }
            let tag = match self.encrypter {
                None => NO_TAG,
                Some(encrypter) => {
                    encrypter.encrypt(range, now, &branch, known.as_ref().map(|row| row[block]))?
                }
            };
            if chunk.start == 0 {
                history.fill(0);
            }
            // The next chunk looks back into this one by D symbols.
            before.copy_from_slice(history);
            let steps = usize::try_from(steps).expect("a chunk is in memory");
            history.copy_from_slice(&stream[steps * unit..][..depth * unit]);
            Some((branch, tag))
        });
        let hashed: Option<(Vec<_>, Vec<_>)> =
            hashed.collect::<Option<Vec<_>>>().map(|h| h.into_iter().unzip());
        let (branches, tags) = hashed.ok_or_else(|| self.changed(index))?;
        branches.into_iter().for_each(|branch| source.join(branch));
        if let Some(encrypter) = self.encrypter.filter(|_| known.is_none()) {
            encrypter.tags.add(index, &tags);
        }
        Ok(())
    }

    /// The error for a chunk whose tags are others than those of an earlier reading.
    fn changed(&self, chunk: u64) -> Error {
        match self.encrypter.is_some_and(|encrypter| encrypter.tags.is_of_before(chunk)) {
            true => self.source.changed(Source::changed_before),
            false => self.source.changed(Source::changed_meanwhile),
        }
    }

    fn encode(&self, chunks: Receiver<Filled>, mut streams: Streams) -> Result<Hashes, Error> {
        let profile = self.geometry.profile();
        let (unit, depth) = (profile.unit(), profile.depth());
        let mut source = PieceHasher::new(self.geometry.source_bytes(), self.geometry.is_kib_aligned());
        let mut blocks = vec![Hasher::new(); profile.blocks()];
        let mut histories = vec![vec![0; depth * unit]; profile.data()];
        let (mut done, mut geometry) = (0, self.geometry);

        for (index, Filled { chunk, geometry: now, mut buffer }) in (0..).zip(chunks) {
            if now != geometry {
                source.end(now.source_bytes());
                geometry = now;
            }
            let steps = usize::try_from(chunk.steps).expect("a chunk is in memory");
            let tail = if chunk.ends_frame() { profile.tail() } else { 0 };
            self.prepare(&geometry, (index, chunk), buffer.arena(), &mut histories, &mut source)?;
            if self.makes_parity() {
                let threads = self.resources.thread_count();
                let parts = self.chunking.bound.split(
                    buffer.arena(),
                    depth,
                    0..steps + tail,
                    threads,
                    Stores::Cached,
                );
                parts.into_par_iter().for_each(|part| part.run(self.resources.level()));
            }

            let buffer = buffer.freeze();
            let first = chunk.frame.start + chunk.start;
            let slices: Vec<(usize, Bytes, bool)> = blocks
                .par_iter_mut()
                .enumerate()
                .filter(|(block, _)| self.wanted.contains(*block))
                .map(|(block, hasher)| {
                    let start = depth * unit;
                    let range = geometry.data_steps(block, first..first + chunk.steps);
                    let is_data = block < profile.data();
                    let bytes =
                        if is_data { range.end - range.start } else { ((steps + tail) * unit) as u64 };
                    let end = start + usize::try_from(bytes).expect("a chunk is in memory");
                    let slice = &buffer.stream(block)[start..end];
                    let is_known = update(hasher, slice, self.known.get(&block));
                    (block, buffer.slice(block, start..end), is_known)
                })
                .collect();
            let mut data_bytes = 0;
            if slices.iter().any(|&(.., is_known)| !is_known) {
                return Err(self.source.changed(Source::changed_before));
            }
            for (block, slice, _) in slices {
                data_bytes += if block < profile.data() { slice.len() as u64 } else { 0 };
                if !slice.is_empty() {
                    streams.send(self.stop, block, slice)?;
                }
            }
            (self.progress)(data_bytes);
            done += chunk.steps;
            streams.advance(1.0 - done as f64 / geometry.steps() as f64);
            streams.checkpoint(self.stop, |block| (blocks[block].count(), blocks[block].finalize()))?;
        }
        // The reader ends early if it is told to.
        if self.stop.is_requested() {
            streams.checkpoint(self.stop, |block| (blocks[block].count(), blocks[block].finalize()))?;
        }
        self.stop.check()?;
        let blocks = blocks.iter().map(Hasher::finalize).collect();
        Ok(Hashes { blocks, source: source.finish(), geometry })
    }

    fn row_steps(&self) -> u32 {
        self.geometry.row_steps().expect("streams are laid out in rows")
    }

    /// Whether a data block is read: to be made, or for its parity.
    fn is_read(&self, block: usize) -> bool {
        self.makes_parity() || self.wanted.contains(block)
    }

    fn makes_parity(&self) -> bool {
        self.wanted.iter().any(|block| block >= self.geometry.profile().data())
    }
}

/// Lays the bytes of a row, which fill the parts of its blocks one after the other, out over all of them.
fn lay_out(arena: &mut Arena, geometry: &Geometry, chunk: Chunk, bytes: usize) {
    let profile = geometry.profile();
    let (start, first) = (profile.depth() * profile.unit(), chunk.frame.start + chunk.start);
    let part = geometry.row_steps().map_or(0, |steps| steps as usize) * profile.unit();
    let mut row = Vec::with_capacity(bytes);
    for stream in arena.streams_mut().take(profile.data()) {
        row.extend_from_slice(&stream[start..][..part.min(bytes - row.len())]);
    }
    let mut rest = row.as_slice();
    for (block, stream) in arena.streams_mut().take(profile.data()).enumerate() {
        let range = geometry.data_steps(block, first..first + chunk.steps);
        let now;
        (now, rest) = rest.split_at(usize::try_from(range.end - range.start).expect("in memory"));
        let (into, after) = stream[start..].split_at_mut(now.len());
        into.copy_from_slice(now);
        after.fill(0);
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

/// That of a plain source, which nothing is held against.
const NO_TAG: [u8; TAG_BYTES] = [0; TAG_BYTES];
