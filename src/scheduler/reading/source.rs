//! A store that is read from.

use std::time::Duration;

use tanner_kernels::BlockSet;

use crate::scheduler::Facts;

/// A store, and how it behaves.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(super) facts: Facts,
    /// Blocks that it lists and did not fail to give.
    pub(super) copies: BlockSet,
    /// Blocks that it gave bytes of, and that verified.
    pub(crate) verified: usize,
    /// Blocks that it lists and does not have.
    pub(super) wrong: usize,
    /// Bytes that came from it, used or not.
    pub(crate) bytes: u64,
    /// For how long its fetches waited.
    pub(crate) waited: Duration,
    /// For how long of it they waited for their first pieces, and how many these were.
    pub(super) opening: Duration,
    pub(super) opened: u32,
    pub(super) came_at: Option<Duration>,
    /// It was slow before this reading. It is asked last then.
    pub(super) was_slow: bool,
    /// It kept others waiting. It is asked last then.
    pub(crate) is_slow: bool,
    /// It could not be read. It is asked last then.
    pub(crate) is_failing: bool,
}

impl Source {
    pub(super) fn new(facts: Facts, listed: BlockSet) -> Self {
        Self {
            facts,
            copies: listed,
            verified: 0,
            wrong: 0,
            bytes: 0,
            waited: Duration::ZERO,
            opening: Duration::ZERO,
            opened: 0,
            came_at: None,
            was_slow: false,
            is_slow: false,
            is_failing: false,
        }
    }

    /// How long the first piece was waited for, on average.
    pub(crate) fn answered_in(&self) -> Option<Duration> {
        self.opening.checked_div(self.opened)
    }

    /// Whether others are asked before.
    pub(super) fn is_last(&self) -> bool {
        self.is_slow || self.was_slow || self.is_failing || self.wrong > self.verified + 1
    }

    /// Costs are not negative: their bits are in their order.
    pub(super) fn cost(&self) -> u64 {
        (self.facts.cost + 0.0).to_bits()
    }

    /// Bytes a second of one fetch.
    pub(super) fn rate(&self) -> Option<f64> {
        let now = (self.waited >= SURE).then(|| self.bytes as f64 / self.waited.as_secs_f64());
        now.or(self.facts.rate())
    }

    /// The rate, so roughly that stores of about the same have equal shares; who is not known is tried.
    pub(super) fn speed(&self) -> i32 {
        self.rate().map_or(i32::MAX, |rate| rate.max(1.0).log2() as i32)
    }
}

/// Marks the stores that are known to be much slower than most of those that are known.
pub(super) fn mark_slow(stores: &mut [Source]) {
    let mut rates: Vec<f64> = stores.iter().filter_map(|store| store.facts.rate()).collect();
    rates.sort_unstable_by(f64::total_cmp);
    let Some(&median) = rates.get(rates.len() / 2) else { return };
    for store in stores {
        store.was_slow = store.facts.rate().is_some_and(|rate| rate * KNOWN_SLOW < median);
    }
}

/// Waiting after which a store's rate is believed.
const SURE: Duration = Duration::from_millis(20);
/// How many times slower than most a store is, if others are better asked first: so much is left of a restore when a
/// data block is computed instead.
const KNOWN_SLOW: f64 = 8.0;
