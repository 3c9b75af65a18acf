//! Which store gets which block of a repair: a damaged copy's place first, then the store where the block once was, else
//! the store whose domains have fewest blocks, so that no domain gets more than can be missed.

use std::collections::BTreeSet;

use crate::fetch::{Damage, Found, Trouble, chain};
use crate::margins::labels_of;
use crate::rebuild::Sink;
use crate::repair::Repair;
use crate::scheduler::{Domains, widest_first};
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
    /// The bytes that each store has room for, if anybody knows; none if it gets no more.
    room: Vec<Option<u64>>,
    /// The domains that stores are lost by, the widest first, and how many blocks each has.
    domains: Vec<(Domains, Vec<usize>)>,
    /// The store that each block was once placed in, if it is known.
    homes: Vec<Option<usize>>,
}

/// Copies whose bytes are known to be wrong, by block, with the store.
pub(crate) fn wrong_copies(found: &Found, damages: &[Damage]) -> Vec<(usize, usize)> {
    let wrong = damages.iter().filter(|damage| damage.kind.is_wrong());
    wrong.filter_map(|damage| Some((damage.block, found.store_of(damage)?))).collect()
}

impl Jobs {
    /// Opens a put for each copy that is to be. A store that refuses one gets no more.
    pub(crate) async fn place(repair: &Repair, health: &Health) -> Self {
        let mut jobs = Self::new(repair, health);
        let wrong = wrong_copies(&repair.found, &health.damages);
        let blocks: BTreeSet<usize> = health.damages.iter().map(|damage| damage.block).collect();
        for block in blocks {
            let mut opened = health.good.contains(block);
            for &(_, store) in wrong.iter().filter(|&&(of, store)| of == block && repair.may_get(store)) {
                opened |= jobs.open(repair, block, store).await;
            }
            let taken = health.damages.iter().filter(|damage| damage.block == block);
            let taken: Vec<usize> = taken.filter_map(|damage| repair.found.store_of(damage)).collect();
            while !opened {
                let Some(store) = jobs.best(block, repair.block_bytes(block), &taken) else {
                    jobs.unplaced.push(block);
                    break;
                };
                opened = jobs.open(repair, block, store).await;
                jobs.count(store, usize::from(opened));
            }
        }
        jobs
    }

    fn new(repair: &Repair, health: &Health) -> Self {
        let found = &repair.found;
        let labels = labels_of(found);
        let empty = |label: &String| {
            let domains = Domains::of_label(label, &labels);
            let counts = vec![0; domains.count];
            (domains, counts)
        };
        let room = (0..found.stores.len()).map(|store| {
            let held: u64 = health.held[store].iter().map(|block| found.block_bytes(block)).sum();
            let facts = &found.stores[store].facts;
            let capacity = facts.capacity_bytes.map(|bytes| bytes.saturating_sub(held));
            let free = facts.free.map(|free| free.bytes);
            repair.may_get(store).then(|| capacity.into_iter().chain(free).min().unwrap_or(u64::MAX))
        });
        // What must be survived comes before what is only better.
        let mut order = widest_first(&labels);
        order.sort_by_key(|label| !repair.survive.iter().any(|demand| demand.label == *label));
        let (room, domains) = (room.collect(), order.iter().map(empty).collect());
        let mut jobs = Self { room, domains, homes: homes(found), ..Self::default() };
        health.held.iter().enumerate().for_each(|(store, held)| jobs.count(store, held.len()));
        // What is damaged will be right again where it is.
        let wrong = wrong_copies(found, &health.damages);
        wrong.iter().filter(|(_, store)| repair.may_get(*store)).for_each(|&(_, store)| jobs.count(store, 1));
        jobs
    }

    /// A store has so many blocks more.
    fn count(&mut self, store: usize, blocks: usize) {
        self.domains.iter_mut().for_each(|(domains, counts)| counts[domains.of[store]] += blocks);
    }

    /// The store for a block, but none of `taken`.
    fn best(&self, block: usize, bytes: u64, taken: &[usize]) -> Option<usize> {
        let fits =
            |&store: &usize| !taken.contains(&store) && self.room[store].is_some_and(|room| room >= bytes);
        let home = self.homes[block].filter(fits);
        let fullness = |&store: &usize| -> Vec<usize> {
            self.domains.iter().map(|(domains, counts)| counts[domains.of[store]]).collect()
        };
        home.or_else(|| (0..self.room.len()).filter(fits).min_by_key(fullness))
    }

    /// Whether the store takes the block.
    async fn open(&mut self, repair: &Repair, block: usize, store: usize) -> bool {
        let (Some(room), length) = (self.room[store], repair.block_bytes(block)) else { return false };
        if !repair.dry_run {
            let found = &repair.found;
            let name = block_name(found.manifest.id, block);
            match found.stores[store].transport.put(&name, Some(length)).await {
                Ok(put) => {
                    let (sink, writer) = spawn_writer(put);
                    self.sinks.push((block, sink));
                    self.writers.push((self.blocks.len(), writer));
                }
                Err(error) => {
                    self.failed.push(repair.trouble(store, chain(&error)));
                    self.room[store] = None;
                    return false;
                }
            }
        }
        self.room[store] = Some(room.saturating_sub(length));
        self.blocks.push((block, store));
        true
    }
}

/// The store that each block was once placed in: the one that still has most of what was placed with it, or if none has
/// any the first of those without a block that is labelled as it was.
fn homes(found: &Found) -> Vec<Option<usize>> {
    let Some(places) = found.opened().and_then(|manifest| manifest.places.as_ref()) else {
        return vec![None; found.manifest.hashes.len()];
    };
    let mut placed: Vec<_> = found.listed.iter().map(|listed| places.store_of(listed.iter())).collect();
    for (place, labels) in places.labels.iter().enumerate() {
        if !placed.contains(&Some(place)) {
            let is_alike = |store: &usize| found.stores[*store].facts.all_labels() == *labels;
            let store = (0..placed.len()).filter(|&store| placed[store].is_none()).find(is_alike);
            store.into_iter().for_each(|store| placed[store] = Some(place));
        }
    }
    let home = |&place: &u16| placed.iter().position(|&store| store == Some(usize::from(place)));
    places.of.iter().map(home).collect()
}
