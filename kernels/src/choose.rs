//! Which profile to use for a shape and a size. Whatever is chosen is written into the manifest, so these
//! rules may improve without touching stored backups.

use crate::profile::{Construction, Profile, ProfileError, WEIGHT_MAX, check_shape};
use crate::surplus::Parameters;

impl Profile {
    /// The profile for a source of `bytes` bytes in `data` + `parity` blocks.
    ///
    /// # Errors
    /// [`ProfileError::Shape`] if there are no data or parity blocks, or too many of both together;
    /// [`ProfileError::Unsuited`] if no code keeps a useful promise for the shape.
    pub fn for_source(data: u64, parity: u64, bytes: u64) -> Result<Self, ProfileError> {
        let (k, m) = check_shape(data, parity)?;
        let unsuited = ProfileError::Unsuited { data: k, parity: m };
        let construction = shift(k, m).or_else(|| coupled(k, m)).ok_or_else(|| unsuited.clone())?;
        let unit = unit(data, bytes);
        let depth = Self::new(data, parity, construction, unit, FRAME_STEPS_MAX)?.depth() as u64;
        let steps = bytes.div_ceil(data * u64::from(unit));
        let profile = Self::new(data, parity, construction, unit, frame_steps(steps, depth))?;
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
    /// The construction was measured for other shapes or seeds, and arithmetic says how many blocks this one needs;
    /// some rare loss may need one more.
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
            Construction::Coupled { .. } if screened(k, m, self.construction()) => Evidence::Screened,
            Construction::Coupled { .. } => Evidence::Estimated,
        }
    }
}

/// How many blocks beyond k a profile promises to need.
pub(crate) fn surplus(k: u32, m: u32, construction: Construction) -> u32 {
    match construction {
        Construction::Shift { .. } => 0,
        Construction::Coupled { .. } if screened(k, m, construction) => 1,
        Construction::Coupled { n1, period, depth, .. } => {
            Parameters { data: k, parity: m, n1, period, depth }.surplus()
        }
    }
}

fn screened(k: u32, m: u32, construction: Construction) -> bool {
    SCREENED.iter().any(|screened| screened.is(k, m) && screened.construction() == construction)
}

/// Large symbols keep the SIMD registers full; a file so small that whole cache lines would leave its blocks
/// with fewer than [`STEPS_MIN`] symbols gets smaller ones, because every block ends in a tail of D.
fn unit(data: u64, bytes: u64) -> u8 {
    [64, 32, 16, 8, 4, 2]
        .into_iter()
        .find(|&unit| bytes.div_ceil(data * u64::from(unit)) >= STEPS_MIN)
        .unwrap_or(1)
}

/// Enough frames for all cores of a decoder, as long as their tails cost at most a few per mille.
fn frame_steps(steps: u64, depth: u64) -> u32 {
    let least = (512 * depth).next_power_of_two().clamp(1024, FRAME_STEPS_MAX.into());
    let wanted = (steps / 16).next_power_of_two();
    u32::try_from(wanted.clamp(least, FRAME_STEPS_MAX.into())).expect("at most FRAME_STEPS_MAX")
}

/// The shift code where it is cheap: few parity blocks or few data blocks, and a window of k·(D+1) symbols that
/// stays in the second-level cache (or, for the fewest parity blocks, where a coupled code would promise nothing).
fn shift(k: u32, m: u32) -> Option<Construction> {
    if m.min(k) > SHIFT_MAX {
        return None;
    }
    let certified = SHIFT_MDS.iter().filter(|&&(data, parity, _)| k <= data && m <= parity);
    let modulus = certified.map(|&(_, _, modulus)| modulus).min().unwrap_or(0);
    let depth = if modulus > 0 { u64::from(modulus) - 1 } else { u64::from(k - 1) * u64::from(m - 1) };
    let window_bytes = u64::from(k) * (depth + 1) * 64;
    let window_bytes_max = if m <= 4 { SHIFT_WINDOW_BYTES_FEW_PARITY } else { SHIFT_WINDOW_BYTES };
    (window_bytes <= window_bytes_max).then_some(Construction::Shift { modulus })
}

