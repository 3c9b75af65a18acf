//! A block that comes together from ranges, and what an earlier restore left of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};

use crate::error::Error;
use crate::fetch::Found;
use crate::hash::PieceHasher;
use crate::parallel;
use crate::progress::Progress;
use crate::resources::{Resources, Stop};
use crate::scheduler::reading::CUT_BYTES;
use crate::staged::Staged;

/// Where a block is put together: in its place in the output if it is data, else in a file of its own.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) file: Arc<File>,
    /// Where in the file it begins; for data, also where in the source.
    pub(crate) start: u64,
}

/// The hashes of some ranges of a block.
pub(crate) struct Part {
    /// Its own.
    own: PieceHasher,
    /// Its part of the source's, if it is data.
    pub(crate) source: Option<PieceHasher>,
    /// Bytes of these ranges.
    pub(crate) bytes: u64,
}

/// A block, as far as it is there.
pub(crate) struct Assembly {
    pub(crate) home: Home,
    pub(crate) part: Part,
}

impl Part {
    /// None of a block.
    pub(crate) fn new(found: &Found, block: usize) -> Self {
        let geometry = &found.manifest.geometry;
        let source = || PieceHasher::new(geometry.source_bytes(), geometry.is_kib_aligned());
        let source = (block < geometry.profile().data()).then(source);
        Self { own: PieceHasher::new(found.block_bytes(block), true), source, bytes: 0 }
    }

    /// Adds a piece, which begins at a multiple of [`CUT_BYTES`] of the block.
    pub(crate) fn add(&mut self, home: &Home, offset: u64, piece: &[u8]) {
        self.own.add(offset, piece);
        if let Some(source) = &mut self.source {
            source.add(home.start + offset, piece);
        }
        self.bytes += piece.len() as u64;
    }

    /// Adds other ranges of the block.
    pub(crate) fn join(&mut self, other: Self) {
        self.own.join(other.own);
        if let (Some(source), Some(other)) = (&mut self.source, other.source) {
            source.join(other);
        }
        self.bytes += other.bytes;
    }
}

impl Assembly {
    /// A block of which nothing is there.
    pub(crate) fn new(found: &Found, staged: &Staged, block: usize) -> io::Result<Self> {
        let geometry = &found.manifest.geometry;
        let home = match block < geometry.profile().data() {
            true => Home { file: Arc::clone(&staged.file), start: geometry.data_range(block).start },
            false => Home { file: Arc::new(staged.spooled(block)?), start: 0 },
        };
        Ok(Self { home, part: Part::new(found, block) })
    }

    /// Whether it is whole and what was stored; its hash is known no more then.
    pub(crate) fn is_right(&mut self, found: &Found, block: usize) -> bool {
        let own = std::mem::replace(&mut self.part.own, PieceHasher::new(0, true));
        own.finish() == Some(found.manifest.hashes[block])
    }

    /// Hashes what an earlier restore left of the block: nothing that is on a disk is trusted.
    fn read_left(&mut self, bytes: u64, stop: &Stop, progress: &Progress) -> Result<(), Error> {
        let mut buffer = vec![0; READ_BYTES];
        while self.part.bytes < bytes {
            stop.check()?;
            let offset = self.part.bytes;
            let count = usize::try_from(bytes - offset).map_or(READ_BYTES, |left| left.min(READ_BYTES));
            let piece = &mut buffer[..count];
            // What cannot be read is fetched.
            if self.home.file.read_exact_at(piece, self.home.start + offset).is_err() {
                break;
            }
            self.part.add(&self.home, offset, piece);
            progress.advance(if self.part.source.is_some() { count as u64 } else { 0 });
        }
        Ok(())
    }

    /// How far the file was written from the block's begin. It may be less, and where the file system does not tell, it
    /// may be more: the hash decides.
    fn written(&self, bytes: u64) -> u64 {
        let file = &self.home.file;
        let end = match seek(file, SeekFrom::Data(self.home.start)) {
            Ok(data) if data == self.home.start => seek(file, SeekFrom::Hole(data)).unwrap_or(data),
            _ => self.home.start,
        };
        match end - self.home.start {
            written if written >= bytes => bytes,
            written => written / CUT_BYTES * CUT_BYTES,
        }
    }
}

/// The blocks of which an earlier restore left something, each as far as it is there.
pub(crate) fn left_over(
    found: &Found,
    staged: &Staged,
    resources: &Resources,
    stop: &Stop,
    progress: &Progress,
) -> Result<Vec<(usize, Assembly)>, Error> {
    let failed = |source| Error::Staged { id: found.manifest.id, source };
    let data = 0..found.manifest.geometry.profile().data();
    let mut blocks: Vec<usize> = data.chain(staged.spooled_blocks()).collect();
    blocks.retain(|&block| block < found.manifest.hashes.len() && found.block_bytes(block) > 0);
    let read = |(): &mut (), block: usize| -> Result<_, Error> {
        let mut assembly = Assembly::new(found, staged, block).map_err(failed)?;
        let written = assembly.written(found.block_bytes(block));
        assembly.read_left(written, stop, progress)?;
        Ok((block, assembly))
    };
    let mut left = Vec::new();
    let take = |(block, assembly): (usize, Assembly)| {
        if assembly.part.bytes > 0 {
            left.push((block, assembly));
        }
    };
    parallel::each(blocks.into_iter(), resources.thread_count(), || Ok(()), read, take)?;
    Ok(left)
}

/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 20;
