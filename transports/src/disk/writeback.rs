//! Lets the disk begin while more bytes come, instead of leaving all of them to the fsync.

use std::fs::File;
use std::num::NonZeroU64;
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};
use tokio::task::{JoinHandle, spawn_blocking};

/// How much of a file the kernel was told to write already.
#[derive(Debug)]
pub(super) struct Writeback {
    begun: u64,
    under_way: Option<JoinHandle<()>>,
}

impl Writeback {
    /// Of a file whose first bytes are written already.
    pub(super) fn after(begun: u64) -> Self {
        Self { begun, under_way: None }
    }

    /// The file has this many bytes now. Never waits: a disk that is behind is asked again later.
    pub(super) fn advance(&mut self, file: &Arc<File>, written: u64) {
        let is_busy = self.under_way.as_ref().is_some_and(|task| !task.is_finished());
        let Some(bytes) = NonZeroU64::new(written - self.begun) else { return };
        if is_busy || bytes.get() < SPAN_BYTES {
            return;
        }
        let (file, begun) = (file.clone(), self.begun);
        // To be rid of dirty pages the kernel writes them, without waiting and without taking note of errors, which are
        // left to the fsync. What it has written it may drop: nobody reads a block that was just put.
        self.under_way =
            Some(spawn_blocking(move || _ = fadvise(&*file, begun, Some(bytes), Advice::DontNeed)));
        self.begun = written;
    }
}

/// Large against what a disk writes at a time, small against what the page cache takes.
const SPAN_BYTES: u64 = 8 << 20;
