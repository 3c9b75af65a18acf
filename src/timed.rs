//! How a store behaves while it is written to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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

/// What a store did with one block, and for how long it was waited for; to be read while it works. The time in which it
/// has nothing to do does not count.
#[derive(Debug)]
pub(crate) struct Meter {
    zero: Instant,
    /// Microseconds of the calls that ended.
    busy: AtomicU64,
    /// When the call under way began, in microseconds after `zero`; 0 if there is none.
    since: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { zero: Instant::now(), busy: 0.into(), since: 0.into(), bytes: 0.into() }
    }

    /// Times a call to the store that takes so many bytes.
    pub(crate) async fn time<T, E>(
        &self,
        bytes: usize,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let since = self.now();
        self.since.store(since, Ordering::Relaxed);
        let done = call.await;
        self.since.store(0, Ordering::Relaxed);
        self.busy.fetch_add(self.now() - since, Ordering::Relaxed);
        self.bytes.fetch_add(if done.is_ok() { bytes as u64 } else { 0 }, Ordering::Relaxed);
        done
    }

    /// For how long it was waited for. A call that ends just now may be missed; the next look sees it.
    pub(crate) fn busy(&self, now: Instant) -> Duration {
        let ended = Duration::from_micros(self.busy.load(Ordering::Relaxed));
        let since = self.since.load(Ordering::Relaxed);
        let under_way = (now - self.zero).saturating_sub(Duration::from_micros(since));
        if since == 0 { ended } else { ended + under_way }
    }

    /// Bytes that the store took.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.zero.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }
}
