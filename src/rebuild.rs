//! The rebuilding pass: lost blocks, front to back, from the symbols that they need; hashed on their way to the stores.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use blake3::Hasher;
use bytes::Bytes;
use rayon::prelude::*;
use tanner_kernels::{BlockSet, RepairPlan, Unrecoverable};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::decode::{DecodePass, Ends, Failure, Output, outputs};
use crate::error::Error;
use crate::fetch::{Found, chain};
use crate::geometry::Frame;
use crate::progress::Progress;
use crate::read::{Input, RangeReader, Spans, SymbolReader};
use crate::resources::{Resources, Stop};
use crate::store::block_name;
use crate::streams::{Item, hand_over};

/// What a rebuild reads, and from where.
pub(crate) struct Sources {
    plan: RepairPlan,
    /// For each block that is read, its store and what is read of it; all of it if there are no spans.
    blocks: BTreeMap<usize, (usize, Option<Arc<Spans>>)>,
    /// About how many bytes that is.
    pub(crate) bytes: u64,
    /// How many it would be if whole blocks were read.
    pub(crate) bytes_of_whole_blocks: u64,
}

impl Sources {
    /// The cheaper of two ways to rebuild the `wanted` blocks from those that stores hold: few symbols of many blocks,
    /// where a store reads ranges for less than all between them; or all of few blocks.
    pub(crate) fn choose(found: &Found, held: &[BlockSet], wanted: &BlockSet) -> Result<Self, Unrecoverable> {
        let good = found.live_of(held);
        let few = Self::of_few_blocks(found, held, &good, wanted)?;
        let mut many = Self::new(found, held, RepairPlan::new(found.codec.code(), &good, wanted)?);
        many.bytes_of_whole_blocks = few.bytes_of_whole_blocks;
        Ok(if many.bytes < few.bytes { many } else { few })
    }

    /// As much parity as it takes beside the data blocks there are: what the threshold promises, because whether less
    /// would do is seconds of planning for one block that is not read.
    fn of_few_blocks(
        found: &Found,
        held: &[BlockSet],
        good: &BlockSet,
        wanted: &BlockSet,
    ) -> Result<Self, Unrecoverable> {
        let (data, threshold) = (found.codec.profile().data(), found.codec.profile().threshold());
        let mut live = good.clone();
        let mut parity: Vec<usize> = (data..good.blocks()).filter(|&block| good.contains(block)).collect();
        parity.iter().for_each(|&block| live.remove(block));
        let first = threshold - live.len();
        for block in parity.drain(..first.min(parity.len())) {
            live.insert(block);
        }
        loop {
            let plan = RepairPlan::new(found.codec.code(), &live, wanted);
            if plan.is_ok() || parity.is_empty() {
                return plan.map(|plan| Self::new(found, held, plan));
            }
            live.insert(parity.remove(0));
        }
    }

    fn new(found: &Found, held: &[BlockSet], plan: RepairPlan) -> Self {
        let (geometry, advance) = (&found.manifest.geometry, plan.plan().advance());
        let (mut blocks, mut bytes, mut bytes_of_whole_blocks) = (BTreeMap::new(), 0, 0);
        for reads in plan.reads() {
            // What no store holds is empty.
            let Some(store) = held.iter().position(|held| held.contains(reads.block)) else { continue };
            let gap_bytes = found.stores[store].transport.capabilities().range_gap_bytes;
            let spans = Spans::new(reads, advance, geometry.profile().unit(), gap_bytes);
            let all = geometry.block_bytes(reads.block);
            bytes_of_whole_blocks += all;
            bytes += spans.as_ref().map_or(all, |spans| spans.bytes_of(all));
            blocks.insert(reads.block, (store, spans.map(Arc::new)));
        }
        Self { plan, blocks, bytes, bytes_of_whole_blocks }
    }
}

/// Where the bytes of one block go.
pub(crate) type Sink = (usize, mpsc::Sender<Item>);

/// What rebuilding and copying need.
pub(crate) struct Rebuild {
    pub(crate) found: Found,
    /// For each store, the blocks that are taken from it.
    pub(crate) held: Vec<BlockSet>,
    /// None if no block has to be computed.
    pub(crate) sources: Option<Arc<Sources>>,
    pub(crate) sinks: Vec<Sink>,
    pub(crate) resources: Arc<Resources>,
    pub(crate) stop: Stop,
    pub(crate) progress: Arc<Progress>,
    pub(crate) io: Handle,
    pub(crate) bytes_read: Arc<AtomicU64>,
}

