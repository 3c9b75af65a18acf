//! How fast pieces come.

use std::collections::VecDeque;
use std::time::Duration;

use super::hedge::{PATIENCE, PATIENCE_MIN};

/// How long the last pieces were waited for.
#[derive(Default)]
pub(super) struct Gaps(VecDeque<Duration>);

impl Gaps {
    pub(super) fn add(&mut self, gap: Duration) {
        if self.0.len() == GAPS {
            self.0.pop_front();
        }
        self.0.push_back(gap);
    }

    /// How long it is waited for a piece.
    pub(super) fn patience(&self) -> Duration {
        let mut gaps: Vec<Duration> = self.0.iter().copied().collect();
        gaps.sort_unstable();
        let p95 = gaps.get(gaps.len() * 95 / 100).copied().unwrap_or_default();
        PATIENCE_MIN.max(p95 * PATIENCE)
    }
}

/// The rate of one fetch over a window: a store that keeps dripping is as bad as one that stalls.
pub(super) struct Pace {
    since: Duration,
    bytes: u64,
    rate: Option<f64>,
}

impl Pace {
    pub(super) fn new(now: Duration) -> Self {
        Self { since: now, bytes: 0, rate: None }
    }

    pub(super) fn add(&mut self, now: Duration, bytes: u64) {
        self.bytes += bytes;
        let window = now.saturating_sub(self.since);
        if window >= WINDOW {
            *self = Self { since: now, bytes: 0, rate: Some(self.bytes as f64 / window.as_secs_f64()) };
        }
    }

    /// Bytes a second in the last whole window.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate
    }
}

/// Gaps that are remembered.
const GAPS: usize = 256;
/// Long enough for several portions of a store that is limited.
const WINDOW: Duration = Duration::from_millis(400);
