//! The decoding pass of a restore: from verified blocks on the disk into the places of the lost ones.

use std::collections::BTreeMap;
use std::io;

use crate::assembly::Home;
use crate::decode::{Ends, Failure, Output};
use crate::error::Error;
use crate::fetch::Found;
use crate::geometry::Frame;
use crate::hash::PieceHasher;
use crate::progress::Progress;
use crate::read::Input;
use crate::scratch::Scratch;

/// A decoding pass into the staged file, which holds the verified data blocks in their places.
pub(crate) struct IntoStaged<'a> {
    pub(crate) found: &'a Found,
    /// The parity blocks that verified.
    pub(crate) parity: &'a BTreeMap<usize, Home>,
    pub(crate) staged: &'a Scratch,
    /// The blocks that are decoded.
    pub(crate) lost: Vec<usize>,
    /// The hash of the whole source, for branches.
    pub(crate) source: &'a PieceHasher,
    pub(crate) threads: usize,
    pub(crate) progress: &'a Progress,
}

/// Hashes of one restored block: its own, and its part of the source's.
pub(crate) struct Restored {
    pub(crate) block: usize,
    pub(crate) own: PieceHasher,
    pub(crate) source: PieceHasher,
}

impl Ends for IntoStaged<'_> {
    type Results = Vec<Restored>;

    fn frames_at_once(&self) -> usize {
        self.threads
    }

    fn inputs_bytes(&self) -> u64 {
        0
    }

    fn fresh(&self) -> Vec<Restored> {
        let geometry = &self.found.manifest.geometry;
        let own = |block| PieceHasher::new(geometry.block_bytes(block), geometry.is_kib_aligned());
        let restored = |&block: &usize| Restored { block, own: own(block), source: self.source.branch() };
        self.lost.iter().map(restored).collect()
    }

    fn join(all: &mut Vec<Restored>, part: Vec<Restored>) {
        for (sum, part) in all.iter_mut().zip(part) {
            sum.own.join(part.own);
            sum.source.join(part.source);
        }
    }

    fn open(&self, block: usize, frame: Frame) -> Result<Input, Failure> {
        let (id, geometry) = (self.found.manifest.id, &self.found.manifest.geometry);
        let start = geometry.stored_steps(block, frame, 0..u64::MAX).start;
        Ok(Input::Staged(self.home(block)?, start, id))
    }

    /// Writes the restored steps to their places and hashes them.
    fn take(&self, outputs: &[Output<'_>], restored: &mut Vec<Restored>) -> Result<(), Failure> {
        for (output, restored) in outputs.iter().zip(restored) {
            let home = self.home(output.block)?;
            let plain = home.turned(output.offset, output.bytes);
            home.write(output.offset, &plain).map_err(|source| self.failed(source))?;
            restored.own.add(output.offset, output.bytes);
            home.hash(&mut restored.source, output.offset, &plain);
            self.progress.advance(output.bytes.len() as u64);
        }
        Ok(())
    }
}

impl IntoStaged<'_> {
    /// Where a block is, or is to be.
    fn home(&self, block: usize) -> Result<Home, Error> {
        match self.parity.get(&block) {
            Some(home) => Ok(home.clone()),
            None => Home::new(self.found, self.staged, block).map_err(|source| self.failed(source)),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Staged { id: self.found.manifest.id, source }
    }
}
