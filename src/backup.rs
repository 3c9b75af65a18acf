//! Backup: one pass from the source to the stores.
//!
//! Every block is a stream of its own. A store that fails loses its blocks, not the pass. Nothing becomes
//! visible before the whole source was read and found unchanged; the manifest comes last, once its blocks are
//! durable, and is read back before success is reported.

use std::path::Path;
use std::sync::Arc;

use tanner_kernels::{CodeChoice, Codec, Profile};

use crate::encode::Hashes;
use crate::error::Error;
use crate::geometry::Geometry;
use crate::id::BackupId;
use crate::job::{Job, SharedWriting};
use crate::keeper::Keeper;
use crate::manifest::{Manifest, NAME_BYTES_MAX};
use crate::places::Places;
use crate::progress::Progress;
use crate::report::BackupReport;
use crate::resources::{Resources, Stop};
use crate::scheduler::writing::{Verdict, Writing};
use crate::scheduler::{Blocks, Demand, Facts, Labels, Margin, Placed, Policy, Spread, Task};
use crate::source::{IoMode, Source};
use crate::store::Store;
use crate::unfinished::{self, Resumable};
use crate::write::Write;

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
}

fn blocks_of(geometry: &Geometry) -> Blocks {
    let bytes = (0..geometry.profile().blocks()).map(|block| geometry.block_bytes(block));
    Blocks {
        codec: Arc::new(Codec::new(*geometry.profile())),
        empty: geometry.empty_blocks(),
        block_bytes: bytes.max().unwrap_or(0),
    }
}
