//! Profiles: everything that fixes a code, checked before anything is built from it.

use thiserror::Error;

use crate::evidence::surplus;

/// The most blocks, data and parity together.
pub const BLOCKS_MAX: usize = 4096;
/// The most symbols that a parity symbol may look back; bounds the history that a chunk carries.
pub const DEPTH_MAX: u32 = 16_384;
/// The most taps and rows in one period of a code, together: P·(k·N1 + m). Bounds its program to some 50 MiB and
/// the draws that build it to a second.
pub const TAPS_MAX: usize = 1 << 21;
/// The most taps of one data symbol.
pub const WEIGHT_MAX: u32 = 64;
/// Steps of a frame come in multiples of this, so that a frame of 64-byte symbols is whole KiB.
pub const FRAME_STEPS_MULTIPLE: u32 = 16;
/// The most bytes in a symbol: one cache line.
pub const UNIT_MAX: u8 = 64;

/// The most symbols of a block in one source block of RFC 5170: its field G has 5 bits.
pub const GROUP_MAX: u32 = 31;
/// The largest seed of RFC 5170's generator.
pub const RFC5170_SEED_MAX: u64 = (1 << 31) - 2;

/// How parity taps data. See the module `code` for the definitions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Construction {
    /// Dense: parity j is the XOR of all data blocks, block b delayed by b·j symbols.
    Shift {
        /// Delays are taken modulo this prime; 0 takes them as they are, which is MDS for every k and m.
        modulus: u32,
    },
    /// Sparse: a periodic, spatially coupled LDPC staircase.
    Coupled {
        /// Taps of each data symbol (RFC 5170's N1); even, so that the code has finite memory.
        n1: u32,
        /// Steps after which the rows repeat (P).
        period: u32,
        /// How many symbols back a tap may lie (D).
        depth: u32,
        /// Seed of the generator that draws the rows.
        seed: u64,
    },
    /// The LDPC-Staircase code of RFC 5170 over stripes of G steps: for whoever has a decoder of that.
    Rfc5170 {
        /// Taps of each data symbol (N1): 3 to 10.
        n1: u32,
        /// Steps in a stripe, which are the symbols of a packet (G): 1 to [`GROUP_MAX`].
        group: u32,
        /// Seed of the generator that draws the rows: 1 to [`RFC5170_SEED_MAX`].
        seed: u64,
    },
}

/// The profile of one backup: shape, construction, symbol size and frame length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Profile {
    pub(crate) data: u32,
    pub(crate) parity: u32,
    construction: Construction,
    unit: u8,
    frame_steps: u32,
    depth: u32,
    surplus: u32,
}

/// Why parameters are not a profile.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// No data or no parity blocks, or too many of both together.
    #[error("{data}+{parity} blocks: at least 1+1 are needed and {BLOCKS_MAX} in all are the most")]
    Shape {
        /// Data blocks asked for.
        data: u64,
        /// Parity blocks asked for.
        parity: u64,
    },
    /// The modulus of the shift code is neither 0 nor a prime that tells all blocks apart.
    #[error("shift modulus {modulus}: wanted 0 or a prime of at least {least}")]
    Modulus {
        /// The modulus given.
        modulus: u32,
        /// The least that tells all blocks apart.
        least: u32,
    },
    /// No code keeps a useful promise for the shape.
    #[error("no code keeps a useful promise for {data}+{parity} blocks: take less uneven numbers")]
    Unsuited {
        /// Data blocks asked for.
        data: u32,
        /// Parity blocks asked for.
        parity: u32,
    },
    /// The code that was asked for keeps no useful promise for the shape.
    #[error(
        "the {code} code keeps no useful promise for {data}+{parity} blocks: leave the choice, or take more parity"
    )]
    UnsuitedCode {
        /// The code asked for.
        code: &'static str,
        /// Data blocks asked for.
        data: u32,
        /// Parity blocks asked for.
        parity: u32,
    },
    /// Delays reach too far back.
    #[error("delays of {depth} symbols: {DEPTH_MAX} are the most")]
    Depth {
        /// The longest delay.
        depth: u64,
    },
    /// N1 is odd, zero or has more taps than delays.
    #[error("N1 = {n1}: wanted an even number from 2 to {WEIGHT_MAX} and to D+1 = {}", u64::from(*depth) + 1)]
    Weight {
        /// Taps of each data symbol.
        n1: u32,
        /// The longest delay.
        depth: u32,
    },
    /// The period is zero or makes a program that is too large.
    #[error("period {period} of {per_step} taps and rows a step: wanted 1 to {TAPS_MAX} in all")]
    Period {
        /// Steps in a period.
        period: u32,
        /// k·N1 + m.
        per_step: u64,
    },
    /// N1 is not among those of RFC 5170, or there are fewer rows than taps of one symbol.
    #[error("N1 = {n1}: wanted 3 to 10 for rfc5170, and at most the {rows} parity symbols of a stripe")]
    Rfc5170Weight {
        /// Taps of each data symbol.
        n1: u32,
        /// Parity symbols of a stripe (m·G).
        rows: u64,
    },
    /// G does not fit its field, or a stripe has one data symbol only.
    #[error("G = {group} steps in a stripe: wanted 1 to {GROUP_MAX}, and two data symbols at least")]
    Group {
        /// Steps in a stripe.
        group: u32,
    },
    /// The generator of RFC 5170 has no such state.
    #[error("seed {seed}: wanted 1 to {RFC5170_SEED_MAX} for rfc5170")]
    Seed {
        /// The seed given.
        seed: u64,
    },
    /// The symbol size is not a power of two up to [`UNIT_MAX`].
    #[error("symbols of {unit} bytes: wanted a power of two up to {UNIT_MAX}")]
    Unit {
        /// Bytes asked for.
        unit: u8,
    },
    /// The frame length is zero, no multiple of [`FRAME_STEPS_MULTIPLE`] and of whole stripes, or shorter than the
    /// frame's tail.
    #[error(
        "frames of {frame_steps} steps: wanted a multiple of {FRAME_STEPS_MULTIPLE} and {stripe}, at least D = {depth}"
    )]
    Frame {
        /// Steps asked for.
        frame_steps: u32,
        /// Steps in a stripe.
        stripe: u32,
        /// The longest delay.
        depth: u32,
    },
}

