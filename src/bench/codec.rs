//! The codec from memory to memory: every level, every number of threads, several losses.
//!
//! The only file here that knows how `tanner-kernels` is driven.

use std::collections::BTreeSet;
use std::sync::Arc;

use blake3::{Hash, Hasher};
use rayon::prelude::*;
use tanner_kernels::{Arena, BlockSet, Bound, Codec, Construction, DecodePlan, Level, Profile, Role, Stores};

use super::ceilings::Ceilings;
use super::recorder::Recorder;
use super::report::{Kind, ProfileFacts, Subject};
use super::{Blocks, check_memory, fill, verified};
use crate::error::Error;
use crate::resources::{MEMORY_BYTES_DEFAULT, Resources};

/// What to measure.
pub(crate) struct Run {
    pub(crate) shapes: Vec<Blocks>,
    pub(crate) bytes: u64,
    pub(crate) rounds: usize,
    /// The most threads; 0 for one a core.
    pub(crate) threads: usize,
}

impl Run {
    /// Measures all shapes next to the machine's ceilings.
    ///
    /// # Errors
    /// If a shape is none, memory does not suffice, or a result is wrong.
    pub(crate) fn run(&self, recorder: &mut Recorder) -> Result<(), Error> {
        let most = Resources::new(self.threads, MEMORY_BYTES_DEFAULT)?.thread_count();
        let machines = scaling(most).map(|threads| Resources::new(threads, MEMORY_BYTES_DEFAULT));
        let machines: Vec<Resources> = machines.collect::<Result<_, _>>()?;
        let plan = |&shape| Planned::new(shape, self.bytes, most);
        let planned: Vec<Planned> = self.shapes.iter().map(plan).collect::<Result<_, _>>()?;
        let largest = planned.iter().filter_map(Planned::memory_bytes).max().unwrap_or(u64::MAX);
        check_memory(largest.saturating_add(Ceilings::memory_bytes(self.bytes)))?;
        let cache = recorder.report.machine.cache_bytes_max;
        if self.bytes < 4 * cache {
            let (size, cache) = (bytesize::ByteSize(self.bytes).display().iec(), cache >> 20);
            recorder.report.note(format!(
                "{size} is not much more than the largest cache ({cache} MiB): memory may look faster than it is"
            ));
        }
        let mut ceilings = Ceilings::new(self.bytes)?;
        for planned in planned {
            let losses = planned.losses.iter().map(|loss| loss.lost).collect();
            recorder.report.profiles.push(facts(planned.codec.profile(), losses));
            let mut work = planned.fill()?;
            work.verify()?;
            let times = (1 + usize::from(machines.len() > 1)) * ceilings.count() + work.count(machines.len());
            recorder.progress().start((times * self.rounds) as u64 * self.bytes);
            for _ in 0..self.rounds {
                recorder.next_round();
                ceilings.round(recorder, &machines[0])?;
                if let [_, .., all] = machines.as_slice() {
                    ceilings.round(recorder, all)?;
                }
                work.round(recorder, &machines)?;
            }
        }
        Ok(())
    }
}

/// 1 to `most`; beyond 8 only powers of two and the last.
fn scaling(most: usize) -> impl Iterator<Item = usize> {
    (1..=most).filter(move |&threads| most <= 8 || threads == most || threads.is_power_of_two())
}

/// A shape with its programs, before anything large is allocated. The source is cut into frames, which is how
/// threads share the work of a real backup.
struct Planned {
    shape: Blocks,
    codec: Codec,
    steps: usize,
    frames: usize,
    encoder: Bound,
    losses: Vec<Loss>,
}

/// Some data blocks lost, and the programs that bring them back.
struct Loss {
    lost: usize,
    plan: Arc<DecodePlan>,
    programs: Vec<Bound>,
    stream_bytes: usize,
    groups: usize,
}

impl Planned {
    fn new(shape: Blocks, bytes: u64, threads: usize) -> Result<Self, Error> {
        let profile = Profile::for_source(shape.data, shape.parity, bytes.max(SOURCE_BYTES_MIN))?;
        let (codec, depth, data) = (Codec::new(profile), profile.depth(), profile.data());
        // Restarts shall cost next to nothing, and every thread shall have something to do.
        let wanted = (FRAME_BYTES / (data * 64)).max((depth + 1) * 64);
        let all = usize::try_from(bytes).unwrap_or(usize::MAX) / (data * 64);
        let steps = wanted.min(all / threads).max(1);
        let too_large = |_| Error::BenchMemory { needed: bytes, available: 2 << 30 };
        let encoder = Bound::new(codec.encoder(), (depth + steps + depth) * 64, 64).map_err(too_large)?;
        let most = losses_max(&profile);
        let losses = BTreeSet::from([1, (most / 2).max(1), most]).into_iter();
        let loss = |lost| Loss::new(&codec, lost, steps).map_err(too_large);
        let losses = losses.map(loss).collect::<Result<_, _>>()?;
        Ok(Self { shape, steps, frames: (all / steps).max(1), encoder, losses, codec })
    }

