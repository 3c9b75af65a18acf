//! Encoding of blocks in memory: whole ones, and chunk by chunk.

use std::ops::Range;

use crate::arena::Slices;
use crate::codec::{
    BlockError, Codec, TILE_BYTES, TILE_STEPS_MAX, copy_range, on_threads, reborrow, split_off,
};
use crate::exec::{Bound, Stores};

impl Codec {
    /// Computes the parity blocks of the data blocks. The first data block sets the length; the last that is not empty
    /// may be shorter. If all slices are aligned to 64 bytes, parity is stored past the caches.
    ///
    /// ```
    /// use tanner_kernels::{Codec, Profile};
    ///
    /// let source = vec![7; 1 << 20];
    /// let codec = Codec::new(Profile::for_source(10, 4, source.len() as u64)?).with_threads(2);
    /// let data = codec.data_blocks(&source);
    /// let mut parity = vec![vec![0; codec.parity_bytes(data[0].len())]; 4];
    /// codec.encode(&data, &mut parity.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If there are more or fewer blocks than the profile has, or one has the wrong length. Nothing is written.
    pub fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<(), BlockError> {
        self.check_blocks(data, parity.iter().map(|block| block.len()))?;
        let unit = self.profile().unit();
        let mut rest = reborrow(parity);
        for frame in self.frames(self.steps(data[0].len())) {
            let data: Vec<&[u8]> = data.iter().map(|block| frame.of_data(block, unit)).collect();
            FrameEncoder { codec: self, data: &data }.encode(split_off(&mut rest, frame.parity.len() * unit));
        }
        Ok(())
    }

    /// Encodes a source that is in memory as a whole into all its n blocks, copies of the data included.
    #[must_use]
    pub fn encode_all(&self, source: &[u8]) -> Vec<Vec<u8>> {
        let data = self.data_blocks(source);
        let mut blocks: Vec<Vec<u8>> = data.iter().map(|block| block.to_vec()).collect();
        blocks.resize(self.profile().blocks(), vec![0; self.parity_bytes(data[0].len())]);
        let mut parity: Vec<&mut [u8]> = blocks[data.len()..].iter_mut().map(Vec::as_mut_slice).collect();
        self.encode(&data, &mut parity).expect("as many and as long as the profile says");
        blocks
    }

    /// Whether the parity blocks are those of the data blocks.
    ///
    /// # Errors
    /// [`BlockError::Parity`] if one is not; else as [`Codec::encode`].
    pub fn verify(&self, data: &[&[u8]], parity: &[&[u8]]) -> Result<(), BlockError> {
        self.check_blocks(data, parity.iter().map(|block| block.len()))?;
        let unit = self.profile().unit();
        for frame in self.frames(self.steps(data[0].len())) {
            let data: Vec<&[u8]> = data.iter().map(|block| frame.of_data(block, unit)).collect();
            let mut wrong = Ok(());
            let encoder = FrameEncoder { codec: self, data: &data };
            encoder.each_tile(0..frame.parity.len(), |start, block, computed| {
                let start = frame.parity.start + start;
                let given = &parity[block][start * unit..][..computed.len()];
                if wrong.is_ok() && given != computed {
                    let differs =
                        given.iter().zip(computed).take_while(|(given, computed)| given == computed);
                    let (block, step) = (self.profile().data() + block, start + differs.count() / unit);
                    wrong = Err(BlockError::Parity { block, step });
                }
            });
            wrong?;
        }
        Ok(())
    }

    /// An encoder that takes the data blocks chunk by chunk.
    #[must_use]
    pub fn stream_encoder(&self) -> StreamEncoder<'_> {
        let history = self.profile().depth() * self.profile().unit();
        let history = vec![vec![0; history]; self.profile().data()];
        StreamEncoder { codec: self, history, frame_steps: 0 }
    }

    fn check_blocks(
        &self,
        data: &[&[u8]],
        parity: impl ExactSizeIterator<Item = usize>,
    ) -> Result<(), BlockError> {
        self.check_count("data", self.profile().data(), data.len())?;
        self.check_count("parity", self.profile().parity(), parity.len())?;
        let lengths = data.iter().map(|block| block.len()).chain(parity).enumerate();
        lengths.into_iter().try_for_each(|(block, bytes)| self.check_length(block, bytes, data[0].len()))?;
        self.check_short(data.iter().map(|block| block.len()).enumerate(), data[0].len())
    }

    /// Steps of a tile: what all blocks have of them stays in the second-level cache.
    pub(crate) fn tile_steps(&self) -> usize {
        let period = self.code().phases().len();
        let fit = TILE_BYTES / (self.profile().blocks() * 64);
        fit.clamp(period.max(self.profile().depth()), TILE_STEPS_MAX.max(period)).next_multiple_of(period)
    }
}

