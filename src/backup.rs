//! Backup: one pass from the source to the stores.
//!
//! Every block is a stream of its own. A store that fails loses its blocks, not the pass. Nothing becomes
//! visible before the whole source was read and found unchanged; the manifest comes last, once its blocks are
//! durable, and is read back before success is reported.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tanner_kernels::{BlockSet, CodeChoice, Codec, Profile};
use tanner_transports::{Target, TransportError};

use crate::encode::Hashes;
use crate::error::Error;
use crate::geometry::Geometry;
use crate::id::BackupId;
use crate::keeper::Keeper;
use crate::manifest::{Manifest, NAME_BYTES_MAX};
use crate::places::Places;
use crate::progress::Progress;
use crate::resources::{Resources, Stop};
use crate::scheduler::writing::{Standing, Verdict, Writing};
use crate::scheduler::{Blocks, Demand, Facts, Labels, Margin, Placed, Policy, Spread, Task};
use crate::source::{IoMode, Source};
use crate::store::Store;
use crate::timed::Behaviour;
use crate::unfinished::{self, Resumable};
use crate::write::{Job, SharedWriting, Write, Written};

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
    is_complete: bool,
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
    /// How often the source was read, if only in part.
    pub passes: usize,
    /// Bytes that stores had already from an earlier run.
    pub resumed_bytes: u64,
    /// What went wrong with the journal, and what may be left for a sweep.
    pub troubles: Vec<String>,
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
        self.is_complete
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
        self.run_as(None, resources, stop, progress).await
    }

    /// Runs the backup with a journal, so that another run can go on with it if this one is cut off or told to stop. Goes
    /// on with an earlier one itself, if that was [found](Resumable::newest): then the [id](Self::id) and the time of its
    /// [creation](Self::created) have to be that one's, and the stores [in its order](Resumable::arrange).
    ///
    /// # Errors
    /// As [`run`](Self::run); but of a run that was told to stop, or fails after it went on with another, everything stays
    /// where it is.
    pub async fn run_resumable(
        self,
        resumable: Resumable,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, Error> {
        self.run_as(Some(resumable), resources, stop, progress).await
    }

    async fn run_as(
        self,
        resumable: Option<Resumable>,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, Error> {
        if self.quorum > self.stores.len() {
            return Err(Error::StoreQuorum { stores: self.stores.len(), quorum: self.quorum, source: None });
        }
        let source = Source::open(self.source, self.io)?;
        let (geometry, blocks) = self.blocks(source.bytes())?;
        let place = || self.place(&blocks, source.bytes());
        let (placed, begun) = match resumable {
            None => (place()?, None),
            Some(resumable) => {
                let (header, labels) = (unfinished::header(&self, &source, &geometry)?, self.labels());
                resumable.begin(self.id, header, &self.stores, &blocks, &labels, place).await?
            }
        };
        progress.start(geometry.source_bytes());
        let mut writing = Writing::new(&blocks, &self.facts(), &placed, self.quorum);
        begun.iter().for_each(|begun| begun.tell(&mut writing));
        let writing = SharedWriting::new(writing);
        let keeper = begun.map(|begun| Keeper::new(begun, writing.clone()));
        let job = Arc::new(Job {
            source,
            codec: blocks.codec,
            geometry,
            resources: Arc::clone(resources),
            stop: stop.clone(),
            progress: Arc::clone(progress),
        });
        let manifest = |hashes: &Hashes, homes: &[usize]| self.manifest(&job, &placed, hashes, homes);
        let write = Write::new(self.id, &self.stores, Arc::clone(&job), writing.clone(), &manifest, keeper);
        let (verdict, written) = write.run().await;
        writing.with(|_, writing| match verdict {
            Verdict::Kept(standing) => Ok(self.report(standing, &job.source, writing, written, placed)),
            refused => Err(self.refusal(&refused, geometry.profile(), writing, written)),
        })
    }

    /// What the backup would be; nothing is read of the source but its size, and nothing written.
    ///
    /// # Errors
    /// If the source cannot be opened, or the blocks cannot be placed as was demanded.
    pub fn plan(&self) -> Result<Planned, Error> {
        let bytes = Source::open(self.source, self.io)?.bytes();
        let (geometry, blocks) = self.blocks(bytes)?;
        let placed = self.place(&blocks, bytes)?;
        let (places, labels) = (placed.places.iter().copied(), self.labels());
        let (stores_survivable, margins) =
            Spread::of_places(&blocks.codec, &blocks.empty, places, &labels, |spread| {
                (spread.stores_survivable(), spread.margins())
            });
        Ok(Planned { geometry, placed, stores_survivable, margins })
    }

    /// What blocks the source becomes.
    fn blocks(&self, bytes: u64) -> Result<(Geometry, Blocks), Error> {
        let profile = match self.shape {
            Shape::Blocks { code, data, parity } => Profile::for_code(code, data, parity, bytes)?,
            Shape::Profile(profile) => profile,
        };
        if bytes > Geometry::source_bytes_max(&profile) {
            return Err(Error::SourceTooLarge { path: self.source.to_owned(), bytes });
        }
        let geometry = Geometry::new(profile, bytes);
        Ok((geometry, blocks_of(&geometry)))
    }

    /// Decides where they go.
    fn place(&self, blocks: &Blocks, bytes: u64) -> Result<Placed, Error> {
        let with_parity = |parity: usize| {
            let Shape::Blocks { code, data, .. } = self.shape else { return None };
            let profile = Profile::for_code(code, data, parity as u64, bytes).ok()?;
            (bytes <= Geometry::source_bytes_max(&profile)).then(|| blocks_of(&Geometry::new(profile, bytes)))
        };
        let (stores, survive, policy) = (self.facts(), self.survive, self.policy);
        let now = self.created as f64;
        Ok(Task { blocks, stores: &stores, survive, policy, now }.place(&with_parity)?)
    }

    fn facts(&self) -> Vec<Facts> {
        self.stores.iter().map(|store| store.facts.clone()).collect()
    }

    fn labels(&self) -> Vec<Labels> {
        self.stores.iter().map(|store| store.facts.all_labels()).collect()
    }

    fn manifest(&self, job: &Job, placed: &Placed, hashes: &Hashes, homes: &[usize]) -> Manifest {
        let name = job.source.name();
        let first: Vec<String> = placed.kept.iter().map(|(demand, _)| demand.label.clone()).collect();
        Manifest {
            id: self.id,
            geometry: job.geometry,
            hashes: hashes.blocks.clone(),
            name: if name.len() <= NAME_BYTES_MAX { name } else { String::new() },
            created: self.created,
            modified: job.source.modified(),
            source_hash: hashes.source.expect("the first pass makes all blocks"),
            places: Places::new(homes, &self.labels(), &first),
        }
    }

    fn report(
        &self,
        standing: Standing,
        source: &Source,
        writing: &Writing,
        written: Written,
        placed: Placed,
    ) -> BackupReport {
        let url = |store: usize| self.stores[store].url().to_owned();
        let Standing { is_complete, stores_survivable, blocks_survivable, margins, broken } = standing;
        let slow = writing.stores().iter().enumerate().filter(|(_, store)| store.is_slow);
        BackupReport {
            live: writing.live().clone(),
            is_complete,
            stores_survivable,
            stores_survivable_planned: writing.homes().planned().unwrap_or(0),
            blocks_survivable,
            slow: slow.map(|(store, _)| url(store)).collect(),
            blocks_moved: writing.blocks_moved(),
            passes: writing.passes(),
            resumed_bytes: written.resumed_bytes,
            troubles: written.troubles.clone(),
            margins,
            broken,
            placed,
            behaviour: (0..self.stores.len()).map(|store| written.behaviour(store)).collect(),
            manifest: written.manifest.expect("who keeps a backup put its manifest"),
            failed: written.failed.into_iter().map(|(store, error)| (url(store), error)).collect(),
            reader: source.reader(),
            reader_refusal: source.refusal().map(str::to_owned),
        }
    }

    /// Why there is no backup.
    fn refusal(&self, verdict: &Verdict, profile: &Profile, writing: &Writing, written: Written) -> Error {
        let first = written.failed.into_iter().next().map(|(_, error)| error);
        match *verdict {
            Verdict::TooFewStores { manifests } => {
                Error::StoreQuorum { stores: manifests, quorum: self.quorum, source: first }
            }
            Verdict::TooFewBlocks => {
                let (stored, blocks, needed) = (writing.live().len(), profile.blocks(), profile.threshold());
                let slow = || {
                    let slow = writing.stores().iter().position(|store| store.is_slow);
                    let at = Target::store(self.stores[slow.unwrap_or(0)].url());
                    TransportError::Slow { at, source: io::ErrorKind::TimedOut.into() }
                };
                Error::Quorum { stored, blocks, needed, source: first.unwrap_or_else(slow) }
            }
            Verdict::Failed | Verdict::Suspended | Verdict::Kept(_) => {
                match (verdict, written.error.expect("a pass fails for a reason")) {
                    (Verdict::Suspended, Error::Stopped { signal }) => {
                        Error::Suspended { signal, id: self.id }
                    }
                    (Verdict::Suspended, Error::SourceChanged { path, how }) => {
                        Error::ResumeChanged { path, id: self.id, how: how.into() }
                    }
                    (_, error) => error,
                }
            }
        }
    }
}

fn blocks_of(geometry: &Geometry) -> Blocks {
    let bytes = (0..geometry.profile().blocks()).map(|block| geometry.block_bytes(block));
    Blocks {
        codec: Arc::new(Codec::new(*geometry.profile())),
        empty: geometry.empty_blocks(),
        block_bytes: bytes.max().unwrap_or(0),
    }
}
