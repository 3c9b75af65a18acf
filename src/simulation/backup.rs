//! A backup in virtual time: carries out what the writing decides.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use blake3::Hash;
use bytes::Bytes;
use tanner_kernels::BlockSet;

use super::faults::Kind;
use super::mistakes::Mistake;
use super::net::{Heard, Net, Ticker};
use super::pass::{BUFFERS_MAX, Pass, Stream};
use super::store::{Answer, Name, No, Reply, Request as Ask};
use super::world::{Ending, World};
use crate::crypto::Epochs;
use crate::manifest::Manifest;
use crate::places::Places;
use crate::scheduler::writing::{Action, Passed, Request, Verdict, Writing};
use crate::scheduler::{Placed, Proof, Task};

/// What became of a backup.
pub(super) struct Backup {
    pub(super) end: End,
    /// Bytes that were queued and under way, at most, and how many may be.
    pub(super) most_bytes: usize,
    pub(super) bytes_max: usize,
    /// Stores that did not take something back.
    pub(super) kept_by: Vec<usize>,
}

pub(super) enum End {
    /// The blocks cannot be placed as was demanded.
    Unplaced,
    /// The program was killed.
    Killed,
    /// The writing came to its end.
    Ended { verdict: Verdict, writing: Box<Writing>, manifest: Option<Bytes> },
    /// It did not, and never would.
    Hangs,
}

/// What is written down of a backup, so that another run can go on with it.
#[derive(Default)]
pub(super) struct Journal {
    /// The store of each block, and what it was before.
    homes: Vec<Vec<usize>>,
    /// Whether blocks may have been committed.
    pub(super) is_made: bool,
    /// Whether what is left is to be taken back.
    is_over: bool,
}

impl Journal {
    pub(super) fn can_go_on(&self) -> bool {
        !self.homes.is_empty() && !self.is_over
    }
}

/// Runs the backup of a world, or goes on with it.
pub(super) fn run(
    world: &World,
    net: &mut Net,
    mistake: Option<Mistake>,
    ending: Ending,
    journal: &mut Journal,
) -> Backup {
    let mut backup = Backup { end: End::Unplaced, most_bytes: 0, bytes_max: 0, kept_by: Vec::new() };
    let pieces = (0..world.pieces)
        .map(|piece| (0..world.contents.len()).map(|block| world.piece(block, piece).len()).sum::<usize>());
    backup.bytes_max = BUFFERS_MAX * pieces.max().unwrap_or(0);
    let is_resumed = journal.can_go_on();
    let Some(placed) = placed(world, journal) else { return backup };
    let writing = Writing::new(&world.blocks, &world.facts, &placed, world.quorum);
    let mut program = Program::new(world, net, mistake, writing, ending, journal);
    let stop = program.go_on(is_resumed).unwrap_or_else(|| program.run());
    let Program { writing, manifest, most_bytes, kept_by, .. } = program;
    (0..writing.blocks_moved()).for_each(|_| net.tally.count(Kind::MovedBlocks));
    (backup.most_bytes, backup.kept_by) = (most_bytes, kept_by);
    backup.end = match stop {
        Stop::Ended(verdict) => End::Ended { verdict, writing: Box::new(writing), manifest },
        Stop::Killed => End::Killed,
        Stop::Hangs => End::Hangs,
    };
    net.hang_up();
    backup
}

/// Where the blocks are to be, as was written down or is decided now.
fn placed(world: &World, journal: &Journal) -> Option<Placed> {
    let (blocks, stores, survive, policy) = (&world.blocks, &world.facts, &world.survive, world.policy);
    let Some(places) = journal.homes.last() else {
        return Task { blocks, stores, survive, policy, now: world.created as f64 }.place(&|_| None).ok();
    };
    let demands = survive.iter().filter_map(|demand| demand.of_labels(&world.labels()));
    let kept = demands.map(|demand| (demand, Proof::Tried(0))).collect();
    Some(Placed { places: places.clone(), why: Vec::new(), kept })
}

/// Why the program does nothing more.
enum Stop {
    Ended(Verdict),
    Killed,
    Hangs,
}

/// The program that backs up.
pub(super) struct Program<'a> {
    pub(super) world: &'a World,
    pub(super) net: &'a mut Net,
    pub(super) mistake: Option<Mistake>,
    pub(super) writing: Writing,
    /// What is waited for, and what it is for.
    pub(super) calls: BTreeMap<u64, Request>,
    /// The put of each block that is open, and of each manifest.
    pub(super) puts: BTreeMap<Request, u64>,
    pub(super) streams: BTreeMap<usize, Stream>,
    pub(super) pass: Option<Pass>,
    pub(super) manifest: Option<Bytes>,
    pub(super) ending: Ending,
    pub(super) journal: &'a mut Journal,
    pub(super) is_stopping: bool,
    pub(super) most_bytes: usize,
    pub(super) kept_by: Vec<usize>,
}

