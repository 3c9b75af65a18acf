//! What the losses of domains leave, decided by the real code.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tanner_kernels::{BlockSet, Codec, RankTest};

use super::domains::{Demand, Domains};
use super::facts::{Labels, STORE};

/// Blocks on stores that have labels.
pub struct Spread<'a> {
    /// The code of the blocks.
    pub codec: &'a Codec,
    /// Blocks that need no store.
    pub always: &'a BlockSet,
    /// The blocks that each store holds.
    pub held: &'a [BlockSet],
    /// Which stores have a copy of the manifest.
    pub has_manifest: &'a [bool],
    /// The labels of each store.
    pub labels: &'a [Labels],
}

/// How many domains of one label may be lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Margin {
    /// The label's domains.
    pub domains: Domains,
    /// How many of them may be lost, whichever they are; none if the backup cannot be restored even now.
    pub survivable: Option<usize>,
}

impl Spread<'_> {
    /// What is said of blocks in these places, by block, if every store has its blocks and the manifest.
    pub fn of_places<T>(
        codec: &Codec,
        always: &BlockSet,
        places: impl IntoIterator<Item = usize>,
        labels: &[Labels],
        then: impl FnOnce(&Spread) -> T,
    ) -> T {
        let mut held = vec![BlockSet::none(always.blocks()); labels.len()];
        places.into_iter().enumerate().for_each(|(block, store)| held[store].insert(block));
        let has_manifest = vec![true; labels.len()];
        then(&Spread { codec, always, held: &held, has_manifest: &has_manifest, labels })
    }

    /// Whether the demand is kept, and how that is known.
    #[must_use]
    pub fn survives(&self, demand: &Demand) -> Option<Proof> {
        self.by(&demand.label, |_, placement| placement.survives(demand.losses))
    }

    /// Losses of so many domains as the demand names, all tried; none if they are too many to try.
    #[must_use]
    pub fn losses_of(&self, demand: &Demand) -> Option<DomainLosses> {
        self.by(&demand.label, |_, placement| placement.losses_of(demand.losses))
    }

    /// The margin of every label that any store has, but not of the stores themselves.
    #[must_use]
    pub fn margins(&self) -> Vec<Margin> {
        let labels: BTreeSet<&String> = self.labels.iter().flat_map(BTreeMap::keys).collect();
        let margin = |label: &&String| {
            self.by(label, |domains, placement| Margin { domains, survivable: placement.survivable() })
        };
        labels.iter().map(margin).collect()
    }

    /// How many stores may be lost; none if the backup cannot be restored even now.
    #[must_use]
    pub fn stores_survivable(&self) -> Option<usize> {
        self.by(STORE, |_, placement| placement.survivable())
    }

    fn by<T>(&self, label: &str, then: impl FnOnce(Domains, &Placement) -> T) -> T {
        let domains = Domains::of_label(label, self.labels);
        let mut held = vec![BlockSet::none(self.always.blocks()); domains.count];
        domains.of.iter().zip(self.held).for_each(|(&domain, blocks)| held[domain].insert_all(blocks));
        let manifests = domains.having(self.has_manifest);
        let placement = Placement { codec: self.codec, always: self.always, held: &held, manifests };
        then(domains, &placement)
    }
}

/// What lies in which domain.
pub struct Placement<'a> {
    /// The code of the blocks.
    pub codec: &'a Codec,
    /// Blocks that need no store.
    pub always: &'a BlockSet,
    /// The blocks that each domain holds; a block may be in several.
    pub held: &'a [BlockSet],
    /// How many domains have a copy of the manifest, of which one at least has to be left.
    pub manifests: usize,
}

/// How it is known that a loss is survived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// All of so many losses were tried with the real code.
    Tried(usize),
    /// They are too many to try: the worst of them leaves as many blocks as the code needs.
    Threshold,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tried(losses) => write!(f, "all of {losses} losses were tried"),
            Self::Threshold => write!(f, "by the threshold of the code: there are too many losses to try"),
        }
    }
}

/// Losses of so many domains, all of which were tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DomainLosses {
    /// Domains lost at a time.
    pub domains: usize,
    /// How many such losses there are.
    pub losses: usize,
    /// How many of them leave too little.
    pub fatal: usize,
    /// One of these.
    pub example: Vec<usize>,
}

