//! How many blocks more than k a coupled code needs, by arithmetic on its parameters.
//!
//! Two things cost equations when d data blocks are lost and x blocks more than k are left, that is d+x parity
//! blocks. *Empty windows*: the taps between two live parity symbols may miss all lost blocks. *Merged symbols*: two
//! lost symbols may have all their taps in the same windows, so that no equation tells them apart. Both follow from
//! the ensemble of the code; what is left of the surplus must be ample for both, whatever d is.
//!
//! A promise must be the same on every machine, so this is integer arithmetic that rounds against the promise.

use crate::code::delays;

/// What the rule needs to know of a code.
#[derive(Clone, Copy)]
pub(crate) struct Parameters {
    pub(crate) data: u32,
    pub(crate) parity: u32,
    pub(crate) n1: u32,
    pub(crate) period: u32,
    pub(crate) depth: u32,
}

impl Parameters {
    /// The least surplus, from 2 on, that is ample; all parity blocks if there is none up to [`SURPLUS_MAX`].
    pub(crate) fn surplus(self) -> u32 {
        let lost_max = self.data.min(self.parity);
        let empty_rows: Vec<[u128; 2]> = (0..=lost_max).map(|lost| self.empty_row(lost)).collect();
        let ample = |surplus: u32| {
            let lost_max = self.data.min(self.parity.saturating_sub(surplus));
            (1..=lost_max).all(|lost| {
                self.rows_suffice(lost, surplus, empty_rows[lost as usize]) && self.taps_differ(lost, surplus)
            })
        };
        (2..=SURPLUS_MAX).find(|&surplus| ample(surplus)).unwrap_or(self.parity)
    }

    /// The share of rows without a tap of any of `lost` data blocks: of the rows with ⌊k·N1/m⌋ taps, and of the
    /// rows with one more.
    fn empty_row(self, lost: u32) -> [u128; 2] {
        let miss = (u128::from(self.data - lost) * ONE).div_ceil(self.data.into());
        let light = power(miss, self.data * self.n1 / self.parity);
        [light, (light * miss).div_ceil(ONE)]
    }

    /// Whether the surplus exceeds the windows expected to be empty by five standard deviations: in a period, as
    /// the loss is the same in all of them.
    fn rows_suffice(self, lost: u32, surplus: u32, [light, heavy]: [u128; 2]) -> bool {
        let (rows, windows) = (u128::from(self.parity), u128::from(lost + surplus));
        // A share (d+x)/m of the rows closes a window, and it is empty if all its rows are. The rows with one tap
        // more come first in every step, so most windows have rows of one kind.
        let empty = |empty_row: u128| {
            (windows * windows * empty_row * ONE).div_ceil(rows * ONE - (rows - windows) * empty_row)
        };
        let heavy_rows = u128::from(self.data * self.n1 % self.parity);
        let empty = (empty(light) * (rows - heavy_rows) + empty(heavy) * heavy_rows).div_ceil(rows);
        let spare = (u128::from(surplus) * ONE).saturating_sub(empty);
        let variance = empty * (windows * ONE - empty);
        u128::from(self.period) * spare * spare * windows >= DEVIATIONS * DEVIATIONS * variance
    }

    /// Whether merged symbols are rare. Cut at random, one of w windows holds two given taps of one step with
    /// probability 2/(w+1); and taps of two blocks are in one step with probability one over the width of their bin.
    fn taps_differ(self, lost: u32, surplus: u32) -> bool {
        let pairs = u128::from(self.period) * u128::from(lost) * u128::from(lost - 1) / 2;
        let together = (0..self.n1).fold(pairs * ONE, |share, bin| {
            let width = delays(bin, self.n1, self.depth).len() as u128;
            (2 * share).div_ceil(u128::from(lost + surplus + 1) * width)
        });
        together <= ONE >> MERGED_BITS
    }
}

