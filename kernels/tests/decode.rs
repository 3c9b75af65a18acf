//! Whatever the profile promises to survive is restored byte for byte, and what cannot be, is refused.

#![allow(clippy::unwrap_used)]

mod common;

use common::source;
use tanner_kernels::{BlockError, BlockSet, CodeChoice, Codec, Construction, Profile, Unrecoverable};

/// A small generator for loss patterns; a failing pattern is printed whole.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 32) * bound as u64) >> 32) as usize
    }

    /// `count` of `from`, without repetition.
    fn pick(&mut self, mut from: Vec<usize>, count: usize) -> Vec<usize> {
        (0..count).map(|_| from.swap_remove(self.below(from.len()))).collect()
    }
}

struct Stored {
    codec: Codec,
    source: Vec<u8>,
    blocks: Vec<Vec<u8>>,
}

impl Stored {
    fn new(profile: Profile, bytes: usize) -> Self {
        let (codec, source) = (Codec::new(profile), source(bytes));
        Self { blocks: codec.encode_all(&source), codec, source }
    }

    fn restore_without(&self, lost: &[usize]) -> Result<Vec<u8>, BlockError> {
        let kept = self.blocks.iter().enumerate().filter(|(block, _)| !lost.contains(block));
        self.codec.decode_all(
            &kept.map(|(block, bytes)| (block, bytes.as_slice())).collect::<Vec<_>>(),
            self.source.len(),
        )
    }

    #[track_caller]
    fn survives(&self, lost: &[usize]) {
        match self.restore_without(lost) {
            Ok(restored) => assert!(restored == self.source, "wrong bytes without blocks {lost:?}"),
            Err(error) => panic!("{:?} without blocks {lost:?}: {error}", self.codec.profile()),
        }
    }

    /// Loses `count` blocks, `data_lost` of them data.
    fn stratum(&self, dice: &mut Dice, count: usize, data_lost: usize) -> Vec<usize> {
        let (k, n) = (self.codec.profile().data(), self.codec.profile().blocks());
        let mut lost = dice.pick((0..k).collect(), data_lost);
        lost.extend(dice.pick((k..n).collect(), count - data_lost));
        lost
    }
}

fn subsets(n: usize, count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let with = |last: usize| {
        subsets(last, count - 1).into_iter().map(move |mut set| {
            set.push(last);
            set
        })
    };
    (count - 1..n).flat_map(with).collect()
}

#[test]
fn shift_10_4_survives_all_1001_losses_of_four() {
    let stored = Stored::new(Profile::for_source(10, 4, 5_000).unwrap(), 5_000);
    let losses = subsets(14, 4);
    assert_eq!(losses.len(), 1001);
    losses.iter().for_each(|lost| stored.survives(lost));
}

#[test]
fn small_shapes_survive_every_loss_of_m() {
    for (k, m) in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (4, 2), (5, 2), (3, 7), (6, 3), (17, 3)] {
        let stored = Stored::new(Profile::for_source(k, m, 3_000).unwrap(), 3_000);
        subsets(stored.blocks.len(), m as usize).iter().for_each(|lost| stored.survives(lost));
    }
}

/// The delays b·j without the mod are proved MDS for every shape; so are they here.
#[test]
fn shift_without_modulus_survives_losses_of_m() {
    let mut dice = Dice(1);
    for (k, m) in [(20, 10), (25, 5), (40, 4), (30, 8)] {
        let plain = Construction::Shift { modulus: 0 };
        let stored = Stored::new(Profile::new(k, m, plain, 64, 1152).unwrap(), 200_000);
        for data_lost in 0..=m as usize {
            for _ in 0..4 {
                stored.survives(&stored.stratum(&mut dice, m as usize, data_lost));
            }
        }
    }
}

/// flŭd's promise: any 25 of 50.
#[test]
fn coupled_24_26_survives_2000_stratified_losses_of_25() {
    let stored = Stored::new(Profile::for_source(24, 26, 24 * 64 * 1024).unwrap(), 24 * 64 * 1024);
    let mut dice = Dice(2);
    for _ in 0..84 {
        for data_lost in 0..=24 {
            if data_lost > 0 {
                stored.survives(&stored.stratum(&mut dice, 25, data_lost));
            }
        }
    }
}

