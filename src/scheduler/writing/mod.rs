//! The writing of a backup: which block is written where, and what becomes of it if its store fails, lags or hangs.
//!
//! Events and the time come in, actions go out. All blocks are opened, one pass over the source fills them, and what
//! was filled is committed. Blocks that got lost on the way are made again by another, narrower pass, for stores that
//! are well. Then every store gets the manifest, and what can be read back decides what the backup is worth. If that
//! is less than what was asked for, everything is taken back.
//!
//! Slowness is relative, as it is in reading: where all stores hang it is the transports' deadlines that end that.

mod patience;
mod verdict;
mod window;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tanner_kernels::BlockSet;

use self::patience::Patience;
use self::window::Window;
use super::domains::Demand;
use super::facts::{Facts, Labels};
use super::moving::Homes;
use super::place::{Blocks, Placed};

pub(crate) use self::verdict::{Standing, Verdict};
pub(crate) use self::window::Seen;
pub(crate) use self::words::{Action, Passed, Request, Sink};

/// The writing of one backup to its stores. Time counts from its begin.
pub(crate) struct Writing {
    blocks: Blocks,
    labels: Vec<Labels>,
    demands: Vec<Demand>,
    quorum: usize,
    homes: Homes,
    stores: Vec<Sink>,
    /// Blocks that are durable.
    live: BlockSet,
    /// Blocks that were given another store than planned.
    moved: BlockSet,
    phase: Phase,
    /// Passes that were begun.
    passes: usize,
    window: Window,
    patience: Patience,
    queue: VecDeque<Request>,
    /// What the stores are asked now, and since when nothing came of it.
    underway: BTreeMap<Request, Duration>,
    /// What may be visible in stores, whatever they answered: blocks and their stores, and stores of manifests.
    left: BTreeSet<(usize, usize)>,
    manifests_left: BTreeSet<usize>,
    /// How it ends, once that is known.
    verdict: Option<Verdict>,
    /// Whether another run can go on with what a run left that was to stop.
    is_resumable: bool,
    /// Whether something could not be taken back.
    is_untidy: bool,
    /// Whether this run goes on with another.
    is_resumed: bool,
    /// Whether a store failed for a reason that may pass.
    may_mend: bool,
    /// Whether what is there is left to another run.
    is_suspended: bool,
    /// Whether the source can be read but once: then what gets lost on the way is lost.
    is_read_once: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opening,
    Passing,
    Committing,
    Publishing,
    /// Takes everything back.
    Removing,
    /// Lets stores keep what is in flight.
    Suspending,
    Ended,
}

impl Writing {
    /// The writing of blocks that were placed on these stores.
    pub(crate) fn new(blocks: &Blocks, stores: &[Facts], placed: &Placed, quorum: usize) -> Self {
        let none = BlockSet::none(placed.places.len());
        let mut writing = Self {
            blocks: blocks.clone(),
            labels: stores.iter().map(Facts::all_labels).collect(),
            demands: placed.kept.iter().map(|(demand, _)| demand.clone()).collect(),
            quorum,
            homes: Homes::new(blocks, stores, placed),
            stores: vec![Sink::default(); stores.len()],
            live: none.clone(),
            moved: none,
            phase: Phase::Opening,
            passes: 0,
            window: Window::default(),
            patience: Patience::default(),
            queue: VecDeque::new(),
            underway: BTreeMap::new(),
            left: BTreeSet::new(),
            manifests_left: BTreeSet::new(),
            verdict: None,
            is_resumable: false,
            is_untidy: false,
            is_resumed: false,
            may_mend: false,
            is_suspended: false,
            is_read_once: false,
        };
        writing.open(&writing.missing());
        writing
    }

    /// Whether from here on a run that is to stop leaves what it stored for another one.
    pub(crate) fn be_resumable(&mut self, is_resumable: bool) {
        self.is_resumable = is_resumable;
    }

    /// Whether the source can be read but once.
    pub(crate) fn read_once(&mut self, is_read_once: bool) {
        self.is_read_once = is_read_once;
    }