impl Placement<'_> {
    /// How many domains may be lost, whichever they are, with the backup still restorable: decided by the real code on
    /// what would be left. `None` if the backup cannot be restored even now.
    #[must_use]
    pub fn survivable(&self) -> Option<usize> {
        let mut trials = Trials::of(self);
        (0..self.manifests).take_while(|&lost| trials.survive(lost).is_some()).last()
    }

    /// Whether the loss of any so many domains leaves enough, and a manifest, and how that is known.
    #[must_use]
    pub fn survives(&self, lost: usize) -> Option<Proof> {
        (lost < self.manifests).then(|| Trials::of(self).survive(lost))?
    }

    /// What the losses of so many domains would leave, unless they are too many to try.
    #[must_use]
    pub fn losses_of(&self, domains: usize) -> Option<DomainLosses> {
        let is_worth_it = domains <= self.held.len() && subsets(self.held.len(), domains) <= self.checks();
        let mut found = DomainLosses { domains, losses: 0, fatal: 0, example: Vec::new() };
        let mut rank = RankTest::new(self.codec.code());
        is_worth_it.then(|| {
            all_subsets(self.held.len(), domains, &mut |lost| {
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
        let kept = self.held.iter().enumerate().filter(|(domain, _)| !lost.contains(domain));
        kept.for_each(|(_, blocks)| live.insert_all(blocks));
        live
    }

    /// Rank tests worth making: one at least, for whether the backup can be restored now is never a matter of thresholds.
    fn checks(&self) -> usize {
        (CHECKS_BLOCKS / self.codec.profile().blocks()).max(1)
    }
}

/// Losses of more and more domains, of which as many are tried as is worth it.
struct Trials<'a> {
    of: &'a Placement<'a>,
    rank: RankTest<'a>,
    checks_left: usize,
    /// Blocks there are.
    all: usize,
    /// Blocks in each domain, the fullest first.
    sizes: Vec<usize>,
}

impl<'a> Trials<'a> {
    fn of(of: &'a Placement<'a>) -> Self {
        let mut sizes: Vec<usize> = of.held.iter().map(BlockSet::len).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let (all, checks_left) = (of.left_without(&[]).len(), of.checks());
        Self { of, rank: RankTest::new(of.codec.code()), checks_left, all, sizes }
    }

    fn survive(&mut self, lost: usize) -> Option<Proof> {
        let (of, rank) = (self.of, &mut self.rank);
        let subsets = subsets(of.held.len(), lost);
        if subsets > self.checks_left {
            // Too many to try: the loss of the fullest domains leaves the threshold, or nothing is promised.
            let left = self.all.saturating_sub(self.sizes[..lost].iter().sum());
            return (left >= of.codec.profile().threshold()).then_some(Proof::Threshold);
        }
        self.checks_left -= subsets;
        all_subsets(of.held.len(), lost, &mut |lost| rank.determines(&of.left_without(lost)))
            .then_some(Proof::Tried(subsets))
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

    use super::super::Labels;
    use super::{DomainLosses, Placement, Proof, Spread, all_subsets};

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
        (0..blocks).for_each(|block| held[block % stores].insert(block));
        placement(&codec, &BlockSet::none(blocks), &held, stores).survivable()
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
        let promise = placement(&codec, &BlockSet::none(640), &[held], 1).survivable();
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
        let survivable = |manifests| placement(&codec, &BlockSet::none(4), &held, manifests).survivable();
        assert_eq!((survivable(4), survivable(2), survivable(1)), (Some(3), Some(1), Some(0)));
    }

    #[test]
    fn what_cannot_be_restored_now_has_no_promise() {
        let codec = Codec::new(Profile::for_source(10, 5, 1 << 30).unwrap());
        let mut held = BlockSet::all(15);
        (0..6).for_each(|block| held.remove(block));
        let survivable = |held: &BlockSet| {
            placement(&codec, &BlockSet::none(15), std::slice::from_ref(held), 1).survivable()
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
        assert_eq!(placement.survivable(), Some(1));
        // 4+2, 4+3, 5+1 to 5+4 are more than five blocks.
        let losses = placement.losses_of(2).unwrap();
        assert_eq!((losses.losses, losses.fatal, losses.example), (10, 6, vec![3, 4]));
        assert_eq!(
            placement.losses_of(1),
            Some(DomainLosses { domains: 1, losses: 5, fatal: 0, example: Vec::new() })
        );
        assert_eq!(placement.losses_of(6), None);
    }

    /// Two directories of one disk: to lose a disk is to lose both, manifests and all.
    #[test]
    fn what_is_lost_together_counts_once() {
        let codec = Codec::new(Profile::for_source(10, 5, 1 << 30).unwrap());
        let mut held = vec![BlockSet::none(15); 4];
        (0..15).for_each(|block| held[block % 4].insert(block));
        let disk = |name: &str| Labels::from([("disk".to_owned(), name.to_owned())]);
        let (labels, none) = ([disk("x"), disk("x"), disk("y"), disk("z")], BlockSet::none(15));
        let spread = |has_manifest: &[bool]| {
            let spread = Spread { codec: &codec, always: &none, held: &held, has_manifest, labels: &labels };
            let margins = spread.margins();
            let survives = |demand: &str| spread.survives(&demand.parse().unwrap());
            (margins[0].survivable, survives("1 store"), survives("1 disk"), spread.stores_survivable())
        };
        // Two of four stores have eight or seven blocks; x has eight.
        assert_eq!(spread(&[true; 4]), (Some(0), Some(Proof::Tried(4)), None, Some(1)));
        assert_eq!(spread(&[true, true, false, false]), (Some(0), Some(Proof::Tried(4)), None, Some(1)));
        assert_eq!(spread(&[true, false, false, false]), (Some(0), None, None, Some(0)));
    }
}
