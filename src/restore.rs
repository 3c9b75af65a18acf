//! Restore: data blocks straight into their places, lost ones decoded, nothing visible before all of it is right.
//!
//! No byte of a block reaches the decoder before the whole block matched its hash: data blocks are verified on
//! their way into the staged file, parity blocks by a reading of their own. What the decoder computes is held
//! against the hashes of the lost blocks, and the whole against the source's. Only then does the file get its name.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use tanner_kernels::{BlockSet, DecodePlan};
use tokio::runtime::Handle;

use crate::decode::{DecodePass, Failure, outputs};
use crate::error::Error;
use crate::fetch::{Damage, DamageKind, Found, chain};
use crate::hash::PieceHasher;
use crate::parallel;
use crate::progress::Progress;
use crate::resources::{Resources, Stop};
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
        let mut restore = Restore {
            found: &found,
            staged: staged.file.as_file(),
            resources: &resources,
            stop: &stop,
            io: &io,
            progress: &progress,
            verified: found.manifest.geometry.empty_blocks(),
            stores: vec![None; found.manifest.hashes.len()],
            damages: Vec::new(),
            decoded: Vec::new(),
        };
        restore.run()?;
        let report = RestoreReport {
            damages: restore.damages,
            decoded: restore.decoded,
            verified: restore.verified.len() - found.manifest.geometry.empty_blocks().len(),
        };
        staged.publish()?;
        Ok(report)
    };
    parallel::blocking(run).await
}

struct Restore<'a> {
    found: &'a Found,
    staged: &'a File,
    resources: &'a Resources,
    stop: &'a Stop,
    io: &'a Handle,
    progress: &'a Progress,
    /// Blocks whose bytes matched their hash, and the store they were read from.
    verified: BlockSet,
    stores: Vec<Option<usize>>,
    damages: Vec<Damage>,
    decoded: Vec<usize>,
}

