//! Which profile to use for a shape and a size. Whatever is chosen is written into the manifest, so these
//! rules may improve without touching stored backups.

use crate::profile::{
    Construction, FRAME_STEPS_MULTIPLE, Profile, ProfileError, TAPS_MAX, WEIGHT_MAX, check_shape, depth,
    stripe,
};

/// Which code to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CodeChoice {
    /// The one that suits the shape best; never [`Self::Rfc5170`].
    #[default]
    Auto,
    /// [`Construction::Shift`], whatever it costs.
    Shift,
    /// [`Construction::Coupled`], even where shift promises more.
    Coupled,
    /// [`Construction::Rfc5170`], so that other decoders can read the blocks.
    Rfc5170,
}

impl Profile {
    /// The profile for a source of `bytes` bytes in `data` + `parity` blocks.
    ///
    /// # Errors
    /// [`ProfileError::Shape`] if there are no data or parity blocks, or too many of both together;
    /// [`ProfileError::Unsuited`] if no code keeps a useful promise for the shape.
    pub fn for_source(data: u64, parity: u64, bytes: u64) -> Result<Self, ProfileError> {
        Self::for_code(CodeChoice::Auto, data, parity, bytes)
    }

    /// The profile for a source of `bytes` bytes in `data` + `parity` blocks by one code.
    ///
    /// # Errors
    /// As [`Self::for_source`]; [`ProfileError::UnsuitedCode`] if this code keeps no useful promise for the shape,
    /// [`ProfileError::Depth`] or [`ProfileError::Period`] if it would be too large.
    pub fn for_code(code: CodeChoice, data: u64, parity: u64, bytes: u64) -> Result<Self, ProfileError> {
        let (k, m) = check_shape(data, parity)?;
        let unsuited = |code| ProfileError::UnsuitedCode { code, data: k, parity: m };
        let (construction, unsuited) = match code {
            CodeChoice::Auto => (
                Some(shift(k, m)).filter(|&shift| is_cheap(shift, k, m)).or_else(|| coupled(k, m)),
                ProfileError::Unsuited { data: k, parity: m },
            ),
            CodeChoice::Shift => (Some(shift(k, m)), unsuited("shift")),
            CodeChoice::Coupled => (coupled(k, m), unsuited("coupled")),
            CodeChoice::Rfc5170 => (rfc5170(k, m), unsuited("rfc5170")),
        };
        let construction = construction.ok_or_else(|| unsuited.clone())?;
        let unit = unit(data, bytes);
        let longest = Self::new(data, parity, construction, unit, frame_steps(u64::MAX, 0, construction))?;
        let steps = bytes.div_ceil(data * u64::from(unit));
        let frame_steps = frame_steps(steps, longest.tail() as u64, construction);
        let profile = Self::new(data, parity, construction, unit, frame_steps)?;
        // A code that needs all blocks protects from nothing.
        if profile.threshold() < profile.blocks() { Ok(profile) } else { Err(unsuited) }
    }
}

/// What stands behind a profile's threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// Proved for every length and every loss.
    Proved,
    /// Every loss of m blocks was tried, at a length that proves it for all.
    Tried,
    /// This shape's seed was screened: thousands of losses, most of the worst kind, and none failed.
    Screened,
    /// The construction was measured for other shapes or seeds; some rare loss may need one more block.
    Estimated,
}

impl Evidence {
    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Tried => "tried",
            Self::Screened => "screened",
            Self::Estimated => "estimated",
        }
    }
}

impl Profile {
    /// What stands behind [`Profile::threshold`].
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        let (k, m) = (self.data, self.parity);
        match self.construction() {
            Construction::Shift { modulus: 0 } => Evidence::Proved,
            Construction::Shift { modulus } => {
                let covers = |&(data, parity, q): &(u32, u32, u32)| k <= data && m <= parity && q == modulus;
                if SHIFT_MDS.iter().any(covers) { Evidence::Tried } else { Evidence::Estimated }
            }
            Construction::Rfc5170 { .. } => Evidence::Estimated,
            construction @ Construction::Coupled { .. } => {
                // The table first: it is asked far more often than the chooser's arithmetic is worth.
                let screened = SCREENED.iter().any(|&(data, parity, ..)| (data, parity) == (k, m))
                    && coupled(k, m) == Some(construction);
                if screened { Evidence::Screened } else { Evidence::Estimated }
            }
        }
    }
}

/// Large symbols keep the SIMD registers full; a file so small that whole cache lines would leave its blocks
/// with fewer than [`STEPS_MIN`] symbols gets smaller ones, because every block ends in a tail of D.
fn unit(data: u64, bytes: u64) -> u8 {
    [64, 32, 16, 8, 4, 2]
        .into_iter()
        .find(|&unit| bytes.div_ceil(data * u64::from(unit)) >= STEPS_MIN)
        .unwrap_or(1)
}

