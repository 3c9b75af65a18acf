//! Where every byte of a source lies in the blocks: `format.md` §3.

use std::ops::Range;

use tanner_kernels::{BlockSet, Profile};

/// The largest source, in bytes.
pub const SOURCE_BYTES_MAX: u64 = 1 << 50;

/// The largest source whose symbols may be smaller than 64 bytes: it is hashed as a whole, in memory.
pub const SMALL_SYMBOLS_BYTES_MAX: u64 = 1 << 26;

/// A profile laid over a source of one size, row by row: each row is a run of the source, cut into a part for each data
/// block, one behind the other. A file is one row. A stream, whose end nobody knows, is many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    profile: Profile,
    source_bytes: u64,
    /// Steps of every row but the last; none if there is but one row.
    row_steps: Option<u32>,
    /// Rows before the last.
    full_rows: u64,
    /// Steps of the last row, by which it may be shorter than the others.
    last_steps: u64,
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
            64 => STEPS_PER_KIB,
            _ => 1,
        };
        let multiple = common_multiple(multiple, profile.stripe()) as u64;
        let last_steps = steps.next_multiple_of(multiple);
        Self { profile, source_bytes, row_steps: None, full_rows: 0, last_steps }
    }

    /// Lays `profile` over a source of `source_bytes` bytes in rows of `row_steps` steps.
    ///
    /// # Panics
    /// If these [are no rows](Self::are_rows), or the source is larger than [`SOURCE_BYTES_MAX`].
    #[must_use]
    pub fn striped(profile: Profile, row_steps: u32, source_bytes: u64) -> Self {
        assert!(Self::are_rows(&profile, row_steps), "rows of {row_steps} steps");
        assert!(source_bytes <= SOURCE_BYTES_MAX, "a source of {source_bytes} bytes");
        let step_bytes = (profile.data() * profile.unit()) as u64;
        let row_bytes = u64::from(row_steps) * step_bytes;
        // The last row is never empty but for an empty source.
        let full_rows = source_bytes.saturating_sub(1) / row_bytes;
        let steps = (source_bytes - full_rows * row_bytes).div_ceil(step_bytes);
        let last_steps = steps.next_multiple_of(common_multiple(STEPS_PER_KIB, profile.stripe()) as u64);
        Self { profile, source_bytes, row_steps: Some(row_steps), full_rows, last_steps }
    }

    /// Whether a source can be laid out in rows of so many steps: frames are whole rows, and rows whole KiB of the source
    /// and whole stripes.
    #[must_use]
    pub fn are_rows(profile: &Profile, row_steps: u32) -> bool {
        let steps = u64::from(row_steps);
        let multiple = common_multiple(STEPS_PER_KIB, profile.stripe()) as u64;
        profile.unit() == 64
            && steps > 0
            && steps.is_multiple_of(multiple)
            && profile.frame_steps().is_multiple_of(steps)
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

    /// Steps of every row but the last, if there are several.
    #[must_use]
    pub fn row_steps(&self) -> Option<u32> {
        self.row_steps
    }

    /// Where a range of data block `block`, in bytes as it is stored, lies in the source: ranges as long together, in order.
    /// They are cut off where the block ends.
    pub fn source_ranges(&self, block: usize, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
        let (this, end) = (*self, range.end.min(self.block_bytes(block)));
        let mut at = range.start;
        std::iter::from_fn(move || {
            let row = at.checked_div(this.part_bytes()).unwrap_or(0).min(this.full_rows);
            let part = this.part(block, row);
            let within = at - row * this.part_bytes();
            let start = part.start + within;
            let bytes = (part.end - part.start).saturating_sub(within).min(end.saturating_sub(at));
            at += bytes;
            (bytes > 0).then_some(start..start + bytes)
        })
    }

    /// Bytes that block `block` is stored in.
    #[must_use]
    pub fn block_bytes(&self, block: usize) -> u64 {
        if block < self.profile.data() {
            let last = self.part(block, self.full_rows);
            return self.full_rows * self.part_bytes() + (last.end - last.start);
        }
        (self.steps() + self.frame_count() * self.profile.tail() as u64) * self.unit()
    }

    /// The source range of the part that a row has for a data block.
    fn part(&self, block: usize, row: u64) -> Range<u64> {
        let data = self.profile.data() as u64;
        let bytes = if row < self.full_rows { self.part_bytes() } else { self.last_steps * self.unit() };
        let start = row * data * self.part_bytes() + block as u64 * bytes;
        start.min(self.source_bytes)..(start + bytes).min(self.source_bytes)
    }

    /// Bytes that a full row has of each data block.
    fn part_bytes(&self) -> u64 {
        u64::from(self.row_steps.unwrap_or(0)) * self.unit()
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

    /// The source range of some steps of a data block that lie in one row, cut off where the block ends.
    ///
    /// # Panics
    /// If they do not lie in one row.
    #[must_use]
    pub fn data_steps(&self, block: usize, steps: Range<u64>) -> Range<u64> {
        let bytes = steps.start * self.unit()..steps.end * self.unit();
        let mut ranges = self.source_ranges(block, bytes);
        let range = ranges.next().unwrap_or(0..0);
        assert!(ranges.next().is_none(), "steps of one row");
        range
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
        self.full_rows * u64::from(self.row_steps.unwrap_or(0)) + self.last_steps
    }

    /// How many frames there are.
    #[must_use]
    pub fn frame_count(&self) -> u64 {
        self.steps().div_ceil(self.profile.frame_steps())
    }

    /// One frame.
    ///
    /// # Panics
    /// If there is no such frame.
    #[must_use]
    pub fn frame(&self, index: u64) -> Frame {
        assert!(index < self.frame_count(), "frame {index} of {}", self.frame_count());
        let start = index * self.profile.frame_steps();
        Frame { index, start, steps: self.profile.frame_steps().min(self.steps() - start) }
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
        self.steps().min(self.profile.frame_steps())
    }

    /// Whether the parts of data blocks begin at whole KiB of the source, as hashing in pieces wants.
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
    fn tiles_the_source(geometry: &Geometry) {
        let of = |block| geometry.source_ranges(block, 0..u64::MAX);
        let mut ranges: Vec<_> = (0..geometry.profile().data()).flat_map(of).collect();
        ranges.sort_by_key(|range| range.start);
        let end = ranges.iter().fold(0, |end, range| {
            assert_eq!(range.start, end);
            assert!(!geometry.is_kib_aligned() || range.start.is_multiple_of(1024));
            range.end
        });
        assert_eq!(end, geometry.source_bytes());
        for block in 0..geometry.profile().data() {
            let bytes: u64 = of(block).map(|range| range.end - range.start).sum();
            assert_eq!(geometry.block_bytes(block), bytes);
            assert!(bytes <= geometry.steps() * geometry.profile().unit() as u64);
        }
    }

    #[test]
    fn data_blocks_tile_the_source() {
        for bytes in [0, 1, 69, 4095, 4096, 4097, 163_840, (1 << 20) + 1, 3 << 30, (1 << 32) + 1, 40 << 30] {
            for (k, m) in [(1, 1), (10, 5), (24, 26), (1000, 200)] {
                let geometry = geometry(k, m, bytes);
                tiles_the_source(&geometry);
                assert_eq!(geometry.source_ranges(0, 0..u64::MAX).count(), usize::from(bytes > 0));
            }
        }
    }

    #[test]
    fn rows_of_a_stream_tile_it_wherever_it_ends() {
        for (k, row_steps) in [(1, 16), (3, 16), (10, 64), (10, 2048)] {
            let profile = Profile::for_source(k, 5, 1 << 50).unwrap();
            let row = k * u64::from(row_steps) * 64;
            for rows in [0, 1, 2, 33, 65_536 / u64::from(row_steps) + 1] {
                for more in [-65, -64, -1, 0, 1, 63, 64, 65, 1024, 1025, row as i64 / 2] {
                    let Some(bytes) = (rows * row).checked_add_signed(more) else { continue };
                    let geometry = Geometry::striped(profile, row_steps, bytes);
                    tiles_the_source(&geometry);
                    // Parity is as long as the longest data block but for less than a KiB, and for tails.
                    let tails = geometry.frame_count() * profile.tail() as u64 * 64;
                    let parity = geometry.block_bytes(k as usize) - tails;
                    assert!((0..1024).contains(&(parity - geometry.block_bytes(0))), "{bytes}");
                    for chunk in geometry.chunks(row_steps.into()) {
                        let first = chunk.frame.start + chunk.start;
                        let range = geometry.data_steps(0, first..first + chunk.steps);
                        assert_eq!(range.start, first * k * 64, "a chunk is a row");
                    }
                }
            }
        }
    }

    #[test]
    fn a_range_of_a_block_is_found_in_the_source_wherever_it_begins() {
        let profile = Profile::for_source(3, 2, 1 << 50).unwrap();
        let bytes = 3 * 1024 * 7 + 1500;
        for geometry in [Geometry::striped(profile, 16, bytes), Geometry::new(profile, bytes)] {
            for block in 0..3 {
                let every: Vec<u64> = geometry.source_ranges(block, 0..u64::MAX).flatten().collect();
                for (start, end) in [(0, 1), (1023, 1025), (1024, 5000), (5000, 5000), (7000, 9000)] {
                    let some: Vec<u64> = geometry.source_ranges(block, start..end).flatten().collect();
                    let (start, end) = (start as usize, (end as usize).min(every.len()));
                    assert_eq!(some, every[start.min(end)..end], "block {block}, {start}..{end}");
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
