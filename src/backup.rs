//! Backup: one pass from the source to the stores.
//!
//! Every block is a stream of its own. A store that fails loses its blocks, not the pass. Nothing becomes
//! visible before the whole source was read and found unchanged; the manifest comes last, once its blocks are
//! durable, and is read back before success is reported.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tanner_kernels::{BlockSet, CodeChoice, Codec, Profile};
use tanner_transports::{ObjectName, Put, Target, Transport, TransportError};
use tokio::task::JoinError;

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
use crate::streams::{MayDrop, Streams, Writer, abandon};
use crate::writing::Places;

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
    /// How many stores have to have a manifest in the end, for the backup to be kept.
    pub quorum: usize,
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
    /// The same, had all stores done well.
    pub stores_survivable_planned: usize,
    /// How many more blocks may be lost, whichever they are.
    pub blocks_survivable: usize,
    /// Stores that were too slow for all their blocks.
    pub slow: Vec<String>,
    /// How many blocks are in another store than planned.
    pub blocks_moved: usize,
    /// Stores that failed, with the first error of each.
    pub failed: Vec<(String, TransportError)>,
    /// Which reader was used for the source.
    pub reader: &'static str,
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
        self.failed.is_empty()
            && self.live.len() == self.live.blocks()
            && self.stores_survivable >= self.stores_survivable_planned
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
        if self.quorum > self.stores.len() {
            return Err(Error::StoreQuorum { stores: self.stores.len(), quorum: self.quorum, source: None });
        }
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
        let of = self.policy.place(profile.blocks(), self.stores.len());
        let places = Places { of, takes_more: vec![true; self.stores.len()] };
        let mut outcome = Outcome::new(&self.stores, places);
        let (name, modified, reader) = (source.name(), source.modified(), source.reader());
        let job = Arc::new(Job { source, codec, geometry, resources: resources.clone(), stop: stop.clone() });

        progress.start(geometry.source_bytes());
        let planned = outcome.places.stores_survivable(&job.codec, &geometry.empty_blocks());
        let mut wanted = BlockSet::all(profile.blocks());
        let mut hashes: Option<Hashes> = None;
        while !wanted.is_empty() {
            match self.pass(&job, &wanted, planned, hashes.as_ref(), &mut outcome, progress).await {
                Ok(made) => _ = hashes.get_or_insert(made),
                Err(error) => {
                    if hashes.is_some() {
                        outcome.remove(self.id).await;
                    }
                    return Err(error);
                }
            }
            if let Err(error) = stop.check() {
                outcome.remove(self.id).await;
                return Err(error);
            }
            wanted = outcome.move_missing();
            let data = wanted.iter().filter(|&block| block < profile.data());
            progress.extend(data.map(|block| geometry.block_bytes(block)).sum());
        }
        let hashes = hashes.expect("a backup has blocks");
        let manifest = self.manifest(geometry, &hashes, name, modified)?;
        self.publish(&job.codec, manifest, outcome, planned, reader).await
    }

    /// Makes the wanted blocks and puts them where they belong. Of those that were made before, the bytes have to be the
    /// same.
    async fn pass(
        &self,
        job: &Arc<Job>,
        wanted: &BlockSet,
        planned: Option<usize>,
        before: Option<&Hashes>,
        outcome: &mut Outcome<'_>,
        progress: &Arc<Progress>,
    ) -> Result<Hashes, Error> {
        let may_drop = may_drop(job, &outcome.places, planned);
        let mut streams = Streams::new(wanted.blocks(), self.stores.len(), may_drop);
        let writers = self.open_blocks(&job.geometry, wanted, &mut streams, outcome).await;
        let run = {
            let (job, wanted, progress) = (job.clone(), wanted.clone(), Arc::clone(progress));
            blocking(move || job.run(&wanted, streams, &progress))
        };
        let made = run.await.and_then(|made| {
            let differs =
                |hashes: &Hashes| wanted.iter().any(|block| hashes.blocks[block] != made.blocks[block]);
            if before.is_some_and(differs) { Err(job.source.changed_meanwhile()) } else { Ok(made) }
        });
        match made {
            Ok(_) => {
                let written = outcome.join(writers).await;
                outcome.commit(written).await;
            }
            Err(_) => abandon(writers).await,
        }
        made
    }

    /// Opens a stream to its store for every wanted block.
    async fn open_blocks(
        &self,
        geometry: &Geometry,
        wanted: &BlockSet,
        streams: &mut Streams,
        outcome: &mut Outcome<'_>,
    ) -> Vec<(usize, Writer)> {
        let opened: Vec<_> = stream::iter(wanted.iter())
            .map(|block| {
                let store = &self.stores[outcome.places.of[block]];
                let name = block_name(self.id, block);
                async move { (block, store.transport.put(&name, Some(geometry.block_bytes(block))).await) }
            })
            .buffered(OPEN_AT_ONCE)
            .collect()
            .await;
        let mut writers = Vec::new();
        for (block, opened) in opened {
            match opened {
                Ok(put) => writers.push((block, streams.open(block, outcome.places.of[block], put))),
                Err(error) => outcome.fail(block, error),
            }
        }
        writers
    }

    fn manifest(
        &self,
        geometry: Geometry,
        hashes: &Hashes,
        name: String,
        modified: Option<u64>,
    ) -> Result<Manifest, Error> {
        let name = if name.len() <= NAME_BYTES_MAX { name } else { String::new() };
        let (id, created) = (self.id, self.created);
        let incomplete = || Error::WrongHash { what: "an incomplete pass".into() };
        let source_hash = hashes.source.ok_or_else(incomplete)?;
        Ok(Manifest { id, geometry, hashes: hashes.blocks.clone(), name, created, modified, source_hash })
    }

    /// Puts the manifest on every store, reads it back, and says what that makes restorable.
    async fn publish(
        &self,
        codec: &Codec,
        manifest: Manifest,
        mut outcome: Outcome<'_>,
        planned: Option<usize>,
        reader: &'static str,
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
        if manifests < self.quorum {
            outcome.remove(self.id).await;
            let source = outcome.failed.into_iter().flatten().next();
            return Err(Error::StoreQuorum { stores: manifests, quorum: self.quorum, source });
        }
        let failed = outcome.failed.into_iter().zip(&self.stores);
        let failed = failed.filter_map(|(error, store)| Some((store.url().to_owned(), error?))).collect();
        let slow = self.stores.iter().zip(&outcome.slow).filter(|(_, slow)| **slow);
        Ok(BackupReport {
            manifest,
            live: outcome.live,
            stores_survivable,
            stores_survivable_planned: planned.unwrap_or(0),
            blocks_survivable,
            slow: slow.map(|(store, _)| store.url().to_owned()).collect(),
            blocks_moved: outcome.moved.len(),
            failed,
            reader,
        })
    }
}