/// Enough frames for all cores of a decoder, as long as their tails cost at most a few per mille; whole stripes.
fn frame_steps(steps: u64, tail: u64, construction: Construction) -> u32 {
    let least = (512 * tail).next_power_of_two().clamp(1024, FRAME_STEPS_MAX.into());
    let wanted = (steps / 16).next_power_of_two();
    let frame_steps = u32::try_from(wanted.clamp(least, FRAME_STEPS_MAX.into())).expect("FRAME_STEPS_MAX");
    let multiple = FRAME_STEPS_MULTIPLE * stripe(construction);
    frame_steps / multiple * multiple
}

/// The shift code with the least delays that are sure to restore from any k blocks.
fn shift(k: u32, m: u32) -> Construction {
    let certified = SHIFT_MDS.iter().filter(|&&(data, parity, _)| k <= data && m <= parity);
    Construction::Shift { modulus: certified.map(|&(_, _, modulus)| modulus).min().unwrap_or(0) }
}

/// The shift code is cheap with few parity blocks or few data blocks, and a window of k·(D+1) symbols that stays in
/// the second-level cache (or, for the fewest parity blocks, where a coupled code would promise nothing).
fn is_cheap(shift: Construction, k: u32, m: u32) -> bool {
    let window_bytes = u64::from(k) * (depth(shift, k, m) + 1) * 64;
    let window_bytes_max = if m <= 4 { SHIFT_WINDOW_BYTES_FEW_PARITY } else { SHIFT_WINDOW_BYTES };
    m.min(k) <= SHIFT_MAX && window_bytes <= window_bytes_max
}

/// N1 grows with k, so that windows without a lost symbol leave enough equations; P is what one surplus block
/// buys in equations per period. D spreads the taps of a symbol over steps: the fewer steps, the likelier two
/// symbols have all their taps in the same windows under some loss, and the faster the code. A short D is for
/// shapes whose seed was screened for that (example `screen`); all others get a long one.
fn coupled(k: u32, m: u32) -> Option<Construction> {
    let n1 = (8..=WEIGHT_MAX).step_by(2).find(|&n1| load_factor(k, m, n1) <= LOAD_FACTOR_MAX)?;
    let fits = |period: u32| (period * (k * n1 + m)) as usize <= TAPS_MAX;
    let period = if k * n1 <= 1000 { 32 } else { [16, 8, 4].into_iter().find(|&period| fits(period))? };
    let screened = SCREENED.iter().find(|&&(data, parity, ..)| (data, parity) == (k, m));
    let (depth, seed) = match screened {
        Some(&(.., depth, seed)) => (depth, seed),
        None if m <= SHIFT_MAX => (400_u32.div_ceil(m).next_multiple_of(8) - 1, 1),
        None if k <= 512 || m < 16 => (31, 1),
        // The window of more streams would leave the second-level cache.
        None => (15, 1),
    };
    Some(Construction::Coupled { n1, period, depth: depth.max(n1 - 1), seed })
}

