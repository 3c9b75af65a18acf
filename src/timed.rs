//! How a store behaves while it is written to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tanner_transports::{Put, TransportError};
use tokio::time::Instant;

/// What a store did with the blocks it was given.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Behaviour {
    /// Bytes that it took.
    pub bytes: u64,
    /// Seconds in which it was waited for, of its blocks the longest: they are written at the same time.
    pub busy_seconds: f64,
    /// Seconds until it was ready to take a block, on average; none if it never was.
    pub answer_seconds: Option<f64>,
    /// Whether anything failed.
    pub failed: bool,
}

/// A put that counts for how long it is waited for. The time in which it has nothing to do does not count.
pub(crate) struct Timed {
    put: Box<dyn Put>,
    busy: Arc<AtomicU64>,
}

impl Timed {
    /// Adds nanoseconds to `busy`.
    pub(crate) fn around(put: Box<dyn Put>, busy: Arc<AtomicU64>) -> Box<dyn Put> {
        Box::new(Self { put, busy })
    }
}

fn count(busy: &AtomicU64, since: Instant) {
    let nanoseconds = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    busy.fetch_add(nanoseconds, Ordering::Relaxed);
}

#[async_trait]
impl Put for Timed {
    async fn write(&mut self, bytes: Bytes) -> Result<(), TransportError> {
        let began = Instant::now();
        let written = self.put.write(bytes).await;
        count(&self.busy, began);
        written
    }

    async fn commit(self: Box<Self>) -> Result<(), TransportError> {
        let began = Instant::now();
        let committed = self.put.commit().await;
        count(&self.busy, began);
        committed
    }

    async fn abandon(self: Box<Self>) -> Result<(), TransportError> {
        self.put.abandon().await
    }
}
