//! The decoding pass: lost data blocks, frame by frame, from verified blocks.
//!
//! Frames are coded by themselves, so each worker takes the next frame there is. Within a frame a window
//! slides from front to back; the plan's program runs over it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use tanner_kernels::{Arena, Bound, DecodePlan, Role, Stores};
use tanner_transports::TransportError;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::fetch::{Found, RangeReader};
use crate::geometry::{Frame, Geometry};
use crate::hash::PieceHasher;
use crate::parallel;
use crate::resources::{Resources, Stop};

/// What a decoding pass needs.
pub(crate) struct DecodePass<'a> {
    pub(crate) found: &'a Found,
    pub(crate) plan: &'a DecodePlan,
    /// The store in which each parity block verified.
    pub(crate) stores: &'a [Option<usize>],
    /// Holds the verified data blocks, in their places; takes the restored ones.
    pub(crate) staged: &'a File,
    pub(crate) resources: &'a Resources,
    pub(crate) stop: &'a Stop,
    pub(crate) io: &'a Handle,
    /// Called with the number of bytes restored since the last call.
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
}

/// Hashes of one restored block: its own, and its part of the source's.
pub(crate) struct Restored {
    pub(crate) block: usize,
    pub(crate) own: PieceHasher,
    pub(crate) source: PieceHasher,
}

/// Why a pass ended.
pub(crate) enum Failure {
    /// A block that verified before cannot be read any more.
    Store(TransportError),
    /// Anything else.
    Fatal(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

impl DecodePass<'_> {
    /// Restores all outputs of the plan into the staged file. Their hashes are for the caller to compare.
    pub(crate) fn run(&self, source: &PieceHasher) -> Result<Vec<Restored>, Failure> {
        let geometry = &self.found.manifest.geometry;
        let outputs = || {
            self.plan.roles().iter().filter_map(|role| match role {
                Role::Output(block) => Some(*block),
                _ => None,
            })
        };
        let fresh = || -> Vec<Restored> {
            let own = |block| PieceHasher::new(geometry.block_bytes(block), geometry.is_kib_aligned());
            outputs().map(|block| Restored { block, own: own(block), source: source.branch() }).collect()
        };
        let shared = Shared::new(self)?;
        let mut all = fresh();
        parallel::each(
            0..geometry.frame_count(),
            shared.workers,
            || Ok(Worker { pass: self, geometry, shared: &shared, arena: shared.programs[0].arena() }),
            |worker, index| {
                let mut restored = fresh();
                worker.frame(geometry.frame(index), &mut restored)?;
                Ok(restored)
            },
            |restored| {
                for (sum, part) in all.iter_mut().zip(restored) {
                    sum.own.join(part.own);
                    sum.source.join(part.source);
                }
            },
        )
        .map(|()| all)
    }
}

/// What all workers of a pass share.
struct Shared {
    programs: Vec<Bound>,
    workers: usize,
    unit: usize,
    /// Steps between two slides, a whole number of groups.
    window: usize,
    /// Symbols before the window, and behind it.
    back: usize,
    ahead: usize,
}

impl Shared {
    /// As many workers as there are threads and frames for, and as the memory allows.
    fn new(pass: &DecodePass<'_>) -> Result<Self, Error> {
        let (geometry, plan) = (&pass.found.manifest.geometry, pass.plan);
        let unit = geometry.profile().unit();
        let (back, advance) = (plan.reach_back(), plan.advance());
        let ahead = plan.reach_ahead() - advance;
        let multiple = Geometry::chunk_multiple(advance);
        let frame = usize::try_from(geometry.frame_steps_max()).expect("frames hold 32 bits");
        let least = if unit == 64 { multiple } else { frame.next_multiple_of(multiple) };
        let streams = plan.roles().len();
        let stream_bytes = |window: usize| (back + window + ahead) * unit;
        let arena_bytes =
            Arena::bytes_for(streams, stream_bytes(least)).map_or(u64::MAX, |bytes| bytes as u64);
        let needed = |workers: usize| {
            arena_bytes.saturating_mul(workers as u64).saturating_add(plan.memory_bytes() as u64)
        };
        let allowed = pass.resources.buffer_bytes(&pass.found.codec);
        let threads =
            usize::try_from(geometry.frame_count()).unwrap_or(usize::MAX).min(pass.resources.thread_count());
        let too_little = || pass.resources.too_little(&pass.found.codec, needed(1));
        let workers =
            (1..=threads).rev().find(|&workers| needed(workers) <= allowed).ok_or_else(too_little)?;

        let spare = usize::try_from(allowed - needed(workers)).unwrap_or(usize::MAX);
        let more = spare / (workers * streams * unit) / multiple * multiple;
        let wanted = WINDOW_STEPS_MAX.min(frame).next_multiple_of(multiple).max(least);
        let window = (least + more).min(wanted);
        let bind = |program| Bound::new(program, stream_bytes(window), unit).map_err(|_| too_little());
        let programs = plan.programs().iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Self { programs, workers, unit, window, back, ahead })
    }
}

/// One thread with its arena.
struct Worker<'a> {
    pass: &'a DecodePass<'a>,
    geometry: &'a Geometry,
    shared: &'a Shared,
    arena: Arena,
}

