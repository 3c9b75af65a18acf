//! What a profile promises, and what stands behind it: the certificates in words of probability.
//!
//! Losses are counted in strata, by the number d of data blocks among the lost, since how hard a loss is depends on it.
//! Of each stratum the bound is the exact one of Clopper and Pearson (Biometrika 26, 1934), one-sided at 95 %. What is
//! promised for *any* loss is the worst stratum's; what a loss of blocks by lot comes to is the mixture of the strata's
//! bounds with their hypergeometric weights. Where no loss failed that is more than an exact bound of the mixture would
//! be: to see no failure with 5 %, one stratum alone has to use up the chance that each is granted here. Where some
//! failed it is an estimate from above, for nobody proved as much.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use serde::Serialize;
use statrs::distribution::{Beta, ContinuousCDF, Discrete, Hypergeometric};
use tanner_kernels::certificate::{Method, Trial, certificates};
use tanner_kernels::{BlockSet, Code, Evidence, LightKernels, Losses, Profile};

use crate::certify::{Draw, rank_test};

/// What is known of losses that leave so many blocks.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Level {
    /// Blocks left.
    pub left: usize,
    /// Whether every such loss was tried or is covered by a proof.
    pub complete: bool,
    /// Losses that were tried.
    pub tried: u64,
    /// Losses that do not restore, of those.
    pub failed: u64,
    /// The most that the share of losses which do not restore can be in any stratum, at 95 %. 1 if a stratum was not
    /// tried.
    #[serde(rename = "worst_stratum_ratio")]
    pub worst_stratum: f64,
    /// The same of losses by lot.
    #[serde(rename = "by_lot_ratio")]
    pub by_lot: f64,
}

/// What a profile promises.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Guarantee {
    /// Blocks that suffice (T).
    pub threshold: usize,
    /// What stands behind that, in one word.
    pub evidence: &'static str,
    /// What is known at T blocks left and fewer.
    pub levels: Vec<Level>,
    /// Losses that a climb towards the worst one tried at k+1 blocks left, and how many of them do not restore.
    pub climb: Option<(u64, u64)>,
    /// Blocks of the lightest kernel of one or two symbols: to lose just these is to lose something. `None` if there is
    /// none, or if they are too many to look at.
    pub lightest_kernel_blocks: Option<usize>,
}

impl Guarantee {
    /// Looks up the certificates of a profile; what they say nothing of is tried for a moment.
    #[must_use]
    pub fn of(profile: &Profile) -> Self {
        let trials = trials_of(profile);
        let level =
            |left| certified(profile, left, &trials).unwrap_or_else(|| by_lot(profile, left, TRY_FOR));
        let climb = trials.iter().find(|trial| trial.method == Method::Climb);
        Self {
            threshold: profile.threshold(),
            evidence: profile.evidence().name(),
            levels: levels(profile).rev().map(level).collect(),
            climb: climb.map(|trial| (trial.tried, trial.failed)),
            lightest_kernel_blocks: lightest_kernel(profile),
        }
    }

    /// What the certificates say of losses that leave as many blocks as are promised to suffice.
    #[must_use]
    pub fn certified(profile: &Profile) -> Option<Level> {
        certified(profile, profile.threshold(), &trials_of(profile))
    }

    /// What is known of losses that leave so many blocks; of more than T nothing fails that is promised.
    #[must_use]
    pub fn level(&self, left: usize) -> Option<&Level> {
        self.levels.iter().find(|level| level.left == left)
    }
}

/// The numbers of blocks left that are looked at: T, T−1 and T−2, as far as that is not less than k.
pub(crate) fn levels(profile: &Profile) -> RangeInclusive<usize> {
    let threshold = profile.threshold();
    profile.data().max(threshold.saturating_sub(2))..=threshold
}

fn trials_of(profile: &Profile) -> Vec<&'static Trial> {
    certificates().iter().filter(|trial| trial.covers(profile)).collect()
}

fn lightest_kernel(profile: &Profile) -> Option<usize> {
    let code = Code::new(*profile);
    let pairs = (profile.data() * profile.data()).saturating_mul(code.phases().len() * (profile.depth() + 1));
    let kernels = if pairs <= PAIRS_MAX { LightKernels::of(&code) } else { None };
    kernels.map(|kernels| kernels.blocks()).filter(|&blocks| blocks > 0)
}