impl Profile {
    /// Checks all parameters against each other and the caps, before a code is built from any of them.
    ///
    /// # Errors
    /// The first parameter that does not fit, by name.
    pub fn new(
        data: u64,
        parity: u64,
        construction: Construction,
        unit: u8,
        frame_steps: u32,
    ) -> Result<Self, ProfileError> {
        let (k, m) = check_shape(data, parity)?;
        match construction {
            Construction::Shift { modulus } => check_modulus(modulus, k.max(m))?,
            Construction::Coupled { n1, period, depth, .. } => {
                if depth > DEPTH_MAX {
                    return Err(ProfileError::Depth { depth: depth.into() });
                }
                if n1 == 0 || n1 % 2 == 1 || n1 > WEIGHT_MAX.min(depth + 1) {
                    return Err(ProfileError::Weight { n1, depth });
                }
                let per_step = u64::from(k) * u64::from(n1) + u64::from(m);
                if period == 0 || u64::from(period) * per_step > TAPS_MAX as u64 {
                    return Err(ProfileError::Period { period, per_step });
                }
            }
            Construction::Rfc5170 { n1, group, seed } => check_rfc5170(k, m, n1, group, seed)?,
        }
        let depth = depth(construction, k, m);
        if depth > u64::from(DEPTH_MAX) {
            return Err(ProfileError::Depth { depth });
        }
        let taps = u64::from(k) * u64::from(m);
        if matches!(construction, Construction::Shift { .. }) && taps > TAPS_MAX as u64 {
            return Err(ProfileError::Period { period: 1, per_step: taps });
        }
        if !unit.is_power_of_two() || unit > UNIT_MAX {
            return Err(ProfileError::Unit { unit });
        }
        let depth = u32::try_from(depth).expect("capped by DEPTH_MAX");
        let stripe = stripe(construction);
        let whole = |multiple| frame_steps.is_multiple_of(multiple);
        if frame_steps == 0 || frame_steps < depth || !whole(FRAME_STEPS_MULTIPLE) || !whole(stripe) {
            return Err(ProfileError::Frame { frame_steps, stripe, depth });
        }
        let surplus = surplus(k, m, construction);
        Ok(Self { data: k, parity: m, construction, unit, frame_steps, depth, surplus })
    }

    /// Data blocks (k).
    #[must_use]
    pub fn data(&self) -> usize {
        self.data as usize
    }

    /// Parity blocks (m).
    #[must_use]
    pub fn parity(&self) -> usize {
        self.parity as usize
    }

