//! What may be lost, decided anew by the plainest means: all equations of a frame written out, and eliminated.
#![allow(clippy::unwrap_used)]

use tanner_kernels::{BlockSet, Code, Construction, LightKernels, Losses, Minors, Profile, RankTest};

/// Whether the live blocks determine every symbol of a frame of so many steps: Gaussian elimination over GF(2), one
/// unknown for each symbol of a lost data block, one equation for each symbol of a live parity block.
fn eliminates(code: &Code, live: &BlockSet, steps: usize) -> bool {
    let profile = code.profile();
    let lost: Vec<usize> = (0..profile.data()).filter(|&block| !live.contains(block)).collect();
    let unknowns = lost.len() * steps;
    let words = unknowns.div_ceil(64);
    let (mut sum, mut equations) = (vec![0_u64; words], Vec::new());
    for step in 0..steps + profile.depth() {
        for row in &code.phases()[step % code.phases().len()] {
            if !row.chained {
                sum.fill(0);
            }
            for tap in &row.taps {
                let place = lost.iter().position(|&block| block == tap.block);
                let at = step.checked_sub(tap.delay).filter(|&at| at < steps);
                if let (Some(place), Some(at)) = (place, at) {
                    let unknown = at * lost.len() + place;
                    sum[unknown / 64] ^= 1 << (unknown % 64);
                }
            }
            if live.contains(profile.data() + row.parity) {
                equations.push(sum.clone());
            }
        }
    }
    // The columns so far are independent, so their number is the rank.
    for unknown in 0..unknowns {
        let has = |equation: &Vec<u64>| equation[unknown / 64] >> (unknown % 64) & 1 == 1;
        let Some(found) = equations[unknown..].iter().position(has) else { return false };
        equations.swap(unknown, unknown + found);
        let (done, rest) = equations.split_at_mut(unknown + 1);
        for equation in rest.iter_mut().filter(|equation| has(equation)) {
            equation.iter_mut().zip(&done[unknown]).for_each(|(word, pivot)| *word ^= pivot);
        }
    }
    true
}

/// Shapes and seeds that nothing was measured with, and losses around what they survive. Whoever trusts a certificate
/// trusts the rank test.
#[test]
fn the_rank_test_agrees_with_plain_elimination() {
    let coupled = |n1, period, depth, seed| Construction::Coupled { n1, period, depth, seed };
    let shapes = [
        (11, 13, coupled(8, 32, 31, 901)),
        (12, 12, coupled(8, 16, 23, 902)),
        (17, 11, coupled(8, 8, 15, 903)),
        (9, 14, coupled(6, 4, 15, 904)),
        (13, 12, coupled(4, 8, 7, 905)),
        (30, 9, coupled(6, 16, 15, 906)),
        (7, 20, coupled(10, 8, 23, 907)),
        (6, 6, Construction::Shift { modulus: 7 }),
        (9, 5, Construction::Shift { modulus: 11 }),
        (5, 8, Construction::Shift { modulus: 0 }),
    ];
    let (mut answers, mut late) = ([0, 0], 0);
    for (shape, (k, m, construction)) in shapes.into_iter().enumerate() {
        let profile = Profile::new(k, m, construction, 64, 1 << 12).unwrap();
        let code = Code::new(profile);
        let mut rank = RankTest::new(&code);
        for left in k as usize..(k as usize + 3).min(profile.blocks()) {
            for data_lost in Losses::strata(&profile, left).filter(|&lost| lost <= 6) {
                let losses = Losses::new(&profile, left, data_lost).unwrap();
                for sample in 0..3 {
                    let live = losses.sample(shape as u64, sample);
                    let determined = rank.determines(&live);
                    // The ends of a short frame may give away what the middle of a long one hides.
                    let mut frames =
                        [60, 120, 240, 480, 960].into_iter().filter(|&steps| !determined || steps < 240);
                    let plain = frames.all(|steps| eliminates(&code, &live, steps));
                    assert!(plain || !determined, "{k}+{m} {construction:?} {live:?}");
                    if determined == plain {
                        answers[usize::from(determined)] += 1;
                    } else {
                        // What takes a longer look-ahead than the decoder's counts as lost: no promise is about that.
                        assert_eq!(left as u64, k, "{k}+{m} {construction:?} {live:?}");
                        late += 1;
                    }
                }
            }
        }
    }
    assert!(answers[0] > 20 && answers[1] > 400 && late < 5, "{answers:?}, {late}");
}

/// All losses of shift codes at once, against one after the other.
#[test]
fn minors_agree_with_plain_elimination() {
    for (k, m, modulus) in [(4, 4, 5), (5, 5, 7), (3, 7, 7), (6, 4, 7), (5, 6, 0)] {
        let profile = Profile::new(k, m, Construction::Shift { modulus }, 64, 1 << 12).unwrap();
        let code = Code::new(profile);
        let minors = Minors::new(&code).unwrap();
        let zero: usize = (0..k as usize).map(|first| minors.with_first(first).zero.len()).sum();
        let fatal = |data_lost: usize| {
            let losses = Losses::new(&profile, k as usize, data_lost).unwrap();
            (0..losses.count().unwrap()).filter(|&index| !eliminates(&code, &losses.nth(index), 60)).count()
        };
        let fatal: usize = Losses::strata(&profile, k as usize).map(fatal).sum();
        assert_eq!(zero, fatal, "{k}+{m} modulo {modulus}");
    }
}

/// Of the lightest kernel, which no sample would meet.
#[test]
fn a_light_kernel_is_a_loss_that_nothing_restores() {
    for seed in 1..6 {
        let construction = Construction::Coupled { n1: 6, period: 8, depth: 11, seed };
        let code = Code::new(Profile::new(14, 16, construction, 64, 1 << 12).unwrap());
        let lightest = LightKernels::of(&code).unwrap().lightest;
        let mut live = BlockSet::all(30);
        lightest.iter().for_each(|&block| live.remove(block));
        assert!(!lightest.is_empty() && !eliminates(&code, &live, STEPS_MAX), "{seed}: {lightest:?}");
    }
}

/// Far more than the degree of any kernel of these codes.
const STEPS_MAX: usize = 300;
