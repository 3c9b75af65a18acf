//! What a writing is told, and what it tells.

use tanner_kernels::BlockSet;

/// How a store does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sink {
    /// It has the manifest, which was read back.
    pub(crate) has_manifest: bool,
    /// It held the others up, and lost blocks for it.
    pub(crate) is_slow: bool,
    /// Something failed, or was not answered in time.
    pub(crate) is_failing: bool,
}

/// What a store is asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Request {
    /// To begin with a block.
    Open { block: usize, store: usize },
    /// To take its bytes. Begins by itself when the block is open, and ends some time after the pass.
    Write { block: usize, store: usize },
    /// To make it durable and visible.
    Commit { block: usize, store: usize },
    /// To take the manifest and give it back.
    Manifest { store: usize },
    /// To give up a block that was written.
    Abandon { block: usize, store: usize },
    /// To delete a block, or the manifest.
    Remove { block: Option<usize>, store: usize },
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Ask a store.
    Begin(Request),
    /// Wait for it no longer: nothing that comes of it counts.
    GiveUp(Request),
    /// Read the source, and make these blocks; those that are open are written.
    Pass { make: BlockSet },
}

/// How a pass ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passed {
    /// All was read, and is what it was.
    Well,
    /// Nothing of it is to be kept.
    Failed,
    /// It was to stop, or cannot go on now.
    Early,
}

impl Request {
    pub(super) fn is_write(self) -> bool {
        matches!(self, Self::Write { .. })
    }

    pub(crate) fn store(self) -> usize {
        match self {
            Self::Open { store, .. }
            | Self::Write { store, .. }
            | Self::Commit { store, .. }
            | Self::Manifest { store }
            | Self::Abandon { store, .. }
            | Self::Remove { store, .. } => store,
        }
    }
}
