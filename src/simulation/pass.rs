//! The pass of a simulated backup: pieces of all blocks, queues to the stores, and the looks at how it gets on.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tanner_kernels::BlockSet;

use super::backup::Program;
use super::faults::Kind;
use super::mistakes::Mistake;
use super::store::Request as Ask;
use super::world::Ending;
use crate::scheduler::writing::{Passed, Request, Seen};

/// The way of one block to its store.
pub(super) struct Stream {
    pub(super) store: usize,
    pub(super) put: u64,
    pub(super) queue: VecDeque<Bytes>,
    /// What is being written, and since when.
    pub(super) underway: Option<(u64, usize, Duration)>,
    pub(super) busy: Duration,
    /// Whether nothing more will come.
    pub(super) is_closed: bool,
}

pub(super) struct Pass {
    pub(super) make: BlockSet,
    pub(super) piece: usize,
    /// The next block whose piece is handed over.
    pub(super) block: usize,
    pub(super) ready_at: Duration,
    pub(super) waited: Duration,
    pub(super) waits_since: Option<Duration>,
}

impl Program<'_> {
    /// The pass and its streams, as far as they get now.
    pub(super) fn work(&mut self) {
        self.hand_over();
        let blocks: Vec<usize> = self.streams.keys().copied().collect();
        for block in blocks {
            let Some(stream) = self.streams.get_mut(&block) else { continue };
            let (store, put) = (stream.store, stream.put);
            let request = Request::Write { block, store };
            if stream.underway.is_some() {
                continue;
            }
            if let Some(bytes) = stream.queue.pop_front() {
                let (length, now) = (bytes.len(), self.net.now);
                let call = self.call(request, Ask::Write(put, bytes));
                self.streams.entry(block).and_modify(|s| s.underway = Some((call, length, now)));
            } else if stream.is_closed {
                self.streams.remove(&block);
                self.ended(request, true);
            }
        }
    }

    /// Hands pieces to the streams until one has enough.
    fn hand_over(&mut self) {
        let now = self.net.now;
        let Some(mut pass) = self.pass.take() else { return };
        while now >= pass.ready_at {
            let Some(block) = (pass.block..pass.make.blocks()).find(|&block| pass.make.contains(block))
            else {
                (pass.piece, pass.block) = (pass.piece + 1, 0);
                self.look(&pass, now);
                if pass.piece == self.world.pieces {
                    self.pass = Some(pass);
                    let is_same = self.ending != Ending::SourceChanges;
                    if !is_same {
                        self.net.tally.count(Kind::SourceChanged);
                    }
                    return self.end_pass(if is_same { Passed::Well } else { Passed::Failed });
                }
                pass.ready_at = now + self.world.piece_time;
                self.net.ring_after(self.world.piece_time);
                continue;
            };
            if let Some(stream) = self.streams.get_mut(&block) {
                let has_room =
                    stream.queue.len() < CHUNKS_QUEUED || self.mistake == Some(Mistake::QueuesWithoutBound);
                if !has_room {
                    let since = *pass.waits_since.get_or_insert(now);
                    let stalled = now - since;
                    let before = pass.waited;
                    pass.waited += stalled;
                    self.look(&pass, now);
                    pass.waited = before;
                    break;
                }
                let bytes = self.world.piece(block, pass.piece);
                if !bytes.is_empty() {
                    stream.queue.push_back(bytes);
                }
            }
            pass.waited += pass.waits_since.take().map_or(Duration::ZERO, |since| now - since);
            pass.block = block + 1;
            self.weigh();
        }
        self.pass = Some(pass);
    }

    /// Takes blocks from stores that hold up the others.
    fn look(&mut self, pass: &Pass, now: Duration) {
        let streams = &self.streams;
        let busy = |block: usize| {
            streams.get(&block).map_or(Duration::ZERO, |stream| {
                stream.busy + stream.underway.map_or(Duration::ZERO, |(_, _, since)| now - since)
            })
        };
        let stalled = pass.waits_since.map_or(Duration::ZERO, |since| now - since);
        let left = 1.0 - pass.piece as f64 / self.world.pieces as f64;
        let seen = Seen { waited: pass.waited, stalled, left, busy: &busy };
        for block in self.writing.look(now, &seen) {
            self.net.note(|| format!("block {block} is taken from its store"));
            self.net.tally.count(Kind::TookBlocks);
            self.drop_stream(block);
        }
    }

    pub(super) fn drop_stream(&mut self, block: usize) {
        let stream = self.streams.remove(&block);
        if let Some((call, _, _)) = stream.and_then(|stream| stream.underway) {
            self.forget(call);
        }
    }

    pub(super) fn end_pass(&mut self, passed: Passed) {
        if self.pass.take().is_some() {
            self.streams.values_mut().for_each(|stream| stream.is_closed = true);
            self.net.note(|| format!("the pass is over: {passed:?}"));
            self.writing.passed(self.net.now, passed);
            self.journal.is_made |= passed == Passed::Well;
            self.net.ring_after(Duration::ZERO);
        }
    }

    fn weigh(&mut self) {
        let of = |stream: &Stream| {
            let underway = stream.underway.map_or(0, |(_, bytes, _)| bytes);
            underway + stream.queue.iter().map(Bytes::len).sum::<usize>()
        };
        self.most_bytes = self.most_bytes.max(self.streams.values().map(of).sum());
    }
}

/// Pieces that wait for a store, and pieces of each block in memory, as in a real pass.
const CHUNKS_QUEUED: usize = 2;
pub(super) const BUFFERS_MAX: usize = 4;
