//! The codec of one profile: its code, its encoder, a cache of decode plans, and how to run them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use thiserror::Error;

use crate::block_set::BlockSet;
use crate::code::{Code, Tap};
use crate::exec::Bound;
use crate::plan::{DecodePlan, Unrecoverable};
use crate::profile::Profile;
use crate::program::Program;
use crate::rank::RankTest;
use crate::simd::Level;

/// Encodes and decodes with one profile. Cheap to share: plans are cached behind a lock.
///
/// Blocks are slices: k data blocks of equal length, the last that is not empty possibly shorter (what is missing
/// counts as zeros), and m parity blocks of [`Codec::parity_bytes`]. If all of them are aligned to 64 bytes, they are
/// read and written where they are; else they pass through a buffer in the second-level cache.
pub struct Codec {
    code: Code,
    encoder: Program,
    level: Level,
    threads: usize,
    /// The encoder bound to a buffer in the cache, once it is needed.
    tile: OnceLock<Bound>,
    plans: Mutex<HashMap<BlockSet, Result<Arc<DecodePlan>, Unrecoverable>>>,
}

/// Why blocks could not be encoded, reconstructed or verified.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The given blocks do not determine the rest.
    #[error(transparent)]
    Unrecoverable(#[from] Unrecoverable),
    /// Another number of data, parity or all blocks than the profile has.
    #[error("{got} {what} blocks where {wanted} belong")]
    Count {
        /// `data`, `parity` or `data and parity`.
        what: &'static str,
        /// How many there are by the profile.
        wanted: usize,
        /// How many were given.
        got: usize,
    },
    /// A block is not as long as the profile and the length of the data blocks make it.
    #[error("block {block} has {got} bytes where {wanted} belong")]
    Length {
        /// The block.
        block: usize,
        /// Its length in bytes.
        wanted: usize,
        /// The length given.
        got: usize,
    },
    /// A block that is to be reconstructed is no data block.
    #[error("block {block} is no data block: encode restores parity")]
    NotData {
        /// The block.
        block: usize,
    },
    /// A block is to be reconstructed in two places.
    #[error("block {block} is to be reconstructed twice")]
    Twice {
        /// The block.
        block: usize,
    },
    /// A parity block is not the parity of the data.
    #[error("parity block {block} differs from the data's, first in step {step}")]
    Parity {
        /// Index of the block, from k on.
        block: usize,
        /// The first step that differs, tails of frames counted in.
        step: usize,
    },
}

impl Codec {
    /// Builds the code that the profile fixes, for one thread and the fastest SIMD level.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        let code = Code::new(profile);
        let encoder = Program::encode(&code);
        let plans = Mutex::new(HashMap::new());
        Self { encoder, code, level: Level::fastest(), threads: 1, tile: OnceLock::new(), plans }
    }

    /// The same codec at another SIMD level.
    #[must_use]
    pub fn with_level(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// The same codec on so many threads (at least one): [`Codec::encode`] splits the steps among them,
    /// [`Codec::reconstruct`] the frames.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        self.code.profile()
    }

    /// The code: rows of taps.
    #[must_use]
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// The SIMD level of [`Codec::encode`] and [`Codec::reconstruct`].
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// What the codec and one binding of its encoder take of memory, in bytes; plans come on top.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let taps: usize = self.code.phases().iter().flatten().map(|row| row.taps.len()).sum();
        2 * taps * size_of::<Tap>() + self.encoder.memory_bytes()
    }

    /// The program that computes all parity blocks.
    #[must_use]
    pub fn encoder(&self) -> &Program {
        &self.encoder
    }

    /// The plan that restores all data blocks which are not in `live`; cached.
    ///
    /// # Errors
    /// If the live blocks do not determine the lost ones.
    pub fn decoder(&self, live: &BlockSet) -> Result<Arc<DecodePlan>, Unrecoverable> {
        // A panic while planning leaves the cache as it was.
        let plans = || self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans().get(live) {
            return plan.clone();
        }
        let plan = DecodePlan::new(&self.code, live).map(Arc::new);
        let mut plans = plans();
        if plans.len() >= PLANS_MAX {
            plans.clear();
        }
        plans.insert(live.clone(), plan.clone());
        plan
    }

    /// Whether the live blocks restore the file, by the real code; and if so, how many more of them may be
    /// lost, whichever they are.
    #[must_use]
    pub fn recoverable(&self, live: &BlockSet) -> Option<usize> {
        let spare = live.len().saturating_sub(self.profile().threshold());
        RankTest::new(&self.code).determines(live).then_some(spare)
    }

    /// Bytes of each data block of a source of `source_bytes` bytes; the last ones may be shorter or empty.
    #[must_use]
    pub fn data_bytes(&self, source_bytes: usize) -> usize {
        self.steps(source_bytes.div_ceil(self.profile().data())) * self.profile().unit()
    }

    /// Bytes of each parity block beside data blocks of `data_bytes` bytes: as many and, for each frame, a tail.
    #[must_use]
    pub fn parity_bytes(&self, data_bytes: usize) -> usize {
        let steps = self.frames(self.steps(data_bytes)).map(|frame| frame.parity.len());
        steps.sum::<usize>() * self.profile().unit()
    }

    /// The data blocks of a source that is in memory as a whole, where they are.
    #[must_use]
    pub fn data_blocks<'a>(&self, source: &'a [u8]) -> Vec<&'a [u8]> {
        let (data, bytes) = (self.profile().data(), self.data_bytes(source.len()));
        let at = |block: usize| (block * bytes).min(source.len());
        (0..data).map(|block| &source[at(block)..at(block + 1)]).collect()
    }

    /// Steps of data blocks of so many bytes (L): whole symbols and whole stripes.
    pub(crate) fn steps(&self, data_bytes: usize) -> usize {
        data_bytes.div_ceil(self.profile().unit()).next_multiple_of(self.profile().stripe())
    }

    /// The frames of blocks of `steps` steps.
    pub(crate) fn frames(&self, steps: usize) -> impl Iterator<Item = FrameSteps> + use<> {
        let (full, tail) = (self.profile().frame_steps(), self.profile().tail());
        let full = usize::try_from(full).expect("a 32-bit number");
        (0..steps).step_by(full).enumerate().map(move |(index, start)| {
            let end = (start + full).min(steps);
            FrameSteps { data: start..end, parity: start + index * tail..end + (index + 1) * tail }
        })
    }

    /// The encoder, bound to arenas of one tile and what it looks back on.
    pub(crate) fn tile(&self) -> &Bound {
        self.tile.get_or_init(|| {
            let unit = self.profile().unit();
            let bytes = (self.profile().depth() + self.tile_steps()) * unit;
            Bound::new(&self.encoder, bytes, unit).expect("tiles are small")
        })
    }

    pub(crate) fn check_count(
        &self,
        what: &'static str,
        wanted: usize,
        got: usize,
    ) -> Result<(), BlockError> {
        if got == wanted { Ok(()) } else { Err(BlockError::Count { what, wanted, got }) }
    }

    /// Of data blocks only the last that is not empty may be short: what is missing of a block counts as zeros.
    pub(crate) fn check_short(
        &self,
        blocks: impl Iterator<Item = (usize, usize)>,
        wanted: usize,
    ) -> Result<(), BlockError> {
        let mut short = None;
        for (block, got) in blocks {
            if let Some((block, short)) = short.filter(|_| got > 0) {
                return Err(BlockError::Length { block, wanted, got: short });
            }
            short = short.or((got < wanted).then_some((block, got)));
        }
        Ok(())
    }

    /// Data blocks are at most as long as the first; parity blocks have their tails.
    pub(crate) fn check_length(&self, block: usize, got: usize, data_bytes: usize) -> Result<(), BlockError> {
        match block < self.profile().data() {
            true if got > data_bytes => Err(BlockError::Length { block, wanted: data_bytes, got }),
            false if got != self.parity_bytes(data_bytes) => {
                Err(BlockError::Length { block, wanted: self.parity_bytes(data_bytes), got })
            }
            _ => Ok(()),
        }
    }
}

