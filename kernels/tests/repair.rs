//! Whatever blocks are lost, those that are wanted come back bit for bit, from no symbol but those that the plan says
//! it reads.
#![allow(clippy::unwrap_used)]

mod common;

use common::source;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use tanner_kernels::{
    BlockSet, Bound, Codec, Construction, Level, Profile, RepairPlan, Role, Stores, Unrecoverable,
};

struct Stored {
    codec: Codec,
    /// Steps of each data block.
    steps: usize,
    blocks: Vec<Vec<u8>>,
}

impl Stored {
    fn new(profile: Profile, steps: usize) -> Self {
        let codec = Codec::new(profile);
        let bytes = steps * profile.data() * profile.unit();
        Self { blocks: codec.encode_all(&source(bytes)), codec, steps }
    }

    fn of(k: u64, m: u64, steps: usize) -> Self {
        Self::new(Profile::for_source(k, m, k * 64 * steps as u64).unwrap(), steps)
    }

    fn plan(&self, lost: &[usize], wanted: &[usize]) -> Result<RepairPlan, Unrecoverable> {
        let set = |of: &[usize]| {
            let mut set = BlockSet::none(self.blocks.len());
            of.iter().for_each(|&block| set.insert(block));
            set
        };
        let mut live = BlockSet::all(self.blocks.len());
        lost.iter().for_each(|&block| live.remove(block));
        RepairPlan::new(self.codec.code(), &live, &set(wanted))
    }

    #[track_caller]
    fn repairs(&self, lost: &[usize], wanted: &[usize], level: Level) {
        let what = || format!("{:?} without {lost:?}", self.codec.profile());
        let plan = self.plan(lost, wanted).unwrap_or_else(|error| panic!("{}: {error}", what()));
        let mut repaired = vec![Vec::new(); self.blocks.len()];
        let profile = self.codec.profile();
        let frame_steps = usize::try_from(profile.frame_steps()).unwrap();
        for (frame, start) in (0..self.steps).step_by(frame_steps).enumerate() {
            self.frame(&plan, frame, start, frame_steps.min(self.steps - start), level, &mut repaired);
        }
        for (block, repaired) in repaired.iter().enumerate() {
            let expected: &[u8] = if wanted.contains(&block) { &self.blocks[block] } else { &[] };
            assert!(repaired == expected, "block {block} of {} is wrong at {level:?}", what());
        }
    }

    fn frame(
        &self,
        plan: &RepairPlan,
        frame: usize,
        start: usize,
        length: usize,
        level: Level,
        repaired: &mut [Vec<u8>],
    ) {
        let profile = self.codec.profile();
        let (data, unit, tail) = (profile.data(), profile.unit(), profile.tail());
        let (reads, plan) = (plan.reads(), plan.plan());
        // Where the frame's symbols of a block are in the block, and how many there are.
        let place = |block: usize| match block < data {
            true => (start, length),
            false => (start + frame * tail, length + tail),
        };
        let (back, advance) = (plan.reach_back(), plan.advance());
        let groups = (length + tail).div_ceil(advance);
        let stream_bytes = (back + groups * advance + plan.reach_ahead()) * unit;
        let bound = |program| Bound::new(program, stream_bytes, unit).unwrap();
        let mut arena = bound(&plan.programs()[0]).arena();
        for (stream, &role) in plan.roles().iter().enumerate() {
            let Role::Input(block) = role else { continue };
            let (from, count) = place(block);
            let needed =
                reads.iter().find(|reads| reads.block == block).map_or(&[][..], |reads| &reads.symbols);
            for (at, into) in arena.stream_mut(stream).chunks_mut(unit).enumerate() {
                let step = at as isize - back as isize;
                if !needed.contains(&(step.rem_euclid(advance as isize) as usize)) {
                    into.fill(0xa5);
                } else if (0..count as isize).contains(&step) {
                    into.copy_from_slice(&self.blocks[block][(from + step as usize) * unit..][..unit]);
                }
            }
        }
        for (index, program) in plan.programs().iter().enumerate() {
            let end = if index + 1 == plan.programs().len() { groups } else { groups.min(index + 1) };
            bound(program).run(&mut arena, back, index.min(end)..end, level, Stores::Cached);
        }
        for (stream, &role) in plan.roles().iter().enumerate() {
            let Role::Output(block) = role else { continue };
            let (_, count) = place(block);
            repaired[block].extend_from_slice(&arena.stream(stream)[back * unit..][..count * unit]);
        }
    }

    /// Symbols read for each symbol of one lost block.
    fn blocks_read(&self, lost: usize) -> f64 {
        self.plan(&[lost], &[lost]).unwrap().blocks_read()
    }
}

const SHAPES: [(u64, u64); 6] = [(10, 4), (3, 7), (17, 3), (20, 20), (24, 26), (50, 50)];

#[test]
fn each_block_alone_comes_back_on_every_level() {
    for (k, m) in SHAPES {
        let stored = Stored::of(k, m, 100);
        for block in 0..stored.blocks.len() {
            Level::all().into_iter().for_each(|level| stored.repairs(&[block], &[block], level));
        }
    }
}

