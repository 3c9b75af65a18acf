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

/// How many blocks more than k the RFC's code needs, by estimate: its N1 ends at 10, so wide shapes need more.
pub(crate) fn rfc5170_surplus(k: u32, m: u32, n1: u32) -> u32 {
    // A float that is too large becomes the largest number: all blocks, then.
    let wanted = (load_factor(k, m, n1) / LOAD_FACTOR_MAX).ceil() as u32;
    wanted.clamp(RFC5170_SURPLUS_MIN, m.max(RFC5170_SURPLUS_MIN))
}

/// The share of equations that empty windows cost, relative to the one surplus block, in the worst case over
/// the number d of lost data blocks (1 or more is hopeless): with m−1−d parity blocks lost besides, a share
/// f of the windows is closed, and a row misses all lost blocks with probability q.
fn load_factor(k: u32, m: u32, n1: u32) -> f64 {
    let (k, m, n1) = (f64::from(k), f64::from(m), f64::from(n1));
    let mut worst = 0.0_f64;
    let mut lost = 1.0;
    while lost <= k.min(m - 1.0) {
        let closed = (lost + 1.0) / m;
        // Rows without any tap count, too: there are some where m is far above k.
        let empty_row = (1.0 - lost / k).powf(n1 * k / m).max(1.0 - n1 * k / m);
        let empty = closed * empty_row / (1.0 - (1.0 - closed) * empty_row);
        worst = worst.max(empty * (lost + 1.0));
        lost += 1.0;
    }
    worst
}

const RFC5170_SURPLUS_MIN: u32 = 2;
const LOAD_FACTOR_MAX: f64 = 0.5;

#[cfg(test)]
mod tests {
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
}
