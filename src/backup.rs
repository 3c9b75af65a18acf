//! Backup: one pass from the source to the stores.
//!
//! Every block is a stream of its own. A store that fails loses its blocks, not the pass. Nothing becomes
//! visible before the whole source was read and found unchanged; the manifest comes last, once its blocks are
//! durable, and is read back before success is reported.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tanner_kernels::{BlockSet, CodeChoice, Codec, Profile};
use tanner_transports::{ObjectName, Put, Target, Transport, TransportError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::encode::{Hashes, Pass};
use crate::error::Error;
use crate::fetch::read_object;
use crate::geometry::Geometry;
use crate::id::BackupId;
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest, NAME_BYTES_MAX};
use crate::parallel::blocking;
use crate::places::Places;
use crate::progress::Progress;
use crate::resources::{Resources, Stop};
use crate::scheduler::{Blocks, Demand, Facts, Labels, Margin, Placed, Policy, Spread, Task};
use crate::source::{IoMode, Source};
use crate::store::{Store, block_name, manifest_name};
use crate::timed::{Behaviour, Timed};

/// What to back up, how and where to.
pub struct Backup<'a> {
    /// The file.
    pub source: &'a Path,
    /// How to read it.
    pub io: IoMode,
    /// Into what blocks.
    pub shape: Shape,
    /// Where to.
    pub stores: Vec<Store>,
    /// Which store gets which block.
    pub policy: &'a dyn Policy,
    /// What must be survived, whatever the policy.
    pub survive: &'a [Demand],
    /// The id to give; random, except in tests.
    pub id: BackupId,
    /// When the backup begins, in seconds since 1970.
    pub created: u64,
}

/// What blocks to make of a source.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// This many data and parity blocks, with the profile of the code that suits the source.
    Blocks {
        /// Which code, if not the one that suits the shape best.
        code: CodeChoice,
        /// Data blocks (k).
        data: u64,
        /// Parity blocks (m).
        parity: u64,
    },
    /// Exactly this profile.
    Profile(Profile),
}

/// What became of a backup.
#[derive(Debug)]
pub struct BackupReport {
    /// The manifest as stored.
    pub manifest: Manifest,
    /// Blocks that are durable.
    pub live: BlockSet,
    /// How many stores may be lost, whichever they are, with the backup still restorable.
    pub stores_survivable: usize,
    /// How many more blocks may be lost, whichever they are.
    pub blocks_survivable: usize,
    /// How many domains may be lost, of each label.
    pub margins: Vec<Margin>,
    /// Demands that are not kept by what is there.
    pub broken: Vec<Demand>,
    /// Where the blocks were to go, and why.
    pub placed: Placed,
    /// How each store behaved.
    pub behaviour: Vec<Behaviour>,
    /// Stores that failed, with the first error of each.
    pub failed: Vec<(String, TransportError)>,
    /// Which reader was used for the source.
    pub reader: &'static str,
    /// Why it is not the one that was asked for, if so.
    pub reader_refusal: Option<String>,
}

impl BackupReport {
    /// Bytes in all durable blocks.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.live.iter().map(|block| self.manifest.geometry.block_bytes(block)).sum()
    }

    /// Whether everything was stored as planned.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.live.len() == self.live.blocks()
    }
}

/// What a backup would be, before anything is read or written.
#[derive(Debug)]
pub struct Planned {
    /// The blocks.
    pub geometry: Geometry,
    /// Where they go, and why.
    pub placed: Placed,
    /// How many stores may be lost.
    pub stores_survivable: Option<usize>,
    /// How many domains, of each label.
    pub margins: Vec<Margin>,
}

