//! Which profile to use for a shape and a size. Whatever is chosen is written into the manifest, so these
//! rules may improve without touching stored backups.

use crate::certificate::least_modulus;
use crate::evidence::{SCREENED, surplus};
use crate::profile::{
    Construction, FRAME_STEPS_MULTIPLE, Profile, ProfileError, WEIGHT_MAX, check_shape, depth, stripe,
};
use crate::rfc5170_choice::rfc5170;

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

/// Large symbols keep the SIMD registers full; a file so small that whole cache lines would leave its blocks
/// with fewer than [`STEPS_MIN`] symbols gets smaller ones, because every block ends in a tail of D.
fn unit(data: u64, bytes: u64) -> u8 {
    [64, 32, 16, 8, 4, 2]
        .into_iter()
        .find(|&unit| bytes.div_ceil(data * u64::from(unit)) >= STEPS_MIN)
        .unwrap_or(1)
}

/// Enough frames for all cores of a decoder, as long as tails are at most 1/512 of a full frame; whole stripes. With
/// D above 128 frames are as long as they may be, and tails more.
fn frame_steps(steps: u64, tail: u64, construction: Construction) -> u32 {
    let least = (512 * tail).next_power_of_two().clamp(1024, FRAME_STEPS_MAX.into());
    let wanted = (steps / 16).next_power_of_two();
    let frame_steps = u32::try_from(wanted.clamp(least, FRAME_STEPS_MAX.into())).expect("FRAME_STEPS_MAX");
    let multiple = FRAME_STEPS_MULTIPLE * stripe(construction);
    frame_steps / multiple * multiple
}

/// The shift code with the least delays that are sure to restore from any k blocks.
fn shift(k: u32, m: u32) -> Construction {
    let plain = Construction::Shift { modulus: 0 };
    let certified = least_modulus(k as usize, m as usize).map(|modulus| Construction::Shift { modulus });
    certified.filter(|&shift| depth(shift, k, m) < depth(plain, k, m)).unwrap_or(plain)
}

/// The shift code is cheap with few parity blocks or few data blocks, and a window of k·(D+1) symbols that stays in
/// the second-level cache (or, for the fewest parity blocks, where a coupled code would promise nothing).
fn is_cheap(shift: Construction, k: u32, m: u32) -> bool {
    let window_bytes = u64::from(k) * (depth(shift, k, m) + 1) * 64;
    let window_bytes_max = if m <= 4 { SHIFT_WINDOW_BYTES_FEW_PARITY } else { SHIFT_WINDOW_BYTES };
    m.min(k) <= SHIFT_MAX && window_bytes <= window_bytes_max
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
            [(10, 4, 11), (10, 5, 11), (17, 3, 17), (3, 7, 7), (20, 4, 23), (16, 8, 17), (20, 10, 23)]
        {
            assert_eq!(shift(k, m), Some(q), "{k}+{m}");
        }
        let parameters = |k, m| match coupled(k, m).unwrap() {
            Construction::Coupled { n1, period, depth, seed } => (n1, period, depth, seed),
            _ => unreachable!(),
        };
        for (k, m, expected) in [
            (16, 11, (8, 32, 31, 1)),
            (20, 20, (8, 32, 23, 3)),
            (24, 26, (8, 32, 23, 2)),
            (30, 30, (8, 32, 31, 1)),
            (25, 25, (8, 32, 23, 2)),
            (100, 30, (8, 32, 31, 147)),
            (50, 50, (10, 32, 31, 5)),
            (100, 100, (12, 32, 31, 18)),
            (200, 50, (8, 16, 31, 1)),
            (500, 100, (8, 16, 15, 1)),
            (1000, 200, (8, 8, 7, 1)),
            (4000, 96, (8, 8, 7, 1)),
        ] {
            assert_eq!(parameters(k, m), expected, "{k}+{m}");
        }
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