/// What every pass of a backup works with.
struct Job {
    source: Source,
    codec: Arc<Codec>,
    geometry: Geometry,
    resources: Arc<Resources>,
    stop: Stop,
}

impl Job {
    fn run(&self, wanted: &BlockSet, streams: Streams, progress: &Progress) -> Result<Hashes, Error> {
        let advance = |bytes| progress.advance(bytes);
        let Self { source, codec, geometry, resources, stop } = self;
        Pass { source, codec, geometry: *geometry, resources, stop, progress: &advance, wanted }.run(streams)
    }
}

/// A store may be relieved of blocks if others take them, and as many stores may be lost then as was planned.
fn may_drop(job: &Arc<Job>, places: &Places, planned: Option<usize>) -> MayDrop {
    let (job, mut places) = (job.clone(), places.clone());
    Box::new(move |store, blocks| {
        let mut moved = places.clone();
        moved.takes_more[store] = false;
        let always = job.geometry.empty_blocks();
        let may = moved.move_away(blocks) && moved.stores_survivable(&job.codec, &always) >= planned;
        if may {
            places = moved;
        }
        may
    })
}

type Written = Vec<(usize, Box<dyn Put>)>;

/// Which blocks are where, and what failed.
struct Outcome<'a> {
    stores: &'a [Store],
    places: Places,
    live: BlockSet,
    /// Blocks that did not get where they were planned to be.
    moved: BlockSet,
    has_manifest: Vec<bool>,
    slow: Vec<bool>,
    failed: Vec<Option<TransportError>>,
}

impl<'a> Outcome<'a> {
    fn new(stores: &'a [Store], places: Places) -> Self {
        let failed = stores.iter().map(|_| None).collect();
        let (has_manifest, slow) = (vec![false; stores.len()], vec![false; stores.len()]);
        let none = BlockSet::none(places.of.len());
        Self { live: none.clone(), moved: none, stores, places, has_manifest, slow, failed }
    }

    fn fail(&mut self, block: usize, error: TransportError) {
        let store = self.places.of[block];
        self.places.takes_more[store] = false;
        self.failed[store].get_or_insert(error);
    }

    /// Finds other places for the blocks that are not stored; those that have one are returned.
    fn move_missing(&mut self) -> BlockSet {
        let mut missing = BlockSet::all(self.live.blocks());
        self.live.iter().for_each(|block| missing.remove(block));
        let blocks: Vec<usize> = missing.iter().collect();
        if !self.places.move_away(&blocks) {
            return BlockSet::none(self.live.blocks());
        }
        self.moved.insert_all(&missing);
        missing
    }

    /// Waits until every stream took its bytes or failed.
    async fn join(&mut self, writers: Vec<(usize, Writer)>) -> Written {
        let mut written = Vec::new();
        for (block, writer) in writers {
            match writer.await.map_err(JoinError::try_into_panic) {
                Ok(Ok(put)) => written.push((block, put)),
                Ok(Err(error)) => self.fail(block, error),
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                // The pass took it from a store that was too slow.
                Err(Err(_)) => {
                    let store = self.places.of[block];
                    (self.places.takes_more[store], self.slow[store]) = (false, true);
                }
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
        let mut held = vec![BlockSet::none(self.live.blocks()); self.stores.len()];
        let live = self.live.iter().filter(|&block| self.has_manifest[self.places.of[block]]);
        live.for_each(|block| held[self.places.of[block]].insert(block));
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
        for block in 0..self.places.of.len() {
            let _ = self.stores[self.places.of[block]].transport.delete(&block_name(id, block)).await;
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