impl Worker<'_> {
    /// Restores one frame.
    fn frame(&mut self, frame: Frame, restored: &mut [Restored]) -> Result<(), Failure> {
        let mut inputs = self.open_inputs(frame)?;
        let steps = usize::try_from(frame.steps).expect("frames hold 32 bits");
        // Before a frame there are zeros; the first window begins with its look-ahead.
        self.arena.streams_mut().for_each(|stream| stream.fill(0));
        self.load(&mut inputs, frame, 0..self.shared.window + self.shared.ahead)?;
        for start in (0..steps).step_by(self.shared.window) {
            self.pass.stop.check()?;
            if start > 0 {
                self.slide();
                self.load(
                    &mut inputs,
                    frame,
                    start + self.shared.ahead..start + self.shared.window + self.shared.ahead,
                )?;
            }
            self.run_groups(start, (steps - start).min(self.shared.window));
            self.store(frame, start..(start + self.shared.window).min(steps), restored)?;
        }
        Ok(())
    }

    fn open_inputs(&self, frame: Frame) -> Result<Vec<Option<RangeReader>>, Failure> {
        let data = self.geometry.profile().data();
        let open = |role: &Role| match *role {
            Role::Input(block) if block >= data => {
                let store = self.pass.stores[block].expect("parity inputs verified in some store");
                let range = self.geometry.parity_range(frame);
                self.pass
                    .found
                    .read_range(block, store, range, self.pass.io)
                    .map(Some)
                    .map_err(Failure::Store)
            }
            _ => Ok(None),
        };
        self.pass.plan.roles().iter().map(open).collect()
    }

    /// Fills the inputs with the steps `steps` of the frame; zeros follow its end.
    fn load(
        &mut self,
        inputs: &mut [Option<RangeReader>],
        frame: Frame,
        steps: std::ops::Range<usize>,
    ) -> Result<(), Failure> {
        let end = self.shared.back + self.shared.window + self.shared.ahead;
        let place = (end - steps.len()) * self.shared.unit..end * self.shared.unit;
        for ((stream, role), input) in self.arena.streams_mut().zip(self.pass.plan.roles()).zip(inputs) {
            let Role::Input(block) = *role else { continue };
            let into = &mut stream[place.clone()];
            into.fill(0);
            match input {
                Some(reader) => reader.read(into).map_err(Failure::Store)?,
                None => {
                    let within = |step: usize| frame.start + (step as u64).min(frame.steps);
                    let range = self.geometry.data_steps(block, within(steps.start)..within(steps.end));
                    let bytes = usize::try_from(range.end - range.start).expect("a window is in memory");
                    self.pass
                        .staged
                        .read_exact_at(&mut into[..bytes], range.start)
                        .map_err(|source| staged_error(self.pass, source))?;
                }
            }
        }
        Ok(())
    }

    /// Moves what the next window looks back on, and what was loaded ahead, to the front.
    fn slide(&mut self) {
        let kept = self.shared.window * self.shared.unit
            ..(self.shared.back + self.shared.window + self.shared.ahead) * self.shared.unit;
        self.arena.streams_mut().for_each(|stream| stream.copy_within(kept.clone(), 0));
    }

    /// Runs the groups of a window that begins at step `start`. The first groups of a frame have programs of
    /// their own, the last program serves all others.
    fn run_groups(&mut self, start: usize, steps: usize) {
        let advance = self.pass.plan.advance();
        let (first, count) = (start / advance, steps.div_ceil(advance));
        let (last, level) = (self.shared.programs.len() - 1, self.pass.resources.level());
        let mut group = 0;
        while group < count {
            let index = (first + group).min(last);
            let end = if index == last { count } else { group + 1 };
            self.shared.programs[index].run(
                &mut self.arena,
                self.shared.back,
                group..end,
                level,
                Stores::Cached,
            );
            group = end;
        }
    }

    /// Writes the restored steps to their places and hashes them.
    fn store(
        &self,
        frame: Frame,
        steps: std::ops::Range<usize>,
        restored: &mut [Restored],
    ) -> Result<(), Failure> {
        let streams =
            self.pass.plan.roles().iter().enumerate().filter(|(_, role)| matches!(role, Role::Output(_)));
        for ((stream, _), restored) in streams.zip(restored) {
            let range = self
                .geometry
                .data_steps(restored.block, frame.start + steps.start as u64..frame.start + steps.end as u64);
            let bytes = usize::try_from(range.end - range.start).expect("a window is in memory");
            let symbols = &self.arena.stream(stream)[self.shared.back * self.shared.unit..][..bytes];
            self.pass
                .staged
                .write_all_at(symbols, range.start)
                .map_err(|source| staged_error(self.pass, source))?;
            restored.own.add(range.start - self.geometry.data_range(restored.block).start, symbols);
            restored.source.add(range.start, symbols);
            (self.pass.progress)(bytes as u64);
        }
        Ok(())
    }
}

fn staged_error(pass: &DecodePass<'_>, source: std::io::Error) -> Error {
    Error::Staged { id: pass.found.manifest.id, source }
}

/// 128 KiB of each stream.
const WINDOW_STEPS_MAX: usize = 2048;
