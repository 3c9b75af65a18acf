//! Which of RFC 5170's codes to use, and how many blocks it needs.

use crate::profile::Construction;

/// N1 as large as RFC 5170 has it and odd, for the last parity symbol of an even one is always zero; G as large as pads
/// blocks by hardly more than they are padded anyway. With all data blocks lost, rows of even weight cannot tell
/// the data from its complement: where that may happen, enough rows must be odd.
pub(crate) fn rfc5170(k: u32, m: u32) -> Option<Construction> {
    let (group, seed) = (24, 1);
    let odd_rows = |n1: u32| {
        // Weights differ by at most one, and light rows are filled to two.
        let (weight, heavier) = (n1 * k / m, n1 * k % m * group);
        match weight {
            0 | 1 => 0,
            weight if weight % 2 == 1 => m * group - heavier,
            _ => heavier,
        }
    };
    let n1 = [9, 7, 5].into_iter().find(|&n1| m < k + RFC5170_SURPLUS_MIN || odd_rows(n1) >= group)?;
    Some(Construction::Rfc5170 { n1, group, seed })
}

/// How many blocks more than k the RFC's code needs, by estimate: its N1 ends at 10, so wide shapes need more. A promise
/// must be the same on every machine, so this is integer arithmetic, as in the module `surplus`.
pub(crate) fn rfc5170_surplus(k: u32, m: u32, n1: u32) -> u32 {
    (1..=k.min(m - 1)).fold(RFC5170_SURPLUS_MIN, |surplus, lost| {
        (surplus..m).find(|&surplus| is_ample(k, m, n1, lost, surplus)).unwrap_or(m)
    })
}

/// Whether the surplus x is at least twice the windows that are expected to be empty with d data blocks lost. If one
/// more than d parity blocks are left, a share c = (d+1)/m of the windows is closed, and a row misses all lost blocks
/// with probability q: (d+1)·cq/(1 − (1−c)q) windows are empty. So q is to be at most x·m/(2(d+1)² + x(m−d−1)).
fn is_ample(k: u32, m: u32, n1: u32, lost: u32, surplus: u32) -> bool {
    let [k, m, n1, lost, surplus] = [k, m, n1, lost, surplus].map(u64::from);
    let (most, of) = (surplus * m, 2 * (lost + 1) * (lost + 1) + surplus * (m - lost - 1));
    // q is (1 − d/k)^(N1·k/m), or 1 − N1·k/m if that is more: there are rows without any tap where m is far above k.
    let has_taps = m.saturating_sub(n1 * k) * of <= most * m;
    has_taps && (lost == k || n1 * k * (log2(k) - log2(k - lost)) >= m * log2(of).saturating_sub(log2(most)))
}

/// The logarithm to base 2 in units of 2^-40, rounded down: bit by bit, each from a square.
fn log2(number: u64) -> u64 {
    let mut log = u64::from(number.ilog2());
    // 2^63 is 1.
    let mut rest = number << number.leading_zeros();
    for _ in 0..40 {
        let square = u128::from(rest) * u128::from(rest);
        let carry = square >> 127;
        rest = u64::try_from(square >> (63 + carry)).expect("less than 2");
        log = log << 1 | u64::from(carry == 1);
    }
    log
}

const RFC5170_SURPLUS_MIN: u32 = 2;

#[cfg(test)]
mod tests {
    use super::{log2, rfc5170_surplus};
    use crate::{Code, CodeChoice, Profile};

    /// Rows that all have an even number of data symbols never tell the data from its complement.
    #[test]
    fn rfc5170_has_odd_rows_wherever_all_data_may_be_lost() {
        for k in 1..40 {
            for m in 3..60 {
                let Ok(profile) = Profile::for_code(CodeChoice::Rfc5170, k, m, 1 << 30) else { continue };
                assert!(profile.threshold() >= profile.data() + 2);
                let code = Code::new(profile);
                let odd = code.phases().iter().flatten().filter(|row| row.taps.len() % 2 == 1).count();
                assert!(odd >= 24 || profile.threshold() > profile.parity(), "{k}+{m}: {odd} odd rows");
            }
        }
    }

    /// Written down, because a promise must never become better or worse with a new version of the arithmetic.
    #[test]
    fn the_surplus_of_a_shape_is_frozen() {
        for (expected, k, m, n1) in [
            (2, 10, 5, 9),
            (2, 12, 12, 7),
            (2, 10, 20, 9),
            (2, 10, 90, 9),
            (2, 50, 50, 7),
            (3, 200, 200, 9),
            (2, 500, 100, 9),
            (4, 1000, 200, 9),
            (14, 1000, 1000, 9),
            (27, 2048, 2048, 9),
            (2, 4000, 96, 9),
            (3, 40, 400, 10),
            (16, 30, 2000, 3),
            (2, 1, 3, 3),
            (2, 7, 1, 3),
        ] {
            assert_eq!(rfc5170_surplus(k, m, n1), expected, "{k}+{m} N1={n1}");
        }
    }

    #[test]
    fn logarithms_are_never_above_the_truth() {
        for number in [1, 2, 3, 7, 4095, 4096, 54_000_001, u64::MAX] {
            let (log, truth) = (log2(number) as f64 / f64::powi(2.0, 40), (number as f64).log2());
            assert!(log <= truth && log > truth - 1e-11, "{number}: {log} for {truth}");
        }
    }
}
