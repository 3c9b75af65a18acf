//! Which copy of which block is read next, and when to stop counting on a store that keeps others waiting.
//!
//! Events and the time come in, actions go out. Data blocks come first, because they need no decoding; parity blocks
//! stand in for those that no store gives. A fetch that stalls, or would end long after the rest, is *hedged*: it goes
//! on, but is no longer counted on, so that another copy or another block is begun in its stead. What ends first
//! counts, and as soon as that is enough the rest is cancelled.
//!
//! Slowness is relative. Where all stores wait, none is hedged for it: it is the transports' deadlines that end that.

mod pace;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tanner_kernels::{BlockSet, Codec};

use self::pace::{Gaps, Pace};
use super::facts::Facts;

/// The reading of one backup from its stores. Time counts from its begin.
pub(crate) struct Reading {
    codec: Arc<Codec>,
    block_bytes: Vec<u64>,
    stores: Vec<Source>,
    fetches: BTreeMap<usize, Fetch>,
    verified: BlockSet,
    state: State,
    /// Fetches begun, which is the number of the next.
    begun: usize,
    per_store: usize,
    /// What first pieces, and those that follow, were waited for.
    openings: Gaps,
    gaps: Gaps,
    /// Hedges since anything came from anywhere: each makes the next wait twice as long.
    hedges_in_vain: u32,
    /// When fetches are looked at next.
    looks_at: Duration,
    /// Whether something ended or was hedged since fetches were last begun.
    is_stale: bool,
}

/// Where a reading is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Under way.
    Going,
    /// What verified brings the file back.
    Done,
    /// Even all copies that are left would not.
    Impossible,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Read a block from a store.
    Begin { fetch: usize, block: usize, store: usize },
    /// Stop reading: nobody needs it any more.
    Cancel { fetch: usize },
}

/// Why a fetch gave no block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The copy is not there, or not what was stored.
    Copy,
    /// The store could not be read.
    Store,
}

/// A store, and how it behaves.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    facts: Facts,
    /// Blocks that it lists and was not asked for yet.
    untried: BlockSet,
    /// Blocks that came from it and verified.
    pub(crate) verified: usize,
    /// Blocks that it lists and does not have.
    wrong: usize,
    /// Bytes that came from it, used or not.
    pub(crate) bytes: u64,
    waited: Duration,
    came_at: Option<Duration>,
    /// It kept others waiting. It is asked last then.
    pub(crate) is_slow: bool,
    /// It could not be read. It is asked last then.
    pub(crate) is_failing: bool,
}

struct Fetch {
    block: usize,
    store: usize,
    bytes: u64,
    /// Since when its store is waited for; none while its last piece is worked on.
    waits_since: Option<Duration>,
    pace: Pace,
    is_hedged: bool,
}

/// A copy that could be asked for.
#[derive(Clone, Copy)]
struct Copy {
    block: usize,
    store: usize,
    /// Whether its store has enough to do.
    must_wait: bool,
}

impl Reading {
    /// A reading of blocks of these lengths, of which those without bytes need no store, from `stores`: what is known
    /// of each, and what it lists.
    pub(crate) fn new(
        codec: Arc<Codec>,
        block_bytes: Vec<u64>,
        stores: impl IntoIterator<Item = (Facts, BlockSet)>,
    ) -> Self {
        let mut verified = BlockSet::none(block_bytes.len());
        let empty = (0..block_bytes.len()).filter(|&block| block_bytes[block] == 0);
        empty.for_each(|block| verified.insert(block));
        let stores: Vec<Source> =
            stores.into_iter().map(|(facts, listed)| Source::new(facts, listed)).collect();
        let holders = stores.iter().filter(|store| !store.untried.is_empty()).count().max(1);
        let mut reading = Self {
            codec,
            block_bytes,
            stores,
            fetches: BTreeMap::new(),
            verified,
            state: State::Going,
            begun: 0,
            per_store: FETCHES_MAX.div_ceil(holders).max(FETCHES_PER_STORE_MIN),
            openings: Gaps::default(),
            gaps: Gaps::default(),
            hedges_in_vain: 0,
            looks_at: Duration::ZERO,
            is_stale: true,
        };
        reading.judge();
        reading
    }

