//! Backup: one pass from the source to the stores.
//!
//! Every block is a stream of its own. A store that fails loses its blocks, not the pass. Nothing becomes
//! visible before the whole source was read and found unchanged; the manifest comes last, once its blocks are
//! durable, and is read back before success is reported.

use std::path::Path;
use std::sync::Arc;
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
use crate::progress::Progress;
use crate::resources::{Resources, Stop};
use crate::scheduler::{Placement, Policy};
use crate::source::{IoMode, Source};
use crate::store::{Store, block_name, manifest_name};

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

impl Backup<'_> {
    /// Runs the backup.
    ///
    /// # Errors
    /// If the source cannot be read or changed, or so many stores failed that the backup could not be restored. In
    /// all of these nothing is left in the stores.
    pub async fn run(
        self,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, Error> {
        let source = Source::open(self.source, self.io)?;
        let profile = match self.shape {
            Shape::Blocks { code, data, parity } => Profile::for_code(code, data, parity, source.bytes())?,
            Shape::Profile(profile) => profile,
        };
        if source.bytes() > Geometry::source_bytes_max(&profile) {
            return Err(Error::SourceTooLarge { path: self.source.to_owned(), bytes: source.bytes() });
        }
        let geometry = Geometry::new(profile, source.bytes());
        let codec = Arc::new(Codec::new(profile));
        let places = self.policy.place(profile.blocks(), self.stores.len());
        progress.start(geometry.source_bytes());

        let mut outcome = Outcome::new(&self.stores, places);
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
        let manifest = self.manifest(geometry, &hashes, name, modified);
        self.publish(&codec, manifest, outcome, reader).await
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
                async move { store.transport.put(&name, Some(geometry.block_bytes(block))).await }
            })
            .buffered(OPEN_AT_ONCE)
            .collect()
            .await;
        let (mut sinks, mut writers) = (Vec::new(), Vec::new());
        for (block, opened) in opened.into_iter().enumerate() {
            let (sink, chunks) = mpsc::channel(CHUNKS_QUEUED);
            sinks.push(sink);
            match opened {
                Ok(put) => writers.push((block, tokio::spawn(write_block(put, chunks)))),
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
        }
    }

    /// Puts the manifest on every store, reads it back, and says what that makes restorable.
    async fn publish(
        &self,
        codec: &Codec,
        manifest: Manifest,
        mut outcome: Outcome<'_>,
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
        let manifests = outcome.has_manifest.iter().filter(|&&has| has).count();
        let survivable = Placement { codec, always: &empty, held: &held, manifests }.stores_survivable();
        let margin = codec.recoverable(&outcome.visible(empty, &held));
        let (Some(stores_survivable), Some(blocks_survivable)) = (survivable, margin) else {
            outcome.remove(self.id).await;
            let (stored, blocks, needed) = (outcome.live.len(), profile.blocks(), profile.threshold());
            let source =
                outcome.failed.into_iter().flatten().next().expect("blocks are lost by failures only");
            return Err(Error::Quorum { stored, blocks, needed, source });
        };
        let failed = outcome.failed.into_iter().zip(&self.stores);
        let failed = failed.filter_map(|(error, store)| Some((store.url().to_owned(), error?))).collect();
        Ok(BackupReport {
            manifest,
            live: outcome.live,
            stores_survivable,
            blocks_survivable,
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
}

impl<'a> Outcome<'a> {
    fn new(stores: &'a [Store], places: Vec<usize>) -> Self {
        let failed = stores.iter().map(|_| None).collect();
        let has_manifest = vec![false; stores.len()];
        Self { live: BlockSet::none(places.len()), stores, places, has_manifest, failed }
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
