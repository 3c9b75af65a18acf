//! The codec from memory to memory, as users of the library call it: every level, every number of threads, several
//! losses.

use std::collections::BTreeSet;

use rayon::prelude::*;
use tanner_kernels::{BlockSet, Codec, Construction, Level, Profile};

use super::ceilings::Ceilings;
use super::recorder::Recorder;
use super::report::{Kind, ProfileFacts, Subject};
use super::{Blocks, Buffer, buffer, check_memory, fill, verified};
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
        let all = Resources::new(self.threads, MEMORY_BYTES_DEFAULT)?;
        let ways = ways(all.level(), all.thread_count());
        let one = (all.thread_count() > 1).then(|| Resources::new(1, MEMORY_BYTES_DEFAULT)).transpose()?;
        let machines: Vec<Resources> = one.into_iter().chain([all]).collect();
        let profile = |shape: &Blocks| Profile::for_source(shape.data, shape.parity, self.bytes);
        let profiles: Vec<Profile> = self.shapes.iter().map(profile).collect::<Result<_, _>>()?;
        let largest = profiles.iter().map(|profile| Work::memory_bytes(profile, self.bytes)).max();
        check_memory(largest.unwrap_or(0).saturating_add(Ceilings::memory_bytes(self.bytes)))?;
        let cache = recorder.report.machine.cache_bytes_max;
        if self.bytes < 4 * cache {
            let (size, cache) = (bytesize::ByteSize(self.bytes).display().iec(), cache >> 20);
            recorder.report.note(format!(
                "{size} is not much more than the largest cache ({cache} MiB): memory may look faster than it is"
            ));
        }
        let mut ceilings = Ceilings::new(self.bytes)?;
        for profile in profiles {
            let mut codec = Codec::new(profile);
            let mut work = Work::new(&codec, self.bytes)?;
            recorder.report.profiles.push(ProfileFacts {
                losses: work.losses.clone(),
                losses_read_per_mille: work.losses.iter().map(|&lost| read_per_mille(&codec, lost)).collect(),
                ..facts(&profile)
            });
            for way in &ways {
                codec = way.of(codec);
                recorder.stop().check()?;
                work.verify(&codec)?;
            }
            let times = ways.iter().map(|way| 1 + work.losses(way).len()).sum::<usize>();
            let times = times + machines.len() * ceilings.count();
            recorder.progress().start((times * self.rounds) as u64 * self.bytes);
            for _ in 0..self.rounds {
                recorder.next_round();
                machines.iter().try_for_each(|machine| ceilings.round(recorder, machine))?;
                for way in &ways {
                    codec = way.of(codec);
                    work.time(&codec, way, recorder)?;
                }
            }
        }
        Ok(())
    }
}

/// A level and a number of threads to run the codec with.
struct Way {
    level: Level,
    threads: usize,
    /// Whether each loss is decoded that way, or the worst alone.
    every_loss: bool,
}

impl Way {
    /// The codec run that way, with the plans that it has.
    fn of(&self, codec: Codec) -> Codec {
        codec.with_level(self.level).with_threads(self.threads)
    }
}

/// Every level on one thread, and `level` on more, up to `most`; with each loss at both ends.
fn ways(level: Level, most: usize) -> Vec<Way> {
    let alone = Level::all().into_iter().map(|on| Way { level: on, threads: 1, every_loss: on == level });
    let more = scaling(most).filter(|&threads| threads > 1);
    alone.chain(more.map(|threads| Way { level, threads, every_loss: threads == most })).collect()
}

/// 1 to `most`; beyond 8 only powers of two and the last.
fn scaling(most: usize) -> impl Iterator<Item = usize> {
    (1..=most).filter(move |&threads| most <= 8 || threads == most || threads.is_power_of_two())
}

/// A shape with its bytes.
struct Work {
    shape: String,
    /// How many data blocks are lost, the worst last.
    losses: Vec<usize>,
    /// What all levels are held against.
    portable: Codec,
    data: Buffer,
    parity: Buffer,
    restored: Buffer,
}

impl Work {
    /// What [`Self::new`] allocates: parity but for its tails, and at most as much restored.
    fn memory_bytes(profile: &Profile, bytes: u64) -> u64 {
        let blocks = (profile.data() + 2 * profile.parity()) as u128;
        u64::try_from(u128::from(bytes) * blocks / profile.data() as u128).unwrap_or(u64::MAX)
    }