impl<'a> Program<'a> {
    fn new(
        world: &'a World,
        net: &'a mut Net,
        mistake: Option<Mistake>,
        mut writing: Writing,
        ending: Ending,
        journal: &'a mut Journal,
    ) -> Self {
        writing.be_resumable(world.is_journaled);
        Self {
            writing,
            world,
            net,
            mistake,
            calls: BTreeMap::new(),
            puts: BTreeMap::new(),
            streams: BTreeMap::new(),
            pass: None,
            manifest: None,
            ending,
            journal,
            is_stopping: false,
            most_bytes: 0,
            kept_by: Vec::new(),
        }
    }

    /// Asks what is there of a backup that is gone on with.
    fn go_on(&mut self, is_resumed: bool) -> Option<Stop> {
        let homes = self.journal.homes.last().filter(|_| is_resumed)?.clone();
        self.net.tally.count(Kind::Resumed);
        let mut live = BlockSet::none(homes.len());
        let mut asked = BTreeMap::new();
        for block in (0..homes.len()).filter(|_| self.journal.is_made) {
            asked.insert(self.net.call(homes[block], Ask::Stat(Name::Block(block))), block);
        }
        while !asked.is_empty() {
            let Some(heard) = self.net.next() else { return Some(Stop::Hangs) };
            if let Heard::Reply(call, reply) = heard
                && let Some(block) = asked.remove(&call)
                && reply == Ok(Answer::Length(self.world.contents[block].len() as u64))
            {
                live.insert(block);
            }
        }
        self.net.note(|| format!("goes on with {:?}", live.iter().collect::<Vec<_>>()));
        let of = |homes: &Vec<usize>| homes.iter().copied().enumerate().collect::<Vec<_>>();
        self.writing.resume(&live, self.journal.homes.iter().flat_map(of));
        None
    }

    fn run(&mut self) -> Stop {
        let mut ticker = Ticker::new(self.net);
        if let Ending::IsKilled(at) | Ending::Stops(at) = self.ending {
            self.net.ring_after(at);
        }
        self.act();
        loop {
            if let Some(verdict) = self.writing.verdict().cloned() {
                return Stop::Ended(verdict);
            }
            match self.ending {
                Ending::IsKilled(at) if self.net.now >= at => return Stop::Killed,
                Ending::IsKilledPublishing(manifests) => {
                    let has_manifest = self.writing.stores().iter().filter(|sink| sink.has_manifest);
                    if has_manifest.count() >= manifests {
                        return Stop::Killed;
                    }
                }
                Ending::Stops(at) if self.net.now >= at && !self.is_stopping => {
                    self.is_stopping = true;
                    self.net.note(|| "told to stop".into());
                    self.writing.stop(self.net.now);
                    self.end_pass(Passed::Early);
                }
                _ => {}
            }
            if self.net.now > ENDS_WITHIN {
                return Stop::Hangs;
            }
            let Some(heard) = self.net.next() else { return Stop::Hangs };
            ticker.hears(self.net, &heard);
            if let Heard::Reply(call, reply) = heard {
                self.hear(call, reply);
            }
            self.work();
            self.act();
        }
    }

    /// Carries out what is to be done.
    fn act(&mut self) {
        if self.journal.homes.last() != Some(&self.writing.homes().of) {
            self.journal.homes.push(self.writing.homes().of.clone());
        }
        for action in self.writing.next(self.net.now) {
            self.net.note(|| format!("{action:?}"));
            match action {
                Action::Begin(request) => self.begin(request),
                Action::GiveUp(request) => {
                    self.net.tally.count(Kind::GaveUp);
                    let of_it = self.calls.iter().filter(|(_, of)| **of == request);
                    let calls: Vec<u64> = of_it.map(|(&call, _)| call).collect();
                    calls.into_iter().for_each(|call| self.forget(call));
                    if let Request::Write { block, .. } = request {
                        self.drop_stream(block);
                    }
                    self.blame(request);
                }
                Action::Pass { make } => {
                    let ready_at = self.net.now + self.world.piece_time;
                    let (waited, waits_since) = (Duration::ZERO, None);
                    self.pass = Some(Pass { make, piece: 0, block: 0, ready_at, waited, waits_since });
                    self.net.ring_after(self.world.piece_time);
                }
            }
        }
    }

