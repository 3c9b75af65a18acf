//! Which copy of which block is read next, and when to stop counting on a store that keeps others waiting.
//!
//! Events and the time come in, actions go out. Data blocks come first, because they need no decoding; parity blocks
//! stand in for those that no store gives. As soon as what verified is enough the reading is over.
//!
//! A *fetch* reads a range of a block from a store. One that stalls, or would end long after the rest, is cancelled if
//! another store has a copy, which then goes on where it ended. If none has, it is *hedged*: it goes on, but is no
//! longer counted on, and another block is begun in its stead. A store that has nothing left to do takes the later part
//! of what another would be long at. The parts of a block are checked together; if they do not match, nobody knows who
//! lied, and the block is read anew from one store at a time.
//!
//! Slowness is relative. Where all stores wait, none is left for it: it is the transports' deadlines that end that.

mod choose;
mod hedge;
mod pace;
mod part;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tanner_kernels::{BlockSet, Codec};

use self::pace::{Gaps, Pace};
use self::part::{Block, Fetch, Role};
pub(crate) use self::source::Source;
use super::facts::Facts;

/// The reading of one backup from its stores. Time counts from its begin.
pub(crate) struct Reading {
    codec: Arc<Codec>,
    blocks: Vec<Block>,
    stores: Vec<Source>,
    fetches: BTreeMap<usize, Fetch>,
    verified: BlockSet,
    state: State,
    /// What is to be done and was not told yet.
    actions: Vec<Action>,
    /// Fetches begun, which is the number of the next.
    begun: usize,
    per_store: usize,
    /// What first pieces, and those that follow, were waited for.
    openings: Gaps,
    gaps: Gaps,
    /// Hedges since anything came that is not read again: each makes the next wait twice as long.
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Read this range of a block from a store.
    Begin { fetch: usize, block: usize, store: usize, range: Range<u64> },
    /// Stop reading, and tell how much came.
    Cancel { fetch: usize },
    /// What came of a block is worth nothing: it is read anew.
    Forget { block: usize },
}

/// Why a fetch did not give what it was to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The copy is not there, or not what was stored.
    Copy,
    /// The store could not be read.
    Store,
}

