//! What becomes of blocks whose store is too slow, or fails, in the middle of a pass.
//!
//! All blocks are written at once and at one pace, so the pass is as slow as its slowest store. A block that is taken from
//! such a store costs a second, narrower pass over the source, which writes it elsewhere. [`excess`] says when that is the
//! shorter way, [`Homes`] where the block goes.

use super::domains::{Demand, Domains};
use super::facts::{Facts, Labels};
use super::place::{Blocks, Placed};
use super::survive::Spread;

/// How a store spent a span of the pass.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Load {
    /// Blocks that it is written.
    pub(crate) blocks: usize,
    /// The share of the time in which the busiest of their streams was writing, at most 1.
    pub(crate) busy: f64,
}

/// Which stores to take blocks from, and how many, if the backup is likely to be done earlier then. `pass_busy` is the share
/// of the time in which the pass did not wait for stores, and `left` the share of the source that is still to come.
///
/// Stores that write all the time set the pace. Without them the pass could go faster by the ratio `gain` of their share to
/// that of whatever is next. What is left takes `left` now, or `left / gain` and `1 / gain` more for the second pass.
#[must_use]
pub(crate) fn excess(loads: &[Load], pass_busy: f64, left: f64) -> Vec<(usize, usize)> {
    let mut writing: Vec<usize> = (0..loads.len()).filter(|&store| loads[store].blocks > 0).collect();
    writing.sort_by(|&a, &b| loads[b].busy.total_cmp(&loads[a].busy));
    let Some(most) = writing.first().map(|&store| loads[store].busy).filter(|&busy| busy >= BUSY) else {
        return Vec::new();
    };
    let (mut best, mut shortest) = (Vec::new(), left);
    for relieved in 1..writing.len() {
        let next = loads[writing[relieved]].busy.max(pass_busy).max(BUSY_LEAST);
        // What stays must not be in the way any more.
        let kept = |store: usize| {
            let share = loads[store].busy / loads[store].blocks as f64;
            let kept = ((next / share) as usize).min(loads[store].blocks - 1);
            (kept, share * kept as f64)
        };
        let stores = || writing[..relieved].iter();
        let gain = most / stores().map(|&store| kept(store).1).fold(next, f64::max);
        let seconds = (left + 1.0) / gain;
        if seconds < shortest {
            best = stores().map(|&store| (store, loads[store].blocks - kept(store).0)).collect();
            shortest = seconds;
        }
    }
    best
}

/// Where the blocks are, or are to be written.
#[derive(Clone)]
pub(crate) struct Homes {
    /// The store of each block.
    pub(crate) of: Vec<usize>,
    /// For each store, whether it may be given more.
    pub(crate) takes_more: Vec<bool>,
    blocks: Blocks,
    labels: Vec<Labels>,
    /// Blocks that fit into each store.
    rooms: Vec<usize>,
    demands: Vec<Demand>,
    planned: Option<usize>,
}

impl Homes {
    /// As they were placed.
    #[must_use]
    pub(crate) fn new(blocks: &Blocks, stores: &[Facts], placed: &Placed) -> Self {
        let mut homes = Self {
            of: placed.places.clone(),
            takes_more: vec![true; stores.len()],
            blocks: blocks.clone(),
            labels: stores.iter().map(Facts::all_labels).collect(),
            rooms: stores.iter().map(|store| blocks.that_fit(store.room_bytes())).collect(),
            demands: placed.kept.iter().map(|(demand, _)| demand.clone()).collect(),
            planned: None,
        };
        homes.planned = homes.stores_survivable();
        homes
    }

    /// How many stores could be lost when everything was as it was placed.
    #[must_use]
    pub(crate) fn planned(&self) -> Option<usize> {
        self.planned
    }

    /// Gives blocks to stores that take more: to the one whose domains, of the labels that a loss is to be survived of,
    /// have the fewest, and then has the fewest itself. False if they do not all fit.
    pub(crate) fn move_away(&mut self, blocks: &[usize]) -> bool {
        let groups = |demand: &Demand| Domains::of_label(&demand.label, &self.labels);
        let domains: Vec<Domains> = self.demands.iter().map(groups).collect();
        let mut of = self.of.clone();
        let mut held = vec![0; self.takes_more.len()];
        let stay = of.iter().enumerate().filter(|(block, _)| !blocks.contains(block));
        stay.for_each(|(_, &store)| held[store] += 1);
        for &block in blocks {
            let in_domain = |domains: &Domains, store: usize| -> usize {
                let same = (0..held.len()).filter(|&other| domains.of[other] == domains.of[store]);
                same.map(|other| held[other]).sum()
            };
            let fullest = |store: usize| domains.iter().map(|domains| in_domain(domains, store)).max();
            let able =
                (0..held.len()).filter(|&store| self.takes_more[store] && held[store] < self.rooms[store]);
            let Some(store) = able.min_by_key(|&store| (fullest(store), held[store])) else { return false };
            held[store] += 1;
            of[block] = store;
        }
        self.of = of;
        true
    }

