//! Backup: one pass from the source to the stores.
//!
//! Every block is a stream of its own. A store that fails loses its blocks, not the pass. Nothing becomes
//! visible before the whole source was read and found unchanged; the manifest comes last, once its blocks are
//! durable, and is read back before success is reported.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tanner_kernels::{CodeChoice, Codec, Profile};

use crate::chunking::Chunking;
use crate::crypto::{Encryption, Epochs};
use crate::encode::Hashes;
use crate::encrypter::Encrypter;
use crate::error::Error;
use crate::geometry::{Geometry, SOURCE_BYTES_MAX};
use crate::id::BackupId;
use crate::input::{Input, Origin};
use crate::job::{Job, Published, SharedWriting};
use crate::keeper::Keeper;
use crate::manifest::{Manifest, SealedManifest, is_file_name};
use crate::parallel;
use crate::places::Places;
use crate::progress::Progress;
use crate::report::BackupReport;
use crate::resources::{Resources, Stop};
use crate::scheduler::writing::{Verdict, Writing};
use crate::scheduler::{Blocks, Demand, Facts, Labels, Margin, Placed, Policy, Spread, Task};
use crate::source::{IoMode, Source};
use crate::store::Store;
use crate::stream::Stream;
use crate::unfinished::{self, Begun, Resumable};
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
    /// What to encrypt with, and to sign; none to store the source as it is.
    pub encryption: Option<Encryption>,
    /// The id to give: that of the encryption, or random.
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
    ///
    /// # Panics
    /// If the id is not that of the encryption.
    pub async fn run(
        self,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, Error> {
        let source = Input::of_file(Source::open(self.source, self.io)?);
        self.run_as(source, None, resources, stop, progress).await
    }

    /// Runs the backup with a stream in the place of the file. It is read once: blocks that get lost on the way are not
    /// made again from it.
    ///
    /// # Errors
    /// As [`run`](Self::run), and if whoever makes the stream fails.
    pub async fn run_stream(
        self,
        stream: Stream,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, Error> {
        let profile = self.profile(SOURCE_BYTES_MAX)?;
        let codec = Codec::new(profile);
        let (of_reading, stop_reading) = (Arc::clone(resources), stop.clone());
        let read = move || Input::of_stream(stream, &codec, &of_reading, &stop_reading);
        let source = parallel::blocking(read).await?;
        self.run_as(source, None, resources, stop, progress).await
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
        let source = Input::of_file(Source::open(self.source, self.io)?);
        self.run_as(source, Some(resumable), resources, stop, progress).await
    }

    async fn run_as(
        self,
        source: Input,
        resumable: Option<Resumable>,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, Error> {
        if self.quorum > self.stores.len() {
            return Err(Error::StoreQuorum { stores: self.stores.len(), quorum: self.quorum, source: None });
        }
        let is_for = |encryption: &Encryption| encryption.id() == self.id;
        assert!(self.encryption.as_ref().is_none_or(is_for), "an id that the device signs for");
        let (geometry, blocks) = match &source.origin {
            Origin::File(file) => self.blocks(file.bytes())?,
            Origin::Stream(_, row_steps) => self.rows(*row_steps)?,
        };
        let before = resumable.as_ref().and_then(Resumable::chunk_steps);
        let held_bytes = source.file().map_or(0, Source::held_bytes);
        let chunking = Chunking::new(&geometry, &blocks.codec, resources, held_bytes, before)?;
        let place = || self.place(&blocks, source.bytes().unwrap_or(SOURCE_BYTES_MAX));
        let (placed, mut begun) = match resumable {
            None => (place()?, None),
            Some(resumable) => {
                let file = source.file().expect("nothing else is gone on with");
                let (header, labels) =
                    (unfinished::header(&self, file, &geometry, chunking.chunk_steps)?, self.labels());
                resumable.begin(self.id, header, &self.stores, &blocks, &labels, place).await?
            }
        };
        let encrypter = self.encryption.as_ref().map(|encryption| {
            let Some(_) = source.file() else { return Ok(Encrypter::once(encryption, &geometry)) };
            let journal = begun.as_mut().map(|Begun { journal, left, .. }| (journal, left.live.is_some()));
            Encrypter::new(encryption, &geometry, journal)
        });
        let encrypter = encrypter.transpose()?.map(Arc::new);
        progress.start(source.bytes().unwrap_or(0));
        let mut writing = Writing::new(&blocks, &self.facts(), &placed, self.quorum);
        begun.iter().for_each(|begun| begun.tell(&mut writing));
        writing.read_once(source.file().is_none());
        let writing = SharedWriting::new(writing);
        let keeper = begun.map(|begun| Keeper::new(begun, encrypter.clone(), writing.clone()));
        let job = Arc::new(Job {
            source,
            encrypter,
            chunking,
            geometry,
            resources: Arc::clone(resources),
            stop: stop.clone(),
            progress: Arc::clone(progress),
        });
        let publish = |hashes: &Hashes, homes: &[usize], before: Option<Bytes>| {
            self.publish(self.manifest(&job, &placed, hashes, homes), before)
        };
        let write = Write::new(self.id, &self.stores, Arc::clone(&job), writing.clone(), &publish, keeper);
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
        let profile = self.profile(bytes)?;
        if bytes > Geometry::source_bytes_max(&profile) {
            return Err(Error::SourceTooLarge { path: self.source.to_owned(), bytes });
        }
        let geometry = Geometry::new(profile, bytes);
        Ok((geometry, blocks_of(&geometry)))
    }

    /// What blocks a stream becomes, as if it had no end.
    fn rows(&self, row_steps: u32) -> Result<(Geometry, Blocks), Error> {
        let geometry = Geometry::striped(self.profile(SOURCE_BYTES_MAX)?, row_steps, SOURCE_BYTES_MAX);
        // Nobody knows how much room they take.
        Ok((geometry, Blocks { block_bytes: 0, ..blocks_of(&geometry) }))
    }

    fn profile(&self, bytes: u64) -> Result<Profile, Error> {
        match self.shape {
            Shape::Blocks { code, data, parity } => Ok(Profile::for_code(code, data, parity, bytes)?),
            Shape::Profile(profile) => Ok(profile),
        }
    }

    /// Decides where they go.
    fn place(&self, blocks: &Blocks, bytes: u64) -> Result<Placed, Error> {
        let with_parity = |parity: usize| {
            let Shape::Blocks { code, data, .. } = self.shape else { return None };
            let profile = Profile::for_code(code, data, parity as u64, bytes).ok()?;
            (bytes <= Geometry::source_bytes_max(&profile)).then(|| {
                let all = blocks_of(&Geometry::new(profile, bytes));
                // Of a stream nobody knows how much room they take.
                let block_bytes = if blocks.block_bytes == 0 { 0 } else { all.block_bytes };
                Blocks { block_bytes, ..all }
            })
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

    /// Seals the manifest; unless stores may have it, sealed by an earlier run.
    fn publish(&self, manifest: Manifest, before: Option<Bytes>) -> Published {
        let Some(encryption) = &self.encryption else {
            return Published { bytes: manifest.to_bytes().into(), manifest, is_sealed: false };
        };
        let opened = before.and_then(|bytes| {
            let sealed = SealedManifest::from_bytes_of(self.id, &bytes).ok()?;
            let opened = sealed.open(&encryption.file_key).ok()?;
            // A difference in places is no other backup.
            (opened.hashes == manifest.hashes).then_some((opened, bytes))
        });
        let (manifest, bytes) = opened.unwrap_or_else(|| {
            let bytes = manifest.to_sealed_bytes(encryption, FIRST_GENERATION).into();
            (manifest, bytes)
        });
        Published { manifest, bytes, is_sealed: true }
    }

    fn manifest(&self, job: &Job, placed: &Placed, hashes: &Hashes, homes: &[usize]) -> Manifest {
        let Input { name, modified, left_out, .. } = &job.source;
        let first: Vec<String> = placed.kept.iter().map(|(demand, _)| demand.label.clone()).collect();
        Manifest {
            id: self.id,
            geometry: hashes.geometry,
            hashes: hashes.blocks.clone(),
            name: if is_file_name(name) { name.clone() } else { String::new() },
            created: self.created,
            modified: *modified,
            source_hash: hashes.source.expect("the first pass makes all blocks"),
            epochs: job.encrypter.as_ref().map_or_else(Epochs::default, |encrypter| encrypter.epochs.clone()),
            places: Places::new(homes, &self.labels(), &first),
            is_archive: left_out.is_some(),
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

/// That of the first record of a backup.
const FIRST_GENERATION: u64 = 1;