/// Short blocks flatter a code: their tails bring extra equations. These are long.
#[test]
fn coupled_survives_the_worst_strata_at_1500_steps() {
    let mut dice = Dice(3);
    for (k, m, each) in [(24, 26, 60), (20, 20, 60), (16, 11, 60), (50, 50, 10), (100, 30, 5)] {
        let bytes = k as usize * 64 * 1500 - 17;
        let stored = Stored::new(Profile::for_source(k, m, bytes as u64).unwrap(), bytes);
        for data_lost in [1, 2, 3, 4, 6, 8, m as usize / 2].into_iter().filter(|&lost| lost < m as usize) {
            for _ in 0..each {
                stored.survives(&stored.stratum(&mut dice, m as usize - 1, data_lost));
            }
        }
    }
}

#[test]
fn every_size_and_symbol_size_survives() {
    let mut dice = Dice(4);
    for (k, m) in [(10, 5), (12, 12), (1, 3), (60, 40)] {
        let threshold = Profile::for_source(k, m, 0).unwrap().threshold();
        let count = (k + m) as usize - threshold;
        for bytes in [0, 1, 2, 63, 64, 65, 69, 1000, 4095, 4096, 4097, 40_000, 163_840, 999_999] {
            let stored = Stored::new(Profile::for_source(k, m, bytes as u64).unwrap(), bytes);
            for _ in 0..4 {
                stored.survives(&dice.pick((0..(k + m) as usize).collect(), count));
            }
        }
    }
}

#[test]
fn frames_restart_the_code_and_are_restored() {
    let mut dice = Dice(5);
    for construction in [
        Construction::Shift { modulus: 11 },
        Construction::Shift { modulus: 0 },
        Construction::Coupled { n1: 8, period: 16, depth: 31, seed: 9 },
        Construction::Rfc5170 { n1: 9, group: 20, seed: 9 },
    ] {
        for unit in [1, 8, 64] {
            let profile = Profile::new(10, 9, construction, unit, 80).unwrap();
            let stored = Stored::new(profile, 10 * 300 * usize::from(unit) - 5);
            for _ in 0..6 {
                let count = profile.blocks() - profile.threshold();
                stored.survives(&dice.pick((0..profile.blocks()).collect(), count));
            }
        }
    }
}

/// Far more parity than data leaves rows with hardly any tap; and shapes whose seed nobody screened. The worst
/// losses are those of few data blocks, and of all.
#[test]
fn uneven_and_unscreened_shapes_survive_what_they_promise() {
    let mut dice = Dice(9);
    let uneven = [
        (2, 40),
        (2, 100),
        (3, 60),
        (4, 300),
        (5, 95),
        (8, 100),
        (10, 90),
        (11, 90),
        (20, 100),
        (40, 200),
        (40, 400),
    ];
    let unscreened = [(11, 11), (12, 11), (13, 12), (14, 12), (30, 30), (11, 40), (60, 12), (200, 11)];
    for (k, m) in uneven.into_iter().chain(unscreened) {
        let stored = Stored::new(Profile::for_source(k, m, k * 64 * 300).unwrap(), k as usize * 64 * 300);
        let count = stored.blocks.len() - stored.codec.profile().threshold();
        for data_lost in [1, 2, 3, 4, k as usize / 2, k as usize] {
            if (1..=count.min(k as usize)).contains(&data_lost) {
                (0..25).for_each(|_| stored.survives(&stored.stratum(&mut dice, count, data_lost)));
            }
        }
    }
    let losses: [(u64, u64, &[usize]); 4] = [
        (11, 11, &[4, 7, 13, 15, 16, 17, 18, 19, 20]),
        (12, 11, &[4, 7, 12, 13, 16, 17, 18, 19, 21]),
        (13, 12, &[0, 3, 13, 16, 17, 18, 19, 20, 21, 22]),
        (14, 12, &[0, 3, 14, 15, 16, 17, 18, 19, 20, 24]),
    ];
    for (k, m, lost) in losses {
        Stored::new(Profile::for_source(k, m, 100_000).unwrap(), 100_000).survives(lost);
    }
}

