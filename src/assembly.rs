//! A block that comes together from ranges, and what an earlier restore left of it.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};

use crate::crypto::Cipher;
use crate::error::Error;
use crate::fetch::Found;
use crate::geometry::Geometry;
use crate::hash::PieceHasher;
use crate::parallel;
use crate::progress::Progress;
use crate::resources::{Resources, Stop};
use crate::scheduler::reading::CUT_BYTES;
use crate::scratch::Scratch;

/// Where a block is put together: in its places in the output if it is data, else in a file of its own.
#[derive(Clone)]
pub(crate) struct Home {
    file: Arc<File>,
    /// The block, if its bytes are those of the source and in the places that these have there.
    data: Option<(Geometry, usize)>,
    /// What turns its bytes into those of the source, and back, if these are what the file has.
    cipher: Option<Arc<Cipher>>,
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

impl Home {
    /// The home of a block.
    pub(crate) fn new(found: &Found, staged: &Scratch, block: usize) -> io::Result<Self> {
        let geometry = found.manifest.geometry;
        Ok(match block < geometry.profile().data() {
            true => Self {
                file: Arc::clone(&staged.file),
                data: Some((geometry, block)),
                cipher: found.cipher().cloned(),
            },
            false => Self { file: Arc::new(staged.spooled(block)?), data: None, cipher: None },
        })
    }

    /// The bytes at an offset of the block as the file has them, of those that are stored; or those that are stored, of
    /// those that the file has.
    pub(crate) fn turned<'a>(&self, offset: u64, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let mut bytes = Cow::Borrowed(bytes);
        if self.cipher.is_some() {
            self.turn(offset, bytes.to_mut());
        }
        bytes
    }

    fn turn(&self, offset: u64, bytes: &mut [u8]) {
        if let Some(cipher) = &self.cipher {
            self.places(offset, bytes.len()).for_each(|(at, part)| cipher.apply(at, &mut bytes[part]));
        }
    }

    /// Writes what the file is to have from an offset of the block on.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.places(offset, bytes.len()).try_for_each(|(at, part)| self.file.write_all_at(&bytes[part], at))
    }

    /// Reads what the file has from an offset of the block on.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut places = self.places(offset, into.len());
        places.try_for_each(|(at, part)| self.file.read_exact_at(&mut into[part], at))
    }

    /// Reads the bytes that are stored, from an offset of the block on.
    pub(crate) fn read_stored(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read(offset, into)?;
        self.turn(offset, into);
        Ok(())
    }

    /// Adds bytes of the file to the hash of what they are part of, the source.
    pub(crate) fn hash(&self, source: &mut PieceHasher, offset: u64, bytes: &[u8]) {
        self.places(offset, bytes.len()).for_each(|(at, part)| source.add(at, &bytes[part]));
    }

    /// Where a run of the block is in the file, for each part of it that is in one place.
    fn places(&self, offset: u64, count: usize) -> impl Iterator<Item = (u64, Range<usize>)> + use<> {
        let mut done = 0;
        self.ranges(offset..offset + count as u64).map(move |range| {
            let part = done..done + usize::try_from(range.end - range.start).expect("it is in memory");
            done = part.end;
            (range.start, part)
        })
    }

    /// Where a range of the block is in the file.
    fn ranges(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
        let own = self.data.is_none().then(|| range.clone());
        let data = self.data.map(|(geometry, block)| geometry.source_ranges(block, range));
        data.into_iter().flatten().chain(own)
    }

    /// How far the file was written from the block's begin, of so many bytes. It may be less, and where the file system
    /// does not tell, it may be more: the hash decides.
    fn written(&self, bytes: u64) -> u64 {
        let mut written = 0;
        for Range { start, end } in self.ranges(0..bytes) {
            let hole = match seek(&self.file, SeekFrom::Data(start)) {
                Ok(data) if data == start => seek(&self.file, SeekFrom::Hole(start)).unwrap_or(start),
                _ => start,
            };
            written += hole.min(end) - start;
            if hole < end {
                return written / CUT_BYTES * CUT_BYTES;
            }
        }
        written
    }
}

impl Part {
    /// None of a block.
    pub(crate) fn new(found: &Found, block: usize) -> Self {
        let geometry = &found.manifest.geometry;
        let source = || PieceHasher::new(geometry.source_bytes(), geometry.is_kib_aligned());
        let source = (block < geometry.profile().data()).then(source);
        Self { own: PieceHasher::new(found.block_bytes(block), true), source, bytes: 0 }
    }

    /// Adds a piece as it is stored and as its file has it, which begins at a multiple of [`CUT_BYTES`] of the block.
    pub(crate) fn add(&mut self, home: &Home, offset: u64, stored: &[u8], written: &[u8]) {
        self.own.add(offset, stored);
        if let Some(source) = &mut self.source {
            home.hash(source, offset, written);
        }
        self.bytes += stored.len() as u64;
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
    pub(crate) fn new(found: &Found, staged: &Scratch, block: usize) -> io::Result<Self> {
        let home = Home::new(found, staged, block)?;
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
            if self.home.read(offset, piece).is_err() {
                break;
            }
            self.part.add(&self.home, offset, &self.home.turned(offset, piece), piece);
            progress.advance(if self.part.source.is_some() { count as u64 } else { 0 });
        }
        Ok(())
    }
}

/// The blocks of which an earlier restore left something, each as far as it is there.
pub(crate) fn left_over(
    found: &Found,
    staged: &Scratch,
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
        let written = assembly.home.written(found.block_bytes(block));
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