    /// All blocks (n = k + m); block b holds data if b < k.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.data() + self.parity()
    }

    /// How parity taps data.
    #[must_use]
    pub fn construction(&self) -> Construction {
        self.construction
    }

    /// Bytes in a symbol (u).
    #[must_use]
    pub fn unit(&self) -> usize {
        self.unit.into()
    }

    /// Data steps in a full frame (R).
    #[must_use]
    pub fn frame_steps(&self) -> u64 {
        self.frame_steps.into()
    }

    /// The longest delay in symbols (D).
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth as usize
    }

    /// Symbols that a frame of a parity block has more than a frame of a data block: D, or 0 if no delay leads out
    /// of a stripe.
    #[must_use]
    pub fn tail(&self) -> usize {
        match self.construction {
            Construction::Rfc5170 { .. } => 0,
            _ => self.depth(),
        }
    }

    /// Steps that are coded together, apart from all others; frames and blocks hold a whole number of these. 1 if
    /// the code runs through.
    #[must_use]
    pub fn stripe(&self) -> usize {
        stripe(self.construction) as usize
    }

    /// How many blocks suffice (T, at most n), whichever they are: k for `shift`; for `coupled` k+1 if the seed was screened,
    /// else k+2 or what arithmetic on the parameters asks for; for `rfc5170` k+2 or, of many blocks, more. What that
    /// rests on says [`Profile::evidence`].
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.data() + self.surplus as usize
    }

    /// The name of the construction.
    #[must_use]
    pub fn code_name(&self) -> &'static str {
        match self.construction {
            Construction::Shift { .. } => "shift",
            Construction::Coupled { .. } => "coupled",
            Construction::Rfc5170 { .. } => "rfc5170",
        }
    }
}

pub(crate) fn stripe(construction: Construction) -> u32 {
    match construction {
        Construction::Rfc5170 { group, .. } => group,
        _ => 1,
    }
}

pub(crate) fn depth(construction: Construction, k: u32, m: u32) -> u64 {
    let (k, m) = (u64::from(k), u64::from(m));
    match construction {
        Construction::Shift { modulus: 0 } => (k - 1) * (m - 1),
        Construction::Shift { modulus } => {
            let q = u64::from(modulus);
            (0..m).map(|j| (0..k).map(|b| b * j % q).max().unwrap_or(0)).max().unwrap_or(0)
        }
        Construction::Coupled { depth, .. } => depth.into(),
        Construction::Rfc5170 { group, .. } => u64::from(group) - 1,
    }
}

pub(crate) fn check_shape(data: u64, parity: u64) -> Result<(u32, u32), ProfileError> {
    let fits = data >= 1 && parity >= 1 && data.saturating_add(parity) <= BLOCKS_MAX as u64;
    match (u32::try_from(data), u32::try_from(parity)) {
        (Ok(k), Ok(m)) if fits => Ok((k, m)),
        _ => Err(ProfileError::Shape { data, parity }),
    }
}

fn check_modulus(modulus: u32, least: u32) -> Result<(), ProfileError> {
    // Primes far above the block count only lengthen delays; the cap keeps the trial division short.
    let fits = modulus == 0 || (modulus >= least && modulus <= DEPTH_MAX && is_prime(modulus));
    if fits { Ok(()) } else { Err(ProfileError::Modulus { modulus, least }) }
}

/// Beyond these caps the matrix would not be the RFC's, or its draws would never end.
fn check_rfc5170(k: u32, m: u32, n1: u32, group: u32, seed: u64) -> Result<(), ProfileError> {
    // 31 · (4095 · 10 + 4095) taps and rows at most: below TAPS_MAX.
    if group == 0 || group > GROUP_MAX || k * group < 2 {
        return Err(ProfileError::Group { group });
    }
    let rows = u64::from(m) * u64::from(group);
    if !(3..=10).contains(&n1) || u64::from(n1) > rows {
        return Err(ProfileError::Rfc5170Weight { n1, rows });
    }
    if !(1..=RFC5170_SEED_MAX).contains(&seed) { Err(ProfileError::Seed { seed }) } else { Ok(()) }
}

fn is_prime(number: u32) -> bool {
    number >= 2 && (2..).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d))
}

#[cfg(test)]
mod tests {
    use super::{Construction, DEPTH_MAX, Profile, ProfileError, RFC5170_SEED_MAX};
    use crate::{BlockSet, Codec};

    const SHIFT: Construction = Construction::Shift { modulus: 0 };

    fn coupled(n1: u32, period: u32, depth: u32) -> Construction {
        Construction::Coupled { n1, period, depth, seed: 1 }
    }

