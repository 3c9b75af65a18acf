//! The decoding pass: lost blocks, frame by frame, from blocks that are held to be good.
//!
//! Frames are coded by themselves, so each worker takes the next frame there is. Within a frame a window
//! slides from front to back; the plan's program runs over it. Where the bytes come from and go to is the
//! business of the pass's [`Ends`].

use std::ops::Range;

use futures_util::future::try_join_all;
use tanner_kernels::{Arena, Bound, Codec, DecodePlan, Role, Stores};
use tanner_transports::TransportError;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::geometry::{Frame, Geometry};
use crate::parallel;
use crate::read::Input;
use crate::resources::{Resources, Stop};

/// What a decoding pass needs.
pub(crate) struct DecodePass<'a, E> {
    pub(crate) geometry: &'a Geometry,
    pub(crate) codec: &'a Codec,
    pub(crate) plan: &'a DecodePlan,
    pub(crate) ends: &'a E,
    pub(crate) resources: &'a Resources,
    pub(crate) stop: &'a Stop,
    pub(crate) io: &'a Handle,
}

/// Where a pass gets its inputs from, and what becomes of its outputs.
pub(crate) trait Ends: Sync {
    /// What the outputs of some frames came to.
    type Results: Send;

    /// Frames that may be worked on at a time. With one, the outputs come in order.
    fn frames_at_once(&self) -> usize;

    /// Bytes that the inputs of a frame hold in memory besides the arena.
    fn inputs_bytes(&self) -> u64;

    /// Results of no frame.
    fn fresh(&self) -> Self::Results;

    /// Adds the results of other frames.
    fn join(all: &mut Self::Results, part: Self::Results);

    /// Opens an input of a frame.
    fn open(&self, block: usize, frame: Frame) -> Result<Input, Failure>;

    /// Takes some steps of all outputs, in the order of the plan's roles.
    fn take(&self, outputs: &[Output<'_>], results: &mut Self::Results) -> Result<(), Failure>;
}

/// Some computed bytes.
pub(crate) struct Output<'a> {
    pub(crate) block: usize,
    /// Where in the block they are.
    pub(crate) offset: u64,
    pub(crate) bytes: &'a [u8],
}

/// Why a pass ended.
pub(crate) enum Failure {
    /// A block that was held to be good cannot be read.
    Store(TransportError),
    /// Anything else.
    Fatal(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// The blocks that a plan computes, in the order of its roles.
pub(crate) fn outputs(plan: &DecodePlan) -> impl Iterator<Item = usize> + '_ {
    plan.roles().iter().filter_map(|role| match role {
        Role::Output(block) => Some(*block),
        _ => None,
    })
}

impl<E: Ends> DecodePass<'_, E> {
    /// Computes all outputs of the plan. Their hashes are for the ends to compare.
    pub(crate) fn run(&self) -> Result<E::Results, Failure> {
        let shared = Shared::new(self)?;
        let mut all = self.ends.fresh();
        parallel::each(
            0..self.geometry.frame_count(),
            shared.workers,
            || Ok(Worker { pass: self, shared: &shared, arena: shared.programs[0].arena() }),
            |worker, index| {
                let mut results = self.ends.fresh();
                worker.frame(self.geometry.frame(index), &mut results)?;
                Ok(results)
            },
            |part| E::join(&mut all, part),
        )
        .map(|()| all)
    }

    /// Steps that follow a frame: those of the parity blocks, if any is computed.
    fn tail(&self) -> usize {
        let profile = self.geometry.profile();
        if outputs(self.plan).any(|block| block >= profile.data()) { profile.tail() } else { 0 }
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
    fn new<E: Ends>(pass: &DecodePass<'_, E>) -> Result<Self, Error> {
        let (geometry, plan) = (pass.geometry, pass.plan);
        let unit = geometry.profile().unit();
        let (back, advance) = (plan.reach_back(), plan.advance());
        let ahead = plan.reach_ahead() - advance;
        let multiple = Geometry::chunk_multiple(advance);
        let frame = usize::try_from(geometry.frame_steps_max()).expect("frames hold 32 bits") + pass.tail();
        let least = if unit == 64 { multiple } else { frame.next_multiple_of(multiple) };
        let streams = plan.roles().len();
        let stream_bytes = |window: usize| (back + window + ahead) * unit;
        let arena_bytes =
            Arena::bytes_for(streams, stream_bytes(least)).map_or(u64::MAX, |bytes| bytes as u64);
        let needed = |workers: usize| {
            let each = arena_bytes.saturating_add(pass.ends.inputs_bytes());
            each.saturating_mul(workers as u64).saturating_add(plan.memory_bytes() as u64)
        };
        let allowed = pass.resources.buffer_bytes(pass.codec);
        let threads =
            usize::try_from(geometry.frame_count()).unwrap_or(usize::MAX).min(pass.ends.frames_at_once());
        let too_little = || pass.resources.too_little(pass.codec, needed(1));
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
struct Worker<'a, E> {
    pass: &'a DecodePass<'a, E>,
    shared: &'a Shared,
    arena: Arena,
}

impl<E: Ends> Worker<'_, E> {
    /// Computes one frame.
    fn frame(&mut self, frame: Frame, results: &mut E::Results) -> Result<(), Failure> {
        let open = |role: &Role| match *role {
            Role::Input(block) => self.pass.ends.open(block, frame),
            _ => Ok(Input::Nothing),
        };
        let mut inputs = self.pass.plan.roles().iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let steps = usize::try_from(frame.steps).expect("frames hold 32 bits") + self.pass.tail();
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
            self.store(frame, start..(start + self.shared.window).min(steps), results)?;
        }
        Ok(())
    }

    /// Fills the inputs with the steps `steps` of the frame, all at once; zeros follow its end.
    fn load(&mut self, inputs: &mut [Input], frame: Frame, steps: Range<usize>) -> Result<(), Failure> {
        let end = self.shared.back + self.shared.window + self.shared.ahead;
        let place = (end - steps.len()) * self.shared.unit..end * self.shared.unit;
        let streams = self.arena.streams_mut().zip(self.pass.plan.roles()).zip(inputs);
        let reads = streams.filter_map(|((stream, role), input)| {
            let Role::Input(block) = *role else { return None };
            let into = &mut stream[place.clone()];
            let stored = |steps| self.pass.geometry.stored_steps(block, frame, steps);
            let range = stored(steps.start as u64..steps.end as u64);
            let bytes = usize::try_from(range.end - range.start).expect("a window is in memory");
            let (into, behind) = into.split_at_mut(bytes);
            behind.fill(0);
            Some(input.read(range.start - stored(0..0).start, into))
        });
        self.pass.io.block_on(try_join_all(reads)).map(drop)
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

    /// Hands the computed steps on.
    fn store(&self, frame: Frame, steps: Range<usize>, results: &mut E::Results) -> Result<(), Failure> {
        let streams = self.pass.plan.roles().iter().enumerate();
        let outputs = streams.filter_map(|(stream, role)| {
            let Role::Output(block) = *role else { return None };
            let steps = steps.start as u64..steps.end as u64;
            let range = self.pass.geometry.stored_steps(block, frame, steps);
            let bytes = usize::try_from(range.end - range.start).expect("a window is in memory");
            let bytes = &self.arena.stream(stream)[self.shared.back * self.shared.unit..][..bytes];
            Some(Output { block, offset: range.start, bytes })
        });
        self.pass.ends.take(&outputs.collect::<Vec<_>>(), results)
    }
}

/// 128 KiB of each stream.
const WINDOW_STEPS_MAX: usize = 2048;
