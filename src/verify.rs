//! Verify: reads every copy of every block where it lies and says what is wrong; changes nothing.

use std::sync::Arc;

use tanner_kernels::BlockSet;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::fetch::{Damage, Found};
use crate::parallel;
use crate::progress::Progress;
use crate::resources::Stop;
use crate::restore::missing;
use crate::scheduler::stores_survivable;

/// What the stores hold of a backup, and what that is good for.
#[derive(Debug)]
pub struct Health {
    /// Blocks of which some store has a good copy.
    pub good: BlockSet,
    /// Copies that cannot be used, and blocks that no store has.
    pub damages: Vec<Damage>,
    /// How many more blocks may be lost, whichever they are; none if the backup cannot be restored.
    pub blocks_survivable: Option<usize>,
    /// How many stores may be lost, whichever they are; none if the backup cannot be restored.
    pub stores_survivable: Option<usize>,
}

impl Health {
    /// What follows from the blocks that each store holds.
    #[must_use]
    pub fn of(found: &Found, held: &[BlockSet], damages: Vec<Damage>) -> Self {
        let empty = found.manifest.geometry.empty_blocks();
        let mut good = empty.clone();
        held.iter().for_each(|blocks| good.insert_all(blocks));
        let blocks_survivable = found.codec.recoverable(&good);
        let manifests = found.has_manifest.iter().filter(|&&has| has).count();
        let stores_survivable = stores_survivable(&found.codec, &empty, held, manifests);
        Self { good, damages, blocks_survivable, stores_survivable }
    }

    /// What the stores list, without reading a block.
    #[must_use]
    pub fn as_listed(found: &Found) -> Self {
        Self::of(found, &found.listed, missing(found))
    }
}

/// Reads and checks all blocks.
///
/// # Errors
/// If it was told to stop.
pub async fn verify(found: Found, stop: &Stop, progress: &Arc<Progress>) -> Result<Health, Error> {
    let copies: Vec<(usize, usize)> = found
        .listed
        .iter()
        .enumerate()
        .flat_map(|(store, blocks)| blocks.iter().map(move |block| (block, store)))
        .collect();
    progress.start(copies.iter().map(|&(block, _)| found.manifest.geometry.block_bytes(block)).sum());
    let (io, stop, progress) = (Handle::current(), stop.clone(), Arc::clone(progress));
    let run = move || {
        let mut held = vec![BlockSet::none(found.manifest.hashes.len()); found.stores.len()];
        let mut damages = missing(&found);
        let check = |(): &mut (), (block, store)| -> Result<_, Error> {
            let mut sink = |_, piece: &[u8]| {
                progress.advance(piece.len() as u64);
                stop.check()
            };
            Ok((block, store, found.fetch_from(block, store, &io, &mut sink)?))
        };
        parallel::each(
            copies.into_iter(),
            VERIFIERS,
            || Ok(()),
            check,
            |(block, store, damage)| match damage {
                None => held[store].insert(block),
                Some(kind) => {
                    damages.push(Damage { block, store: Some(found.stores[store].url().to_owned()), kind });
                }
            },
        )?;
        damages.sort_by_key(|damage| damage.block);
        Ok(Health::of(&found, &held, damages))
    };
    parallel::blocking(run).await
}

/// Blocks that are read at a time.
const VERIFIERS: usize = 8;