    /// An earlier run made these blocks durable, and may have left something in these places: blocks and their stores.
    pub(crate) fn resume(&mut self, live: &BlockSet, left: impl IntoIterator<Item = (usize, usize)>) {
        (self.live, self.is_resumed) = (live.clone(), true);
        self.left.extend(left);
        self.manifests_left.extend(0..self.stores.len());
        self.queue.clear();
        self.open(&self.missing());
    }

    /// An answer of a store. Tells whether it still counts.
    pub(crate) fn ended(&mut self, now: Duration, request: Request, is_good: bool) -> bool {
        let Some(since) = self.underway.remove(&request) else { return false };
        if !is_good {
            self.fail(request);
            return true;
        }
        self.patience.ended(request, now.saturating_sub(since));
        match request {
            Request::Open { block, store } => {
                self.underway.insert(Request::Write { block, store }, now);
            }
            Request::Write { .. } if self.phase == Phase::Suspending => {}
            Request::Write { block, store } if self.phase == Phase::Removing => {
                self.queue.push_back(Request::Abandon { block, store });
            }
            Request::Write { block, store } => self.queue.push_back(Request::Commit { block, store }),
            Request::Commit { block, .. } => self.live.insert(block),
            Request::Manifest { store } => self.stores[store].has_manifest = true,
            Request::Abandon { .. } | Request::Remove { .. } => {}
        }
        true
    }

    /// A store failed for a reason that may pass, such as a network that is down.
    pub(crate) fn may_mend(&mut self) {
        self.may_mend = true;
    }

    /// Something came of a request that goes on.
    pub(crate) fn moves(&mut self, now: Duration, request: Request) {
        self.underway.entry(request).and_modify(|since| *since = now);
    }

    /// The pass is over.
    pub(crate) fn passed(&mut self, now: Duration, passed: Passed) {
        self.patience.pass_took(self.window.lasted(now));
        self.underway.values_mut().for_each(|since| *since = now);
        match passed {
            Passed::Well => self.enter(Phase::Committing),
            Passed::Early if self.is_resumable => self.suspend(now, Verdict::Failed),
            Passed::Early | Passed::Failed => self.remove(now, Verdict::Failed),
        }
    }

    /// The run is to stop; tells whether it does. A pass that is under way fails by itself, and what is being published
    /// is done soon.
    pub(crate) fn stop(&mut self, now: Duration) -> bool {
        let stops = matches!(self.phase, Phase::Opening | Phase::Committing);
        match stops {
            true if self.is_resumable => self.suspend(now, Verdict::Failed),
            true => self.remove(now, Verdict::Failed),
            false => {}
        }
        stops
    }

    /// Looks at how the pass gets on: blocks of stores that hold up all others are taken from them. Returns these blocks,
    /// of which nothing more is to be written.
    pub(crate) fn look(&mut self, now: Duration, seen: &Seen) -> Vec<usize> {
        let mut taken = Vec::new();
        if self.phase != Phase::Passing || !self.window.is_over(now) {
            return taken;
        }
        let streams: Vec<(usize, usize)> = self.streams().collect();
        for (store, count) in self.window.excess(now, seen, &streams, self.stores.len()) {
            // The cheapest to make again are data blocks, of which only their part of the source is read.
            let of_store = streams.iter().filter(|&&(_, of)| of == store).map(|&(block, _)| block);
            let blocks: Vec<usize> = of_store.take(count).collect();
            if seen.stalled <= STALLED && (self.is_read_once || !self.may_move(store, &blocks)) {
                continue;
            }
            for &block in &blocks {
                self.underway.remove(&Request::Write { block, store });
            }
            (self.stores[store].is_slow, self.homes.takes_more[store]) = (true, false);
            taken.extend(blocks);
        }
        taken
    }

    /// What is to be done now. To be asked after every event, and at least every [`TICK`].
    pub(crate) fn next(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        self.give_up_late(now, &mut actions);
        while !matches!(self.phase, Phase::Passing | Phase::Ended) {
            self.begin(now, &mut actions);
            let waits = |request: &Request| self.phase != Phase::Opening || !request.is_write();
            if !self.queue.is_empty() || self.underway.keys().any(waits) {
                break;
            }
            self.advance(now, &mut actions);
        }
        actions
    }

