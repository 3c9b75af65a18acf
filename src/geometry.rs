//! Where every byte of a source lies in the blocks: `format.md` §3.

use std::ops::Range;

use tanner_kernels::{BlockSet, Profile};

/// The largest source, in bytes.
pub const SOURCE_BYTES_MAX: u64 = 1 << 50;

/// The largest source whose symbols may be smaller than 64 bytes: it is hashed as a whole, in memory.
pub const SMALL_SYMBOLS_BYTES_MAX: u64 = 1 << 26;

/// A profile laid over a source of one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    profile: Profile,
    source_bytes: u64,
    steps: u64,
}

/// A run of steps that is coded by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Its number.
    pub index: u64,
    /// Its first step.
    pub start: u64,
    /// Its steps, without the tail.
    pub steps: u64,
}

/// A run of consecutive steps of every block, within one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// The frame it lies in.
    pub frame: Frame,
    /// Its first step, counted from the frame's first.
    pub start: u64,
    /// Its steps, without a tail.
    pub steps: u64,
}

impl Chunk {
    /// Whether the frame's tail follows it.
    #[must_use]
    pub fn ends_frame(&self) -> bool {
        self.start + self.steps == self.frame.steps
    }
}

impl Geometry {
    /// The most bytes of a source that `profile` can be laid over.
    #[must_use]
    pub fn source_bytes_max(profile: &Profile) -> u64 {
        if profile.unit() < 64 { SMALL_SYMBOLS_BYTES_MAX } else { SOURCE_BYTES_MAX }
    }

    /// Lays `profile` over a source of `source_bytes` bytes.
    ///
    /// # Panics
    /// If the source is larger than [`Self::source_bytes_max`].
    #[must_use]
    pub fn new(profile: Profile, source_bytes: u64) -> Self {
        assert!(source_bytes <= Self::source_bytes_max(&profile), "a source of {source_bytes} bytes");
        let unit = profile.unit() as u64;
        let steps = source_bytes.div_ceil(profile.data() as u64 * unit);
        // Whole KiB keep the pieces of a source hash whole; whole pages suit direct I/O.
        let multiple = match unit {
            64 if steps >= PAGE_ALIGNED_STEPS_MIN => 64,
            64 => 16,
            _ => 1,
        };
        let multiple = common_multiple(multiple, profile.stripe()) as u64;
        Self { profile, source_bytes, steps: steps.next_multiple_of(multiple) }
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Bytes of the source.
    #[must_use]
    pub fn source_bytes(&self) -> u64 {
        self.source_bytes
    }

    /// The source range of data block `block`; empty if the source ends before it.
    #[must_use]
    pub fn data_range(&self, block: usize) -> Range<u64> {
        let at = |block: usize| (block as u64 * self.steps * self.unit()).min(self.source_bytes);
        at(block)..at(block + 1)
    }

    /// Bytes that block `block` is stored in.
    #[must_use]
    pub fn block_bytes(&self, block: usize) -> u64 {
        if block < self.profile.data() {
            let range = self.data_range(block);
            return range.end - range.start;
        }
        (self.steps + self.frame_count() * self.profile.tail() as u64) * self.unit()
    }

    /// Blocks without bytes, because the source ends before they begin: they need no store.
    #[must_use]
    pub fn empty_blocks(&self) -> BlockSet {
        let mut empty = BlockSet::none(self.profile.blocks());
        let without_bytes = (0..empty.blocks()).filter(|&block| self.block_bytes(block) == 0);
        without_bytes.for_each(|block| empty.insert(block));
        empty
    }

    /// Bytes of all blocks together.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        (0..self.profile.blocks()).map(|block| self.block_bytes(block)).sum()
    }

    /// The source range of some steps of a data block, cut off where the block ends.
    #[must_use]
    pub fn data_steps(&self, block: usize, steps: Range<u64>) -> Range<u64> {
        let range = self.data_range(block);
        let at = |step: u64| (range.start + step * self.unit()).min(range.end);
        at(steps.start)..at(steps.end)
    }

    /// Where the steps `steps` of a frame lie in block `block` as it is stored, in bytes, cut off where the frame or
    /// the block ends. A parity block's frame ends with its tail.
    #[must_use]
    pub fn stored_steps(&self, block: usize, frame: Frame, steps: Range<u64>) -> Range<u64> {
        let tail = self.profile.tail() as u64;
        let (start, most) = match block < self.profile.data() {
            true => (frame.start, frame.steps),
            false => (frame.start + frame.index * tail, frame.steps + tail),
        };
        let at = |step: u64| ((start + step.min(most)) * self.unit()).min(self.block_bytes(block));
        at(steps.start)..at(steps.end)
    }

    /// Steps of all frames, without tails.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How many frames there are.
    #[must_use]
    pub fn frame_count(&self) -> u64 {
        self.steps.div_ceil(self.profile.frame_steps())
    }

    /// One frame.
    ///
    /// # Panics
    /// If there is no such frame.
    #[must_use]
    pub fn frame(&self, index: u64) -> Frame {
        assert!(index < self.frame_count(), "frame {index} of {}", self.frame_count());
        let start = index * self.profile.frame_steps();
        Frame { index, start, steps: self.profile.frame_steps().min(self.steps - start) }
    }

