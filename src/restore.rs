//! Restore: data blocks straight into their places, lost ones decoded, nothing visible before all of it is right.
//!
//! No byte of a block reaches the decoder before the whole block matched its hash: data blocks are verified on
//! their way into the staged file, parity blocks on their way into files beside it, and no store is asked again. What
//! the decoder computes is held against the hashes of the lost blocks, and the whole against the source's. Only then
//! does the file get its name. What is on the disk when a restore ends too soon is hashed again by the one that goes on
//! with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use blake3::Hash;
use tanner_kernels::DecodePlan;
use tokio::runtime::Handle;

use crate::assembly::Home;
use crate::decode::{DecodePass, Failure, outputs};
use crate::error::Error;
use crate::fetch::{Damage, DamageKind, Found};
use crate::gather::{Gather, Gathered};
use crate::hash::PieceHasher;
use crate::into_staged::{IntoStaged, Restored};
use crate::parallel;
use crate::progress::Progress;
use crate::resources::{Resources, Stop};
use crate::scratch::Scratch;
use crate::staged::Staged;
use crate::timed::Behaviour;

/// What became of a restore.
#[derive(Debug)]
pub struct RestoreReport {
    /// Copies of blocks that could not be used.
    pub damages: Vec<Damage>,
    /// Data blocks that were computed.
    pub decoded: Vec<usize>,
    /// Blocks that verified.
    pub verified: usize,
    /// What came from each store.
    pub stores: Vec<ReadFrom>,
    /// Bytes of blocks that an earlier restore had left, and that were used.
    pub left_bytes: u64,
    /// Whether what an earlier restore left was removed.
    pub has_swept: bool,
}

/// What came from a store.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadFrom {
    /// The store's URL.
    pub store: String,
    /// Blocks that it gave all or some of, and that verified.
    pub blocks: usize,
    /// Bytes, of these and of others.
    pub bytes: u64,
    /// It kept the other stores waiting, so that something else was read in its stead.
    pub is_slow: bool,
    /// It could not be read.
    pub is_failing: bool,
    /// The same in figures.
    pub behaviour: Behaviour,
}

/// Where a restore goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoreTo {
    /// The file to write.
    pub path: PathBuf,
    /// Whether the file is replaced if it exists.
    pub replace: bool,
    /// Whether to go on with what a restore of the same backup to the same file left when it was stopped or killed. If
    /// not, that is removed.
    pub resume: bool,
}

/// Restores a backup to a file.
///
/// # Errors
/// If it is encrypted and was not [unlocked](Found::unlock), there are too few good blocks, the file exists and may not be
/// replaced, another process is restoring to it, or it cannot be written. In all of these nothing is left under the file's
/// name, and what was there before stays. If it was told to stop, what it read is left to be resumed.
pub async fn restore(
    found: Found,
    to: RestoreTo,
    resources: &Arc<Resources>,
    stop: &Stop,
    progress: &Arc<Progress>,
) -> Result<RestoreReport, Error> {
    let source_hash = found.check_opened()?.source_hash;
    let (id, bytes) = (found.manifest.id, found.manifest.geometry.source_bytes());
    progress.start(bytes);
    let (resources, stop, progress) = (Arc::clone(resources), stop.clone(), Arc::clone(progress));
    let io = Handle::current();
    let run = move || {
        let staged = Staged::for_restore(to.path, to.replace, id, bytes, to.resume)?;
        let restore = Restore {
            found: &found,
            source_hash,
            staged: &staged.scratch,
            resources: &resources,
            stop: &stop,
            io: &io,
            progress: &progress,
        };
        let report = match restore.run() {
            Err(Error::Stopped { signal }) => {
                return Err(Error::RestoreStopped { signal, path: staged.keep() });
            }
            result => result?,
        };
        staged.publish()?;
        Ok(report)
    };
    parallel::blocking(run).await
}

/// Restores a backup to a file without a name in `directory`, which is gone when it is closed: for whoever passes its
/// bytes on. They are all right when this returns, and are read from the begin.
///
/// # Errors
/// As [`restore`]; nothing is left to be resumed.
pub async fn restore_spooled(
    found: Found,
    directory: PathBuf,
    resources: &Arc<Resources>,
    stop: &Stop,
    progress: &Arc<Progress>,
) -> Result<(File, RestoreReport), Error> {
    let source_hash = found.check_opened()?.source_hash;
    let bytes = found.manifest.geometry.source_bytes();
    progress.start(bytes);
    let (resources, stop, progress) = (Arc::clone(resources), stop.clone(), Arc::clone(progress));
    let io = Handle::current();
    let run = move || {
        let failed = |source| Error::Output { path: directory.clone(), source };
        let staged = Scratch::nameless(&directory).map_err(failed)?;
        staged.reserve(bytes).map_err(failed)?;
        let restore = Restore {
            found: &found,
            source_hash,
            staged: &staged,
            resources: &resources,
            stop: &stop,
            io: &io,
            progress: &progress,
        };
        let report = restore.run()?;
        Ok((staged.file.try_clone().map_err(failed)?, report))
    };
    parallel::blocking(run).await
}