impl Backup<'_> {
    /// Runs the backup.
    ///
    /// # Errors
    /// If the source cannot be read or changed, if the blocks cannot be placed as was demanded, or so many stores failed
    /// that the backup could not be restored. In all of these nothing is left in the stores.
    pub async fn run(
        self,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, Error> {
        let source = Source::open(self.source, self.io)?;
        let (geometry, blocks, placed) = self.place(source.bytes())?;
        let codec = Arc::clone(&blocks.codec);
        progress.start(geometry.source_bytes());

        let mut outcome = Outcome::new(&self.stores, placed.places.clone());
        let (sinks, writers) = self.open_blocks(&geometry, &mut outcome).await;
        let (name, modified) = (source.name(), source.modified());
        let reader = (source.reader(), source.refusal().map(str::to_owned));
        let pass = {
            let (codec, resources) = (Arc::clone(&codec), Arc::clone(resources));
            let (stop, progress) = (stop.clone(), Arc::clone(progress));
            blocking(move || {
                let advance = |bytes| progress.advance(bytes);
                let (resources, stop, progress) = (&*resources, &stop, &advance);
                Pass { source: &source, codec: &codec, geometry, resources, stop, progress }.run(&sinks)
            })
        };
        let hashes = match pass.await {
            Ok(hashes) => hashes,
            Err(error) => {
                abandon(writers).await;
                return Err(error);
            }
        };
        let written = outcome.join(writers).await;
        outcome.commit(written).await;
        if let Err(error) = stop.check() {
            outcome.remove(self.id).await;
            return Err(error);
        }
        let mut manifest = self.manifest(geometry, &hashes, name, modified);
        let first: Vec<String> = placed.kept.iter().map(|(demand, _)| demand.label.clone()).collect();
        manifest.places = Places::new(&outcome.places, &self.labels(), &first);
        self.publish(&codec, manifest, outcome, placed, reader).await
    }

    /// What the backup would be; nothing is read of the source but its size, and nothing written.
    ///
    /// # Errors
    /// If the source cannot be opened, or the blocks cannot be placed as was demanded.
    pub fn plan(&self) -> Result<Planned, Error> {
        let (geometry, blocks, placed) = self.place(Source::open(self.source, self.io)?.bytes())?;
        let mut held = vec![BlockSet::none(placed.places.len()); self.stores.len()];
        placed.places.iter().enumerate().for_each(|(block, &store)| held[store].insert(block));
        let (has_manifest, labels) = (vec![true; self.stores.len()], self.labels());
        let Blocks { codec, empty, .. } = &blocks;
        let spread =
            Spread { codec, always: empty, held: &held, has_manifest: &has_manifest, labels: &labels };
        let (stores_survivable, margins) = (spread.stores_survivable(), spread.margins());
        Ok(Planned { geometry, placed, stores_survivable, margins })
    }

    /// Decides where the blocks go.
    fn place(&self, bytes: u64) -> Result<(Geometry, Blocks, Placed), Error> {
        let profile = match self.shape {
            Shape::Blocks { code, data, parity } => Profile::for_code(code, data, parity, bytes)?,
            Shape::Profile(profile) => profile,
        };
        if bytes > Geometry::source_bytes_max(&profile) {
            return Err(Error::SourceTooLarge { path: self.source.to_owned(), bytes });
        }
        let blocks_of = |geometry: &Geometry| Blocks {
            codec: Arc::new(Codec::new(*geometry.profile())),
            empty: geometry.empty_blocks(),
            block_bytes: (0..geometry.profile().blocks())
                .map(|block| geometry.block_bytes(block))
                .max()
                .unwrap_or(0),
        };
        let geometry = Geometry::new(profile, bytes);
        let blocks = blocks_of(&geometry);
        let with_parity = |parity: usize| {
            let Shape::Blocks { code, data, .. } = self.shape else { return None };
            let profile = Profile::for_code(code, data, parity as u64, bytes).ok()?;
            (bytes <= Geometry::source_bytes_max(&profile)).then(|| blocks_of(&Geometry::new(profile, bytes)))
        };
        let stores: Vec<Facts> = self.stores.iter().map(|store| store.facts.clone()).collect();
        let (survive, policy, now) = (self.survive, self.policy, self.created as f64);
        let placed = Task { blocks: &blocks, stores: &stores, survive, policy, now }.place(&with_parity)?;
        Ok((geometry, blocks, placed))
    }

    fn labels(&self) -> Vec<Labels> {
        self.stores.iter().map(|store| store.facts.all_labels()).collect()
    }

    /// Opens a stream to its store for every block.
    async fn open_blocks(
        &self,
        geometry: &Geometry,
        outcome: &mut Outcome<'_>,
    ) -> (Vec<mpsc::Sender<Bytes>>, Vec<(usize, Writer)>) {
        let opened: Vec<_> = stream::iter(0..geometry.profile().blocks())
            .map(|block| {
                let store = &self.stores[outcome.places[block]];
                let name = block_name(self.id, block);
                async move {
                    let began = Instant::now();
                    let opened = store.transport.put(&name, Some(geometry.block_bytes(block))).await;
                    (opened, began.elapsed())
                }
            })
            .buffered(OPEN_AT_ONCE)
            .collect()
            .await;
        let (mut sinks, mut writers) = (Vec::new(), Vec::new());
        for (block, (opened, waited)) in opened.into_iter().enumerate() {
            let (sink, chunks) = mpsc::channel(CHUNKS_QUEUED);
            sinks.push(sink);
            match opened {
                Ok(put) => {
                    outcome.waits[outcome.places[block]].push(waited);
                    let put = Timed::around(put, Arc::clone(&outcome.busy[block]));
                    writers.push((block, tokio::spawn(write_block(put, chunks))));
                }
                Err(error) => outcome.fail(block, error),
            }
        }
        (sinks, writers)
    }

    fn manifest(&self, geometry: Geometry, hashes: &Hashes, name: String, modified: Option<u64>) -> Manifest {
        let name = if name.len() <= NAME_BYTES_MAX { name } else { String::new() };
        let (id, created) = (self.id, self.created);
        Manifest {
            id,
            geometry,
            hashes: hashes.blocks.clone(),
            name,
            created,
            modified,
            source_hash: hashes.source,
            places: None,
        }
    }

    /// Puts the manifest on every store, reads it back, and says what that makes restorable.
    async fn publish(
        &self,
        codec: &Codec,
        manifest: Manifest,
        mut outcome: Outcome<'_>,
        placed: Placed,
        (reader, reader_refusal): (&'static str, Option<String>),
    ) -> Result<BackupReport, Error> {
        let profile = manifest.geometry.profile();
        if codec.recoverable(&outcome.live).is_some() {
            let bytes = Bytes::from(manifest.to_bytes());
            debug_assert!(bytes.len() <= MANIFEST_BYTES_MAX);
            let name = manifest_name(self.id);
            let put = |store: &Store| {
                let (transport, name, bytes) = (Arc::clone(&store.transport), name.clone(), bytes.clone());
                async move { put_and_read_back(&*transport, &name, bytes).await }
            };
            let results: Vec<_> = stream::iter(&self.stores).map(put).buffered(OPEN_AT_ONCE).collect().await;
            results.into_iter().enumerate().for_each(|(store, result)| outcome.manifest(store, result));
        }
        let held = outcome.held();
        let empty = manifest.geometry.empty_blocks();
        let (labels, has_manifest) = (self.labels(), &outcome.has_manifest);
        let spread = Spread { codec, always: &empty, held: &held, has_manifest, labels: &labels };
        let (survivable, margins) = (spread.stores_survivable(), spread.margins());
        let demands = placed.kept.iter().map(|(demand, _)| demand);
        let broken = demands.filter(|demand| spread.survives(demand).is_none()).cloned().collect();
        let margin = codec.recoverable(&outcome.visible(empty.clone(), &held));
        let (Some(stores_survivable), Some(blocks_survivable)) = (survivable, margin) else {
            outcome.remove(self.id).await;
            let (stored, blocks, needed) = (outcome.live.len(), profile.blocks(), profile.threshold());
            let source =
                outcome.failed.into_iter().flatten().next().expect("blocks are lost by failures only");
            return Err(Error::Quorum { stored, blocks, needed, source });
        };
        let behaviour = outcome.behaviour(&manifest.geometry);
        let failed = outcome.failed.into_iter().zip(&self.stores);
        let failed = failed.filter_map(|(error, store)| Some((store.url().to_owned(), error?))).collect();
        Ok(BackupReport {
            manifest,
            live: outcome.live,
            stores_survivable,
            blocks_survivable,
            margins,
            broken,
            placed,
            behaviour,
            failed,
            reader,
            reader_refusal,
        })
    }
}

pub(crate) type Writer = JoinHandle<Result<Box<dyn Put>, TransportError>>;
type Written = Vec<(usize, Box<dyn Put>)>;

/// Which blocks are where, and what failed.
struct Outcome<'a> {
    stores: &'a [Store],
    places: Vec<usize>,
    live: BlockSet,
    has_manifest: Vec<bool>,
    failed: Vec<Option<TransportError>>,
    /// For each block, the nanoseconds that its store was waited for.
    busy: Vec<Arc<AtomicU64>>,
    /// For each store, how long it took until it was ready for each block.
    waits: Vec<Vec<Duration>>,
}

