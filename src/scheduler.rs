//! Which store gets which block, and what the loss of stores would mean. No I/O and no clock.

use tanner_kernels::{BlockSet, Codec, RankTest};

/// A way to place blocks on stores.
pub trait Policy {
    /// The store of each of `blocks` blocks, as an index below `stores`, which is at least 1.
    fn place(&self, blocks: usize, stores: usize) -> Vec<usize>;
}

/// Block b goes to store b mod s: every store gets its share of data and of parity.
#[derive(Clone, Copy, Debug)]
pub struct Even;

impl Policy for Even {
    fn place(&self, blocks: usize, stores: usize) -> Vec<usize> {
        (0..blocks).map(|block| block % stores).collect()
    }
}

/// What lies where.
pub struct Placement<'a> {
    /// The code of the blocks.
    pub codec: &'a Codec,
    /// Blocks that need no store.
    pub always: &'a BlockSet,
    /// The blocks that each store holds; a block may be on several.
    pub held: &'a [BlockSet],
    /// How many stores have a copy of the manifest, of which one at least has to be left.
    pub manifests: usize,
}

/// Losses of so many stores, all of which were tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreLosses {
    /// Stores lost at a time.
    pub stores: usize,
    /// How many such losses there are.
    pub losses: usize,
    /// How many of them leave too little.
    pub fatal: usize,
    /// One of these.
    pub example: Vec<usize>,
}

impl Placement<'_> {
    /// How many stores may be lost, whichever they are, with the backup still restorable: decided by the real code on
    /// what would be left. `None` if the backup cannot be restored even now.
    #[must_use]
    pub fn stores_survivable(&self) -> Option<usize> {
        let all = self.left_without(&[]).len();
        let mut sizes: Vec<usize> = self.held.iter().map(BlockSet::len).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut checks_left = self.checks();
        let mut rank = RankTest::new(self.codec.code());
        let survives = |count: &usize| -> bool {
            let subsets = subsets(self.held.len(), *count);
            if subsets > checks_left {
                // Too many to try: the loss of the fullest stores leaves the threshold, or nothing is promised.
                return all.saturating_sub(sizes[..*count].iter().sum()) >= self.codec.profile().threshold();
            }
            checks_left -= subsets;
            all_subsets(self.held.len(), *count, &mut |lost| rank.determines(&self.left_without(lost)))
        };
        (0..self.manifests).take_while(survives).last()
    }

    /// What the losses of so many stores would leave, unless they are too many to try.
    #[must_use]
    pub fn losses_of(&self, stores: usize) -> Option<StoreLosses> {
        let is_worth_it = stores <= self.held.len() && subsets(self.held.len(), stores) <= self.checks();
        let mut found = StoreLosses { stores, losses: 0, fatal: 0, example: Vec::new() };
        let mut rank = RankTest::new(self.codec.code());
        is_worth_it.then(|| {
            all_subsets(self.held.len(), stores, &mut |lost| {
                found.losses += 1;
                if !rank.determines(&self.left_without(lost)) {
                    found.fatal += 1;
                    found.example = lost.to_vec();
                }
                true
            });
            found
        })
    }

    fn left_without(&self, lost: &[usize]) -> BlockSet {
        let mut live = self.always.clone();
        let kept = self.held.iter().enumerate().filter(|(store, _)| !lost.contains(store));
        kept.for_each(|(_, blocks)| live.insert_all(blocks));
        live
    }

    /// Rank tests worth making: one at least, for whether the backup can be restored now is never a matter of thresholds.
    fn checks(&self) -> usize {
        (CHECKS_BLOCKS / self.codec.profile().blocks()).max(1)
    }
}

/// Whether `holds` for every set of `count` out of `of`.
fn all_subsets(of: usize, count: usize, holds: &mut impl FnMut(&[usize]) -> bool) -> bool {
    let mut set: Vec<usize> = (0..count).collect();
    loop {
        if !holds(&set) {
            return false;
        }
        // The last place that can still move up takes all behind it along.
        let Some(place) = (0..count).rev().find(|&place| set[place] < of - count + place) else {
            return true;
        };
        let next = set[place] + 1;
        set[place..].iter_mut().zip(next..).for_each(|(item, value)| *item = value);
    }
}

/// How many sets of `count` there are out of `of`, or more than anybody would try.
fn subsets(of: usize, count: usize) -> usize {
    // Of the two ways to count them the one that only grows, so that what saturates stays large.
    let count = count.min(of - count);
    (0..count).fold(1, |sets: usize, taken| sets.saturating_mul(of - taken) / (taken + 1))
}

/// Rank tests worth making for one promise: some tens of milliseconds, and the time of each grows with the blocks.
const CHECKS_BLOCKS: usize = 200_000;

#[cfg(test)]
mod tests {
    use tanner_kernels::{BlockSet, Codec, Profile};

    use super::{Even, Placement, Policy, StoreLosses, all_subsets};