/// The steps of one frame: in a data block, and with its tail in a parity block.
pub(crate) struct FrameSteps {
    pub(crate) data: Range<usize>,
    pub(crate) parity: Range<usize>,
}

impl FrameSteps {
    /// The frame's part of a data block, which may be cut short.
    pub(crate) fn of_data<'a>(&self, block: &'a [u8], unit: usize) -> &'a [u8] {
        let at = |step: usize| (step * unit).min(block.len());
        &block[at(self.data.start)..at(self.data.end)]
    }

    /// The frame's part of a parity block.
    pub(crate) fn of_parity<'a>(&self, block: &'a [u8], unit: usize) -> &'a [u8] {
        &block[self.parity.start * unit..self.parity.end * unit]
    }
}

/// Fills `into` with `from` beginning at `at` (before it, if negative), and with zeros where `from` is not.
pub(crate) fn copy_range(from: &[u8], at: isize, into: &mut [u8]) {
    let (before, into) = into.split_at_mut(at.min(0).unsigned_abs().min(into.len()));
    before.fill(0);
    let from = usize::try_from(at.max(0)).ok().and_then(|at| from.get(at..)).unwrap_or(&[]);
    let (now, after) = into.split_at_mut(from.len().min(into.len()));
    now.copy_from_slice(&from[..now.len()]);
    after.fill(0);
}

/// The same slices, for a while.
pub(crate) fn reborrow<'a>(slices: &'a mut [&mut [u8]]) -> Vec<&'a mut [u8]> {
    slices.iter_mut().map(|slice| &mut **slice).collect()
}

/// Takes up to `bytes` bytes off the front of every slice.
pub(crate) fn split_off<'a>(slices: &mut Vec<&'a mut [u8]>, bytes: usize) -> Vec<&'a mut [u8]> {
    let split = |slice: &'a mut [u8]| {
        let length = slice.len();
        slice.split_at_mut(bytes.min(length))
    };
    let (front, rest) = std::mem::take(slices).into_iter().map(split).unzip();
    *slices = rest;
    front
}

/// Runs each job on a thread of its own, one of them on this; where the system starts fewer, they share the jobs.
pub(crate) fn on_threads<J: Send>(jobs: Vec<J>, run: impl Fn(J) + Sync) {
    let others = 1..jobs.len();
    let jobs = Mutex::new(jobs.into_iter());
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || std::iter::from_fn(next).for_each(&run);
    std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        others.map_while(start).for_each(drop);
        work();
    });
}

/// Bytes of a tile of all streams: half of a usual second-level cache; the rest is for what is on its way in and out.
pub(crate) const TILE_BYTES: usize = 512 << 10;
pub(crate) const TILE_STEPS_MAX: usize = 1024;
/// Plans of wide shapes have millions of integers.
const PLANS_MAX: usize = 8;
