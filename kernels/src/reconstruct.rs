//! Reconstruction of lost data blocks in memory.

use std::ops::Range;

use crate::arena::Slices;
use crate::block_set::BlockSet;
use crate::codec::{
    BlockError, Codec, FrameSteps, TILE_BYTES, TILE_STEPS_MAX, copy_range, on_threads, reborrow, split_off,
};
use crate::exec::{Bound, Stores};
use crate::plan::{DecodePlan, Role};
use crate::program::Program;

impl Codec {
    /// Computes lost data blocks from the blocks at hand.
    ///
    /// `blocks` has an entry for each of the n blocks, `None` where it is not at hand; `lost` names data blocks and
    /// where each is to be written. All data blocks have `data_bytes` bytes but the last ones, which may be
    /// shorter. Lost parity is restored by [`Codec::encode`].
    ///
    /// # Errors
    /// If the blocks do not determine the lost ones, or one has the wrong length. Nothing is written.
    pub fn reconstruct(
        &self,
        blocks: &[Option<&[u8]>],
        lost: &mut [(usize, &mut [u8])],
        data_bytes: usize,
    ) -> Result<(), BlockError> {
        let unit = self.profile().unit();
        self.reconstruct_steps(blocks, lost, data_bytes, 0..data_bytes.div_ceil(unit))
    }

    /// As [`Codec::reconstruct`], but only bytes `range` of each lost block, and what of their frames lies around
    /// them: the rest of `lost` is left as it is, and of `blocks` only those frames are read.
    ///
    /// # Errors
    /// As [`Codec::reconstruct`].
    pub fn reconstruct_range(
        &self,
        blocks: &[Option<&[u8]>],
        lost: &mut [(usize, &mut [u8])],
        data_bytes: usize,
        range: Range<usize>,
    ) -> Result<(), BlockError> {
        let unit = self.profile().unit();
        self.reconstruct_steps(blocks, lost, data_bytes, range.start / unit..range.end.div_ceil(unit))
    }

    /// Restores a source of `bytes` bytes from some of its blocks, given with their indices.
    ///
    /// # Errors
    /// If the blocks do not determine the source, or one has the wrong length.
    pub fn decode_all(&self, blocks: &[(usize, &[u8])], bytes: usize) -> Result<Vec<u8>, BlockError> {
        let data_bytes = self.data_bytes(bytes);
        let mut given: Vec<Option<&[u8]>> = vec![None; self.profile().blocks()];
        let mut source = vec![0; bytes];
        for &(block, content) in blocks {
            if block >= given.len() {
                return Err(BlockError::Count {
                    what: "data and parity",
                    wanted: given.len(),
                    got: block + 1,
                });
            }
            let wanted = match block < self.profile().data() {
                true => self.data_blocks(&source)[block].len(),
                false => self.parity_bytes(data_bytes),
            };
            if content.len() != wanted {
                return Err(BlockError::Length { block, wanted, got: content.len() });
            }
            given[block] = Some(content);
        }
        let mut lost = Vec::new();
        for (block, place) in source.chunks_mut(data_bytes.max(1)).enumerate() {
            match given[block] {
                Some(content) => place.copy_from_slice(content),
                None => lost.push((block, place)),
            }
        }
        self.reconstruct(&given, &mut lost, data_bytes)?;
        Ok(source)
    }

