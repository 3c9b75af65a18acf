//! What went through a server since it began.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that only go up.
#[derive(Debug, Default)]
pub struct Traffic {
    put_bytes: AtomicU64,
    get_bytes: AtomicU64,
    refused: AtomicU64,
}

impl Traffic {
    /// Bytes of objects that stores took.
    pub fn put_bytes(&self) -> u64 {
        self.put_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of objects that were sent.
    pub fn get_bytes(&self) -> u64 {
        self.get_bytes.load(Ordering::Relaxed)
    }

    /// Requests that were answered with an error.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn put(&self, bytes: usize) {
        self.put_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self, bytes: usize) {
        self.get_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}