impl Restore<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let geometry = &self.found.manifest.geometry;
        // Nothing is read if even all that is listed would not do.
        let listed = self.found.live();
        if self.found.codec.recoverable(&listed).is_none() {
            self.damages.extend(missing(self.found));
            return Err(self.not_recoverable(listed.len()));
        }
        let data = geometry.profile().data();
        let mut source = PieceHasher::new(geometry.source_bytes(), geometry.is_kib_aligned());
        self.fetch_data(&mut source)?;
        let mut untried: Vec<usize> = (data..geometry.profile().blocks()).rev().collect();
        loop {
            let lost: Vec<usize> = (0..data).filter(|&block| !self.verified.contains(block)).collect();
            if lost.is_empty() {
                break;
            }
            let plan = self.verify_parity(&mut untried)?;
            if let Some(branches) = self.decode(&plan, &source)? {
                branches.into_iter().for_each(|branch| source.join(branch));
                self.decoded = lost;
                break;
            }
        }
        if source.finish() != Some(self.found.manifest.source_hash) {
            return Err(Error::WrongHash { what: format!("backup {}", self.found.manifest.id) });
        }
        Ok(())
    }

    /// Reads data blocks into their places, several at a time.
    fn fetch_data(&mut self, source: &mut PieceHasher) -> Result<(), Error> {
        let (found, staged) = (self.found, self.staged);
        let data = found.manifest.geometry.profile().data();
        let wanted = (0..data).filter(|&block| !self.verified.contains(block)).collect();
        let progress = self.progress;
        let place = |block, offset, piece: &[u8], branch: &mut PieceHasher| {
            let at = found.manifest.geometry.data_range(block).start + offset;
            staged
                .write_all_at(piece, at)
                .map_err(|source| Error::Staged { id: found.manifest.id, source })?;
            branch.add(at, piece);
            progress.advance(piece.len() as u64);
            Ok(())
        };
        let fetched = self.fetch_all(wanted, || source.branch(), place)?;
        fetched.into_iter().for_each(|(_, branch)| source.join(branch));
        Ok(())
    }

    /// Reads parity blocks until there are enough, of which only the hashes matter here, and plans the decoding.
    fn verify_parity(&mut self, untried: &mut Vec<usize>) -> Result<Arc<DecodePlan>, Error> {
        let threshold = self.found.manifest.geometry.profile().threshold();
        loop {
            if let Ok(plan) = self.found.codec.decoder(&self.verified) {
                return Ok(plan);
            }
            let wanted = threshold.saturating_sub(self.verified.len()).max(1);
            let blocks = untried.split_off(untried.len().saturating_sub(wanted));
            if blocks.is_empty() {
                return Err(self.not_recoverable(self.verified.len()));
            }
            self.fetch_all(blocks, || (), |_, _, _, ()| Ok(()))?;
        }
    }

    /// Decodes the lost data blocks and returns their parts of the source's hash. `None` if a parity block turned
    /// out not to be what it was when it verified; it is not used again then.
    fn decode(&mut self, plan: &DecodePlan, source: &PieceHasher) -> Result<Option<Vec<PieceHasher>>, Error> {
        let ends = IntoStaged {
            found: self.found,
            stores: &self.stores,
            staged: self.staged,
            lost: outputs(plan).collect(),
            source,
            threads: self.resources.thread_count(),
            io: self.io,
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
        let mut bad = Vec::new();
        match pass.run() {
            Err(Failure::Fatal(error)) => return Err(error),
            Err(Failure::Store(error)) => bad.push(chain(&error)),
            Ok(restored) => {
                let mut branches = Vec::new();
                for Restored { block, own, source } in restored {
                    branches.push(source);
                    if own.finish() != Some(self.found.manifest.hashes[block]) {
                        bad.push(format!("block {block} was decoded to bytes that do not match its hash"));
                    }
                }
                if bad.is_empty() {
                    return Ok(Some(branches));
                }
            }
        }
        // All inputs verified once, so some store answers differently now. Find out which.
        let data = self.found.manifest.geometry.profile().data();
        let inputs: Vec<usize> = self.verified.iter().filter(|&block| block >= data).collect();
        inputs.iter().for_each(|&block| self.verified.remove(block));
        let again = self.fetch_all(inputs.clone(), || (), |_, _, _, ()| Ok(()))?;
        if again.len() == inputs.len() {
            return Err(Error::WrongHash {
                what: format!("backup {} ({})", self.found.manifest.id, bad.join("; ")),
            });
        }
        Ok(None)
    }

    /// Fetches blocks, several at a time; returns those that verified, ascending, with what `each` made of them.
    fn fetch_all<T: Send>(
        &mut self,
        blocks: Vec<usize>,
        fresh: impl Fn() -> T + Sync,
        each: impl Fn(usize, u64, &[u8], &mut T) -> Result<(), Error> + Sync,
    ) -> Result<Vec<(usize, T)>, Error> {
        let this = &*self;
        let fetch = |(): &mut (), block: usize| -> Result<_, Error> {
            let (mut damages, mut made) = (Vec::new(), fresh());
            let store = this.found.fetch(block, this.io, &mut damages, |offset, piece| {
                this.stop.check()?;
                if offset == 0 {
                    made = fresh();
                }
                each(block, offset, piece, &mut made)
            })?;
            Ok((block, store, damages, made))
        };
        let mut fetched = Vec::new();
        let threads = blocks.len().min(FETCHERS);
        parallel::each(blocks.into_iter(), threads, || Ok(()), fetch, |result| fetched.push(result))?;
        fetched.sort_by_key(|&(block, ..)| block);
        let mut good = Vec::new();
        for (block, store, damages, made) in fetched {
            self.damages.extend(damages);
            if store.is_some() {
                self.verified.insert(block);
                self.stores[block] = store;
                good.push((block, made));
            }
        }
        Ok(good)
    }

    fn not_recoverable(&self, good: usize) -> Error {
        let threshold = self.found.manifest.geometry.profile().threshold();
        let missing = threshold.saturating_sub(good).max(1);
        Error::NotRecoverable { id: self.found.manifest.id, good, missing, damages: self.damages.clone() }
    }
}

/// Blocks that no store lists.
pub(crate) fn missing(found: &Found) -> Vec<Damage> {
    let live = found.live();
    let absent = (0..live.blocks()).filter(|&block| !live.contains(block));
    absent.map(|block| Damage { block, store: None, kind: DamageKind::Missing }).collect()
}

/// Blocks that are read at a time.
const FETCHERS: usize = 8;