/// One frame's data, and what computes any run of its parity.
struct FrameEncoder<'a> {
    codec: &'a Codec,
    data: &'a [&'a [u8]],
}

impl FrameEncoder<'_> {
    /// All parity of the frame, on the codec's threads.
    fn encode(&self, parity: Vec<&mut [u8]>) {
        let unit = self.codec.profile().unit();
        let steps = parity[0].len() / unit;
        // Runs begin at phase 0.
        let run = steps.div_ceil(self.codec.threads()).next_multiple_of(self.codec.code().phases().len());
        let mut rest = parity;
        let runs = (0..steps).step_by(run).map(|start| (start, split_off(&mut rest, run * unit)));
        on_threads(runs.collect(), |(start, parity)| self.run(start, parity));
    }

    /// The parity from step `start` on, a multiple of the period, for as many steps as the slices hold.
    fn run(&self, start: usize, mut parity: Vec<&mut [u8]>) {
        let (unit, depth) = (self.codec.profile().unit(), self.codec.profile().depth());
        let period = self.codec.code().phases().len();
        let end = start + parity[0].len() / unit;
        // Where every tap lies in a slice, the slices themselves are the streams.
        let whole = self.data.iter().map(|block| block.len()).min().unwrap_or(0) / unit;
        let first = start.max(depth.next_multiple_of(period)).min(end);
        let last = (whole.min(end) / period * period).max(first);
        if unit == 64 && last - first > self.codec.tile_steps() {
            self.tiles(start..first, split_off(&mut parity, (first - start) * unit));
            let middle = split_off(&mut parity, (last - first) * unit);
            self.in_place(first..last, middle);
            self.tiles(last..end, parity);
        } else {
            self.tiles(start..end, parity);
        }
    }

    fn in_place(&self, steps: Range<usize>, mut parity: Vec<&mut [u8]>) {
        let (codec, depth) = (self.codec, self.codec.profile().depth());
        let read: Vec<&[u8]> =
            self.data.iter().map(|block| &block[(steps.start - depth) * 64..steps.end * 64]).collect();
        let bound = Slices::new(&read, reborrow(&mut parity), depth * 64)
            .and_then(|slices| Some((Bound::over(codec.encoder(), &slices).ok()?, slices)));
        let Some((bound, mut slices)) = bound else {
            // Not aligned, or too far apart.
            return self.tiles(steps, parity);
        };
        let parts = bound.split_over(&mut slices, depth as isize, 0..steps.len(), 1, Stores::Streaming);
        parts.into_iter().for_each(|part| part.run(codec.level()));
    }

    fn tiles(&self, steps: Range<usize>, mut parity: Vec<&mut [u8]>) {
        let (unit, begin) = (self.codec.profile().unit(), steps.start);
        self.each_tile(steps, |start, block, computed| {
            parity[block][(start - begin) * unit..][..computed.len()].copy_from_slice(computed);
        });
    }

    /// Computes the parity of `steps`, which begin at phase 0, tile by tile; `take` gets the first step of each
    /// piece, the index of its parity block and its bytes.
    fn each_tile(&self, steps: Range<usize>, mut take: impl FnMut(usize, usize, &[u8])) {
        let profile = self.codec.profile();
        let (data, unit, depth) = (profile.data(), profile.unit(), profile.depth());
        if steps.is_empty() {
            return;
        }
        let tile = self.codec.tile();
        let mut arena = tile.arena();
        for start in steps.clone().step_by(self.codec.tile_steps()) {
            let now = self.codec.tile_steps().min(steps.end - start);
            let from = (start as isize - depth as isize) * unit as isize;
            for (block, stream) in self.data.iter().zip(arena.streams_mut()) {
                copy_range(block, from, &mut stream[..(depth + now) * unit]);
            }
            tile.run(&mut arena, depth, 0..now, self.codec.level(), Stores::Cached);
            for block in 0..profile.parity() {
                take(start, block, &arena.stream(data + block)[depth * unit..][..now * unit]);
            }
        }
    }
}