    /// Whether what was demanded holds, and the loss of any one store is survived if it was to be, if every store has its
    /// blocks and the manifest. What nobody demanded beyond that is not worth waiting for.
    #[must_use]
    pub(crate) fn keep_promises(&self) -> bool {
        self.stores_survivable() >= self.planned.min(Some(1))
            && self.spread(|spread| self.demands.iter().all(|demand| spread.survives(demand).is_some()))
    }

    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself is of one lifetime, not of any"
    )]
    fn stores_survivable(&self) -> Option<usize> {
        self.spread(|spread| spread.stores_survivable())
    }

    fn spread<T>(&self, then: impl FnOnce(&Spread) -> T) -> T {
        let Blocks { codec, empty, .. } = &self.blocks;
        Spread::of_places(codec, empty, self.of.iter().copied(), &self.labels, then)
    }
}

/// From this share of the time on a store is always writing, as far as can be told.
const BUSY: f64 = 0.9;
/// No store is taken to be faster than this: what is measured below is noise.
const BUSY_LEAST: f64 = 0.02;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tanner_kernels::{BlockSet, Codec, Profile};

    use super::{Homes, Load, excess};
    use crate::scheduler::{Blocks, Facts, Placed};

    fn loads(busy: &[f64]) -> Vec<Load> {
        busy.iter().map(|&busy| Load { blocks: 3, busy }).collect()
    }

    /// Stores that are all slow set the pace together: a second pass would only make it worse.
    #[test]
    fn equal_stores_keep_their_blocks() {
        assert_eq!(excess(&loads(&[1.0; 5]), 0.05, 1.0), []);
        assert_eq!(excess(&loads(&[1.0, 0.9, 0.95, 0.97, 0.92]), 0.05, 1.0), []);
    }

    /// A pass that computes all the time gains nothing from stores that are faster.
    #[test]
    fn stores_that_keep_up_keep_their_blocks() {
        assert_eq!(excess(&loads(&[0.6, 0.1, 0.1]), 0.9, 1.0), []);
        assert_eq!(excess(&loads(&[1.0, 0.1, 0.1]), 0.95, 1.0), []);
    }

    #[test]
    fn a_store_that_is_a_hundred_times_slower_loses_its_blocks_but_for_the_last_of_the_pass() {
        let loads = loads(&[0.01, 1.0, 0.01]);
        assert_eq!(excess(&loads, 0.01, 1.0), [(1, 3)]);
        assert_eq!(excess(&loads, 0.01, 0.1), [(1, 3)]);
        assert_eq!(excess(&loads, 0.01, 0.01), []);
    }

    #[test]
    fn stores_that_are_equally_slow_do_not_shield_each_other() {
        assert_eq!(excess(&loads(&[0.1, 1.0, 0.1, 1.0, 0.1]), 0.1, 1.0), [(1, 3), (3, 3)]);
    }

    /// With one block a store of a third of the speed keeps up.
    #[test]
    fn a_store_keeps_the_blocks_that_it_can_take() {
        let loads = loads(&[0.34, 1.0, 0.34]);
        assert_eq!(excess(&loads, 0.1, 1.0), [(1, 2)]);
        assert_eq!(excess(&loads, 0.1, 0.4), []);
    }

    fn homes(of: Vec<usize>, data: u64, stores: usize) -> Homes {
        let codec = Arc::new(Codec::new(Profile::for_source(data, of.len() as u64 - data, 1 << 30).unwrap()));
        let blocks = Blocks { codec, empty: BlockSet::none(of.len()), block_bytes: 1 };
        let stores: Vec<Facts> = (0..stores).map(|store| Facts::of(&format!("memory:{store}"))).collect();
        let placed = Placed { places: of, why: Vec::new(), kept: Vec::new() };
        Homes::new(&blocks, &stores, &placed)
    }

    #[test]
    fn blocks_go_to_the_stores_with_the_fewest() {
        let mut homes = homes(vec![0, 1, 2, 3, 0, 1, 2, 3], 4, 4);
        homes.takes_more[1] = false;
        assert!(homes.move_away(&[1, 5]));
        assert_eq!(homes.of, [0, 0, 2, 3, 0, 2, 2, 3]);
        homes.takes_more.fill(false);
        assert!(!homes.move_away(&[0]));
    }

    /// A backup that lasts longer is better than one that keeps less than it promised.
    #[test]
    fn a_promise_that_rests_on_a_store_is_seen_to() {
        let mut three = homes(vec![0, 1, 2], 2, 3);
        three.takes_more[2] = false;
        assert!(three.keep_promises() && three.planned() == Some(1));
        assert!(three.move_away(&[2]) && !three.keep_promises());
        let mut five = homes((0..15).map(|block| block % 5).collect(), 10, 5);
        five.takes_more[2] = false;
        assert!(five.move_away(&[2, 7, 12]) && five.keep_promises());
    }
}
