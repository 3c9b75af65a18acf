//! Blocks, and the ranges of them that are read.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use super::pace::Pace;

/// A block, and what is still to be read of it.
pub(super) struct Block {
    pub(super) bytes: u64,
    /// What no fetch reads.
    pub(super) rest: Vec<Range<u64>>,
    /// Who gave what is there of it; none is an earlier restore.
    pub(super) givers: BTreeSet<Option<usize>>,
    /// Its parts did not match once: from now on it comes from one store, or not at all.
    pub(super) is_alone: bool,
}

pub(super) struct Fetch {
    pub(super) block: usize,
    pub(super) store: usize,
    pub(super) range: Range<u64>,
    pub(super) bytes: u64,
    /// Since when its store is waited for; none while its last piece is worked on.
    pub(super) waits_since: Option<Duration>,
    pub(super) pace: Pace,
    pub(super) role: Role,
}

/// What is expected of a fetch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// All of its range.
    Counted,
    /// Nothing; it would still be welcome.
    Hedged,
    /// To end, so that another store goes on, alone or beside its own.
    Ending { heir: usize, is_shared: bool },
}

impl Fetch {
    /// How long its store is waited for by now.
    pub(super) fn waited(&self, now: Duration) -> Duration {
        self.waits_since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Bytes that did not come yet.
    pub(super) fn left(&self) -> f64 {
        (self.range.end - self.range.start).saturating_sub(self.bytes) as f64
    }
}