    fn reconstruct_steps(
        &self,
        blocks: &[Option<&[u8]>],
        lost: &mut [(usize, &mut [u8])],
        data_bytes: usize,
        steps: Range<usize>,
    ) -> Result<(), BlockError> {
        self.check_count("data and parity", self.profile().blocks(), blocks.len())?;
        for (block, bytes) in blocks.iter().enumerate() {
            bytes.map_or(Ok(()), |bytes| self.check_length(block, bytes.len(), data_bytes))?;
        }
        for (block, bytes) in lost.iter() {
            let block = *block;
            let is_data = block < self.profile().data();
            is_data.then_some(()).ok_or(BlockError::NotData { block })?;
            self.check_length(block, bytes.len(), data_bytes)?;
        }
        lost.sort_unstable_by_key(|(block, _)| *block);
        if let Some(twice) = lost.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(BlockError::Twice { block: twice[0].0 });
        }
        // A length that is known twice is said once.
        let known = |block: usize| {
            let place = lost.binary_search_by_key(&block, |(block, _)| *block).ok();
            let bytes = place.map(|place| lost[place].1.len()).or(blocks[block].map(<[u8]>::len))?;
            Some((block, bytes))
        };
        self.check_short((0..self.profile().data()).filter_map(known), data_bytes)?;
        let mut live = BlockSet::none(self.profile().blocks());
        (0..blocks.len()).filter(|&block| blocks[block].is_some()).for_each(|block| live.insert(block));
        let plan = self.decoder(&live)?;
        let unit = self.profile().unit();
        for (block, place) in lost.iter_mut() {
            let Some(bytes) = blocks[*block] else { continue };
            let at = |step: usize| (step * unit).min(bytes.len()).min(place.len());
            let range = at(steps.start)..at(steps.end);
            place[range.clone()].copy_from_slice(&bytes[range]);
        }

        // Every output of the plan needs a place; what is not asked for is computed and forgotten.
        let mut spare: Vec<(usize, Vec<u8>)> = Vec::new();
        for block in (0..self.profile().data()).filter(|&block| blocks[block].is_none()) {
            if lost.iter().all(|(other, _)| *other != block) {
                spare.push((block, vec![0; data_bytes]));
            }
        }
        let spare = spare.iter_mut().map(|(block, bytes)| (*block, bytes.as_mut_slice()));
        let mut outputs: Vec<(usize, &mut [u8])> =
            lost.iter_mut().map(|(block, bytes)| (*block, &mut **bytes)).chain(spare).collect();
        outputs.sort_unstable_by_key(|(block, _)| *block);
        outputs.retain(|(block, _)| blocks[*block].is_none());
        if outputs.is_empty() {
            return Ok(());
        }
        let mut rest: Vec<&mut [u8]> = outputs.into_iter().map(|(_, bytes)| bytes).collect();
        let mut jobs = Vec::new();
        for frame in self.frames(self.steps(data_bytes)) {
            let outputs = split_off(&mut rest, frame.data.len() * unit);
            if frame.data.start < steps.end && steps.start < frame.data.end {
                jobs.push((frame, outputs));
            }
        }
        let longest = jobs.iter().map(|(frame, _)| frame.data.len()).max().unwrap_or(0);
        let tile = Tile::new(&plan, longest, unit);
        let decode = |(frame, outputs): (FrameSteps, Vec<&mut [u8]>)| {
            FrameDecoder::new(self, &plan, &tile, blocks, &frame).decode(outputs);
        };
        let threads = self.threads().min(jobs.len()).max(1);
        let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        jobs.into_iter().enumerate().for_each(|(index, job)| shares[index % threads].push(job));
        on_threads(shares, |share| share.into_iter().for_each(decode));
        Ok(())
    }
}

/// The programs of a plan, bound to arenas of a tile.
struct Tile {
    groups: usize,
    programs: Vec<Bound>,
}

impl Tile {
    /// Tiles that stay in the second-level cache, of frames of up to `steps` steps.
    fn new(plan: &DecodePlan, steps: usize, unit: usize) -> Self {
        let advance = plan.advance();
        let fit = TILE_BYTES / (64 * plan.roles().len()) / advance;
        let groups = fit.clamp(1, TILE_STEPS_MAX.div_ceil(advance)).min(steps.div_ceil(advance).max(1));
        let bytes = (plan.reach_back() + (groups - 1) * advance + plan.reach_ahead()) * unit;
        let bind = |program| Bound::new(program, bytes, unit).expect("tiles are small");
        Self { groups, programs: plan.programs().iter().map(bind).collect() }
    }
}

/// One frame of the blocks at hand, and the plan that restores the others.
struct FrameDecoder<'a> {
    codec: &'a Codec,
    plan: &'a DecodePlan,
    tile: &'a Tile,
    /// The frame's part of each input, in the order of the plan's roles.
    inputs: Vec<&'a [u8]>,
    groups: usize,
    steps: usize,
}