impl<'a> Outcome<'a> {
    fn new(stores: &'a [Store], places: Vec<usize>) -> Self {
        let failed = stores.iter().map(|_| None).collect();
        let has_manifest = vec![false; stores.len()];
        let (busy, waits) = (places.iter().map(|_| Arc::default()).collect(), vec![Vec::new(); stores.len()]);
        Self { live: BlockSet::none(places.len()), stores, places, has_manifest, failed, busy, waits }
    }

    fn behaviour(&self, geometry: &Geometry) -> Vec<Behaviour> {
        let of_store = |store: usize| {
            let blocks = || (0..self.places.len()).filter(move |&block| self.places[block] == store);
            let busy = blocks().map(|block| self.busy[block].load(Ordering::Relaxed)).max();
            let waits = &self.waits[store];
            let wait = waits.iter().sum::<Duration>().as_secs_f64() / waits.len().max(1) as f64;
            let taken = blocks().filter(|&block| self.live.contains(block));
            Behaviour {
                bytes: taken.map(|block| geometry.block_bytes(block)).sum(),
                busy_seconds: Duration::from_nanos(busy.unwrap_or(0)).as_secs_f64(),
                answer_seconds: (!waits.is_empty()).then_some(wait),
                failed: self.failed[store].is_some(),
            }
        };
        (0..self.stores.len()).map(of_store).collect()
    }