    /// A fetch waits for its store.
    pub(crate) fn waits(&mut self, now: Duration, fetch: usize) {
        if let Some(fetch) = self.fetches.get_mut(&fetch) {
            fetch.waits_since.get_or_insert(now);
        }
    }

    /// Bytes came for a fetch.
    pub(crate) fn came(&mut self, now: Duration, fetch: usize, bytes: u64) {
        let Some(fetch) = self.fetches.get_mut(&fetch) else { return };
        let gap = fetch.waits_since.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if fetch.bytes == 0 { &mut self.openings } else { &mut self.gaps }.add(gap);
        fetch.bytes += bytes;
        fetch.pace.add(now, bytes);
        let store = &mut self.stores[fetch.store];
        (store.bytes, store.waited, store.came_at) = (store.bytes + bytes, store.waited + gap, Some(now));
        self.hedges_in_vain = 0;
    }

    /// The block of a fetch is whole and right. Tells whether it is the first of its block to be so, and was wanted.
    pub(crate) fn verified(&mut self, fetch: usize) -> bool {
        let Some(Fetch { block, store, .. }) = self.fetches.remove(&fetch) else { return false };
        if self.state != State::Going || self.verified.contains(block) {
            return false;
        }
        self.verified.insert(block);
        self.stores[store].verified += 1;
        self.is_stale = true;
        if self.is_enough(&self.verified) {
            self.state = State::Done;
        }
        true
    }

    /// A fetch gave no block.
    pub(crate) fn failed(&mut self, fetch: usize, fault: Fault) {
        let Some(Fetch { store, .. }) = self.fetches.remove(&fetch) else { return };
        match fault {
            Fault::Copy => self.stores[store].wrong += 1,
            Fault::Store => self.stores[store].is_failing = true,
        }
        if self.state == State::Going {
            self.judge();
        }
    }

