//! Chunk buffers: a fixed number of arenas that go round, from the reader to the stores and back.
//!
//! The pool is the memory bound of a pass: when all arenas are in somebody's hands, the reader waits.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use tanner_kernels::{Arena, Bound};

/// Arenas of one size.
pub(crate) struct Pool {
    free: Receiver<Arena>,
    home: Sender<Arena>,
}

/// An arena that nobody else sees; it goes home when it is dropped.
pub(crate) struct Pooled {
    arena: Option<Arena>,
    home: Sender<Arena>,
}

impl Pool {
    pub(crate) fn new(bound: &Bound, count: usize) -> Self {
        let (home, free) = channel();
        let pool = Self { free, home };
        (0..count).for_each(|_| drop(Pooled { arena: Some(bound.arena()), home: pool.home.clone() }));
        pool
    }

    /// Waits for a free arena. It holds what its last user left in it.
    pub(crate) fn take(&self) -> Pooled {
        let arena = self.free.recv().expect("the pool itself keeps a sender");
        Pooled { arena: Some(arena), home: self.home.clone() }
    }
}

impl Pooled {
    pub(crate) fn arena(&mut self) -> &mut Arena {
        self.arena.as_mut().expect("taken in `drop` only")
    }

    /// Ends writing: from here on, slices of the streams may be handed out, and the last of them sends the
    /// arena home.
    pub(crate) fn freeze(self) -> Frozen {
        Frozen(Arc::new(self))
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        // After the pass nobody waits for it any more.
        self.arena.take().map(|arena| self.home.send(arena));
    }
}

/// An arena that is only read.
#[derive(Clone)]
pub(crate) struct Frozen(Arc<Pooled>);

impl Frozen {
    /// Part of a stream, without a copy.
    pub(crate) fn slice(&self, stream: usize, range: Range<usize>) -> Bytes {
        if range.is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(Slice { arena: self.clone(), stream, range })
    }

    pub(crate) fn stream(&self, stream: usize) -> &[u8] {
        self.0.arena.as_ref().expect("taken in `drop` only").stream(stream)
    }
}

struct Slice {
    arena: Frozen,
    stream: usize,
    range: Range<usize>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.arena.stream(self.stream)[self.range.clone()]
    }
}