/// Encodes data blocks of any length chunk by chunk, in as much memory as one tile takes.
///
/// ```
/// use tanner_kernels::{Codec, Profile};
///
/// let codec = Codec::new(Profile::for_source(3, 2, 1 << 20)?);
/// let mut encoder = codec.stream_encoder();
/// let mut parity = vec![Vec::new(); 2];
/// for chunk in 0..10 {
///     let data = vec![vec![chunk; 4096]; 3];
///     encoder.push(&data.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut parity)?;
/// }
/// encoder.finish(&mut parity)?;
/// assert_eq!(parity[0].len(), codec.parity_bytes(10 * 4096));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StreamEncoder<'a> {
    codec: &'a Codec,
    /// The last D symbols of each data block in this frame.
    history: Vec<Vec<u8>>,
    frame_steps: usize,
}

impl StreamEncoder<'_> {
    /// Encodes the next bytes of every data block, equally many and whole symbols (whole stripes, if the code has
    /// such); appends to each parity block what they determine.
    ///
    /// # Errors
    /// If there are more or fewer blocks than the profile has, or the chunk is not whole symbols or not equally
    /// long in all blocks. Nothing is taken in.
    pub fn push(&mut self, chunk: &[&[u8]], parity: &mut [Vec<u8>]) -> Result<(), BlockError> {
        let profile = *self.codec.profile();
        self.codec.check_count("data", profile.data(), chunk.len())?;
        self.codec.check_count("parity", profile.parity(), parity.len())?;
        let wanted = chunk[0].len().next_multiple_of(profile.unit() * profile.stripe());
        if let Some(block) = chunk.iter().position(|bytes| bytes.len() != wanted) {
            return Err(BlockError::Length { block, wanted, got: chunk[block].len() });
        }
        let full = usize::try_from(profile.frame_steps()).expect("a 32-bit number");
        let (mut at, steps) = (0, wanted / profile.unit());
        while at < steps {
            let now = self.codec.tile_steps().min(steps - at).min(full - self.frame_steps);
            let piece: Vec<&[u8]> =
                chunk.iter().map(|bytes| &bytes[at * profile.unit()..][..now * profile.unit()]).collect();
            self.tile(&piece, now, parity);
            at += now;
            if self.frame_steps == full {
                self.close(parity);
            }
        }
        Ok(())
    }

    /// Ends the blocks: appends the last frame's tail to each parity block.
    ///
    /// # Errors
    /// If there are more or fewer parity blocks than the profile has.
    pub fn finish(mut self, parity: &mut [Vec<u8>]) -> Result<(), BlockError> {
        self.codec.check_count("parity", self.codec.profile().parity(), parity.len())?;
        if self.frame_steps > 0 {
            self.close(parity);
        }
        Ok(())
    }

    /// Ends the frame with D steps of zeros.
    fn close(&mut self, parity: &mut [Vec<u8>]) {
        let empty: Vec<&[u8]> = vec![&[]; self.history.len()];
        let tail = self.codec.profile().tail();
        for start in (0..tail).step_by(self.codec.tile_steps()) {
            self.tile(&empty, self.codec.tile_steps().min(tail - start), parity);
        }
        self.frame_steps = 0;
        self.history.iter_mut().for_each(|history| history.fill(0));
    }

    /// Encodes `steps` steps, of which `data` may hold fewer: the rest are zeros.
    fn tile(&mut self, data: &[&[u8]], steps: usize, parity: &mut [Vec<u8>]) {
        let (unit, depth) = (self.codec.profile().unit(), self.codec.profile().depth());
        let phase = self.frame_steps % self.codec.code().phases().len();
        let tile = self.codec.tile();
        let mut arena = tile.arena();
        for ((stream, bytes), history) in arena.streams_mut().zip(data).zip(&mut self.history) {
            stream[..depth * unit].copy_from_slice(history);
            copy_range(bytes, 0, &mut stream[depth * unit..][..steps * unit]);
            history.copy_from_slice(&stream[steps * unit..][..depth * unit]);
        }
        let origin = depth as isize - phase as isize;
        let parts = tile.split_over(&mut arena, origin, phase..phase + steps, 1, Stores::Cached);
        parts.into_iter().for_each(|part| part.run(self.codec.level()));
        for (index, parity) in parity.iter_mut().enumerate() {
            parity.extend_from_slice(&arena.stream(data.len() + index)[depth * unit..][..steps * unit]);
        }
        self.frame_steps += steps;
    }
}