/// k+2 is an estimate for this code, and these losses are among those that it was made from.
#[test]
fn rfc5170_survives_stratified_losses_and_every_size() {
    let mut dice = Dice(10);
    for (k, m, each) in [(10, 5, 40), (2, 4, 20), (16, 11, 30), (24, 26, 30), (50, 50, 4), (100, 100, 1)] {
        let bytes = k as usize * 64 * 300 - 17;
        let profile = Profile::for_code(CodeChoice::Rfc5170, k, m, bytes as u64).unwrap();
        let stored = Stored::new(profile, bytes);
        let count = profile.blocks() - profile.threshold();
        for data_lost in [0, 1, 2, 3, 4, 6, k as usize / 10, k as usize / 2, k as usize] {
            if data_lost <= count.min(k as usize) {
                (0..each).for_each(|_| stored.survives(&stored.stratum(&mut dice, count, data_lost)));
            }
        }
    }
    for bytes in [0, 1, 63, 64, 69, 1535, 1536, 1537, 40_000, 163_840, 999_999] {
        let stored = Stored::new(Profile::for_code(CodeChoice::Rfc5170, 10, 5, bytes as u64).unwrap(), bytes);
        assert!((10..15).all(|block| stored.blocks[block].len() == stored.blocks[10].len()));
        (0..4).for_each(|_| stored.survives(&dice.pick((0..15).collect(), 3)));
    }
}

/// A stripe of all blocks is a source block of the RFC: each of its symbols comes back whatever the others hold.
#[test]
fn stripes_of_rfc5170_are_closed() {
    let construction = Construction::Rfc5170 { n1: 7, group: 8, seed: 3 };
    let codec = Codec::new(Profile::new(6, 5, construction, 64, 16).unwrap());
    let stripe = 6 * 8 * 64;
    // Block after block, each of three stripes.
    let file = source(3 * stripe);
    let blocks = codec.encode_all(&file);
    for index in 0..3 {
        let part = |block: &Vec<u8>| block[index * 512..][..512].to_vec();
        let alone: Vec<u8> = blocks[..6].iter().flat_map(part).collect();
        let expected: Vec<Vec<u8>> = blocks.iter().map(part).collect();
        assert!(codec.encode_all(&alone) == expected, "stripe {index}");
    }
}

#[test]
fn wide_shapes_survive() {
    let mut dice = Dice(6);
    for (k, m) in [(1000, 200), (200, 1000), (2000, 2096), (3000, 10)] {
        let bytes = k as usize * 64 * 256;
        let stored = Stored::new(Profile::for_source(k, m, bytes as u64).unwrap(), bytes);
        let all: Vec<usize> = (0..(k + m) as usize).collect();
        let count = all.len() - stored.codec.profile().threshold();
        for lost in [1, count / 2, count] {
            stored.survives(&dice.pick(all.clone(), lost));
        }
    }
}

/// Too few blocks are an answer with a number in it, never a panic or wrong bytes.
#[test]
fn what_cannot_be_restored_is_refused() {
    for (k, m) in [(10, 5), (12, 12), (24, 26)] {
        let stored = Stored::new(Profile::for_source(k, m, 10_000).unwrap(), 10_000);
        let mut dice = Dice(7);
        let n = stored.blocks.len();
        for count in [m as usize + 1, n - 1, n] {
            let lost = dice.pick((0..n).collect(), count);
            let expected = Unrecoverable::TooFew { live: n - count, data: k as usize };
            assert_eq!(stored.restore_without(&lost), Err(BlockError::Unrecoverable(expected)));
        }
    }
}

/// Exactly k is a bonus for `coupled`: either the right bytes or a clean refusal.
#[test]
fn exactly_k_blocks_restore_or_are_refused() {
    let stored = Stored::new(Profile::for_source(12, 12, 200_000).unwrap(), 200_000);
    let mut dice = Dice(8);
    let mut refused = 0;
    for _ in 0..60 {
        let lost = dice.pick((0..24).collect(), 12);
        match stored.restore_without(&lost) {
            Ok(restored) => assert!(restored == stored.source, "wrong bytes without {lost:?}"),
            Err(BlockError::Unrecoverable(Unrecoverable::Dependent { live: 12, threshold: 13 })) => {
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    println!("{refused} of 60 refused");
}

#[test]
fn margin_counts_the_blocks_that_may_still_be_lost() {
    let codec = Codec::new(Profile::for_source(24, 26, 1 << 30).unwrap());
    let mut live = BlockSet::all(50);
    assert_eq!(codec.recoverable(&live), Some(25));
    (0..25).for_each(|block| live.remove(block * 2));
    assert_eq!(codec.recoverable(&live), Some(0));
    (0..3).for_each(|block| live.remove(block * 2 + 1));
    assert_eq!(codec.recoverable(&live), None);
}