/// What was screened, else the fewest taps that need no more surplus than [`surplus_max`]: taps are the cost of
/// encoding. D spreads the taps of a symbol over steps, so that two symbols seldom have all theirs in the same
/// windows; but the window of k·(D+1) symbols and the program of P·k·N1 taps must stay in the second-level cache
/// together, so both are short for many blocks, which makes up for it by a larger surplus.
fn coupled(k: u32, m: u32) -> Option<Construction> {
    if let Some(screened) = SCREENED.iter().find(|screened| screened.is(k, m)) {
        return Some(screened.construction());
    }
    let depth = match m {
        // Few windows in a step merge more.
        ..=SHIFT_MAX => 400_u32.div_ceil(m).next_multiple_of(8) - 1,
        _ => (WINDOW_SYMBOLS / k / 8 * 8).clamp(8, 32) - 1,
    };
    (8..=WEIGHT_MAX).step_by(2).find_map(|n1| {
        let period = match k * n1 {
            0..=1024 => 32,
            1025..=4096 => 16,
            _ => 8,
        };
        let construction = Construction::Coupled { n1, period, depth: depth.max(n1 - 1), seed: 1 };
        (surplus(k, m, construction) <= surplus_max(k, m)).then_some(construction)
    })
}

/// Two blocks, or 0.8 % of storage as long as that is a small part of the losses that it is there for.
fn surplus_max(k: u32, m: u32) -> u32 {
    ((k + m) / 128).min(m / 16).max(2)
}

const STEPS_MIN: u64 = 256;
const FRAME_STEPS_MAX: u32 = 65_536;
const SHIFT_MAX: u32 = 10;
const SHIFT_WINDOW_BYTES: u64 = 1 << 20;
const SHIFT_WINDOW_BYTES_FEW_PARITY: u64 = 64 << 20;
/// 512 KiB of symbols of 64 bytes.
const WINDOW_SYMBOLS: u32 = 8192;

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

/// A shape and the parameters that came through the example `screen`.
struct Screened {
    data: u32,
    parity: u32,
    n1: u32,
    period: u32,
    depth: u32,
    seed: u64,
}

impl Screened {
    const fn new((data, parity): (u32, u32), n1: u32, period: u32, depth: u32, seed: u64) -> Self {
        Self { data, parity, n1, period, depth, seed }
    }

    fn is(&self, k: u32, m: u32) -> bool {
        (self.data, self.parity) == (k, m)
    }

    fn construction(&self) -> Construction {
        let &Self { n1, period, depth, seed, .. } = self;
        Construction::Coupled { n1, period, depth, seed }
    }
}

/// Shapes (k, m), N1, P, D and the seed that came through the example `screen` without a failure (20 000 losses in
/// each of the worst strata for the small ones, down to 1000 for 100+100):
/// `cargo run --release --example screen -p tanner-kernels -- K M samples=SAMPLES`. The first of a shape is chosen;
/// backups made with another must keep its promise, so entries are added, never taken out.
///
/// Screening bounds the rate of failures, it proves nothing, and the first seed that comes through may owe it to luck.
/// Of 100 000 other losses of two data blocks 24+26 fails 1, 25+25 12, 20+20 1. Six taps with D = 23 that came through
/// the same screen (24+26 seed 1, 25+25 seed 6, 20+20 seed 7) fail 6, 9 and 1 of them.
const SCREENED: [Screened; 10] = [
    Screened::new((12, 12), 8, 32, 31, 2),
    Screened::new((16, 11), 8, 32, 31, 1),
    Screened::new((16, 16), 8, 32, 31, 1),
    Screened::new((20, 20), 8, 32, 23, 1),
    Screened::new((24, 26), 8, 32, 15, 47),
    Screened::new((25, 25), 8, 32, 15, 33),
    Screened::new((50, 25), 8, 32, 31, 1),
    Screened::new((50, 50), 10, 32, 15, 2),
    Screened::new((100, 30), 8, 32, 15, 2),
    Screened::new((100, 100), 12, 16, 15, 1),
];

#[cfg(test)]
mod tests {
    use super::coupled;
    use crate::profile::{BLOCKS_MAX, Construction, Profile, ProfileError};

    fn profile(k: u64, m: u64) -> Profile {
        Profile::for_source(k, m, 1 << 32).unwrap()
    }

    #[test]
    fn measured_shapes_get_the_parameters_they_were_measured_with() {
        let shift = |k, m| match profile(k, m).construction() {
            Construction::Shift { modulus } => Some(modulus),
            Construction::Coupled { .. } => None,
        };
        for (k, m, q) in
            [(10, 4, 11), (10, 5, 11), (17, 3, 17), (3, 7, 7), (20, 4, 23), (16, 8, 17), (20, 10, 0)]
        {
            assert_eq!(shift(k, m), Some(q), "{k}+{m}");
        }
        let parameters = |k, m| match coupled(k, m).unwrap() {
            Construction::Coupled { n1, period, depth, seed } => (n1, period, depth, seed),
            Construction::Shift { .. } => unreachable!(),
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
            (200, 50, (8, 16, 31, 1)),
            (500, 100, (8, 16, 15, 1)),
            (1000, 200, (8, 8, 7, 1)),
            (4000, 96, (8, 8, 7, 1)),
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
