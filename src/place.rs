//! Which store gets which block of a repair: a damaged copy's place first, else the store with fewest blocks.

use std::collections::BTreeSet;

use crate::fetch::{Damage, Found, Trouble, chain};
use crate::rebuild::Sink;
use crate::repair::Repair;
use crate::store::block_name;
use crate::streams::{Writer, spawn_writer};
use crate::verify::Health;

/// Copies of blocks on their way into stores.
#[derive(Default)]
pub(crate) struct Jobs {
    /// Block and store of each copy, by block.
    pub(crate) blocks: Vec<(usize, usize)>,
    /// Where the bytes of each copy go, and who puts them; by its place in `blocks`. None with a dry run.
    pub(crate) sinks: Vec<Sink>,
    pub(crate) writers: Vec<(usize, Writer)>,
    /// Stores that refused a copy.
    pub(crate) failed: Vec<Trouble>,
    /// Blocks that no store takes.
    pub(crate) unplaced: Vec<usize>,
    /// How many blocks each store has; none if it gets no more.
    counts: Vec<Option<usize>>,
}

/// Copies whose bytes are known to be wrong, by block, with the store.
pub(crate) fn wrong_copies(found: &Found, damages: &[Damage]) -> Vec<(usize, usize)> {
    let wrong = damages.iter().filter(|damage| damage.kind.is_wrong());
    wrong.filter_map(|damage| Some((damage.block, found.store_of(damage)?))).collect()
}

impl Jobs {
    /// Opens a put for each copy that is to be. A store that refuses one gets no more.
    pub(crate) async fn place(repair: &Repair, health: &Health) -> Self {
        let counts = health.held.iter().zip(&repair.may_get).map(|(held, may)| may.then_some(held.len()));
        let mut jobs = Self { counts: counts.collect(), ..Self::default() };
        let wrong = wrong_copies(&repair.found, &health.damages);
        let blocks: BTreeSet<usize> = health.damages.iter().map(|damage| damage.block).collect();
        for block in blocks {
            let mut opened = health.good.contains(block);
            for &(_, store) in wrong.iter().filter(|&&(of, store)| of == block && repair.may_get[store]) {
                opened |= jobs.open(repair, block, store).await;
            }
            let taken = health.damages.iter().filter(|damage| damage.block == block);
            let taken: Vec<usize> = taken.filter_map(|damage| repair.found.store_of(damage)).collect();
            while !opened {
                let Some(store) = jobs.emptiest(&taken) else {
                    jobs.unplaced.push(block);
                    break;
                };
                opened = jobs.open(repair, block, store).await;
            }
        }
        jobs
    }

    /// The store with fewest blocks, the first of them, but none of `taken`.
    fn emptiest(&self, taken: &[usize]) -> Option<usize> {
        let open = self.counts.iter().enumerate().filter(|(store, _)| !taken.contains(store));
        open.filter_map(|(store, &count)| Some((count?, store))).min().map(|(_, store)| store)
    }

    /// Whether the store takes the block.
    async fn open(&mut self, repair: &Repair, block: usize, store: usize) -> bool {
        let Some(count) = self.counts[store] else { return false };
        if !repair.dry_run {
            let (found, length) = (&repair.found, repair.block_bytes(block));
            let name = block_name(found.manifest.id, block);
            match found.stores[store].transport.put(&name, Some(length)).await {
                Ok(put) => {
                    let (sink, writer) = spawn_writer(put);
                    self.sinks.push((block, sink));
                    self.writers.push((self.blocks.len(), writer));
                }
                Err(error) => {
                    self.failed.push(repair.trouble(store, chain(&error)));
                    self.counts[store] = None;
                    return false;
                }
            }
        }
        self.counts[store] = Some(count + 1);
        self.blocks.push((block, store));
        true
    }
}