    /// How it ended; none while it goes on.
    pub(crate) fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref().filter(|_| self.phase == Phase::Ended)
    }

    /// Whether something may be left that was to be taken back.
    pub(crate) fn is_untidy(&self) -> bool {
        self.is_untidy
    }

    /// Whether what is there is left to another run.
    pub(crate) fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    /// The blocks that are durable.
    pub(crate) fn live(&self) -> &BlockSet {
        &self.live
    }

    /// How many blocks were given another store than planned.
    pub(crate) fn blocks_moved(&self) -> usize {
        self.moved.len()
    }

    /// Where the blocks are.
    pub(crate) fn homes(&self) -> &Homes {
        &self.homes
    }

    /// How the stores do.
    pub(crate) fn stores(&self) -> &[Sink] {
        &self.stores
    }

    /// How often the source was read, if only in part.
    pub(crate) fn passes(&self) -> usize {
        self.passes
    }

    /// Blocks that are being written, with their stores.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (usize, usize)> {
        self.underway.keys().filter_map(|request| match *request {
            Request::Write { block, store } => Some((block, store)),
            _ => None,
        })
    }

    /// Blocks that are neither durable nor being written.
    fn missing(&self) -> Vec<usize> {
        let mut there = self.live.clone();
        self.streams().for_each(|(block, _)| there.insert(block));
        (0..there.blocks()).filter(|&block| !there.contains(block)).collect()
    }

    /// Whether a store may be relieved of blocks: others take them, and all that was promised holds.
    fn may_move(&self, store: usize, blocks: &[usize]) -> bool {
        let mut homes = self.homes.clone();
        homes.takes_more[store] = false;
        let mut missing = self.missing();
        missing.extend(blocks);
        homes.move_away(&missing) && homes.keep_promises()
    }

    fn open(&mut self, blocks: &[usize]) {
        let open = |&block: &usize| Request::Open { block, store: self.homes.of[block] };
        self.queue.extend(blocks.iter().map(open));
        self.enter(Phase::Opening);
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.patience.forget();
    }

    fn begin(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let busy = self.underway.keys().filter(|request| !request.is_write()).count();
        let free = REQUESTS_AT_ONCE.saturating_sub(busy).min(self.queue.len());
        for request in self.queue.drain(..free) {
            match request {
                Request::Commit { block, store } => _ = self.left.insert((block, store)),
                Request::Manifest { store } => _ = self.manifests_left.insert(store),
                _ => {}
            }
            self.underway.insert(request, now);
            actions.push(Action::Begin(request));
        }
    }

    /// What comes next when all stores have answered.
    fn advance(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Opening | Phase::Committing => {
                let missing = self.missing();
                // What an earlier run stored is read once more: else nobody knows the source's hash.
                let is_resumed = self.passes == 0 && !self.live.is_empty();
                let is_open = self.phase == Phase::Opening && (is_resumed || self.streams().next().is_some());
                let may_make = self.passes == 0 || !self.is_read_once;
                if may_make && !missing.is_empty() && self.homes.move_away(&missing) {
                    missing.iter().for_each(|&block| self.moved.insert(block));
                    self.open(&missing);
                } else if is_open {
                    self.pass(now, actions);
                } else {
                    self.publish();
                }
            }
            Phase::Publishing => match self.judge() {
                kept @ Verdict::Kept(_) => {
                    self.verdict = Some(kept);
                    self.enter(Phase::Ended);
                }
                // Hours of sending are not thrown away for an hour without a network.
                refused if self.is_worth_another_run() => self.suspend(now, refused),
                refused => self.remove(now, refused),
            },
            // Nobody is to see a manifest whose blocks are gone: those went first.
            Phase::Removing if !self.left.is_empty() => {
                let left = std::mem::take(&mut self.left).into_iter();
                self.queue.extend(left.map(|(block, store)| Request::Remove { block: Some(block), store }));
            }
            Phase::Removing | Phase::Suspending | Phase::Passing | Phase::Ended => self.enter(Phase::Ended),
        }
    }

    fn pass(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let mut make = BlockSet::none(self.live.blocks());
        if self.passes == 0 {
            make = BlockSet::all(self.live.blocks());
        }
        self.streams().for_each(|(block, _)| make.insert(block));
        self.passes += 1;
        self.window = Window::new(now);
        self.enter(Phase::Passing);
        actions.push(Action::Pass { make });
    }

    fn publish(&mut self) {
        self.enter(Phase::Publishing);
        if self.blocks.codec.recoverable(&self.live).is_some() {
            self.queue.extend((0..self.stores.len()).map(|store| Request::Manifest { store }));
        }
    }

    /// Whether another run may get what this one could not, with something to go on with. Where manifests are, it is too
    /// late.
    fn is_worth_another_run(&self) -> bool {
        let has_some = self.passes > 0 || self.is_resumed;
        self.is_resumable && self.may_mend && has_some && self.blocks.codec.recoverable(&self.live).is_none()
    }

    /// Takes back whatever a store may have, and gives up what is on its way.
    fn remove(&mut self, now: Duration, verdict: Verdict) {
        self.verdict = Some(verdict);
        self.underway.values_mut().for_each(|since| *since = now);
        let written = std::mem::take(&mut self.queue).into_iter().filter_map(|request| match request {
            Request::Commit { block, store } => Some(Request::Abandon { block, store }),
            _ => None,
        });
        let manifests = self.manifests_left.iter().map(|&store| Request::Remove { block: None, store });
        self.queue = written.chain(manifests).collect();
        self.enter(Phase::Removing);
    }

    /// Waits for what is in flight, and leaves all of it.
    fn suspend(&mut self, now: Duration, verdict: Verdict) {
        (self.verdict, self.is_suspended) = (Some(verdict), true);
        self.underway.values_mut().for_each(|since| *since = now);
        self.queue.clear();
        self.enter(Phase::Suspending);
    }

    fn give_up_late(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let is_late = |&(request, since): &(&Request, &Duration)| {
            let waited = now.saturating_sub(*since);
            match self.phase {
                // What it does until the pass is over is the window's business.
                Phase::Opening | Phase::Passing if request.is_write() => false,
                Phase::Removing => waited > Patience::of_removal(*request),
                Phase::Suspending => waited > SUSPEND_WAIT,
                _ => self.patience.is_over(*request, waited, &self.underway),
            }
        };
        let late: BTreeSet<usize> =
            self.underway.iter().filter(is_late).map(|(request, _)| request.store()).collect();
        if late.is_empty() {
            return;
        }
        // A store that hangs is not waited for again.
        let queued: VecDeque<Request> = std::mem::take(&mut self.queue);
        let (of_late, queue) = queued.into_iter().partition(|request| late.contains(&request.store()));
        self.queue = queue;
        let underway = self.underway.keys().copied().filter(|request| late.contains(&request.store()));
        let given_up: Vec<Request> = underway.chain::<VecDeque<Request>>(of_late).collect();
        for request in given_up {
            self.underway.remove(&request);
            self.fail(request);
            actions.push(Action::GiveUp(request));
        }
    }

    fn fail(&mut self, request: Request) {
        self.is_untidy |= self.phase == Phase::Removing;
        if !matches!(request, Request::Abandon { .. } | Request::Remove { .. }) {
            self.homes.takes_more[request.store()] = false;
            self.stores[request.store()].is_failing = true;
        }
    }
}

/// How often a writing wants to look at the time.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// Requests that are under way at a time, besides the streams of a pass.
const REQUESTS_AT_ONCE: usize = 32;
/// How long a run that is to stop waits for what is in flight.
const SUSPEND_WAIT: Duration = Duration::from_secs(5);
/// A store that takes nothing for so long loses its blocks whatever becomes of them.
const STALLED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
