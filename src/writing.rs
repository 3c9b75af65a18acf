//! What becomes of blocks whose store is too slow or fails in the middle of a pass. No I/O and no clock.
//!
//! All blocks are written at once and at one pace, so the pass is as slow as its slowest store. A block that is taken from
//! such a store costs a second, narrower pass over the source, which writes it elsewhere. [`excess`] says when that is the
//! shorter way, [`Places`] where the block goes.

use tanner_kernels::{BlockSet, Codec};

use crate::scheduler::Placement;

/// How a store spent a span of the pass.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Load {
    /// Blocks that it is written.
    pub(crate) blocks: usize,
    /// The share of the time in which the busiest of their streams was writing, at most 1.
    pub(crate) busy: f64,
}

/// Which store to take blocks from, and how many, if the backup is likely to be done earlier then. `pass_busy` is the share
/// of the time in which the pass did not wait for stores, and `left` the share of the source that is still to come.
///
/// A store that writes all the time sets the pace. Without it the pass could go faster by the ratio `gain` of its share to
/// that of whatever is next. What is left takes `left` now, or `left / gain` and `1 / gain` more for the second pass.
pub(crate) fn excess(loads: &[Load], pass_busy: f64, left: f64) -> Option<(usize, usize)> {
    let writing = || loads.iter().enumerate().filter(|(_, load)| load.blocks > 0);
    let (store, slowest) = writing().max_by(|a, b| a.1.busy.total_cmp(&b.1.busy))?;
    if slowest.busy < BUSY {
        return None;
    }
    let others = writing().filter(|&(other, _)| other != store).map(|(_, load)| load.busy);
    let next = others.fold(pass_busy.max(BUSY_LEAST), f64::max);
    // What stays must not be in the way any more.
    let share = slowest.busy / slowest.blocks as f64;
    let kept = ((next / share) as usize).min(slowest.blocks - 1);
    let gain = slowest.busy / next.max(share * kept as f64);
    (left > (left + 1.0) / gain).then_some((store, slowest.blocks - kept))
}

/// Where the blocks are, or are to be written.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The store of each block.
    pub(crate) of: Vec<usize>,
    /// For each store, whether it may be given more.
    pub(crate) takes_more: Vec<bool>,
}

impl Places {
    /// Gives blocks to the stores that take more, the one with the fewest first. False if there is none.
    pub(crate) fn move_away(&mut self, blocks: &[usize]) -> bool {
        let mut held = vec![0; self.takes_more.len()];
        let stay = self.of.iter().enumerate().filter(|(block, _)| !blocks.contains(block));
        stay.for_each(|(_, &store)| held[store] += 1);
        blocks.iter().all(|&block| {
            let able = (0..held.len()).filter(|&store| self.takes_more[store]);
            able.min_by_key(|&store| held[store]).is_some_and(|store| {
                held[store] += 1;
                self.of[block] = store;
                true
            })
        })
    }

    /// How many stores may be lost, if every store has its blocks and the manifest.
    pub(crate) fn stores_survivable(&self, codec: &Codec, always: &BlockSet) -> Option<usize> {
        let mut held = vec![BlockSet::none(self.of.len()); self.takes_more.len()];
        self.of.iter().enumerate().for_each(|(block, &store)| held[store].insert(block));
        Placement { codec, always, held: &held, manifests: held.len() }.stores_survivable()
    }
}

/// From this share of the time on a store is always writing, as far as can be told.
const BUSY: f64 = 0.9;
/// No store is taken to be faster than this: what is measured below is noise.
const BUSY_LEAST: f64 = 0.02;

#[cfg(test)]
mod tests {
    use super::{Load, Places, excess};

    fn loads(busy: &[f64]) -> Vec<Load> {
        busy.iter().map(|&busy| Load { blocks: 3, busy }).collect()
    }

    /// Stores that are all slow set the pace together: a second pass would only make it worse.
    #[test]
    fn equal_stores_keep_their_blocks() {
        assert_eq!(excess(&loads(&[1.0; 5]), 0.05, 1.0), None);
        assert_eq!(excess(&loads(&[1.0, 0.9, 0.95, 0.97, 0.92]), 0.05, 1.0), None);
    }

    /// A pass that computes all the time gains nothing from stores that are faster.
    #[test]
    fn stores_that_keep_up_keep_their_blocks() {
        assert_eq!(excess(&loads(&[0.6, 0.1, 0.1]), 0.9, 1.0), None);
        assert_eq!(excess(&loads(&[1.0, 0.1, 0.1]), 0.95, 1.0), None);
    }

    #[test]
    fn a_store_that_is_a_hundred_times_slower_loses_its_blocks_but_for_the_last_of_the_pass() {
        let loads = loads(&[0.01, 1.0, 0.01]);
        assert_eq!(excess(&loads, 0.01, 1.0), Some((1, 3)));
        assert_eq!(excess(&loads, 0.01, 0.1), Some((1, 3)));
        assert_eq!(excess(&loads, 0.01, 0.01), None);
    }

    /// With one block a store of a third of the speed keeps up.
    #[test]
    fn a_store_keeps_the_blocks_that_it_can_take() {
        let loads = loads(&[0.34, 1.0, 0.34]);
        assert_eq!(excess(&loads, 0.1, 1.0), Some((1, 2)));
        assert_eq!(excess(&loads, 0.1, 0.4), None);
    }

    #[test]
    fn blocks_go_to_the_stores_with_the_fewest() {
        let mut places =
            Places { of: vec![0, 1, 2, 3, 0, 1, 2, 3], takes_more: vec![true, false, true, true] };
        assert!(places.move_away(&[1, 5]));
        assert_eq!(places.of, [0, 0, 2, 3, 0, 2, 2, 3]);
        places.takes_more.fill(false);
        assert!(!places.move_away(&[0]));
    }
}