/// What the certificates say, if they say anything.
fn certified(profile: &Profile, left: usize, trials: &[&Trial]) -> Option<Level> {
    let lost = profile.blocks() - left;
    let proved = Level { left, complete: true, tried: 0, failed: 0, worst_stratum: 0.0, by_lot: 0.0 };
    if profile.evidence() == Evidence::Proved {
        return Some(proved);
    }
    if let Some(minors) = trials.iter().find(|trial| trial.method == Method::Minors) {
        // The trial may be of more blocks: what is said to be tried are the losses of these.
        let losses = (0..=lost).filter_map(|data_lost| Losses::new(profile, left, data_lost));
        let tried: Option<u64> = losses.map(|losses| losses.count()).sum();
        return (minors.failed == 0).then_some(Level { tried: tried.unwrap_or(minors.tried), ..proved });
    }
    let of_level = trials.iter().filter(|trial| trial.left == left && trial.method != Method::Climb);
    let of_level: Vec<&Trial> = of_level.copied().collect();
    if of_level.is_empty() {
        return None;
    }
    let weights = Hypergeometric::new(profile.blocks() as u64, profile.data() as u64, lost as u64).ok()?;
    let mut level = proved;
    for data_lost in Losses::strata(profile, left) {
        // All of them say more than a sample of them did before.
        let of_stratum = of_level.iter().filter(|trial| trial.data_lost == data_lost);
        let trial = of_stratum.max_by_key(|trial| (trial.is_complete(), trial.tried));
        let share = trial.map_or(1.0, |trial| most(trial));
        level.complete &= trial.is_some_and(|trial| trial.is_complete());
        level.tried += trial.map_or(0, |trial| trial.tried);
        level.failed += trial.map_or(0, |trial| trial.failed);
        level.worst_stratum = level.worst_stratum.max(share);
        level.by_lot += weights.pmf(data_lost as u64) * share;
    }
    Some(level)
}

/// The most that the share of failures in a stratum can be.
fn most(trial: &Trial) -> f64 {
    if trial.is_complete() {
        return trial.failed as f64 / trial.tried.max(1) as f64;
    }
    upper_bound(trial.failed, trial.tried)
}

/// The share of failures that is exceeded in truth with a probability of at most 5 %, when `failed` of `tried` failed.
#[must_use]
pub fn upper_bound(failed: u64, tried: u64) -> f64 {
    match failed {
        _ if failed >= tried => 1.0,
        // There the distribution's inverse is an expression, and keeps all its digits.
        0 => -(ALPHA.ln() / tried as f64).exp_m1(),
        _ => Beta::new(failed as f64 + 1.0, (tried - failed) as f64)
            .map_or(1.0, |beta| beta.inverse_cdf(1.0 - ALPHA)),
    }
}

/// Tries losses by lot for so long.
fn by_lot(profile: &Profile, left: usize, time: Duration) -> Level {
    let code = Code::new(*profile);
    let mut rank = rank_test(&code);
    let (began, lost) = (Instant::now(), profile.blocks() - left);
    let (mut tried, mut failed, mut draw) = (0, 0, Draw(left as u64));
    while began.elapsed() < time && tried < TRIES_MAX {
        let mut live = BlockSet::all(profile.blocks());
        let mut from: Vec<usize> = (0..profile.blocks()).collect();
        for _ in 0..lost {
            live.remove(from.swap_remove(draw.below(from.len())));
        }
        failed += u64::from(!rank.determines(&live));
        tried += 1;
    }
    let share = upper_bound(failed, tried);
    Level { left, complete: false, tried, failed, worst_stratum: 1.0, by_lot: share }
}

const ALPHA: f64 = 0.05;
const TRY_FOR: Duration = Duration::from_millis(200);
const TRIES_MAX: u64 = 100_000;
/// Pairs of symbols that are looked at in less than half a second.
const PAIRS_MAX: usize = 30_000_000;

#[cfg(test)]
mod tests {
    use super::{Guarantee, upper_bound};
    use tanner_kernels::Profile;

    /// Published values of the Clopper–Pearson interval; a bound that is too low promises too much.
    #[test]
    fn bounds_are_clopper_and_pearsons() {
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-3;
        assert!(close(upper_bound(0, 3_000_000), 2.995_732e-6 / 3.0));
        // One of ten: the 95 % upper bound is 0.394163; five of a hundred 0.102253.
        assert!(close(upper_bound(1, 10), 0.394_163), "{}", upper_bound(1, 10));
        assert!(close(upper_bound(5, 100), 0.102_253), "{}", upper_bound(5, 100));
        assert_eq!((upper_bound(3, 3), upper_bound(0, 0)), (1.0, 1.0));
    }

    #[test]
    fn a_proved_shape_has_nothing_left_to_chance_and_an_unknown_one_has() {
        let of = |k, m| Guarantee::of(&Profile::for_source(k, m, 1 << 32).unwrap());
        let proved = of(10, 4);
        assert!(proved.levels.len() == 1 && proved.levels[0].complete && proved.levels[0].by_lot == 0.0);
        let estimated = of(60, 33);
        assert!(estimated.levels.len() == 3 && !estimated.levels[0].complete);
        assert!(estimated.lightest_kernel_blocks.is_some() && proved.lightest_kernel_blocks.is_none());
        let bound = estimated.levels[0].by_lot;
        assert!(bound > 0.0 && bound < 0.2, "{bound}");
    }
}