    fn placement<'a>(
        codec: &'a Codec,
        always: &'a BlockSet,
        held: &'a [BlockSet],
        manifests: usize,
    ) -> Placement<'a> {
        Placement { codec, always, held, manifests }
    }

    fn survivable(k: u64, m: u64, stores: usize) -> Option<usize> {
        let codec = Codec::new(Profile::for_source(k, m, 1 << 30).unwrap());
        let blocks = codec.profile().blocks();
        let mut held = vec![BlockSet::none(blocks); stores];
        Even.place(blocks, stores)
            .into_iter()
            .enumerate()
            .for_each(|(block, store)| held[store].insert(block));
        placement(&codec, &BlockSet::none(blocks), &held, stores).stores_survivable()
    }

    #[test]
    fn all_subsets_are_asked_once() {
        let mut seen = std::collections::BTreeSet::new();
        assert!(all_subsets(6, 3, &mut |set| seen.insert(set.to_vec())));
        assert_eq!(seen.len(), 20);
        assert!(all_subsets(4, 0, &mut <[usize]>::is_empty));
    }

    /// A promise that the code does not keep is the worst thing that a backup can print.
    #[test]
    fn the_promise_is_what_the_placement_keeps() {
        assert_eq!(survivable(10, 5, 5), Some(1)); // 3 blocks on each
        assert_eq!(survivable(10, 5, 15), Some(5));
        assert_eq!(survivable(10, 5, 3), Some(1));
        assert_eq!(survivable(10, 5, 2), Some(0));
        assert_eq!(survivable(10, 5, 1), Some(0));
        assert_eq!(survivable(24, 26, 5), Some(2)); // 10 on each; 30 of 50 are left
        assert_eq!(survivable(24, 26, 2), Some(1));
        // More sets of stores than can be tried, each block on its own.
        assert_eq!(survivable(14, 16, 30), Some(14)); // by the threshold of an estimate, k+2
        assert_eq!(survivable(10, 10, 20), Some(10));
        assert_eq!(survivable(1000, 200, 12), Some(1));
        assert_eq!(survivable(10, 90, 100), Some(90));
    }

    /// A restorable backup that is called lost would be taken back.
    #[test]
    fn a_wide_backup_at_its_last_block_is_still_a_backup() {
        let codec = Codec::new(Profile::for_source(600, 40, 1 << 30).unwrap());
        let mut held = BlockSet::all(640);
        (0..codec.profile().blocks() - codec.profile().threshold() + 1)
            .for_each(|block| held.remove(block * 3));
        let restorable = codec.recoverable(&held).is_some();
        let promise = placement(&codec, &BlockSet::none(640), &[held], 1).stores_survivable();
        assert_eq!((restorable, promise), (true, Some(0)));
    }

    /// Blocks without any copy of the manifest are of no use.
    #[test]
    fn the_last_manifest_is_not_promised_away() {
        let codec = Codec::new(Profile::for_source(1, 3, 1 << 30).unwrap());
        let held: Vec<BlockSet> = (0..4)
            .map(|block| {
                let mut held = BlockSet::none(4);
                held.insert(block);
                held
            })
            .collect();
        let survivable =
            |manifests| placement(&codec, &BlockSet::none(4), &held, manifests).stores_survivable();
        assert_eq!((survivable(4), survivable(2), survivable(1)), (Some(3), Some(1), Some(0)));
    }

    #[test]
    fn what_cannot_be_restored_now_has_no_promise() {
        let codec = Codec::new(Profile::for_source(10, 5, 1 << 30).unwrap());
        let mut held = BlockSet::all(15);
        (0..6).for_each(|block| held.remove(block));
        let survivable = |held: &BlockSet| {
            placement(&codec, &BlockSet::none(15), std::slice::from_ref(held), 1).stores_survivable()
        };
        assert_eq!(survivable(&held), None);
        held.insert(3);
        assert_eq!(survivable(&held), Some(0));
    }

    /// Whoever may lose one more store wants to know which.
    #[test]
    fn fatal_losses_of_stores_are_counted_and_one_is_named() {
        let codec = Codec::new(Profile::for_source(10, 5, 1 << 30).unwrap());
        // 1, 2, 3, 4 and 5 blocks.
        let mut held = vec![BlockSet::none(15); 5];
        let mut next = 0..15;
        for (store, held) in held.iter_mut().enumerate() {
            next.by_ref().take(store + 1).for_each(|block| held.insert(block));
        }
        let none = BlockSet::none(15);
        let placement = placement(&codec, &none, &held, 5);
        assert_eq!(placement.stores_survivable(), Some(1));
        // 4+2, 4+3, 5+1 to 5+4 are more than five blocks.
        let losses = placement.losses_of(2).unwrap();
        assert_eq!((losses.losses, losses.fatal, losses.example), (10, 6, vec![3, 4]));
        assert_eq!(
            placement.losses_of(1),
            Some(StoreLosses { stores: 1, losses: 5, fatal: 0, example: Vec::new() })
        );
        assert_eq!(placement.losses_of(6), None);
    }
}
