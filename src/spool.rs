//! Blocks that a restore has read and not used yet, in a file without a name beside the output.
//!
//! What was verified once is not asked for again: its store may be slow by now, or lie.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Room for any number of blocks.
pub(crate) struct Spool {
    directory: PathBuf,
    slot_bytes: u64,
    file: OnceLock<File>,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    count: u64,
    free: Vec<u64>,
}

/// Room for one block, free again when it is dropped.
pub(crate) struct Slot {
    spool: Arc<Spool>,
    index: u64,
}

impl Spool {
    /// A spool for blocks of at most `slot_bytes` bytes. Nothing is there before something is written.
    pub(crate) fn new(directory: PathBuf, slot_bytes: u64) -> Arc<Self> {
        Arc::new(Self { directory, slot_bytes, file: OnceLock::new(), slots: Mutex::default() })
    }

    /// An empty slot.
    pub(crate) fn slot(self: &Arc<Self>) -> io::Result<Slot> {
        if self.file.get().is_none() {
            // Only one thread hands out slots; if there were two, one file would do.
            _ = self.file.set(tempfile::tempfile_in(&self.directory)?);
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let index = slots.free.pop().unwrap_or_else(|| {
            slots.count += 1;
            slots.count - 1
        });
        Ok(Slot { spool: Arc::clone(self), index })
    }
}

impl Slot {
    /// Writes a piece of the block.
    pub(crate) fn write(&self, offset: u64, piece: &[u8]) -> io::Result<()> {
        self.file().write_all_at(piece, self.start() + offset)
    }

    /// The file in which the block is.
    pub(crate) fn file(&self) -> &File {
        self.spool.file.get().expect("made for the first slot")
    }

    /// Where in the file the block begins.
    pub(crate) fn start(&self) -> u64 {
        self.index * self.spool.slot_bytes
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.spool.slots.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::Spool;
    use crate::read::Input;

    /// A block that another one is written over would be decoded to anything.
    #[tokio::test]
    async fn blocks_keep_their_slots_until_they_are_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path().to_owned(), 100);
        let slots: Vec<_> = (0..5).map(|_| spool.slot().unwrap()).collect();
        for (slot, byte) in slots.iter().zip(1..) {
            slot.write(40, &[byte; 60]).unwrap();
            slot.write(0, &[byte; 40]).unwrap();
        }
        drop(spool.slot().unwrap());
        let again = spool.slot().unwrap();
        assert_eq!(again.start(), 500);
        for (slot, byte) in slots.iter().zip(1..) {
            let mut bytes = [0; 100];
            let mut input = Input::Staged(slot.file(), slot.start(), crate::BackupId::random());
            assert!(input.read(0, &mut bytes).await.is_ok());
            assert_eq!(bytes, [byte; 100]);
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "it has a name");
    }
}