    /// A forged manifest must not make us build a code of any size it likes.
    #[test]
    fn every_parameter_is_refused_beyond_its_cap() {
        use ProfileError as E;
        let new = |k, m, c, u, r| Profile::new(k, m, c, u, r).unwrap_err();
        assert!(matches!(new(0, 1, SHIFT, 64, 16), E::Shape { .. }));
        assert!(matches!(new(1, 0, SHIFT, 64, 16), E::Shape { .. }));
        assert!(matches!(new(4000, 97, SHIFT, 64, 16), E::Shape { .. }));
        assert!(matches!(new(u64::MAX, u64::MAX, SHIFT, 64, 16), E::Shape { .. }));
        assert!(matches!(new(2000, 2000, SHIFT, 64, 16), E::Depth { .. }));
        for modulus in [1, 9, 12, 7, u32::MAX] {
            assert!(matches!(new(10, 4, Construction::Shift { modulus }, 64, 16), E::Modulus { .. }));
        }
        for n1 in [0, 7, 18, 66, u32::MAX] {
            assert!(matches!(new(20, 20, coupled(n1, 16, 15), 64, 16), E::Weight { .. }), "{n1}");
        }
        assert!(matches!(new(20, 20, coupled(8, 16, DEPTH_MAX + 1), 64, 16), E::Depth { .. }));
        for period in [0, 1 << 20, u32::MAX] {
            assert!(matches!(new(20, 20, coupled(8, period, 15), 64, 16), E::Period { .. }), "{period}");
        }
        // Many rows and hardly any taps would take as long to draw.
        assert!(matches!(new(1, 4095, coupled(2, 1024, 15), 64, 16), E::Period { .. }));
        for unit in [0, 3, 65, 128, 255] {
            assert!(matches!(new(10, 4, SHIFT, unit, 16), E::Unit { .. }), "{unit}");
        }
        for steps in [0, 1, 17, 16] {
            assert!(matches!(new(10, 4, SHIFT, 64, steps), E::Frame { .. }), "{steps}");
        }
    }

    #[test]
    fn what_rfc_5170_has_no_field_for_is_refused() {
        use ProfileError as E;
        let new = |k, m, n1, group, seed, steps| {
            Profile::new(k, m, Construction::Rfc5170 { n1, group, seed }, 64, steps)
        };
        for n1 in [0, 1, 2, 11, u32::MAX] {
            assert!(matches!(new(10, 5, n1, 16, 1, 1024), Err(E::Rfc5170Weight { .. })), "{n1}");
        }
        // Draws for a column with more ones than rows would never end.
        assert!(matches!(new(10, 1, 4, 3, 1, 48), Err(E::Rfc5170Weight { rows: 3, .. })));
        for group in [0, 32, u32::MAX] {
            assert!(matches!(new(10, 5, 7, group, 1, 1024), Err(E::Group { .. })), "{group}");
        }
        // Nor would those for the second symbol of a row where there is but one.
        assert!(matches!(new(1, 5, 3, 1, 1, 1024), Err(E::Group { .. })));
        for seed in [0, (1 << 31) - 1, u64::MAX] {
            assert!(matches!(new(10, 5, 7, 16, seed, 1024), Err(E::Seed { .. })), "{seed}");
        }
        for steps in [0, 16, 24, 1024] {
            assert!(matches!(new(10, 5, 7, 24, 1, steps), Err(E::Frame { .. })), "{steps}");
        }
        for (k, m, n1, group) in [(4095, 1, 10, 31), (1, 4095, 10, 31), (2, 3, 3, 1), (1, 3, 3, 2)] {
            let profile = new(k, m, n1, group, RFC5170_SEED_MAX, 16 * group).unwrap();
            assert_eq!(
                (profile.tail(), profile.stripe(), profile.depth() + 1),
                (0, group as usize, group as usize)
            );
        }
    }

    #[test]
    fn the_largest_shapes_are_profiles() {
        for (k, m) in [(4095, 1), (1, 4095), (3896, 200), (2048, 2048)] {
            Profile::new(k, m, coupled(8, 16, 63), 64, 64).unwrap();
        }
    }

    /// One parity block is no two blocks more than k: what cannot be kept is not promised.
    #[test]
    fn no_more_blocks_are_asked_for_than_there_are() {
        let rfc5170 = Construction::Rfc5170 { n1: 3, group: 16, seed: 1 };
        for (k, m, construction) in [
            (50, 1, coupled(8, 1, 7)),
            (50, 2, coupled(8, 1, 7)),
            (4, 100, coupled(2, 1, 1)),
            (50, 1, rfc5170),
        ] {
            let profile = Profile::new(k, m, construction, 64, 64).unwrap();
            assert_eq!(profile.threshold(), profile.blocks(), "{k}+{m}");
            let codec = Codec::new(profile);
            let mut live = BlockSet::all(profile.blocks());
            assert_eq!(codec.recoverable(&live), Some(0), "{k}+{m}");
            live.remove(0);
            assert!(codec.recoverable(&live).is_none_or(|spare| spare == 0), "{k}+{m}");
        }
    }

    #[test]
    fn depth_is_the_longest_delay() {
        let depth =
            |k, m, modulus| Profile::new(k, m, Construction::Shift { modulus }, 64, 1024).unwrap().depth();
        assert_eq!((depth(10, 4, 11), depth(10, 4, 0), depth(20, 10, 0), depth(5, 1, 0)), (10, 27, 171, 0));
    }
}