impl<'a> FrameDecoder<'a> {
    fn new(
        codec: &'a Codec,
        plan: &'a DecodePlan,
        tile: &'a Tile,
        blocks: &[Option<&'a [u8]>],
        frame: &FrameSteps,
    ) -> Self {
        let unit = codec.profile().unit();
        let input = |role: &Role| {
            let Role::Input(block) = *role else { return None };
            let bytes = blocks[block].expect("inputs are live");
            let is_data = block < codec.profile().data();
            Some(if is_data { frame.of_data(bytes, unit) } else { frame.of_parity(bytes, unit) })
        };
        let steps = frame.data.len();
        let inputs = plan.roles().iter().filter_map(input).collect();
        Self { codec, plan, tile, inputs, groups: steps.div_ceil(plan.advance()), steps }
    }

    /// Restores the frame's part of every lost block.
    fn decode(&self, mut outputs: Vec<&mut [u8]>) {
        let (unit, advance) = (self.codec.profile().unit(), self.plan.advance());
        let shortest = self.inputs.iter().map(|input| input.len()).chain(outputs.iter().map(|out| out.len()));
        let whole = shortest.min().unwrap_or(0) / unit;
        // Groups that see neither what lies before the slices nor what lies behind them.
        let first = self.plan.reach_back().div_ceil(advance).max(self.plan.programs().len() - 1);
        let last = (whole + advance).saturating_sub(self.plan.reach_ahead()) / advance;
        if unit == 64 && last > first + 2 * self.tile.groups {
            self.tiles(0..first, &mut outputs);
            self.in_place(first..last, &mut outputs);
            self.tiles(last..self.groups, &mut outputs);
        } else {
            self.tiles(0..self.groups, &mut outputs);
        }
    }

    /// The program of a group.
    fn program(&self, group: usize) -> &Program {
        let programs = self.plan.programs();
        &programs[group.min(programs.len() - 1)]
    }

    /// Runs groups that all have the plan's last program, on the slices themselves.
    fn in_place(&self, groups: Range<usize>, outputs: &mut [&mut [u8]]) {
        let slices = Slices::new(&self.inputs, reborrow(outputs), 0)
            .and_then(|slices| Some((Bound::over(self.program(groups.start), &slices).ok()?, slices)));
        let Some((bound, mut slices)) = slices else {
            // Not aligned, or too far apart.
            return self.tiles(groups, outputs);
        };
        let stores = if bound.is_feed_forward() { Stores::Streaming } else { Stores::Cached };
        let parts = bound.split_over(&mut slices, 0, groups, 1, stores);
        parts.into_iter().for_each(|part| part.run(self.codec.level()));
    }

    /// Runs groups in a buffer, with zeros where the frame ends.
    fn tiles(&self, groups: Range<usize>, outputs: &mut [&mut [u8]]) {
        let (unit, advance, back) =
            (self.codec.profile().unit(), self.plan.advance(), self.plan.reach_back());
        if groups.is_empty() {
            return;
        }
        let Tile { groups: tile, programs } = self.tile;
        let mut arena = programs[0].arena();
        let mut start = groups.start;
        while start < groups.end {
            // The first groups have programs of their own.
            let alone = start + 1 < programs.len();
            let now = if alone { 1 } else { (*tile).min(groups.end - start) };
            let from = (start * advance) as isize - back as isize;
            let known = self.inputs.iter().copied().chain(outputs.iter().map(|output| &**output));
            for (stream, bytes) in arena.streams_mut().zip(known) {
                copy_range(bytes, from * unit as isize, stream);
            }
            programs[start.min(programs.len() - 1)].run(
                &mut arena,
                back,
                0..now,
                self.codec.level(),
                Stores::Cached,
            );
            // Symbols ahead of the groups may be solved already: the next groups count on them.
            let end = ((start + now - 1) * advance + self.plan.reach_ahead()).min(self.steps);
            for (index, output) in outputs.iter_mut().enumerate() {
                let to = output.len().min(end * unit);
                let from = (start * advance * unit).min(to);
                let stream = &arena.stream(self.inputs.len() + index)[back * unit..];
                output[from..to].copy_from_slice(&stream[..to - from]);
            }
            start += now;
        }
    }
}
