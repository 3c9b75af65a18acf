//! The budget: bytes a second, requests and bytes under way, for as many stores as share it.
//!
//! The bucket is our own. What the libraries have either waits on a timer of its own, which no test can turn, or wakes
//! its waiters in any order, or keeps one rate for life; this one is a queue that tokio's mutex already is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until};

use super::timetable::{TIMETABLE_FORM, Timetable};
use crate::wrapped::Wrapped;
use crate::{PIECE_BYTES_MAX, Result};

/// What a store may be given to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes a second, read and written together (`rate`).
    pub rate: Timetable,
    /// Calls that wait for the store at a time, at least 1 (`requests`). A put between two writes and a stream that
    /// nobody reads from wait for nothing and count for none: or blocks that are written in step would wait for each
    /// other for ever.
    pub requests_at_a_time: Option<usize>,
    /// Bytes that are being written or were asked for at a time, at least 1 (`inflight`). One call may have more, and
    /// is alone then.
    pub inflight_bytes: Option<u32>,
}

impl Limits {
    /// The limits that the options of a URL say.
    pub(super) fn parse(url: &Wrapped<'_>) -> Result<Self> {
        let mut limits = Self::default();
        for (key, value) in &url.options {
            match key.as_str() {
                "rate" => limits.rate = url.value(value, TIMETABLE_FORM)?,
                "requests" => limits.requests_at_a_time = Some(url.value(value, REQUESTS)?),
                "inflight" => {
                    let bytes: bytesize::ByteSize = url.value(value, INFLIGHT)?;
                    let bytes = u32::try_from(bytes.as_u64()).map_err(|_| url.bad(INFLIGHT))?;
                    limits.inflight_bytes = Some(bytes);
                }
                _ => return Err(url.bad("the limits are rate, requests and inflight")),
            }
        }
        match limits {
            Self { requests_at_a_time: Some(0), .. } => Err(url.bad(REQUESTS)),
            Self { inflight_bytes: Some(0), .. } => Err(url.bad(INFLIGHT)),
            limits => Ok(limits),
        }
    }
}

/// What tells the local time: minutes of the week, from Monday 0:00. Called for each piece while a timetable holds.
pub type WeekClock = Arc<dyn Fn() -> u16 + Send + Sync>;

/// A budget. Clones are the same budget: stores that are given clones share it evenly.
#[derive(Clone)]
pub struct Limiter {
    budget: Arc<Budget>,
}

struct Budget {
    limits: Limits,
    clock: WeekClock,
    /// When the next byte may go. Locked while waiting for that time, so that the lock's queue is the bucket's.
    next: Mutex<Instant>,
    requests: Option<Semaphore>,
    inflight: Option<Semaphore>,
}

impl Limiter {
    /// A budget of `limits`; `clock` is asked only for timetables.
    pub fn new(limits: Limits, clock: WeekClock) -> Self {
        let requests = limits.requests_at_a_time.map(|most| most.clamp(1, Semaphore::MAX_PERMITS));
        let inflight = limits.inflight_bytes.map(|most| most.max(1) as usize);
        let (requests, inflight) = (requests.map(Semaphore::new), inflight.map(Semaphore::new));
        let next = Mutex::new(Instant::now());
        Self { budget: Arc::new(Budget { limits, clock, next, requests, inflight }) }
    }

    /// Waits until a call may go to the store that has `bytes` under way. It may for as long as the answer is held.
    pub(super) async fn enter(&self, bytes: usize) -> Turn<'_> {
        let request = match &self.budget.requests {
            Some(requests) => Some(requests.acquire().await.expect("never closed")),
            None => None,
        };
        let inflight = match (&self.budget.inflight, self.budget.limits.inflight_bytes) {
            (Some(inflight), Some(most)) => {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(most.max(1));
                Some(inflight.acquire_many(bytes).await.expect("never closed"))
            }
            _ => None,
        };
        Turn { _request: request, _inflight: inflight }
    }

    /// Waits until these bytes may go. Whoever stops waiting has taken nothing of what others have.
    ///
    /// Each waits for at most a [`portion`](Self::portion) before the others have their turn.
    pub(super) async fn pay(&self, bytes: usize) {
        if self.budget.limits.rate.is_off() {
            return;
        }
        let mut next = self.budget.next.lock().await;
        let Some(rate) = self.rate() else { return };
        let now = Instant::now();
        *next = (*next).max(now.checked_sub(BURST).unwrap_or(now));
        sleep_until(*next).await;
        *next += Duration::from_secs_f64(bytes as f64 / rate as f64);
    }

    /// Bytes that are paid for and under way at once, of `bytes` that are wanted: few enough that no stream waits long
    /// for another, and that a timetable is obeyed soon.
    pub(super) fn portion(&self, bytes: usize) -> usize {
        let of_rate = match self.rate() {
            Some(rate) => usize::try_from(rate / PORTIONS_PER_SECOND).unwrap_or(usize::MAX),
            None => PIECE_BYTES_MAX,
        };
        let of_inflight = self.budget.limits.inflight_bytes.map_or(usize::MAX, |most| most as usize);
        bytes.min(of_rate.clamp(1, PORTION_BYTES_MAX)).min(of_inflight.max(1))
    }

    /// Bytes a second now.
    fn rate(&self) -> Option<u64> {
        let timetable = &self.budget.limits.rate;
        let minute = if timetable.is_constant() { 0 } else { (self.budget.clock)() };
        timetable.at(minute).map(std::num::NonZeroU64::get)
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.budget.limits.fmt(f)
    }
}

/// The right to have a call under way.
pub(super) struct Turn<'a> {
    _request: Option<SemaphorePermit<'a>>,
    _inflight: Option<SemaphorePermit<'a>>,
}

/// What may go at once after a pause: enough to outlast a timer of milliseconds, a thousandth of a minute.
const BURST: Duration = Duration::from_millis(50);
/// Portions that a second is shared out in.
const PORTIONS_PER_SECOND: u64 = 20;
/// A portion at high rates: small beside what a connection has under way, large beside the cost of taking turns.
const PORTION_BYTES_MAX: usize = 64 * 1024;
const _: () = assert!(PORTION_BYTES_MAX <= PIECE_BYTES_MAX);
const REQUESTS: &str = "requests is a number from 1, as in requests=4";
const INFLIGHT: &str = "inflight is from 1 byte to 4 GiB, as in inflight=8MiB";
