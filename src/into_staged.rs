//! The decoding pass of a restore: from verified blocks on the disk into the places of the lost ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::assembly::Home;
use crate::decode::{Ends, Failure, Output};
use crate::error::Error;
use crate::fetch::Found;
use crate::geometry::Frame;
use crate::hash::PieceHasher;
use crate::progress::Progress;
use crate::read::Input;

/// A decoding pass into the staged file, which holds the verified data blocks in their places.
pub(crate) struct IntoStaged<'a> {
    pub(crate) found: &'a Found,
    /// The parity blocks that verified.
    pub(crate) parity: &'a BTreeMap<usize, Home>,
    pub(crate) staged: &'a File,
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

    fn open(&self, block: usize, frame: Frame) -> Result<Input<'_>, Failure> {
        let (id, geometry) = (self.found.manifest.id, &self.found.manifest.geometry);
        let range = geometry.stored_steps(block, frame, 0..u64::MAX);
        if block < geometry.profile().data() {
            return Ok(Input::Staged(self.staged, geometry.data_range(block).start + range.start, id));
        }
        let home = self.parity.get(&block).expect("inputs verified");
        Ok(Input::Staged(&home.file, home.start + range.start, id))
    }

    /// Writes the restored steps to their places and hashes them.
    fn take(&self, outputs: &[Output<'_>], restored: &mut Vec<Restored>) -> Result<(), Failure> {
        for (output, restored) in outputs.iter().zip(restored) {
            let at = self.found.manifest.geometry.data_range(output.block).start + output.offset;
            let failed = |source| Error::Staged { id: self.found.manifest.id, source };
            self.staged.write_all_at(output.bytes, at).map_err(failed)?;
            restored.own.add(output.offset, output.bytes);
            restored.source.add(at, output.bytes);
            self.progress.advance(output.bytes.len() as u64);
        }
        Ok(())
    }
}