impl Reading {
    /// A reading of blocks of these lengths, of which so many bytes are there already, and these `verified`, from
    /// `stores`: what is known of each, and what it lists.
    pub(crate) fn new(
        codec: Arc<Codec>,
        blocks: impl IntoIterator<Item = (u64, u64)>,
        verified: BlockSet,
        stores: impl IntoIterator<Item = (Facts, BlockSet)>,
    ) -> Self {
        let blocks = blocks.into_iter().enumerate().map(|(number, (bytes, kept))| Block {
            bytes,
            rest: Vec::from_iter((!verified.contains(number)).then_some(kept..bytes)),
            givers: BTreeSet::from_iter((kept > 0).then_some(None)),
            is_alone: false,
        });
        let blocks = blocks.collect();
        let mut stores: Vec<Source> =
            stores.into_iter().map(|(facts, listed)| Source::new(facts, listed)).collect();
        source::mark_slow(&mut stores);
        let holders = stores.iter().filter(|store| !store.copies.is_empty()).count().max(1);
        let mut reading = Self {
            codec,
            blocks,
            stores,
            fetches: BTreeMap::new(),
            verified,
            state: State::Going,
            actions: Vec::new(),
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
        let store = &mut self.stores[fetch.store];
        if fetch.bytes == 0 {
            self.openings.add(gap);
            (store.opening, store.opened) = (store.opening + gap, store.opened + 1);
        } else {
            self.gaps.add(gap);
        }
        // What others could not go on from is no progress: it would be read again and again.
        if (fetch.bytes + bytes) / CUT_BYTES > fetch.bytes / CUT_BYTES {
            self.hedges_in_vain = 0;
        }
        fetch.bytes += bytes;
        fetch.pace.add(now, bytes);
        (store.bytes, store.waited, store.came_at) = (store.bytes + bytes, store.waited + gap, Some(now));
    }

    /// A fetch ended, and the first `taken` bytes of its range are there. Tells whether its block is whole now, and is
    /// to be checked.
    pub(crate) fn ended(&mut self, now: Duration, fetch: usize, taken: u64, fault: Option<Fault>) -> bool {
        // When it is over, the numbers that it ended with stand.
        let Some(fetch) = self.fetches.remove(&fetch).filter(|_| self.state == State::Going) else {
            return false;
        };
        let (number, store, left) = (fetch.block, fetch.store, fetch.range.start + taken..fetch.range.end);
        match fault {
            Some(Fault::Copy) => self.stores[store].wrong += 1,
            Some(Fault::Store) => self.stores[store].is_failing = true,
            None => {}
        }
        if fault.is_some() {
            self.stores[store].copies.remove(number);
        }
        let block = &mut self.blocks[number];
        block.givers.extend((taken > 0).then_some(Some(store)));
        match fetch.role {
            _ if left.is_empty() => {}
            _ if block.is_alone => self.forget(number),
            Role::Ending { heir, is_shared } if fault.is_none() => {
                self.hand_over(now, &fetch, heir, is_shared, left);
            }
            _ => block.rest.push(left),
        }
        self.is_stale = true;
        if fault.is_some() {
            self.judge();
        }
        self.blocks[number].rest.is_empty() && self.fetches.values().all(|fetch| fetch.block != number)
    }

    /// A whole block was checked. Tells which store's copy is wrong, if it is one store's alone.
    pub(crate) fn checked(&mut self, number: usize, is_right: bool) -> Option<usize> {
        if self.state != State::Going {
            return None;
        }
        let givers = std::mem::take(&mut self.blocks[number].givers);
        let mut liar = None;
        if is_right {
            self.verified.insert(number);
            givers.into_iter().flatten().for_each(|store| self.stores[store].verified += 1);
        } else {
            self.forget(number);
            let mut givers = givers.into_iter();
            if let (Some(Some(store)), None) = (givers.next(), givers.next()) {
                self.stores[store].wrong += 1;
                self.stores[store].copies.remove(number);
                liar = Some(store);
            }
            self.blocks[number].is_alone |= liar.is_none();
        }
        self.judge();
        liar
    }

    /// What is to be done now. To be asked after every event, and at least every [`TICK`]. When the reading is over,
    /// all fetches are to be dropped.
    pub(crate) fn next(&mut self, now: Duration) -> Vec<Action> {
        if self.state != State::Going {
            return Vec::new();
        }
        let looks = now >= self.looks_at;
        if looks {
            self.looks_at = now + TICK;
            self.hedge(now);
        }
        if std::mem::take(&mut self.is_stale) {
            self.begin(now);
        }
        if looks {
            self.share();
        }
        std::mem::take(&mut self.actions)
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The blocks that are there, or may yet turn out to be.
    pub(crate) fn possible(&self) -> BlockSet {
        let mut possible = self.verified.clone();
        self.stores.iter().for_each(|store| possible.insert_all(&store.copies));
        let is_underway = |number: usize| self.fetches.values().any(|fetch| fetch.block == number);
        let blocks = self.blocks.iter().enumerate().filter(|(_, block)| block.rest.is_empty());
        blocks.filter(|&(number, _)| is_underway(number)).for_each(|(number, _)| possible.insert(number));
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

    /// Looks at what is there, and at what is left.
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

    /// Begins a fetch.
    fn start(&mut self, now: Duration, block: usize, store: usize, range: Range<u64>) {
        let (fetch, pace) = (self.begun, Pace::new(now));
        self.begun += 1;
        self.actions.push(Action::Begin { fetch, block, store, range: range.clone() });
        let waits_since = Some(now);
        self.fetches
            .insert(fetch, Fetch { block, store, range, bytes: 0, waits_since, pace, role: Role::Counted });
    }

    /// All of a block is to be read anew.
    fn forget(&mut self, number: usize) {
        let block = &mut self.blocks[number];
        block.rest.clear();
        block.rest.push(0..block.bytes);
        block.givers.clear();
        self.actions.push(Action::Forget { block: number });
    }
}

/// Fetches that are counted on at a time. Each has a thread and a piece in memory.
pub(crate) const FETCHES_MAX: usize = 8;
/// Fetches that a store may have at a time, however many stores there are; hedged ones count.
const FETCHES_PER_STORE_MIN: usize = 2;
/// How often a reading wants to look at the time.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// Ranges begin at multiples of this: what is cut finer is hashed slower.
pub(crate) const CUT_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