    fn begin(&mut self, request: Request) {
        let ask = match request {
            Request::Open { block, .. } => {
                Ask::Put(Name::Block(block), self.world.contents[block].len() as u64)
            }
            Request::Commit { block, store } | Request::Abandon { block, store } => {
                let Some(&put) = self.puts.get(&Request::Open { block, store }) else {
                    return self.ended(request, false);
                };
                let is_commit = matches!(request, Request::Commit { .. });
                if is_commit { Ask::Commit(put) } else { Ask::Abandon(put) }
            }
            Request::Manifest { .. } => Ask::Put(Name::Manifest, self.manifest().len() as u64),
            Request::Remove { block, .. } => Ask::Delete(block.map_or(Name::Manifest, Name::Block)),
            Request::Write { .. } => unreachable!("begins by itself"),
        };
        if self.mistake == Some(Mistake::LeavesRemains) && matches!(request, Request::Remove { .. }) {
            return self.ended(request, true);
        }
        if let Request::Remove { .. } = request {
            self.net.tally.count(Kind::TookBack);
            self.journal.is_over = true;
        }
        self.call(request, ask);
        if self.mistake == Some(Mistake::AcknowledgesEarly) && matches!(request, Request::Commit { .. }) {
            self.ended(request, true);
        }
    }

    pub(super) fn call(&mut self, request: Request, ask: Ask) -> u64 {
        let call = self.net.call(request.store(), ask);
        self.calls.insert(call, request);
        call
    }

    pub(super) fn ended(&mut self, request: Request, is_good: bool) {
        self.writing.ended(self.net.now, request, is_good);
    }

    pub(super) fn forget(&mut self, call: u64) {
        self.calls.remove(&call);
        self.net.forget(call);
    }

    /// What a store answered.
    fn hear(&mut self, call: u64, reply: Reply) {
        let Some(request) = self.calls.remove(&call) else { return };
        let now = self.net.now;
        if self.mistake == Some(Mistake::WaitsForEver) && reply == Err(No::Slow) {
            return;
        }
        if reply.is_err() {
            self.blame(request);
        }
        if matches!(reply, Err(No::Unreachable | No::Slow)) {
            self.writing.may_mend();
        }
        let is_good = reply.is_ok()
            || (self.mistake == Some(Mistake::SwallowsErrors) && matches!(request, Request::Commit { .. }));
        match (request, reply) {
            (Request::Open { block, store }, Ok(Answer::Begun(put))) => {
                self.puts.insert(request, put);
                let (queue, busy) = (VecDeque::new(), Duration::ZERO);
                let is_closed = self.is_stopping;
                let stream = Stream { store, put, queue, underway: None, busy, is_closed };
                self.streams.insert(block, stream);
                self.ended(request, true);
            }
            (Request::Write { block, .. }, reply) => {
                let Some(stream) = self.streams.get_mut(&block) else { return };
                let since = stream.underway.take().map_or(now, |(_, _, since)| since);
                stream.busy += now - since;
                match reply {
                    Ok(_) => self.writing.moves(now, request),
                    Err(_) => {
                        self.drop_stream(block);
                        self.ended(request, false);
                    }
                }
            }
            (Request::Manifest { store }, Ok(answer)) => self.publish(store, answer),
            // An earlier run put it, and did not live to read it back.
            (Request::Manifest { store }, Err(No::Exists)) => self.publish(store, Answer::Done),
            (request, _) => self.ended(request, is_good),
        }
    }

    /// The manifest's next step: written, committed, read back.
    fn publish(&mut self, store: usize, answer: Answer) {
        let (request, bytes) = (Request::Manifest { store }, self.manifest());
        let put = self.puts.get(&request).copied();
        let next = match (answer, put) {
            (Answer::Begun(put), _) => {
                self.puts.insert(request, put);
                Ask::Write(put, bytes)
            }
            (Answer::Bytes(back), _) => {
                return self.ended(request, back == bytes);
            }
            (_, Some(put)) if self.puts.remove(&request).is_some() => Ask::Commit(put),
            _ => Ask::Read(Name::Manifest, 0..bytes.len() as u64),
        };
        self.call(request, next);
    }

    fn manifest(&mut self) -> Bytes {
        let Self { world, writing, .. } = self;
        let made = self.manifest.get_or_insert_with(|| {
            let first: Vec<String> = world.survive.iter().map(|demand| demand.label.clone()).collect();
            let manifest = Manifest {
                id: world.id,
                geometry: world.geometry,
                hashes: world.contents.iter().map(|block| blake3::hash(block)).collect::<Vec<Hash>>(),
                name: "simulated".into(),
                created: world.created,
                modified: None,
                source_hash: blake3::hash(&world.source),
                epochs: Epochs::default(),
                places: Places::new(&writing.homes().of, &world.labels(), &first),
                is_archive: false,
            };
            manifest.to_bytes().into()
        });
        made.clone()
    }

    /// A store that did not take something back is excused for having it.
    fn blame(&mut self, request: Request) {
        if matches!(request, Request::Remove { .. }) {
            self.kept_by.push(request.store());
        }
    }
}

/// The longest that anything may take once faults have stopped, they included.
const ENDS_WITHIN: Duration = Duration::from_secs(4 * 3600);
