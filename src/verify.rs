//! Verify: reads every copy of every block where it lies and says what is wrong; changes nothing.

use std::sync::Arc;

use tanner_kernels::BlockSet;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::fetch::{Damage, DamageKind, Found};
use crate::parallel;
use crate::progress::Progress;
use crate::resources::Stop;
use crate::restore::missing;
use crate::scheduler::{DomainLosses, Placement};
use crate::store::block_name;

/// What the stores hold of a backup, and what that is good for.
#[derive(Clone, Debug)]
pub struct Health {
    /// Blocks of which some store has a good copy, and those that need none.
    pub good: BlockSet,
    /// For each store, the blocks of which it has a good copy.
    pub held: Vec<BlockSet>,
    /// Copies that cannot be used, and blocks that no store has.
    pub damages: Vec<Damage>,
    /// How many more blocks may be lost, whichever they are; none if the backup cannot be restored.
    pub blocks_survivable: Option<usize>,
    /// How many stores may be lost, whichever they are; none if the backup cannot be restored.
    pub stores_survivable: Option<usize>,
    /// What the loss of one store more than that would do; none if that is all, or more than can be tried.
    pub beyond: Option<DomainLosses>,
}

impl Health {
    /// What follows from the blocks that each store holds.
    #[must_use]
    pub fn of(found: &Found, held: Vec<BlockSet>, damages: Vec<Damage>) -> Self {
        let empty = found.manifest.geometry.empty_blocks();
        let mut good = empty.clone();
        held.iter().for_each(|blocks| good.insert_all(blocks));
        let blocks_survivable = found.codec.recoverable(&good);
        let manifests = found.has_manifest.iter().filter(|&&has| has).count();
        let placement = Placement { codec: &found.codec, always: &empty, held: &held, manifests };
        let stores_survivable = placement.survivable();
        let next = stores_survivable.and_then(|stores| placement.losses_of(stores + 1));
        let beyond = next.filter(|losses| losses.domains < found.stores.len());
        Self { good, held, damages, blocks_survivable, stores_survivable, beyond }
    }

    /// What the stores list, without reading a block.
    #[must_use]
    pub fn as_listed(found: &Found) -> Self {
        Self::of(found, found.listed.clone(), missing(found))
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
                Some(kind) => damages.push(found.damage(block, store, kind)),
            },
        )?;
        damages.sort_by_key(|damage| damage.block);
        Ok(Health::of(&found, held, damages))
    };
    parallel::blocking(run).await
}

/// Looks at the lengths of all blocks, and reads none.
pub(crate) async fn glance(found: &Found) -> Health {
    let (mut held, mut damages) = (found.listed.clone(), missing(found));
    for (store, held) in held.iter_mut().enumerate() {
        let transport = &found.stores[store].transport;
        for block in held.clone().iter() {
            let wanted = found.manifest.geometry.block_bytes(block);
            let kind = match transport.stat(&block_name(found.manifest.id, block)).await {
                Ok(meta) if meta.length == wanted => continue,
                Ok(meta) => DamageKind::Length { wanted, got: meta.length },
                Err(error) => error.into(),
            };
            held.remove(block);
            damages.push(found.damage(block, store, kind));
        }
    }
    damages.sort_by_key(|damage| damage.block);
    Health::of(found, held, damages)
}

/// Blocks that are read at a time.
const VERIFIERS: usize = 8;