/// First and last steps, tails, and what lies between frames.
#[test]
fn frames_of_every_length_and_symbol_size_come_back() {
    let constructions = [
        Construction::Shift { modulus: 11 },
        Construction::Shift { modulus: 0 },
        Construction::Coupled { n1: 8, period: 16, depth: 31, seed: 9 },
        Construction::Coupled { n1: 4, period: 5, depth: 7, seed: 9 },
        Construction::Rfc5170 { n1: 7, group: 8, seed: 1 },
    ];
    for construction in constructions {
        for unit in [1, 8, 64] {
            for steps in [1_usize, 2, 79, 80, 81, 250] {
                let profile = Profile::new(10, 9, construction, unit, 80).unwrap();
                let stored = Stored::new(profile, steps.next_multiple_of(profile.stripe()));
                for lost in [&[3][..], &[12], &[0, 9], &[4, 18], &[10, 11, 12], &[1, 2, 3, 4, 13, 14, 15]] {
                    stored.repairs(lost, lost, Level::fastest());
                }
            }
        }
    }
}

/// As little as the other data and one parity block, or all data, suffice for one block: few blocks, all of each.
#[test]
fn a_lost_block_comes_back_from_as_many_blocks_as_there_are_data() {
    for (k, m) in SHAPES {
        let stored = Stored::of(k, m, 100);
        let n = stored.blocks.len();
        let data = k as usize;
        let all_parity: Vec<usize> = (data..n).collect();
        stored.repairs(&all_parity, &all_parity, Level::fastest());
        stored.repairs(&all_parity, &[n - 1], Level::fastest());
        let spare = stored.codec.profile().threshold() - data + 1;
        let lost: Vec<usize> = std::iter::once(1).chain(data + spare..n).collect();
        stored.repairs(&lost, &[1], Level::fastest());
    }
}

#[test]
fn wide_shapes_are_repaired() {
    for (k, m) in [(1000, 200), (200, 1000), (600, 4)] {
        let stored = Stored::of(k, m, 40);
        let (data, n) = (k as usize, stored.blocks.len());
        for lost in [&[7][..], &[data + 1], &[0, data / 2, data, n - 1]] {
            stored.repairs(lost, lost, Level::fastest());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Exactly k blocks are a bonus of the coupled code; but whoever can restore the file can rebuild the rest.
    #[test]
    fn what_can_be_decoded_can_be_repaired(lost in subsequence((0..24).collect::<Vec<_>>(), 12), steps in 1_usize..150) {
        let stored = Stored::of(12, 12, steps);
        let mut live = BlockSet::all(24);
        lost.iter().for_each(|&block| live.remove(block));
        if stored.codec.decoder(&live).is_ok() {
            stored.repairs(&lost, &lost, Level::fastest());
        }
    }
}

#[test]
fn what_is_not_determined_is_refused() {
    let stored = Stored::of(10, 5, 100);
    let lost: Vec<usize> = (0..6).collect();
    assert_eq!(stored.plan(&lost, &lost).unwrap_err(), Unrecoverable::TooFew { live: 9, data: 10 });
}

/// What the README says of one lost block.
#[test]
fn one_block_is_repaired_from_few_symbols() {
    for (k, m, data_max, parity_max) in [
        (10, 4, 10.0, 10.0),
        (17, 3, 17.0, 17.0),
        (20, 20, 6.9, 7.4),
        (24, 26, 6.6, 7.3),
        (50, 50, 9.2, 9.9),
        (100, 100, 11.4, 12.2),
        (100, 30, 25.0, 27.0),
    ] {
        let stored = Stored::of(k, m, 0);
        let mean = |blocks: std::ops::Range<usize>| {
            let count = blocks.len() as f64;
            blocks.map(|block| stored.blocks_read(block)).sum::<f64>() / count
        };
        let (data, parity) = (mean(0..k as usize), mean(k as usize..stored.blocks.len()));
        println!("{k}+{m}: {data:.2} blocks' worth for a data block, {parity:.2} for a parity block");
        assert!(data <= data_max && parity <= parity_max, "{k}+{m}: {data} {parity}");
    }
}

fn shape_and_loss() -> impl Strategy<Value = (u64, u64, usize, Vec<usize>, Vec<Index>)> {
    proptest::sample::select(SHAPES.to_vec()).prop_flat_map(|(k, m)| {
        let n = (k + m) as usize;
        let threshold = Profile::for_source(k, m, 0).unwrap().threshold();
        let losses =
            (1..=n - threshold).prop_flat_map(move |count| subsequence((0..n).collect::<Vec<_>>(), count));
        (Just(k), Just(m), 1_usize..200, losses, prop::collection::vec(any::<Index>(), 1..6))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// All that is lost, or just some of it.
    #[test]
    fn any_loss_is_repaired((k, m, steps, lost, picks) in shape_and_loss()) {
        let stored = Stored::of(k, m, steps);
        stored.repairs(&lost, &lost, Level::fastest());
        let mut some: Vec<usize> = picks.iter().map(|pick| lost[pick.index(lost.len())]).collect();
        some.sort_unstable();
        some.dedup();
        Level::all().into_iter().for_each(|level| stored.repairs(&lost, &some, level));
    }
}