    fn fail(&mut self, block: usize, error: TransportError) {
        self.failed[self.places[block]].get_or_insert(error);
    }

    /// Waits until every stream took its bytes or failed.
    async fn join(&mut self, writers: Vec<(usize, Writer)>) -> Written {
        let mut written = Vec::new();
        for (block, writer) in writers {
            match writer.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
                Ok(put) => written.push((block, put)),
                Err(error) => self.fail(block, error),
            }
        }
        written
    }

    /// Makes the blocks durable and visible.
    async fn commit(&mut self, written: Written) {
        let commits = stream::iter(written).map(|(block, put)| async move { (block, put.commit().await) });
        let committed: Vec<_> = commits.buffer_unordered(OPEN_AT_ONCE).collect().await;
        for (block, result) in committed {
            match result {
                Ok(()) => self.live.insert(block),
                Err(error) => self.fail(block, error),
            }
        }
    }

    fn manifest(&mut self, store: usize, result: Result<(), TransportError>) {
        match result {
            Ok(()) => self.has_manifest[store] = true,
            Err(error) => _ = self.failed[store].get_or_insert(error),
        }
    }

    /// The blocks on each store that has the manifest. A restore may be given the others too, but nothing is
    /// promised of a store that failed.
    fn held(&self) -> Vec<BlockSet> {
        let mut held = vec![BlockSet::none(self.places.len()); self.stores.len()];
        let live = self.live.iter().filter(|&block| self.has_manifest[self.places[block]]);
        live.for_each(|block| held[self.places[block]].insert(block));
        held
    }

    fn visible(&self, mut visible: BlockSet, held: &[BlockSet]) -> BlockSet {
        held.iter().for_each(|blocks| visible.insert_all(blocks));
        visible
    }

    /// Takes back what was stored of a backup that failed, as far as the stores let us.
    async fn remove(&self, id: BackupId) {
        for store in self.stores {
            let _ = store.transport.delete(&manifest_name(id)).await;
        }
        // All of them: a commit that failed may have stored its block all the same.
        for block in 0..self.places.len() {
            let _ = self.stores[self.places[block]].transport.delete(&block_name(id, block)).await;
        }
    }
}

/// Writes the chunks of one block as they come. The put is handed back, not yet visible.
pub(crate) async fn write_block(
    mut put: Box<dyn Put>,
    mut chunks: mpsc::Receiver<Bytes>,
) -> Result<Box<dyn Put>, TransportError> {
    while let Some(chunk) = chunks.recv().await {
        if let Err(error) = put.write(chunk).await {
            chunks.close();
            return Err(error);
        }
    }
    Ok(put)
}

/// Gives up all streams: each ends with what it was doing and takes that back. A store that hangs is not waited for.
pub(crate) async fn abandon(writers: Vec<(usize, Writer)>) {
    let deadline = Instant::now() + ABANDON_WAIT;
    for (_, mut writer) in writers {
        match timeout_at(deadline, &mut writer).await {
            // The pass failed already; what a store says now changes nothing.
            Ok(Ok(Ok(put))) => _ = timeout_at(deadline, put.abandon()).await,
            Ok(_) => {}
            Err(_) => writer.abort(),
        }
    }
}

pub(crate) async fn put_and_read_back(
    transport: &dyn Transport,
    name: &ObjectName,
    bytes: Bytes,
) -> Result<(), TransportError> {
    let length = bytes.len() as u64;
    let mut put = transport.put(name, Some(length)).await?;
    put.write(bytes.clone()).await?;
    put.commit().await?;
    if read_object(transport, name).await? == bytes { Ok(()) } else { Err(differs(transport.url(), name)) }
}

fn differs(store: &str, name: &ObjectName) -> TransportError {
    let source = std::io::Error::new(std::io::ErrorKind::InvalidData, "it reads back differently");
    TransportError::Corrupt { at: Target::object(store, name), source }
}

/// Requests to stores that are under way at a time, when blocks are opened and committed.
const OPEN_AT_ONCE: usize = 32;
/// How long a run that failed waits for its stores to take back what was staged.
const ABANDON_WAIT: Duration = Duration::from_secs(5);
/// Chunks that wait for a store; the pool bounds them all together.
pub(crate) const CHUNKS_QUEUED: usize = 2;