    /// What is to be done now. To be asked after every event, and at least every [`TICK`].
    pub(crate) fn next(&mut self, now: Duration) -> Vec<Action> {
        let is_over = self.state != State::Going;
        let mut actions = Vec::new();
        self.fetches.retain(|&fetch, Fetch { block, .. }| {
            let is_spare = is_over || self.verified.contains(*block);
            actions.extend(is_spare.then_some(Action::Cancel { fetch }));
            !is_spare
        });
        if is_over {
            return actions;
        }
        if now >= self.looks_at {
            self.looks_at = now + TICK;
            self.hedge(now);
        }
        if std::mem::take(&mut self.is_stale) {
            self.begin(now, &mut actions);
        }
        actions
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The blocks that are there, or may yet turn out to be.
    pub(crate) fn possible(&self) -> BlockSet {
        let mut possible = self.verified.clone();
        self.stores.iter().for_each(|store| possible.insert_all(&store.untried));
        self.fetches.values().for_each(|fetch| possible.insert(fetch.block));
        possible
    }

    /// The blocks that are there.
    pub(crate) fn blocks(&self) -> &BlockSet {
        &self.verified
    }

    /// How the stores behaved.
    pub(crate) fn stores(&self) -> &[Source] {
        &self.stores
    }

    /// Looks at what is left.
    fn judge(&mut self) {
        self.is_stale = true;
        self.state = match () {
            () if self.is_enough(&self.verified) => State::Done,
            () if self.is_enough(&self.possible()) => State::Going,
            () => State::Impossible,
        };
    }

    /// Whether these blocks bring the file back.
    fn is_enough(&self, blocks: &BlockSet) -> bool {
        let data = self.codec.profile().data();
        (0..data).all(|block| blocks.contains(block))
            || (blocks.len() >= data && self.codec.recoverable(blocks).is_some())
    }

    /// What verified, and what is counted on.
    fn expected(&self) -> BlockSet {
        let mut expected = self.verified.clone();
        self.counted().for_each(|(_, fetch)| expected.insert(fetch.block));
        expected
    }

    fn counted(&self) -> impl Iterator<Item = (usize, &Fetch)> {
        self.fetches.iter().filter(|(_, fetch)| !fetch.is_hedged).map(|(&number, fetch)| (number, fetch))
    }

    fn begin(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let mut expected = self.expected();
        while self.counted().count() < FETCHES_MAX && !self.is_enough(&expected) {
            let best = self.best(&expected, |_| true).filter(|copy| !copy.must_wait);
            let Some(Copy { block, store, .. }) = best else { return };
            let (fetch, pace) = (self.begun, Pace::new(now));
            self.begun += 1;
            self.stores[store].untried.remove(block);
            expected.insert(block);
            let waits_since = Some(now);
            self.fetches.insert(fetch, Fetch { block, store, bytes: 0, waits_since, pace, is_hedged: false });
            actions.push(Action::Begin { fetch, block, store });
        }
    }

    /// The copy to ask for next of a block that is not expected: data before parity, and both before any of a store
    /// that is asked last. Of parity blocks the cheapest, then the fastest come first; data blocks are all wanted, so
    /// there the store comes first that has least to do.
    fn best(&self, expected: &BlockSet, may: impl Fn(usize) -> bool) -> Option<Copy> {
        let data = self.codec.profile().data();
        let mut busy = vec![0; self.stores.len()];
        self.fetches.values().for_each(|fetch| busy[fetch.store] += 1);
        let wish = |store: usize| {
            let source = &self.stores[store];
            (source.is_last(), source.cost(), Reverse(source.facts.priority))
        };
        let pace =
            |store: usize| (busy[store] >= self.per_store, Reverse(self.stores[store].speed()), busy[store]);
        let stores = |block: usize| {
            (0..self.stores.len()).filter(move |&store| self.stores[store].untried.contains(block))
        };
        let copy = |block: usize| {
            let store =
                stores(block).filter(|&store| may(store)).min_by_key(|&store| (wish(store), pace(store)))?;
            Some(Copy { block, store, must_wait: busy[store] >= self.per_store })
        };
        let rank = |copy: &Copy| {
            let is_parity = copy.block >= data;
            let (wish, pace) = (wish(copy.store), pace(copy.store));
            let of_parity = is_parity.then_some((wish, pace));
            (wish.0, is_parity, of_parity, copy.must_wait, busy[copy.store], copy.block)
        };
        let wanted = (0..self.block_bytes.len()).filter(|&block| !expected.contains(block));
        wanted.filter_map(copy).min_by_key(rank)
    }

    /// Ceases to count on fetches that keep the rest waiting, if there is something to begin in their stead.
    fn hedge(&mut self, now: Duration) {
        let (opening, patience) = (self.openings.patience(), self.gaps.patience());
        let numbers: Vec<usize> = self.counted().map(|(number, _)| number).collect();
        for number in numbers {
            let fetch = &self.fetches[&number];
            let (store, mut others) = (fetch.store, self.expected());
            others.remove(fetch.block);
            let patience = if fetch.bytes == 0 { opening } else { patience };
            let patience = patience * (1 << self.hedges_in_vain.min(DOUBLINGS_MAX));
            if fetch.waited(now) < patience && fetch.pace.rate().is_none() {
                continue;
            }
            let Some(instead) = self.best(&others, |other| other != store) else { continue };
            if self.is_stalled(fetch, instead, now, patience) || self.is_late(fetch, instead) {
                self.stores[store].is_slow = true;
                self.fetches.entry(number).and_modify(|fetch| fetch.is_hedged = true);
                self.is_stale = true;
                self.hedges_in_vain += 1;
            }
        }
    }

    /// Whether nothing came for long, although something came from others meanwhile, or there are none.
    fn is_stalled(&self, fetch: &Fetch, instead: Copy, now: Duration, patience: Duration) -> bool {
        let (Some(since), waited) = (fetch.waits_since, fetch.waited(now)) else { return false };
        if waited < patience {
            return false;
        }
        // Those that fell silent at about the same time are no better.
        let came = |store: usize| self.stores[store].came_at.is_some_and(|at| at >= since + patience / 2);
        let is_asked = |store: usize| self.counted().any(|(_, fetch)| fetch.store == store);
        let others = (0..self.stores.len()).filter(|&store| store != fetch.store);
        let (moving, still): (Vec<usize>, Vec<usize>) =
            others.filter(|&store| came(store) || is_asked(store)).partition(|&store| came(store));
        if moving.len() >= still.len() {
            return true;
        }
        // The first store to answer does not make all others slow; but one that has nothing to do may be asked.
        let is_idle = self.fetches.values().all(|fetch| fetch.store != instead.store);
        (is_idle || !moving.is_empty()) && waited >= patience * MINORITY
    }

    /// Whether the rest, and a block begun after it in this one's stead, would be there in half the time.
    fn is_late(&self, fetch: &Fetch, instead: Copy) -> bool {
        let left = |fetch: &Fetch| self.block_bytes[fetch.block].saturating_sub(fetch.bytes) as f64;
        let Some(rate) = fetch.pace.rate() else { return false };
        let others: Vec<&Fetch> =
            self.counted().map(|(_, fetch)| fetch).filter(|other| other.store != fetch.store).collect();
        let rates: Vec<f64> = others.iter().filter_map(|other| other.pace.rate()).collect();
        let expected = self.expected();
        // Blocks of hedged fetches have their replacements already.
        let is_underway = |block: usize| self.fetches.values().any(|fetch| fetch.block == block);
        let to_begin = (0..self.codec.profile().data())
            .filter(|&block| !expected.contains(block) && !is_underway(block));
        let rest_bytes = others.iter().map(|other| left(other)).sum::<f64>()
            + to_begin.map(|block| self.block_bytes[block] as f64).sum::<f64>();
        let rest = match rates.iter().sum::<f64>() {
            _ if rest_bytes == 0.0 => 0.0,
            0.0 => return false,
            rate => rest_bytes / rate,
        };
        let mean = (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64);
        let Some(other_rate) = self.stores[instead.store].rate().or(mean) else { return false };
        let other = self.block_bytes[instead.block] as f64 / other_rate;
        left(fetch) / rate > LATE * (rest + other) + PATIENCE_MIN.as_secs_f64()
    }
}

impl Fetch {
    /// How long its store is waited for by now.
    fn waited(&self, now: Duration) -> Duration {
        self.waits_since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }
}

impl Source {
    fn new(facts: Facts, listed: BlockSet) -> Self {
        Self {
            facts,
            untried: listed,
            verified: 0,
            wrong: 0,
            bytes: 0,
            waited: Duration::ZERO,
            came_at: None,
            is_slow: false,
            is_failing: false,
        }
    }

