//! Backups to spoil.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Place, Run, Tanner, files_below, tanner};

/// A backup that lies in its stores, whole until a test spoils it.
pub(crate) struct Stored {
    pub(crate) place: Place,
    pub(crate) source: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) stores: Vec<PathBuf>,
    pub(crate) id: String,
}

impl Stored {
    #[track_caller]
    pub(crate) fn new(bytes: usize, shape: &str, stores: usize) -> Self {
        let place = Place::new();
        let stores = place.stores(stores);
        Self::within(place, "source.bin", content(bytes, 1), shape, stores)
    }

    #[track_caller]
    pub(crate) fn within(
        place: Place,
        name: &str,
        bytes: Vec<u8>,
        shape: &str,
        stores: Vec<PathBuf>,
    ) -> Self {
        let source = place.file(name, &bytes);
        let id = back_up(&source, shape, &stores).run().expect(0).out.trim().to_owned();
        Self { place, source, bytes, stores, id }
    }

    /// The block's file, in whichever store has it.
    pub(crate) fn block(&self, block: usize) -> PathBuf {
        let paths = self.stores.iter().map(|store| store.join(&self.id).join(block.to_string()));
        paths.into_iter().find(|path| path.symlink_metadata().is_ok()).unwrap()
    }

    pub(crate) fn manifest(&self, store: usize) -> PathBuf {
        self.stores[store].join(&self.id).join("manifest")
    }

    pub(crate) fn lose(&self, blocks: impl IntoIterator<Item = usize>) {
        blocks.into_iter().for_each(|block| fs::remove_file(self.block(block)).unwrap());
    }

    /// Takes blocks away while `then` runs.
    pub(crate) fn without(&self, blocks: &[usize], then: impl FnOnce()) {
        let away = |block: usize| self.place.join(&format!("away-{block}"));
        let paths: Vec<PathBuf> = blocks.iter().map(|&block| self.block(block)).collect();
        blocks.iter().zip(&paths).for_each(|(&block, path)| fs::rename(path, away(block)).unwrap());
        then();
        blocks.iter().zip(&paths).for_each(|(&block, path)| fs::rename(away(block), path).unwrap());
    }

    /// Turns over one bit in the middle of each of these blocks.
    pub(crate) fn flip(&self, blocks: impl IntoIterator<Item = usize>) {
        for block in blocks {
            let mut bytes = fs::read(self.block(block)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1 << (block % 8);
            fs::write(self.block(block), bytes).unwrap();
        }
    }

    /// `tanner COMMAND ID --from … FLAGS`
    pub(crate) fn on(&self, words: &str) -> Tanner {
        let (command, flags) = words.split_at(words.find(" -").unwrap_or(words.len()));
        tanner(command).arg(&self.id).stores("--from", &self.stores).words(flags)
    }

    pub(crate) fn restore(&self) -> Tanner {
        self.on("restore").arg("-o").arg(self.place.output())
    }

    /// Restores, holds the result against the source, and removes it again.
    #[track_caller]
    pub(crate) fn restores(&self) -> Run {
        let run = self.restore().run().expect(0);
        // Not `assert_eq`: nobody reads a megabyte of differences.
        assert!(fs::read(self.place.output()).unwrap() == self.bytes, "other bytes came back: {run:#?}");
        assert_eq!(files_below(&self.place.join("out")), ["restored"]);
        fs::remove_file(self.place.output()).unwrap();
        run
    }

    /// Restoring fails with exit code 5, and leaves nothing.
    #[track_caller]
    pub(crate) fn does_not_restore(&self) -> Run {
        let run = self.restore().run().expect(5);
        assert_eq!(files_below(&self.place.join("out")), [""; 0]);
        run
    }
}

pub(crate) fn back_up(source: &Path, words: &str, stores: &[impl AsRef<OsStr>]) -> Tanner {
    tanner("backup").arg(source).stores("--to", stores).words(words)
}

/// Bytes without a pattern, different for each seed.
pub(crate) fn content(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}
