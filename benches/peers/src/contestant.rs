//! What a code has to offer to be measured here.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// k data blocks and m parity blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    pub data: usize,
    pub parity: usize,
}

impl Shape {
    pub fn blocks(self) -> usize {
        self.data + self.parity
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |number: &str| number.parse().ok().filter(|&number| number > 0);
        let both = text.split_once('+').and_then(|(data, parity)| Some((parse(data)?, parse(parity)?)));
        let (data, parity) = both.ok_or_else(|| format!("`{text}` is no shape like 10+4"))?;
        Ok(Self { data, parity })
    }
}

/// A shape and the length of its blocks, whole cache lines. The k data blocks lie one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub shape: Shape,
    pub block_bytes: usize,
}

impl Layout {
    /// The layout of at most `source_bytes`. A block is an odd number of cache lines, as tanner cuts a file: blocks at
    /// distances of a power of two would fall into a few sets of the first-level cache, for every code alike.
    pub fn new(shape: Shape, source_bytes: usize) -> Self {
        let lines = (source_bytes / shape.data / 64).max(2);
        Self { shape, block_bytes: ((lines - 1) | 1) * 64 }
    }

    pub fn source_bytes(self) -> usize {
        self.shape.data * self.block_bytes
    }

    /// The source range of one data block.
    pub fn block(self, block: usize) -> Range<usize> {
        block * self.block_bytes..(block + 1) * self.block_bytes
    }

    /// A block cut into pieces: offset and length of each, the last one short.
    pub fn pieces(self, piece: usize) -> impl Iterator<Item = (usize, usize)> {
        let piece = piece.min(self.block_bytes);
        (0..self.block_bytes).step_by(piece).map(move |at| (at, piece.min(self.block_bytes - at)))
    }
}

/// One code at one shape, with its parity blocks.
///
/// The harness calls `load`, then times `encode` or `decode`, then calls `unload` and compares the whole source. Before
/// decoding it calls `encode` once, with the same piece, and `plan`. Whoever needs to move bytes only because of how it
/// is driven here does so in `load` and `unload`; copies that its interface makes of itself are part of its time.
pub trait Contestant {
    /// Blocks that suffice, by promise.
    fn threshold(&self) -> usize;

    /// Bytes of each block to process at once, to choose from. The harness tries them all and keeps the best.
    fn pieces(&self) -> &'static [usize];

    /// The instructions used.
    fn level(&self) -> &'static str {
        "its own choice"
    }

    /// The parts of the source that data block `block` holds.
    fn ranges(&self, block: usize, _piece: usize) -> Vec<Range<usize>> {
        vec![self.layout().block(block)]
    }

    fn layout(&self) -> Layout;

    /// Takes in what lies elsewhere than its own buffers.
    fn load(&mut self, _data: &[u8]) {}

    /// Computes all parity blocks of the source `data`.
    fn encode(&mut self, data: &[u8], piece: usize);

    /// Prepares to restore the first `lost` data blocks from all other blocks.
    fn plan(&mut self, lost: usize, piece: usize);

    /// Restores what [`Self::plan`] prepared for. `data` is the source, poisoned where it is lost.
    fn decode(&mut self, data: &mut [u8], piece: usize);

    /// Puts restored blocks into `data` that are elsewhere.
    fn unload(&mut self, _data: &mut [u8]) {}
}

/// Makes a contestant for a layout, or says why there is none.
pub type Enter = fn(Layout, usize) -> Result<Box<dyn Contestant>, String>;

/// A code in the race.
#[derive(Clone)]
pub struct Entry {
    pub name: &'static str,
    pub version: String,
    pub threads: usize,
    pub enter: Enter,
}

/// Blocks as a whole.
pub const WHOLE: usize = usize::MAX;