    fn new(codec: &Codec, bytes: u64) -> Result<Self, Error> {
        let profile = codec.profile();
        let most = losses_max(profile);
        let data_bytes = codec.data_bytes(usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut data = buffer(profile.data(), data_bytes)?;
        data.blocks_mut().into_par_iter().enumerate().for_each(|(block, bytes)| fill(bytes, block));
        Ok(Self {
            shape: format!("{}+{}", profile.data(), profile.parity()),
            losses: BTreeSet::from([1, (most / 2).max(1), most]).into_iter().collect(),
            portable: Codec::new(*profile).with_level(Level::PORTABLE),
            data,
            parity: buffer(profile.parity(), codec.parity_bytes(data_bytes))?,
            restored: buffer(most, data_bytes)?,
        })
    }

    fn losses(&self, way: &Way) -> &[usize] {
        if way.every_loss { &self.losses } else { &self.losses[self.losses.len() - 1..] }
    }

    fn encode(&mut self, codec: &Codec) {
        let encoded = codec.encode(&self.data.blocks(), &mut self.parity.blocks_mut());
        encoded.expect("as many and as long as the profile says");
    }

    /// Restores the first data blocks from all other blocks.
    fn decode(&mut self, codec: &Codec, lost: usize) {
        let (data, parity) = (self.data.blocks(), self.parity.blocks());
        let at_hand = data.iter().enumerate().map(|(block, bytes)| (block >= lost).then_some(*bytes));
        let at_hand: Vec<Option<&[u8]>> = at_hand.chain(parity.into_iter().map(Some)).collect();
        let mut restored: Vec<(usize, &mut [u8])> =
            self.restored.blocks_mut().into_iter().enumerate().take(lost).collect();
        codec.reconstruct(&at_hand, &mut restored, data[0].len()).expect("within the promise");
    }

    /// Holds the parity against the portable level's, and every restored block against the source.
    fn verify(&mut self, codec: &Codec) -> Result<(), Error> {
        let how = format!("{} with {}", self.shape, codec.level());
        // A level that stores nothing must not find the right bytes there.
        self.parity.blocks_mut().into_iter().for_each(|block| block.fill(0));
        self.encode(codec);
        let right = self.portable.verify(&self.data.blocks(), &self.parity.blocks()).is_ok();
        verified(right, || format!("encoding {how}"))?;
        for lost in self.losses.clone() {
            self.restored.blocks_mut().into_iter().for_each(|block| block.fill(0));
            self.decode(codec, lost);
            let right = self.restored.blocks()[..lost] == self.data.blocks()[..lost];
            verified(right, || format!("decoding {lost} of {how}"))?;
        }
        Ok(())
    }

    /// Times `codec`, which runs that way.
    fn time(&mut self, codec: &Codec, way: &Way, recorder: &mut Recorder) -> Result<(), Error> {
        let bytes = self.data.blocks().iter().map(|block| block.len() as u64).sum();
        let subject = |kind, name| Subject::new(kind, name, way.threads).at(way.level.name());
        let encode = subject(Kind::Encode, self.shape.clone());
        recorder.time(&encode, bytes, || {
            self.encode(codec);
            Ok(())
        })?;
        for lost in self.losses(way).to_vec() {
            let decode = subject(Kind::Decode, decode_name(&self.shape, lost));
            recorder.time(&decode, bytes, || {
                self.decode(codec, lost);
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// What fixes a code.
pub(super) fn facts(profile: &Profile) -> ProfileFacts {
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
        losses: Vec::new(),
        losses_read_per_mille: Vec::new(),
    }
}

/// What the decoding of `lost` data blocks reads, in thousandths of the source.
fn read_per_mille(codec: &Codec, lost: usize) -> u64 {
    let mut live = BlockSet::all(codec.profile().blocks());
    (0..lost).for_each(|block| live.remove(block));
    let plan = codec.decoder(&live).expect("within the promise");
    // All symbols of the lost blocks are written, the others are read.
    let read = plan.cost().lines - lost * plan.advance();
    (read * 1000 / (plan.advance() * codec.profile().data())) as u64
}

/// The most data blocks that may always be lost.
pub(super) fn losses_max(profile: &Profile) -> usize {
    (profile.blocks() - profile.threshold()).min(profile.data())
}

/// What a decoding is called.
pub(super) fn decode_name(shape: &str, lost: usize) -> String {
    format!("{shape}, {lost} lost")
}
