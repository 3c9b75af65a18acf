//! Handshakes under way: so many, and the oldest makes room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::AbortHandle;

/// The handshakes of one listener.
///
/// Whoever opens thousands of connections and says nothing pushes out nobody but others that say nothing: a handshake
/// that is spoken takes milliseconds, and is the oldest only after that many others came.
pub(super) struct Handshakes {
    most: usize,
    under_way: VecDeque<(Done, AbortHandle)>,
}

/// Set when a handshake came to its end.
#[derive(Clone, Default)]
pub(super) struct Done(Arc<AtomicBool>);

impl Done {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Handshakes {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), under_way: VecDeque::new() }
    }

    /// Those under way.
    pub(super) fn count(&mut self) -> usize {
        self.under_way.retain(|(done, task)| !done.get() && !task.is_finished());
        self.under_way.len()
    }

    /// Adds one, and ends the oldest if there are too many.
    pub(super) fn add(&mut self, done: Done, task: AbortHandle) {
        if self.under_way.len() >= self.most
            && self.count() >= self.most
            && let Some((_, oldest)) = self.under_way.pop_front()
        {
            oldest.abort();
        }
        self.under_way.push_back((done, task));
    }
}
