//! What is read next.

use std::cmp::Reverse;
use std::ops::Range;
use std::time::Duration;

use tanner_kernels::BlockSet;

use super::{FETCHES_MAX, Fetch, Reading, Role, Source};

/// A copy that could be asked for.
#[derive(Clone, Copy)]
pub(super) struct Copy {
    pub(super) block: usize,
    pub(super) store: usize,
    pub(super) bytes: f64,
    /// Whether its store has enough to do.
    must_wait: bool,
}

/// The stores, and how many fetches each has.
pub(super) struct Busy<'a> {
    stores: &'a [Source],
    fetches: Vec<usize>,
    most: usize,
}

impl Busy<'_> {
    pub(super) fn is_idle(&self, store: usize) -> bool {
        self.fetches[store] == 0
    }

    pub(super) fn is_full(&self, store: usize) -> bool {
        self.fetches[store] >= self.most
    }

    /// The store to ask for a block.
    pub(super) fn best_for(&self, block: usize, may: impl Fn(usize) -> bool) -> Option<usize> {
        let holders = (0..self.stores.len()).filter(|&store| self.stores[store].copies.contains(block));
        holders.filter(|&store| may(store)).min_by_key(|&store| (self.wish(store), self.pace(store)))
    }

    fn wish(&self, store: usize) -> (bool, u64, Reverse<i64>) {
        let source = &self.stores[store];
        (source.is_last(), source.cost(), Reverse(source.facts.priority))
    }

    fn pace(&self, store: usize) -> (bool, Reverse<i32>, usize) {
        (self.is_full(store), Reverse(self.stores[store].speed()), self.fetches[store])
    }
}

impl Reading {
    /// Begins fetches until there is enough to count on.
    pub(super) fn begin(&mut self, now: Duration) {
        loop {
            let expected = self.expected();
            if self.counted().count() >= FETCHES_MAX || self.is_enough(&expected) {
                return;
            }
            let best = self.best(&expected, |_| true).filter(|copy| !copy.must_wait);
            let Some(Copy { block, store, .. }) = best else { return };
            let range = self.blocks[block].rest.swap_remove(0);
            self.start(now, block, store, range);
        }
    }

    /// What verified, and what is counted on to the last byte.
    pub(super) fn expected(&self) -> BlockSet {
        let mut expected = self.verified.clone();
        self.counted().for_each(|(_, fetch)| expected.insert(fetch.block));
        let hedged = self.fetches.values().filter(|fetch| fetch.role == Role::Hedged);
        hedged.for_each(|fetch| expected.remove(fetch.block));
        let open = (0..self.blocks.len()).filter(|&block| !self.blocks[block].rest.is_empty());
        open.for_each(|block| expected.remove(block));
        expected
    }

    pub(super) fn counted(&self) -> impl Iterator<Item = (usize, &Fetch)> {
        let fetches = self.fetches.iter().filter(|(_, fetch)| fetch.role != Role::Hedged);
        fetches.map(|(&number, fetch)| (number, fetch))
    }

    pub(super) fn busy(&self) -> Busy<'_> {
        let mut fetches = vec![0; self.stores.len()];
        self.fetches.values().for_each(|fetch| fetches[fetch.store] += 1);
        Busy { stores: &self.stores, fetches, most: self.per_store }
    }

    /// The copy to ask for next of a block that is not expected: data before parity, and both before any of a store
    /// that is asked last. Of parity blocks the cheapest, then the fastest come first; data blocks are all wanted, so
    /// there the store comes first that has least to do.
    pub(super) fn best(&self, expected: &BlockSet, may: impl Fn(usize) -> bool) -> Option<Copy> {
        let (data, busy) = (self.codec.profile().data(), self.busy());
        let copy = |(block, rest): (usize, &Range<u64>)| {
            let store = busy.best_for(block, &may)?;
            let bytes = (rest.end - rest.start) as f64;
            Some(Copy { block, store, bytes, must_wait: busy.is_full(store) })
        };
        let rank = |copy: &Copy| {
            let is_parity = copy.block >= data;
            let (wish, pace) = (busy.wish(copy.store), busy.pace(copy.store));
            let of_parity = is_parity.then_some((wish, pace));
            (wish.0, is_parity, of_parity, copy.must_wait, busy.fetches[copy.store], copy.block)
        };
        let open = self.blocks.iter().enumerate().filter_map(|(i, block)| Some((i, block.rest.first()?)));
        open.filter(|&(block, _)| !expected.contains(block)).filter_map(copy).min_by_key(rank)
    }

    /// The copy with which another store would go on where a fetch ends.
    pub(super) fn heir(&self, fetch: &Fetch) -> Option<Copy> {
        let busy = self.busy();
        let may = |store| store != fetch.store && !busy.is_full(store);
        let store = busy.best_for(fetch.block, may)?;
        Some(Copy { block: fetch.block, store, bytes: fetch.left(), must_wait: false })
    }
}
