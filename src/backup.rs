//! Backup: one pass from the source to the stores.
//!
//! Every block is a stream of its own. A store that fails loses its blocks, not the pass. Nothing becomes
//! visible before the whole source was read and found unchanged; the manifest comes last, once its blocks are
//! durable, and is read back before success is reported.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use crate::places::Places;
use crate::progress::Progress;
use crate::resources::{Resources, Stop};
use crate::scheduler::{Blocks, Demand, Facts, Homes, Labels, Margin, Placed, Policy, Spread, Task};
use crate::source::{IoMode, Source};
use crate::store::{Store, block_name, manifest_name};
use crate::streams::{MayDrop, Streams, Writer, abandon};
use crate::timed::{Behaviour, Meter};

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
        self.failed.is_empty()
            && self.live.len() == self.live.blocks()
            && self.stores_survivable >= self.stores_survivable_planned
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
        if self.quorum > self.stores.len() {
            return Err(Error::StoreQuorum { stores: self.stores.len(), quorum: self.quorum, source: None });
        }
        let source = Source::open(self.source, self.io)?;
        let (geometry, blocks, placed) = self.place(source.bytes())?;
        let mut outcome = Outcome::new(&self.stores, Homes::new(&blocks, &self.facts(), &placed));
        let (name, modified) = (source.name(), source.modified());
        let reader = (source.reader(), source.refusal().map(str::to_owned));
        let job = Arc::new(Job {
            source,
            codec: blocks.codec,
            geometry,
            resources: resources.clone(),
            stop: stop.clone(),
        });

        progress.start(geometry.source_bytes());
        let data = geometry.profile().data();
        let mut wanted = BlockSet::all(geometry.profile().blocks());
        let mut hashes: Option<Hashes> = None;
        while !wanted.is_empty() {
            match self.pass(&job, &wanted, hashes.as_ref(), &mut outcome, progress).await {
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
            let again = wanted.iter().filter(|&block| block < data);
            progress.extend(again.map(|block| geometry.block_bytes(block)).sum());
        }
        let hashes = hashes.expect("a backup has blocks");
        let mut manifest = self.manifest(geometry, &hashes, name, modified)?;
        let first: Vec<String> = placed.kept.iter().map(|(demand, _)| demand.label.clone()).collect();
        manifest.places = Places::new(&outcome.homes.of, &self.labels(), &first);
        self.publish(&job.codec, manifest, outcome, placed, reader).await
    }

    /// What the backup would be; nothing is read of the source but its size, and nothing written.
    ///
    /// # Errors
    /// If the source cannot be opened, or the blocks cannot be placed as was demanded.
    pub fn plan(&self) -> Result<Planned, Error> {
        let (geometry, blocks, placed) = self.place(Source::open(self.source, self.io)?.bytes())?;
        let (places, labels) = (placed.places.iter().copied(), self.labels());
        let (stores_survivable, margins) =
            Spread::of_places(&blocks.codec, &blocks.empty, places, &labels, |spread| {
                (spread.stores_survivable(), spread.margins())
            });
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
        let (stores, survive, policy) = (self.facts(), self.survive, self.policy);
        let now = self.created as f64;
        let placed = Task { blocks: &blocks, stores: &stores, survive, policy, now }.place(&with_parity)?;
        Ok((geometry, blocks, placed))
    }

    fn facts(&self) -> Vec<Facts> {
        self.stores.iter().map(|store| store.facts.clone()).collect()
    }

    fn labels(&self) -> Vec<Labels> {
        self.stores.iter().map(|store| store.facts.all_labels()).collect()
    }

    /// Makes the wanted blocks and puts them where they belong. Of those that were made before, the bytes have to be the
    /// same.
    async fn pass(
        &self,
        job: &Arc<Job>,
        wanted: &BlockSet,
        before: Option<&Hashes>,
        outcome: &mut Outcome<'_>,
        progress: &Arc<Progress>,
    ) -> Result<Hashes, Error> {
        let may_drop = may_drop(&outcome.homes);
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
                let store = &self.stores[outcome.homes.of[block]];
                let name = block_name(self.id, block);
                async move {
                    let began = Instant::now();
                    let opened = store.transport.put(&name, Some(geometry.block_bytes(block))).await;
                    (block, opened, began.elapsed())
                }
            })
            .buffered(OPEN_AT_ONCE)
            .collect()
            .await;
        let mut writers = Vec::new();
        for (block, opened, waited) in opened {
            let store = outcome.homes.of[block];
            match opened {
                Ok(put) => {
                    let (meter, writer) = streams.open(block, store, put);
                    outcome.meters[block] = meter.clone();
                    outcome.seen[store].push((waited, meter));
                    writers.push((block, writer));
                }
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
        Ok(Manifest {
            id,
            geometry,
            hashes: hashes.blocks.clone(),
            name,
            created,
            modified,
            source_hash,
            places: None,
        })
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
        let manifests = outcome.has_manifest.iter().filter(|&&has| has).count();
        if manifests < self.quorum {
            outcome.remove(self.id).await;
            let source = outcome.failed.into_iter().flatten().next();
            return Err(Error::StoreQuorum { stores: manifests, quorum: self.quorum, source });
        }
        let behaviour = outcome.behaviour();
        let failed = outcome.failed.into_iter().zip(&self.stores);
        let failed = failed.filter_map(|(error, store)| Some((store.url().to_owned(), error?))).collect();
        let slow = self.stores.iter().zip(&outcome.slow).filter(|(_, slow)| **slow);
        Ok(BackupReport {
            manifest,
            live: outcome.live,
            stores_survivable,
            stores_survivable_planned: outcome.homes.planned().unwrap_or(0),
            blocks_survivable,
            slow: slow.map(|(store, _)| store.url().to_owned()).collect(),
            blocks_moved: outcome.moved.len(),
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

/// A store may be relieved of blocks if others take them and all that was promised holds.
fn may_drop(homes: &Homes) -> MayDrop {
    let mut homes = homes.clone();
    Box::new(move |store, blocks| {
        let mut moved = homes.clone();
        moved.takes_more[store] = false;
        let may = moved.move_away(blocks) && moved.keep_promises();
        if may {
            homes = moved;
        }
        may
    })
}

type Written = Vec<(usize, Box<dyn Put>)>;

/// Which blocks are where, and what failed.
struct Outcome<'a> {
    stores: &'a [Store],
    homes: Homes,
    live: BlockSet,
    /// Blocks that did not get where they were planned to be.
    moved: BlockSet,
    has_manifest: Vec<bool>,
    slow: Vec<bool>,
    failed: Vec<Option<TransportError>>,
    /// For each block, how long it took its last store.
    meters: Vec<Arc<Meter>>,
    /// For each store, how long each block waited until it was taken, and how long that took.
    seen: Vec<Vec<(Duration, Arc<Meter>)>>,
}

impl<'a> Outcome<'a> {
    fn new(stores: &'a [Store], homes: Homes) -> Self {
        let failed = stores.iter().map(|_| None).collect();
        let (has_manifest, slow) = (vec![false; stores.len()], vec![false; stores.len()]);
        let none = BlockSet::none(homes.of.len());
        let (meters, seen) =
            (homes.of.iter().map(|_| Arc::new(Meter::new())), vec![Vec::new(); stores.len()]);
        let meters = meters.collect();
        Self { live: none.clone(), moved: none, stores, homes, has_manifest, slow, failed, meters, seen }
    }

    fn behaviour(&self) -> Vec<Behaviour> {
        let of_store = |(seen, failed): (&Vec<(Duration, Arc<Meter>)>, &Option<TransportError>)| {
            let (now, answers) = (Instant::now(), seen.iter().map(|(waited, _)| waited));
            let busy = seen.iter().map(|(_, meter)| meter.busy(now)).max();
            let wait = answers.sum::<Duration>().as_secs_f64() / seen.len().max(1) as f64;
            Behaviour {
                bytes: seen.iter().map(|(_, meter)| meter.bytes()).sum(),
                busy_seconds: busy.unwrap_or_default().as_secs_f64(),
                answer_seconds: (!seen.is_empty()).then_some(wait),
                failed: failed.is_some(),
            }
        };
        self.seen.iter().zip(&self.failed).map(of_store).collect()
    }

    fn fail(&mut self, block: usize, error: TransportError) {
        let store = self.homes.of[block];
        self.homes.takes_more[store] = false;
        self.failed[store].get_or_insert(error);
    }

    /// Finds other places for the blocks that are not stored; those that have one are returned.
    fn move_missing(&mut self) -> BlockSet {
        let mut missing = BlockSet::all(self.live.blocks());
        self.live.iter().for_each(|block| missing.remove(block));
        let blocks: Vec<usize> = missing.iter().collect();
        if !self.homes.move_away(&blocks) {
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
                    let store = self.homes.of[block];
                    (self.homes.takes_more[store], self.slow[store]) = (false, true);
                }
            }
        }
        written
    }

    /// Makes the blocks durable and visible.
    async fn commit(&mut self, written: Written) {
        let meters = &self.meters;
        let commits = stream::iter(written)
            .map(|(block, put)| async move { (block, meters[block].time(0, put.commit()).await) });
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
        let live = self.live.iter().filter(|&block| self.has_manifest[self.homes.of[block]]);
        live.for_each(|block| held[self.homes.of[block]].insert(block));
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
        for block in 0..self.homes.of.len() {
            let _ = self.stores[self.homes.of[block]].transport.delete(&block_name(id, block)).await;
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