    /// What [`Self::fill`] allocates; `None` if no machine has that much.
    fn memory_bytes(&self) -> Option<u64> {
        let (profile, depth) = (self.codec.profile(), self.codec.profile().depth());
        let encoded = Arena::bytes_for(profile.blocks(), (depth + self.steps + depth) * 64);
        let decoded =
            self.losses.iter().map(|loss| Arena::bytes_for(loss.plan.roles().len(), loss.stream_bytes));
        let frame: usize = decoded.chain([encoded]).sum::<Option<usize>>()?;
        Some(frame.checked_mul(self.frames)? as u64)
    }

    fn fill(self) -> Result<Work, Error> {
        let (data, depth) = (self.codec.profile().data(), self.codec.profile().depth());
        let frames = (0..self.frames).into_par_iter().map(|frame| {
            let mut encoded = self.encoder.arena();
            for block in 0..data {
                fill(&mut encoded.stream_mut(block)[depth * 64..][..self.steps * 64], frame * data + block);
            }
            self.encoder.run(&mut encoded, depth, 0..self.steps + depth, Level::PORTABLE, Stores::Cached);
            let decoded = self.losses.iter().map(|loss| loss.arena(&encoded, depth)).collect();
            Frame { encoded, decoded }
        });
        Ok(Work { frames: frames.collect(), planned: self })
    }
}

impl Loss {
    /// The first data blocks are lost, and all parity that is not needed to bring them back.
    fn new(codec: &Codec, lost: usize, steps: usize) -> Result<Self, tanner_kernels::ArenaError> {
        let (profile, depth) = (codec.profile(), codec.profile().depth());
        let mut live = BlockSet::all(profile.blocks());
        (0..lost).chain(lost + profile.threshold()..profile.blocks()).for_each(|block| live.remove(block));
        let plan = codec.decoder(&live).expect("as many blocks as the threshold are left");
        let (back, groups) = (plan.reach_back(), steps.div_ceil(plan.advance()));
        let symbols = (back + groups * plan.advance() + plan.reach_ahead()).max(back + steps + depth);
        let bind = |program| Bound::new(program, symbols * 64, 64);
        let programs = plan.programs().iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Self { lost, plan, programs, stream_bytes: symbols * 64, groups })
    }

    /// An arena with the live blocks in it.
    fn arena(&self, encoded: &Arena, depth: usize) -> Arena {
        let mut arena = self.programs[0].arena();
        for (stream, role) in self.plan.roles().iter().enumerate() {
            let Role::Input(block) = *role else { continue };
            let from = &encoded.stream(block)[depth * 64..];
            arena.stream_mut(stream)[self.plan.reach_back() * 64..][..from.len()].copy_from_slice(from);
        }
        arena
    }

    fn run(&self, arena: &mut Arena, level: Level) {
        let (last, back) = (self.programs.len() - 1, self.plan.reach_back());
        for (index, program) in self.programs.iter().enumerate() {
            let end = if index == last { self.groups } else { self.groups.min(index + 1) };
            program.run(arena, back, index.min(end)..end, level, Stores::Cached);
        }
    }

    /// Computed streams, and the data blocks that they have to be.
    fn outputs(&self) -> impl Iterator<Item = (usize, usize)> {
        self.plan.roles().iter().enumerate().filter_map(|(stream, role)| match *role {
            Role::Output(block) => Some((stream, block)),
            _ => None,
        })
    }
}

/// A shape with its bytes.
struct Work {
    planned: Planned,
    frames: Vec<Frame>,
}

struct Frame {
    encoded: Arena,
    decoded: Vec<Arena>,
}

impl Work {
    fn bytes(&self) -> u64 {
        (self.frames.len() * self.planned.steps * self.planned.codec.profile().data()) as u64 * 64
    }

    /// How many times a round takes on so many numbers of threads.
    fn count(&self, scales: usize) -> usize {
        2 * (Level::all().len() + scales - 1) + 2 * (self.planned.losses.len() - 1)
    }

    fn encode(&mut self, level: Level) {
        let (encoder, depth) = (&self.planned.encoder, self.planned.codec.profile().depth());
        let steps = self.planned.steps + depth;
        self.frames
            .par_iter_mut()
            .for_each(|frame| encoder.run(&mut frame.encoded, depth, 0..steps, level, Stores::Streaming));
    }

    fn decode(&mut self, loss: usize, level: Level) {
        let planned = &self.planned.losses[loss];
        self.frames.par_iter_mut().for_each(|frame| planned.run(&mut frame.decoded[loss], level));
    }