    /// Whether others are asked before.
    fn is_last(&self) -> bool {
        self.is_slow || self.is_failing || self.wrong > self.verified + 1
    }

    /// Costs are not negative: their bits are in their order.
    fn cost(&self) -> u64 {
        (self.facts.cost + 0.0).to_bits()
    }

    /// Bytes a second of one fetch.
    fn rate(&self) -> Option<f64> {
        let now = (self.waited >= SURE).then(|| self.bytes as f64 / self.waited.as_secs_f64());
        now.or(self.facts.rate())
    }

    /// The rate, so roughly that stores of about the same have equal shares; who is not known is tried.
    fn speed(&self) -> i32 {
        self.rate().map_or(i32::MAX, |rate| rate.max(1.0).log2() as i32)
    }
}

/// Fetches that are counted on at a time. Each has a thread and a piece in memory.
pub(crate) const FETCHES_MAX: usize = 8;
/// Fetches that a store may have at a time, however many stores there are; hedged ones count.
const FETCHES_PER_STORE_MIN: usize = 2;
/// How often a reading wants to look at the time.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// The least time that a store is waited for.
const PATIENCE_MIN: Duration = Duration::from_millis(250);
/// How much longer it is waited for a store than for most pieces.
const PATIENCE: u32 = 4;
/// How much longer yet while most others wait, too.
const MINORITY: u32 = 4;
/// Patience is doubled so often at most: 2^7 times 250 ms is half a minute.
const DOUBLINGS_MAX: u32 = 7;
/// How many times as long as its replacement a fetch must take to be replaced.
const LATE: f64 = 2.0;
/// Waiting after which a store's rate is believed.
const SURE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
