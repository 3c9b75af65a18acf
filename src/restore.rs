//! Restore: data blocks straight into their places, lost ones decoded, nothing visible before all of it is right.
//!
//! No byte of a block reaches the decoder before the whole block matched its hash: data blocks are verified on
//! their way into the staged file, parity blocks on their way into a spool, and no store is asked again. What the
//! decoder computes is held against the hashes of the lost blocks, and the whole against the source's. Only then does
//! the file get its name.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use tanner_kernels::DecodePlan;
use tokio::runtime::Handle;

use crate::decode::{DecodePass, Failure, outputs};
use crate::error::Error;
use crate::fetch::{Damage, DamageKind, Found};
use crate::gather::{Gather, Gathered};
use crate::hash::PieceHasher;
use crate::parallel;
use crate::progress::Progress;
use crate::resources::{Resources, Stop};
use crate::spool::{Slot, Spool};
use crate::staged::{IntoStaged, Restored, Staged};

/// What became of a restore.
#[derive(Debug)]
pub struct RestoreReport {
    /// Copies of blocks that could not be used.
    pub damages: Vec<Damage>,
    /// Data blocks that were computed.
    pub decoded: Vec<usize>,
    /// Blocks that were read and verified.
    pub verified: usize,
    /// What came from each store.
    pub stores: Vec<ReadFrom>,
}

/// What came from a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadFrom {
    /// The store's URL.
    pub store: String,
    /// Blocks that verified.
    pub blocks: usize,
    /// Bytes, of these and of others.
    pub bytes: u64,
    /// It kept the other stores waiting, so that something else was read in its stead.
    pub is_slow: bool,
    /// It could not be read.
    pub is_failing: bool,
}

/// Restores a backup to a file.
///
/// # Errors
/// If there are too few good blocks, the file exists and may not be replaced, or it cannot be written. In all of
/// these nothing is left under the file's name, and what was there before stays.
pub async fn restore(
    found: Found,
    output: &Path,
    replace: bool,
    resources: &Arc<Resources>,
    stop: &Stop,
    progress: &Arc<Progress>,
) -> Result<RestoreReport, Error> {
    progress.start(found.manifest.geometry.source_bytes());
    let (resources, stop, progress) = (Arc::clone(resources), stop.clone(), Arc::clone(progress));
    let (io, output) = (Handle::current(), output.to_owned());
    let run = move || {
        let staged = Staged::create(output, replace, found.manifest.geometry.source_bytes())?;
        let spool = Spool::new(staged.directory.clone(), block_bytes_max(&found));
        let restore = Restore {
            found: &found,
            staged: staged.file.as_file(),
            spool,
            resources: &resources,
            stop: &stop,
            io: &io,
            progress: &progress,
        };
        let report = restore.run()?;
        staged.publish()?;
        Ok(report)
    };
    parallel::blocking(run).await
}

struct Restore<'a> {
    found: &'a Found,
    staged: &'a File,
    spool: Arc<Spool>,
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
            spool: Arc::clone(&self.spool),
            source: &source,
            stop: self.stop,
            io: self.io,
            progress: self.progress,
        };
        let gathered = gather.run()?;
        let Gathered { is_enough, verified, possible, parity, branches, mut damages, stores } = gathered;
        // What was not looked at is not missing.
        let is_known = self.found.is_silent.iter().all(|is_silent| !is_silent);
        let wanted = |damage: &Damage| !is_enough || (is_known && damage.block < data);
        damages.extend(missing(self.found).into_iter().filter(wanted));
        damages.sort_by_key(|damage| damage.block);
        if !is_enough {
            return Err(self.not_recoverable(possible, damages));
        }
        branches.into_iter().for_each(|branch| source.join(branch));
        let decoded: Vec<usize> = (0..data).filter(|&block| !verified.contains(block)).collect();
        if !decoded.is_empty() {
            let plan = self.found.codec.decoder(&verified);
            let plan = plan.map_err(|_| self.not_recoverable(verified.len(), damages.clone()))?;
            self.decode(&plan, &parity, &source)?.into_iter().for_each(|branch| source.join(branch));
        }
        if source.finish() != Some(self.found.manifest.source_hash) {
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
        });
        let (stores, verified) = (stores.collect(), verified.len() - geometry.empty_blocks().len());
        Ok(RestoreReport { damages, decoded, verified, stores })
    }

    /// Decodes the lost data blocks and returns their parts of the source's hash.
    fn decode(
        &self,
        plan: &DecodePlan,
        parity: &BTreeMap<usize, Slot>,
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

    fn not_recoverable(&self, good: usize, damages: Vec<Damage>) -> Error {
        let threshold = self.found.manifest.geometry.profile().threshold();
        let missing = threshold.saturating_sub(good).max(1);
        Error::NotRecoverable { id: self.found.manifest.id, good, missing, damages }
    }
}

fn block_bytes_max(found: &Found) -> u64 {
    let geometry = &found.manifest.geometry;
    (0..found.manifest.hashes.len()).map(|block| geometry.block_bytes(block)).max().unwrap_or(0)
}

/// Blocks that no store lists.
pub(crate) fn missing(found: &Found) -> Vec<Damage> {
    let live = found.live();
    let absent = (0..live.blocks()).filter(|&block| !live.contains(block));
    absent.map(|block| Damage { block, store: None, kind: DamageKind::Missing }).collect()
}
