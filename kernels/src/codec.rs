//! The codec of one profile: its code, its encoder, and a cache of decode plans.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use crate::block_set::BlockSet;
use crate::code::{Code, Tap};
use crate::exec::{Bound, Stores};
use crate::plan::rank::determines;
use crate::plan::{DecodePlan, Role, Unrecoverable};
use crate::profile::Profile;
use crate::program::Program;
use crate::simd::Level;

/// Encodes and decodes with one profile. Cheap to share: plans are cached behind a lock.
pub struct Codec {
    code: Code,
    encoder: Program,
    plans: Mutex<HashMap<BlockSet, Result<Arc<DecodePlan>, Unrecoverable>>>,
}

/// Why [`Codec::decode_all`] did not restore the source.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The given blocks do not determine the rest.
    #[error(transparent)]
    Unrecoverable(#[from] Unrecoverable),
    /// A block is not as long as the profile and the source's length make it.
    #[error("block {block} has {got} bytes where {wanted} belong")]
    Length {
        /// The block.
        block: usize,
        /// Its length in bytes.
        wanted: usize,
        /// The length given.
        got: usize,
    },
}

impl Codec {
    /// Builds the code that the profile fixes.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        let code = Code::new(profile);
        Self { encoder: Program::encode(&code), code, plans: Mutex::new(HashMap::new()) }
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
        determines(&self.code, live).then_some(spare)
    }

    /// Steps of each data block (L) for a source of `bytes` bytes, without padding.
    #[must_use]
    pub fn steps(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.profile().data() * self.profile().unit())
    }

    /// Encodes a source that is in memory as a whole into its n blocks. Data blocks are slices of the
    /// source, the last ones short or empty; parity blocks are longer by a tail for each frame.
    ///
    /// # Panics
    /// If one frame of all blocks is more than 2 GiB.
    #[must_use]
    pub fn encode_all(&self, source: &[u8]) -> Vec<Vec<u8>> {
        let (data, unit, depth) = (self.profile().data(), self.profile().unit(), self.profile().depth());
        let steps = self.steps(source.len());
        let block = |block: usize| {
            let at = |block: usize| (block * steps * unit).min(source.len());
            &source[at(block)..at(block + 1)]
        };
        let mut blocks: Vec<Vec<u8>> = (0..data).map(|index| block(index).to_vec()).collect();
        blocks.resize(self.profile().blocks(), Vec::new());
        for (start, length) in self.frames(steps) {
            let stream_bytes = (depth + length + depth) * unit;
            let bound = Bound::new(&self.encoder, stream_bytes, unit).expect("frames fit in an arena");
            let mut arena = bound.arena();
            for index in 0..data {
                copy_range(
                    block(index),
                    start * unit,
                    &mut arena.stream_mut(index)[depth * unit..][..length * unit],
                );
            }
            bound.run(&mut arena, depth, 0..length + depth, Level::fastest(), Stores::Cached);
            for index in data..self.profile().blocks() {
                blocks[index].extend_from_slice(&arena.stream(index)[depth * unit..]);
            }
        }
        blocks
    }

    /// Restores a source of `bytes` bytes from some of its blocks, given with their indices.
    ///
    /// # Errors
    /// If the blocks do not determine the source, or one has the wrong length.
    ///
    /// # Panics
    /// If one frame of the blocks is more than 2 GiB.
    pub fn decode_all(&self, blocks: &[(usize, &[u8])], bytes: usize) -> Result<Vec<u8>, DecodeError> {
        let (data, unit, depth) = (self.profile().data(), self.profile().unit(), self.profile().depth());
        let steps = self.steps(bytes);
        let frames: Vec<(usize, usize)> = self.frames(steps).collect();
        let mut live = BlockSet::none(self.profile().blocks());
        let mut given: Vec<Option<&[u8]>> = vec![None; self.profile().blocks()];
        for &(block, content) in blocks {
            let stored = |block: usize| (block * steps * unit).min(bytes);
            let wanted = match block < data {
                true => stored(block + 1) - stored(block),
                false => (steps + frames.len() * depth) * unit,
            };
            if content.len() != wanted {
                return Err(DecodeError::Length { block, wanted, got: content.len() });
            }
            live.insert(block);
            given[block] = Some(content);
        }
        let plan = self.decoder(&live)?;
        let mut padded: Vec<Vec<u8>> = vec![vec![0; steps * unit]; data];
        for (block, padded) in padded.iter_mut().enumerate() {
            copy_range(given[block].unwrap_or(&[]), 0, padded);
        }
        for (frame, &(start, length)) in frames.iter().enumerate() {
            let (back, advance) = (plan.reach_back(), plan.advance());
            let groups = length.div_ceil(advance);
            let stream_bytes = (back + groups * advance + plan.reach_ahead()) * unit;
            let Some(streams) = plan.programs().first() else { break };
            let mut arena = Bound::new(streams, stream_bytes, unit).expect("frames fit in an arena").arena();
            for (stream, &role) in plan.roles().iter().enumerate() {
                let Role::Input(block) = role else { continue };
                let into = &mut arena.stream_mut(stream)[back * unit..];
                let frame = match block < data {
                    true => &padded[block][start * unit..][..length * unit],
                    false => {
                        let parity = given[block].expect("inputs are live");
                        &parity[(start + frame * depth) * unit..][..(length + depth) * unit]
                    }
                };
                copy_range(frame, 0, into);
            }
            for (index, program) in plan.programs().iter().enumerate() {
                let end = if index + 1 == plan.programs().len() { groups } else { groups.min(index + 1) };
                let bound = Bound::new(program, stream_bytes, unit).expect("frames fit in an arena");
                bound.run(&mut arena, back, index.min(end)..end, Level::fastest(), Stores::Cached);
            }
            for (stream, &role) in plan.roles().iter().enumerate() {
                let Role::Output(block) = role else { continue };
                let from = &arena.stream(stream)[back * unit..][..length * unit];
                padded[block][start * unit..][..length * unit].copy_from_slice(from);
            }
        }
        let mut source = padded.concat();
        source.truncate(bytes);
        Ok(source)
    }

    /// First step and length of each frame.
    fn frames(&self, steps: usize) -> impl Iterator<Item = (usize, usize)> {
        let frame = usize::try_from(self.profile().frame_steps()).expect("a 32-bit number");
        (0..steps).step_by(frame).map(move |start| (start, frame.min(steps - start)))
    }
}

/// Fills `into` with `from[at..]`, and with zeros where `from` ends.
fn copy_range(from: &[u8], at: usize, into: &mut [u8]) {
    let from = from.get(at..).unwrap_or(&[]);
    let length = from.len().min(into.len());
    into[..length].copy_from_slice(&from[..length]);
    into[length..].fill(0);
}

/// Plans of wide shapes have millions of integers.
const PLANS_MAX: usize = 8;