/// N1 as large as RFC 5170 has it and odd, for the last parity symbol of an even one is always zero; G as large as pads
/// blocks by hardly more than they are padded anyway. With all data blocks lost, rows of even weight cannot tell
/// the data from its complement: where that may happen, enough rows must be odd.
fn rfc5170(k: u32, m: u32) -> Option<Construction> {
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
const STEPS_MIN: u64 = 256;
const FRAME_STEPS_MAX: u32 = 65_536;
const SHIFT_MAX: u32 = 10;
const SHIFT_WINDOW_BYTES: u64 = 1 << 20;
const SHIFT_WINDOW_BYTES_FEW_PARITY: u64 = 64 << 20;
const LOAD_FACTOR_MAX: f64 = 0.5;

/// Shapes (k, m) and primes for which every loss of m blocks was tried and restores, at a length above the
/// kernel-degree bound, which proves it for every length. Fewer data or parity blocks are minors of these.
const SHIFT_MDS: [(u32, u32, u32); 10] = [
    (2, 2, 2),
    (5, 2, 5),
    (3, 7, 7),
    (10, 10, 11),
    (12, 4, 13),
    (16, 8, 17),
    (17, 3, 17),
    (20, 5, 23),
    (29, 3, 29),
    // One parity block is the plain XOR of all data blocks, whatever the modulus.
    (4095, 1, 0),
];

/// Shapes (k, m) with the D and the seed that came through the example `screen` without a failure (20 000 losses in
/// each of the worst strata for the small ones, down to 1000 for 100+100):
/// `cargo run --release --example screen -p tanner-kernels -- K M SAMPLES D`.
const SCREENED: [(u32, u32, u32, u64); 10] = [
    (12, 12, 31, 2),
    (16, 11, 31, 1),
    (16, 16, 31, 1),
    (20, 20, 23, 1),
    (24, 26, 15, 47),
    (25, 25, 15, 33),
    (50, 25, 31, 1),
    (50, 50, 15, 2),
    (100, 30, 15, 2),
    (100, 100, 15, 1),
];

#[cfg(test)]
mod tests {
    use super::{CodeChoice, coupled};
    use crate::profile::{BLOCKS_MAX, Construction, Profile, ProfileError};

    fn profile(k: u64, m: u64) -> Profile {
        Profile::for_source(k, m, 1 << 32).unwrap()
    }

    #[test]
    fn measured_shapes_get_the_parameters_they_were_measured_with() {
        let shift = |k, m| match profile(k, m).construction() {
            Construction::Shift { modulus } => Some(modulus),
            _ => None,
        };
        for (k, m, q) in
            [(10, 4, 11), (10, 5, 11), (17, 3, 17), (3, 7, 7), (20, 4, 23), (16, 8, 17), (20, 10, 0)]
        {
            assert_eq!(shift(k, m), Some(q), "{k}+{m}");
        }
        let parameters = |k, m| match coupled(k, m).unwrap() {
            Construction::Coupled { n1, period, depth, seed } => (n1, period, depth, seed),
            _ => unreachable!(),
        };
        for (k, m, expected) in [
            (16, 11, (8, 32, 31, 1)),
            (20, 20, (8, 32, 23, 1)),
            (24, 26, (8, 32, 15, 47)),
            (30, 30, (8, 32, 31, 1)),
            (25, 25, (8, 32, 15, 33)),
            (100, 30, (8, 32, 15, 2)),
            (50, 50, (10, 32, 15, 2)),
            (100, 100, (12, 16, 15, 1)),
            (1000, 200, (18, 16, 17, 1)),
        ] {
            assert_eq!(parameters(k, m), expected, "{k}+{m}");
        }
    }

    /// A promise must say what it rests on.
    #[test]
    fn the_evidence_of_a_shape_is_what_the_tables_say() {
        let evidence = |k, m| profile(k, m).evidence().name();
        let all = [evidence(10, 5), evidence(25, 5), evidence(7, 1), evidence(24, 26), evidence(30, 30)];
        assert_eq!(all, ["tried", "proved", "proved", "screened", "estimated"]);
        let other = Construction::Coupled { n1: 8, period: 32, depth: 15, seed: 46 };
        assert_eq!(Profile::new(24, 26, other, 64, 16).unwrap().evidence().name(), "estimated");
    }

    #[test]
    fn a_code_that_was_asked_for_is_chosen_or_refused_by_name() {
        let chosen = |code, k, m| Profile::for_code(code, k, m, 1 << 30).map(|profile| profile.code_name());
        assert_eq!(chosen(CodeChoice::Auto, 10, 5), Ok("shift"));
        assert_eq!(chosen(CodeChoice::Coupled, 10, 5), Ok("coupled"));
        assert_eq!(chosen(CodeChoice::Shift, 24, 26), Ok("shift"));
        assert_eq!(chosen(CodeChoice::Rfc5170, 24, 26), Ok("rfc5170"));
        let refused = |code, k, m| match chosen(code, k, m) {
            Err(ProfileError::UnsuitedCode { code, .. }) => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(CodeChoice::Coupled, 10, 2), "coupled");
        assert_eq!(refused(CodeChoice::Rfc5170, 10, 2), "rfc5170");
        assert_eq!(refused(CodeChoice::Rfc5170, 10, 90), "rfc5170");
        assert!(matches!(chosen(CodeChoice::Shift, 200, 200), Err(ProfileError::Depth { .. })));
    }

    /// Rows that all have an even number of data symbols never tell the data from its complement.
    #[test]
    fn rfc5170_has_odd_rows_wherever_all_data_may_be_lost() {
        for k in 1..40 {
            for m in 3..60 {
                let Ok(profile) = Profile::for_code(CodeChoice::Rfc5170, k, m, 1 << 30) else { continue };
                assert!(profile.threshold() >= profile.data() + 2);
                let code = crate::Code::new(profile);
                let odd = code.phases().iter().flatten().filter(|row| row.taps.len() % 2 == 1).count();
                assert!(odd >= 24 || profile.threshold() > profile.parity(), "{k}+{m}: {odd} odd rows");
            }
        }
    }

    #[test]
    fn every_shape_has_a_profile_for_every_size() {
        for k in [1, 2, 3, 10, 29, 100, 1000, 4000, 4095] {
            for m in [1, 2, 4, 5, 10, 11, 40, 200, 2000, 4095] {
                for bytes in [0, 1, 69, 4096, 1 << 20, 1 << 32, 1 << 50] {
                    match Profile::for_source(k, m, bytes) {
                        Ok(profile) => {
                            assert!(profile.threshold() < (k + m) as usize, "{k}+{m} promises nothing");
                        }
                        Err(ProfileError::Unsuited { .. }) => assert!(m > 4 * k || m <= 2, "{k}+{m}"),
                        Err(_) => assert!(k + m > BLOCKS_MAX as u64, "{k}+{m} of {bytes}"),
                    }
                }
            }
        }
    }

    #[test]
    fn symbols_shrink_only_for_tiny_files() {
        let unit = |bytes| Profile::for_source(10, 5, bytes).unwrap().unit();
        assert_eq!((unit(0), unit(1), unit(69), unit(10 * 256 * 2)), (1, 1, 1, 2));
        assert_eq!((unit(163_776), unit(163_840)), (64, 64));
    }
}
