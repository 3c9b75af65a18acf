//! How far a run is: one counter, shown as a bar, as plain lines, as JSON lines, or not at all.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes done of bytes in all.
#[derive(Default, Debug)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Begins anew with `total` bytes ahead.
    pub fn start(&self, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Adds bytes to those ahead.
    pub fn extend(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes as done.
    pub fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes are done, whatever was counted.
    pub fn set(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
    }

    /// Bytes done, and bytes in all.
    #[must_use]
    pub fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}