    /// All chunks of at most `chunk_steps` steps, in order.
    pub fn chunks(&self, chunk_steps: u64) -> impl Iterator<Item = Chunk> + use<> {
        let this = *self;
        (0..self.frame_count()).map(move |index| this.frame(index)).flat_map(move |frame| {
            let starts =
                (0..frame.steps).step_by(usize::try_from(chunk_steps).expect("chunks fit in memory"));
            starts.map(move |start| Chunk { frame, start, steps: chunk_steps.min(frame.steps - start) })
        })
    }

    /// Steps of the longest frame.
    #[must_use]
    pub fn frame_steps_max(&self) -> u64 {
        self.steps.min(self.profile.frame_steps())
    }

    /// Whether data blocks and frames begin at whole KiB of the source, as hashing in pieces wants.
    #[must_use]
    pub fn is_kib_aligned(&self) -> bool {
        self.unit() == 64
    }

    /// The least number of steps that is a multiple of `groups_of` and after which, if pieces are hashed, whole KiB
    /// have passed: chunks are multiples of it.
    #[must_use]
    pub fn chunk_multiple(groups_of: usize) -> usize {
        common_multiple(STEPS_PER_KIB, groups_of)
    }

    fn unit(&self) -> u64 {
        self.profile.unit() as u64
    }
}

/// The least common multiple.
fn common_multiple(a: usize, b: usize) -> usize {
    (1..=a).map(|times| times * b).find(|multiple| multiple.is_multiple_of(a)).expect("the last of them is")
}

/// Steps of 64-byte symbols in a KiB.
const STEPS_PER_KIB: usize = 16;
const PAGE_ALIGNED_STEPS_MIN: u64 = 16_384;

#[cfg(test)]
mod tests {
    use tanner_kernels::{CodeChoice, Profile};

    use super::Geometry;

    fn geometry(k: u64, m: u64, bytes: u64) -> Geometry {
        Geometry::new(Profile::for_source(k, m, bytes).unwrap(), bytes)
    }

    /// A byte that no block covers, or two do, would be lost or wrong on restore.
    #[test]
    fn data_blocks_tile_the_source() {
        for bytes in [0, 1, 69, 4095, 4096, 4097, 163_840, (1 << 20) + 1, 3 << 30, (1 << 32) + 1, 40 << 30] {
            for (k, m) in [(1, 1), (10, 5), (24, 26), (1000, 200)] {
                let geometry = geometry(k, m, bytes);
                let mut end = 0;
                for block in 0..k as usize {
                    let range = geometry.data_range(block);
                    assert_eq!(range.start, end);
                    assert_eq!(geometry.block_bytes(block), range.end - range.start);
                    end = range.end;
                }
                assert_eq!(end, bytes);
                if geometry.is_kib_aligned() {
                    assert!(
                        (0..k as usize).all(|b| geometry.data_range(b).start.is_multiple_of(1024)
                            || geometry.block_bytes(b) == 0)
                    );
                }
            }
        }
    }

    /// A stripe is coded as a whole or not at all, so blocks and frames end where stripes do.
    #[test]
    fn rfc5170_blocks_are_whole_stripes_without_a_tail() {
        for bytes in [0, 1, 69, 163_840, (1 << 20) + 1, 3 << 30, (1 << 32) + 1] {
            let geometry =
                Geometry::new(Profile::for_code(CodeChoice::Rfc5170, 10, 5, bytes).unwrap(), bytes);
            let stripe = (geometry.profile().stripe() * geometry.profile().unit()) as u64;
            assert!(geometry.block_bytes(10).is_multiple_of(stripe), "{bytes}");
            assert_eq!(geometry.block_bytes(0), geometry.block_bytes(10).min(bytes));
            for index in 0..geometry.frame_count() {
                let frame = geometry.frame(index);
                let range = geometry.stored_steps(10, frame, 0..frame.steps);
                assert!(range.start.is_multiple_of(stripe) && range.end.is_multiple_of(stripe));
                assert!(!geometry.is_kib_aligned() || range.start.is_multiple_of(1024));
            }
        }
    }

    #[test]
    fn chunk_multiples_fit_both_periods() {
        for (period, multiple) in [(1, 16), (5, 80), (16, 16), (32, 32), (35, 560), (24, 48)] {
            assert_eq!(Geometry::chunk_multiple(period), multiple, "{period}");
        }
    }

    #[test]
    fn chunks_and_frames_cover_every_step_once() {
        for bytes in [0, 1, 5_000, 10 << 20, 3 << 30] {
            let geometry = geometry(10, 5, bytes);
            let (mut next, mut parity_end) = (0, 0);
            for chunk in geometry.chunks(4096) {
                assert_eq!(chunk.frame.start + chunk.start, next);
                assert!(chunk.steps > 0);
                next += chunk.steps;
                if chunk.ends_frame() {
                    let range = geometry.stored_steps(10, chunk.frame, 0..u64::MAX);
                    assert_eq!(range.start, parity_end);
                    parity_end = range.end;
                }
            }
            assert_eq!(parity_end, geometry.block_bytes(10));
        }
    }
}