struct Restore<'a> {
    found: &'a Found,
    source_hash: Hash,
    staged: &'a Scratch,
    resources: &'a Resources,
    stop: &'a Stop,
    io: &'a Handle,
    progress: &'a Progress,
}

impl Restore<'_> {
    fn run(&self) -> Result<RestoreReport, Error> {
        let geometry = &self.found.manifest.geometry;
        let data = geometry.profile().data();
        let mut source = PieceHasher::new(geometry.source_bytes(), geometry.is_kib_aligned());
        let gather = Gather {
            found: self.found,
            staged: self.staged,
            resources: self.resources,
            stop: self.stop,
            io: self.io,
            progress: self.progress,
        };
        let gathered = gather.run()?;
        let Gathered { is_enough, verified, possible, parity, branches, mut damages, stores, left_bytes } =
            gathered;
        // What was not looked at is not missing.
        let is_known = self.found.is_silent.iter().all(|is_silent| !is_silent);
        let wanted = |damage: &Damage| !is_enough || (is_known && damage.block < data);
        damages.extend(missing(self.found).into_iter().filter(wanted));
        damages.sort_by_key(|damage| damage.block);
        if !is_enough {
            return Err(self.found.not_recoverable(possible, damages));
        }
        branches.into_iter().for_each(|branch| source.join(branch));
        let decoded: Vec<usize> = (0..data).filter(|&block| !verified.contains(block)).collect();
        if !decoded.is_empty() {
            let plan = self.found.codec.decoder(&verified);
            let plan = plan.map_err(|_| self.found.not_recoverable(verified.len(), damages.clone()))?;
            self.decode(&plan, &parity, &source)?.into_iter().for_each(|branch| source.join(branch));
        }
        if source.finish() != Some(self.source_hash) {
            return Err(Error::WrongHash { what: format!("backup {}", self.found.manifest.id) });
        }
        let silent = self.found.is_silent.iter();
        let stores = self.found.stores.iter().zip(&stores).zip(silent);
        let stores = stores.map(|((store, source), is_silent)| ReadFrom {
            store: store.url().to_owned(),
            blocks: source.verified,
            bytes: source.bytes,
            is_slow: source.is_slow || *is_silent,
            is_failing: source.is_failing,
            behaviour: Behaviour {
                bytes: source.bytes,
                busy_seconds: source.waited.as_secs_f64(),
                answer_seconds: source.answered_in().map(|time| time.as_secs_f64()),
                failed: source.is_failing,
            },
        });
        let (stores, verified) = (stores.collect(), verified.len() - geometry.empty_blocks().len());
        let has_swept = self.staged.has_swept;
        Ok(RestoreReport { damages, decoded, verified, stores, left_bytes, has_swept })
    }

    /// Decodes the lost data blocks and returns their parts of the source's hash.
    fn decode(
        &self,
        plan: &DecodePlan,
        parity: &BTreeMap<usize, Home>,
        source: &PieceHasher,
    ) -> Result<Vec<PieceHasher>, Error> {
        let ends = IntoStaged {
            found: self.found,
            parity,
            staged: self.staged,
            lost: outputs(plan).collect(),
            source,
            threads: self.resources.thread_count(),
            progress: self.progress,
        };
        let pass = DecodePass {
            geometry: &self.found.manifest.geometry,
            codec: &self.found.codec,
            plan,
            ends: &ends,
            resources: self.resources,
            stop: self.stop,
            io: self.io,
        };
        let restored = pass.run().map_err(|failure| match failure {
            Failure::Fatal(error) => error,
            Failure::Store(error) => error.into(),
        })?;
        let matched = |Restored { block, own, source }| match own.finish() {
            Some(hash) if hash == self.found.manifest.hashes[block] => Ok(source),
            _ => Err(Error::WrongHash {
                what: format!("backup {}: block {block}, as decoded", self.found.manifest.id),
            }),
        };
        restored.into_iter().map(matched).collect()
    }
}

/// Blocks that no store lists.
pub(crate) fn missing(found: &Found) -> Vec<Damage> {
    let live = found.live();
    let absent = (0..live.blocks()).filter(|&block| !live.contains(block));
    absent.map(|block| Damage { block, store: None, kind: DamageKind::Missing }).collect()
}
