//! Stores of all kinds in virtual time, for tests.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tanner_kernels::{BlockSet, CodeChoice, Codec, Profile};

use super::{Action, CUT_BYTES, FETCHES_MAX, FETCHES_PER_STORE_MIN, Fault, Reading, State};
use crate::scheduler::Facts;

/// A store that is read from.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// Bytes a second of each fetch.
    pub(super) rate: u64,
    pub(super) latency: Duration,
    /// When nothing comes from it.
    pub(super) stalls: Range<Duration>,
    /// When it is gone.
    pub(super) dies: Duration,
    /// Of so many blocks one is wrong.
    pub(super) lies: Option<usize>,
    pub(super) listed: BlockSet,
    pub(super) facts: Facts,
}

pub(super) struct Sim {
    pub(super) codec: Arc<Codec>,
    pub(super) stores: Vec<Kind>,
    /// Bytes of each block that are there before.
    pub(super) kept: u64,
}

/// A fetch under way.
#[derive(Debug)]
struct Active {
    block: usize,
    store: usize,
    range: Range<u64>,
    began: Duration,
    bytes: u64,
    is_cancelled: bool,
}

/// What a reading came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) state: State,
    pub(super) took: Duration,
    /// Every copy that was asked for, in order.
    pub(super) asked: Vec<(usize, usize)>,
    pub(super) blocks: BlockSet,
    /// Blocks that may yet have been there.
    pub(super) possible: usize,
    pub(super) slow: Vec<usize>,
    pub(super) liars: Vec<usize>,
    /// Bytes that came from each store.
    pub(super) bytes: Vec<u64>,
}

pub(super) const NEVER: Duration = Duration::MAX;
pub(super) const BLOCK: u64 = 10_000_000;
pub(super) const STEP: Duration = Duration::from_millis(10);

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Kind {
    pub(super) fn is_wrong(&self, block: usize) -> bool {
        self.lies.is_some_and(|every| block.is_multiple_of(every))
    }

    /// What it gives of a fetch in a step: bytes, none, or an end.
    fn gives(&self, now: Duration, fetch: &Active) -> Result<u64, Fault> {
        let stalls = self.stalls.contains(&now);
        // The transport's own deadline.
        if now >= self.dies || (stalls && now.saturating_sub(fetch.began) >= ms(30_000)) {
            return Err(Fault::Store);
        }
        let is_silent = stalls || now < fetch.began + self.latency;
        let left = fetch.range.end - fetch.range.start - fetch.bytes;
        Ok(if is_silent { 0 } else { (self.rate / 100).min(left) })
    }
}

impl Sim {
    /// Blocks on stores of 20 MB/s in turn: a store with its two data blocks needs half a second for them.
    pub(super) fn new(k: u64, m: u64, stores: usize) -> Self {
        let profile = Profile::for_code(CodeChoice::Auto, k, m, k * BLOCK).unwrap();
        let codec = Arc::new(Codec::new(profile));
        let mut honest = vec![
            Kind {
                rate: 20_000_000,
                latency: ms(10),
                stalls: NEVER..NEVER,
                dies: NEVER,
                lies: None,
                listed: BlockSet::none(profile.blocks()),
                facts: Facts::of("x"),
            };
            stores
        ];
        (0..profile.blocks()).for_each(|block| honest[block % stores].listed.insert(block));
        Self { codec, stores: honest, kept: 0 }
    }

    /// The same with a copy of each block on the next store.
    pub(super) fn with_copies(k: u64, m: u64, stores: usize) -> Self {
        let mut sim = Self::new(k, m, stores);
        let blocks = sim.codec.profile().blocks();
        (0..blocks).for_each(|block| sim.stores[(block + 1) % stores].listed.insert(block));
        sim
    }

    pub(super) fn run(&self) -> Outcome {
        let blocks = self.codec.profile().blocks();
        let stores = self.stores.iter().map(|kind| (kind.facts.clone(), kind.listed.clone()));
        let lengths = (0..blocks).map(|_| (BLOCK, self.kept));
        let mut reading = Reading::new(Arc::clone(&self.codec), lengths, BlockSet::none(blocks), stores);
        let (mut now, mut asked, mut liars) = (Duration::ZERO, Vec::new(), Vec::new());
        let mut active: BTreeMap<usize, Active> = BTreeMap::new();
        let mut parts: Vec<Vec<(usize, Range<u64>)>> = vec![Vec::new(); blocks];
        loop {
            for action in reading.next(now) {
                match action {
                    Action::Begin { fetch, block, store, range } => {
                        assert!(self.stores[store].listed.contains(block) && !range.is_empty());
                        assert!(range.start == self.kept || range.start.is_multiple_of(CUT_BYTES));
                        asked.push((block, store));
                        let (began, bytes, is_cancelled) = (now, 0, false);
                        active.insert(fetch, Active { block, store, range, began, bytes, is_cancelled });
                    }
                    Action::Cancel { fetch } => active.get_mut(&fetch).unwrap().is_cancelled = true,
                    Action::Forget { block } => parts[block].clear(),
                }
            }
            if reading.state() != State::Going {
                break;
            }
            assert!(now < ms(600_000), "it never ends: {active:?}");
            now += STEP;
            for (number, mut fetch) in std::mem::take(&mut active) {
                let (block, store) = (fetch.block, fetch.store);
                let fault = match self.stores[store].gives(now, &fetch) {
                    _ if fetch.is_cancelled => None,
                    Err(fault) => Some(fault),
                    Ok(bytes) => {
                        fetch.bytes += bytes;
                        if bytes > 0 {
                            reading.came(now, number, bytes);
                            reading.waits(now, number);
                        }
                        None
                    }
                };
                let is_whole = fetch.range.start + fetch.bytes == fetch.range.end;
                if !is_whole && fault.is_none() && !fetch.is_cancelled {
                    active.insert(number, fetch);
                    continue;
                }
                let taken = if is_whole { fetch.bytes } else { fetch.bytes / CUT_BYTES * CUT_BYTES };
                parts[block].push((store, fetch.range.start..fetch.range.start + taken));
                if reading.ended(now, number, taken, fault) {
                    let sum: u64 = parts[block].iter().map(|(_, part)| part.end - part.start).sum();
                    let first = parts[block].iter().map(|(_, part)| part.start).min();
                    assert!(sum == BLOCK - first.unwrap(), "block {block}: {:?}", parts[block]);
                    let gave = |(store, part): &(usize, Range<u64>)| {
                        !part.is_empty() && self.stores[*store].is_wrong(block)
                    };
                    liars.extend(reading.checked(block, !parts[block].iter().any(gave)));
                }
            }
            let per_store = FETCHES_MAX.div_ceil(self.stores.len()).max(FETCHES_PER_STORE_MIN);
            for store in 0..self.stores.len() {
                let fetches = active.values().filter(|fetch| fetch.store == store).count();
                assert!(fetches <= per_store, "{fetches} fetches from one of {}", self.stores.len());
            }
        }
        let slow = (0..self.stores.len()).filter(|&store| reading.stores()[store].is_slow).collect();
        let (state, blocks, possible) = (reading.state(), reading.blocks().clone(), reading.possible().len());
        let bytes = reading.stores().iter().map(|store| store.bytes).collect();
        Outcome { state, took: now, asked, blocks, possible, slow, liars, bytes }
    }

    #[track_caller]
    pub(super) fn restores(&self) -> Outcome {
        let outcome = self.run();
        assert_eq!(outcome.state, State::Done, "{outcome:?}");
        assert!(self.codec.recoverable(&outcome.blocks).is_some());
        outcome
    }
}