    /// Holds every level against the portable one, and every decoded block against the source.
    fn verify(&mut self) -> Result<(), Error> {
        let (shape, truth) = (self.planned.shape, self.parity_hash());
        for level in Level::all() {
            // A level that stores nothing must not find the right bytes there.
            let parity = self.planned.codec.profile().data()..self.planned.codec.profile().blocks();
            for frame in &mut self.frames {
                parity.clone().for_each(|block| frame.encoded.stream_mut(block).fill(0));
            }
            self.encode(level);
            verified(self.parity_hash() == truth, || format!("encoding {shape} with {level}"))?;
            for loss in 0..self.planned.losses.len() {
                self.decode(loss, level);
                let lost = self.planned.losses[loss].lost;
                verified(self.is_decoded(loss), || format!("decoding {lost} of {shape} with {level}"))?;
            }
        }
        Ok(())
    }

    fn parity_hash(&self) -> Hash {
        let (profile, depth) = (self.planned.codec.profile(), self.planned.codec.profile().depth());
        let mut hasher = Hasher::new();
        for (frame, block) in
            self.frames.iter().flat_map(|f| (profile.data()..profile.blocks()).map(move |b| (f, b)))
        {
            hasher.update(&frame.encoded.stream(block)[depth * 64..]);
        }
        hasher.finalize()
    }

    /// Whether all lost blocks are back; takes them away again.
    fn is_decoded(&mut self, loss: usize) -> bool {
        let (planned, depth) = (&self.planned.losses[loss], self.planned.codec.profile().depth());
        let bytes = self.planned.steps * 64;
        self.frames.iter_mut().all(|frame| {
            planned.outputs().all(|(stream, block)| {
                let got =
                    &mut frame.decoded[loss].stream_mut(stream)[planned.plan.reach_back() * 64..][..bytes];
                let right = got == &frame.encoded.stream(block)[depth * 64..][..bytes];
                got.fill(0);
                right
            })
        })
    }

    /// Times every level on one thread, the best level on more, and the lighter losses at both ends.
    fn round(&mut self, recorder: &mut Recorder, machines: &[Resources]) -> Result<(), Error> {
        let (bytes, shape, worst) = (self.bytes(), self.planned.shape, self.planned.losses.len() - 1);
        let one = &machines[0];
        let forced = one.level();
        for level in Level::all() {
            self.time_encode(recorder, one, level, bytes, shape)?;
            self.time_decode(recorder, one, level, bytes, worst)?;
        }
        for machine in &machines[1..] {
            self.time_encode(recorder, machine, forced, bytes, shape)?;
            self.time_decode(recorder, machine, forced, bytes, worst)?;
        }
        let ends = if machines.len() > 1 { vec![one, &machines[machines.len() - 1]] } else { vec![one] };
        for (machine, loss) in ends.iter().flat_map(|machine| (0..worst).map(move |loss| (machine, loss))) {
            self.time_decode(recorder, machine, forced, bytes, loss)?;
        }
        Ok(())
    }

    fn time_encode(
        &mut self,
        recorder: &mut Recorder,
        on: &Resources,
        level: Level,
        bytes: u64,
        shape: Blocks,
    ) -> Result<(), Error> {
        let subject = Subject::new(Kind::Encode, shape.to_string(), on.thread_count()).at(level.name());
        recorder.time(&subject, bytes, || {
            on.threads().install(|| self.encode(level));
            Ok(())
        })
    }

    fn time_decode(
        &mut self,
        recorder: &mut Recorder,
        on: &Resources,
        level: Level,
        bytes: u64,
        loss: usize,
    ) -> Result<(), Error> {
        let name = decode_name(&self.planned.shape.to_string(), self.planned.losses[loss].lost);
        let subject = Subject::new(Kind::Decode, name, on.thread_count()).at(level.name());
        recorder.time(&subject, bytes, || {
            on.threads().install(|| self.decode(loss, level));
            Ok(())
        })
    }
}

/// What fixes a code.
pub(super) fn facts(profile: &Profile, losses: Vec<usize>) -> ProfileFacts {
    let codec = Codec::new(*profile);
    let taps = match profile.construction() {
        Construction::Shift { .. } => None,
        Construction::Coupled { n1, .. } | Construction::Rfc5170 { n1, .. } => Some(n1),
    };
    let period = codec.code().phases().len();
    ProfileFacts {
        shape: format!("{}+{}", profile.data(), profile.parity()),
        data: profile.data(),
        parity: profile.parity(),
        code: profile.code_name().into(),
        taps,
        period,
        depth: profile.depth(),
        threshold: profile.threshold(),
        evidence: profile.evidence().name().into(),
        xors_per_mille: (codec.encoder().xors() * 1000 / (period * profile.data())) as u64,
        losses,
    }
}

/// The most data blocks that may always be lost.
pub(super) fn losses_max(profile: &Profile) -> usize {
    (profile.blocks() - profile.threshold()).min(profile.data())
}

/// What a decoding is called.
pub(super) fn decode_name(shape: &str, lost: usize) -> String {
    format!("{shape}, {lost} lost")
}

/// Source bytes of one frame, unless the code's depth or the threads want others.
const FRAME_BYTES: usize = 8 << 20;
/// Smaller sources get smaller symbols, which is another code.
const SOURCE_BYTES_MIN: u64 = 1 << 30;
