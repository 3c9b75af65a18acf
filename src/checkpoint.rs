//! Checkpoints: all streams of a pass keep what they were given up to the same place of the source.
//!
//! A marker goes through the queue of every stream, so nobody waits: behind it the pass goes on. When the last marker
//! was answered, or lost with its stream, what came of them is handed on, to be written down.

use std::sync::{Arc, Mutex, PoisonError};

use blake3::Hash;
use tanner_transports::Kept;
use tokio::sync::mpsc::UnboundedSender;

use crate::journal::Mark;

/// One place of the source. Dropped by the last of its markers.
pub(crate) struct Checkpoint {
    marks: Mutex<Vec<Mark>>,
    done: UnboundedSender<Vec<Mark>>,
}

impl Checkpoint {
    pub(crate) fn new(done: UnboundedSender<Vec<Mark>>) -> Arc<Self> {
        Arc::new(Self { marks: Mutex::default(), done })
    }

    /// A marker of a block, of which so many bytes with this hash were made.
    pub(crate) fn marker(self: &Arc<Self>, block: usize, store: usize, bytes: u64, hash: Hash) -> Marker {
        let number = |number: usize| u32::try_from(number).expect("no profile has more blocks");
        let (block, store) = (number(block), number(store));
        let hash = (*hash.as_bytes()).into();
        let mark = Mark { block, store, bytes, hash, kept_bytes: 0, token: Vec::new().into() };
        Marker { checkpoint: Arc::clone(self), mark }
    }
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        let marks = std::mem::take(self.marks.get_mut().unwrap_or_else(PoisonError::into_inner));
        // Whoever does not listen any more is done with all of it.
        let _ = self.done.send(marks);
    }
}

/// What goes through a queue.
pub(crate) struct Marker {
    checkpoint: Arc<Checkpoint>,
    mark: Mark,
}

impl Marker {
    /// The store has what came before, and keeps as much of it as it says.
    pub(crate) fn answer(mut self, kept: Option<Kept>) {
        if let Some(kept) = kept {
            (self.mark.kept_bytes, self.mark.token) = (kept.bytes, kept.token.to_vec().into());
        }
        self.checkpoint.marks.lock().unwrap_or_else(PoisonError::into_inner).push(self.mark);
    }
}
