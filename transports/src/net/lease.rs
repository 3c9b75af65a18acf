//! A lane on loan for one request, and how long its user waits.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::lane::{Lane, Pace};
use super::tcp::Idle;

/// How long a client waits for a server. Every wait has an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// To reach the server and to greet it.
    pub connect: Duration,
    /// Without progress: this long with fewer than [`stall_bytes`](Self::stall_bytes) is the end.
    pub stall: Duration,
    /// Bytes that have to move within [`stall`](Self::stall), unless less than that is left to be moved.
    pub stall_bytes: usize,
    /// For one answer of a server that keeps saying that it is at work: syncing a large object, or hashing it.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            stall_bytes: 64 * 1024,
            answer: Duration::from_secs(600),
        }
    }
}

impl Patience {
    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.stall, self.stall_bytes)
    }
}

/// A lane that is in use. Dropping it closes it: only [`give_back`](Self::give_back) says that it can be used again.
pub(super) struct Lease {
    pub(super) lane: Lane,
    /// Whether it carried a request before, so that the server may have closed it meanwhile.
    pub(super) reused: bool,
    /// Where it goes, if it can be used again.
    pub(super) home: Option<Idle>,
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// Ends the use of a lane on which no answer is outstanding.
    pub(super) fn give_back(mut self) {
        if let Some(home) = self.home.take() {
            self.lane.rest();
            home.keep(self.lane, Instant::now());
        }
    }
}