impl Rebuild {
    /// Fills all sinks, with blocks that some store holds or that are computed. Says what is wrong if any of them is:
    /// what is read was held to be good, so if one result is not, none can be trusted.
    pub(crate) fn run(&self) -> Result<Option<String>, Error> {
        let mut blocks: Vec<usize> = self.sinks.iter().map(|(block, _)| *block).collect();
        blocks.dedup();
        for block in blocks {
            let Some(store) = self.held.iter().position(|held| held.contains(block)) else { continue };
            let mut sink = |_, piece: &[u8]| {
                self.bytes_read.fetch_add(piece.len() as u64, Ordering::Relaxed);
                self.hand_to_all(block, piece)
            };
            if let Some(kind) = self.found.fetch_from(block, store, &self.io, &mut sink)? {
                return Ok(Some(self.found.damage(block, store, kind).to_string()));
            }
        }
        let Some(sources) = self.sources.as_ref().filter(|_| !self.sinks.is_empty()) else { return Ok(None) };
        let plan = sources.plan.plan();
        let hashers = outputs(plan).map(|block| (block, Hasher::new())).collect();
        let ends = Hashed { rebuild: self, sources, hashers: Mutex::new(hashers) };
        let pass = DecodePass {
            geometry: &self.found.manifest.geometry,
            codec: &self.found.codec,
            plan,
            ends: &ends,
            resources: &self.resources,
            stop: &self.stop,
            io: &self.io,
        };
        match pass.run() {
            Err(Failure::Fatal(error)) => return Err(error),
            Err(Failure::Store(error)) => return Ok(Some(chain(&error))),
            Ok(()) => {}
        }
        let hashers = ends.hashers.into_inner().unwrap_or_else(PoisonError::into_inner);
        let hashes = &self.found.manifest.hashes;
        let wrong = hashers.iter().find(|(block, hasher)| hasher.finalize() != hashes[*block]);
        Ok(wrong.map(|(block, _)| format!("block {block} was rebuilt to bytes that do not match its hash")))
    }

    /// Hands bytes to all sinks of their block.
    fn hand_to_all(&self, block: usize, bytes: &[u8]) -> Result<(), Error> {
        self.progress.advance(bytes.len() as u64);
        if bytes.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::copy_from_slice(bytes);
        let mut of_block = self.sinks.iter().filter(|(of, _)| *of == block);
        of_block.try_for_each(|(_, sink)| hand_over(&self.stop, sink, bytes.clone()))
    }
}

/// The pass: frame by frame, in order.
struct Hashed<'a> {
    rebuild: &'a Rebuild,
    sources: &'a Sources,
    /// The hash of each output so far.
    hashers: Mutex<Vec<(usize, Hasher)>>,
}

impl Ends for Hashed<'_> {
    type Results = ();

    /// Blocks are written and hashed front to back.
    fn frames_at_once(&self) -> usize {
        1
    }

    fn inputs_bytes(&self) -> u64 {
        let holds = |(&block, (_, spans)): (&usize, &(usize, Option<Arc<Spans>>))| {
            let bytes = self.rebuild.found.manifest.geometry.block_bytes(block);
            if spans.is_some() { SymbolReader::holds(bytes) } else { RangeReader::holds(bytes) }
        };
        self.sources.blocks.iter().map(holds).sum()
    }

    fn fresh(&self) {}

    fn join((): &mut (), (): ()) {}

    fn open(&self, block: usize, frame: Frame) -> Result<Input, Failure> {
        let (found, io) = (&self.rebuild.found, &self.rebuild.io);
        let Some((store, spans)) = self.sources.blocks.get(&block) else { return Ok(Input::Nothing) };
        let range = found.manifest.geometry.stored_steps(block, frame, 0..u64::MAX);
        let (transport, name) = (&found.stores[*store].transport, block_name(found.manifest.id, block));
        Ok(match spans {
            Some(spans) => Input::Symbols(SymbolReader {
                transport: Arc::clone(transport),
                name,
                range,
                spans: Arc::clone(spans),
                next: 0,
                pieces: VecDeque::new(),
                bytes_read: Arc::clone(&self.rebuild.bytes_read),
            }),
            None => {
                self.rebuild.bytes_read.fetch_add(range.end - range.start, Ordering::Relaxed);
                let pieces = io.block_on(transport.get(&name, range)).map_err(Failure::Store)?;
                Input::Whole(RangeReader::new(pieces))
            }
        })
    }

    fn take(&self, outputs: &[Output<'_>], (): &mut ()) -> Result<(), Failure> {
        let hashers = &mut *self.hashers.lock().unwrap_or_else(PoisonError::into_inner);
        self.rebuild.resources.threads().install(|| {
            let pairs = hashers.par_iter_mut().zip(outputs);
            pairs.for_each(|((_, hasher), output)| _ = hasher.update(output.bytes));
        });
        for output in outputs {
            self.rebuild.hand_to_all(output.block, output.bytes)?;
        }
        Ok(())
    }
}