/// `base` to the power of `exponent`, rounded up; both shares of [`ONE`].
fn power(base: u128, exponent: u32) -> u128 {
    let halves = (0..u32::BITS).rev().map(|bit| exponent >> bit & 1 == 1);
    halves.fold(ONE, |power, odd| {
        let square = (power * power).div_ceil(ONE);
        if odd { (square * base).div_ceil(ONE) } else { square }
    })
}

/// Shares are integers, 2^32 for the whole.
const ONE: u128 = 1 << 32;
const DEVIATIONS: u128 = 5;
/// At most 2^-12 merged pairs expected; codes counted had a third of what this arithmetic expects.
const MERGED_BITS: u32 = 12;
const SURPLUS_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::{ONE, Parameters, power};
    use crate::Profile;

    fn surplus(data: u32, parity: u32, n1: u32, period: u32, depth: u32) -> u32 {
        Parameters { data, parity, n1, period, depth }.surplus()
    }

    /// Written down, because a promise must never become better or worse with a new version of the arithmetic.
    #[test]
    fn the_surplus_of_a_profile_is_frozen() {
        for (expected, k, m, n1, period, depth) in [
            (2, 30, 30, 8, 32, 31),
            (2, 200, 50, 8, 16, 31),
            (3, 500, 100, 8, 16, 15),
            (4, 300, 300, 10, 16, 23),
            (6, 1000, 200, 8, 8, 7),
            (15, 1000, 1000, 8, 8, 7),
            (17, 3000, 1000, 8, 8, 7),
            (6, 2000, 200, 8, 8, 7),
            (5, 4000, 96, 8, 8, 7),
            (27, 2048, 2048, 8, 8, 7),
            // Rows without taps are one run in each step, where no window has any.
            (3, 40, 400, 10, 32, 31),
            // Hopeless: all parity blocks.
            (100, 4, 100, 2, 1, 1),
            (2, 50, 1, 8, 1, 7),
        ] {
            assert_eq!(surplus(k, m, n1, period, depth), expected, "{k}+{m} N1={n1} P={period} D={depth}");
        }
    }

    /// What was chosen before there was this rule was promised k+2, which did not hold where rows outnumber taps.
    #[test]
    fn earlier_profiles_keep_their_promise() {
        for (k, m, n1, period, depth) in [
            (11, 11, 8, 32, 31),
            (30, 30, 8, 32, 31),
            (60, 12, 8, 32, 31),
            (200, 50, 10, 16, 31),
            (300, 300, 20, 16, 31),
            (500, 100, 12, 16, 31),
            (1000, 200, 18, 16, 17),
            (1000, 1000, 40, 16, 39),
            (4000, 96, 12, 16, 15),
        ] {
            assert_eq!(surplus(k, m, n1, period, depth), 2, "{k}+{m} N1={n1} P={period} D={depth}");
        }
    }

    #[test]
    fn more_taps_steps_and_rows_never_ask_for_more() {
        for (k, m) in [(20, 20), (100, 30), (300, 300), (1000, 200)] {
            for n1 in [4, 6, 8, 10, 12] {
                let all = surplus(k, m, n1, 8, 11);
                assert!(surplus(k, m, n1 + 2, 8, 13) <= all, "{k}+{m} N1={n1}");
                assert!(surplus(k, m, n1, 8, 23) <= all, "{k}+{m} N1={n1}");
            }
        }
    }

    #[test]
    fn powers_are_never_below_the_truth() {
        for (base, exponent) in [(1.0, 7), (0.5, 3), (0.999, 4000), (0.25, 0), (0.75, 13), (0.0, 2)] {
            let base = (base * ONE as f64) as u128;
            let share = power(base, exponent) as f64 / ONE as f64;
            let truth = f64::powi(base as f64 / ONE as f64, exponent as i32);
            assert!(share > truth - 1e-9 && share < truth + 1e-5, "{base}^{exponent}: {share}");
        }
    }

    #[test]
    fn a_wide_shape_promises_what_is_left_of_its_parity() {
        let threshold = |k, m| Profile::for_source(k, m, 1 << 40).unwrap().threshold();
        assert_eq!((threshold(1000, 200), threshold(100, 30), threshold(30, 30)), (1006, 101, 32));
    }
}
