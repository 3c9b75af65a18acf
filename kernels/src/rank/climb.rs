//! Climbs towards the worst loss, from a random one: what sampling would meet once in a blue moon.

use super::RankTest;
use crate::code::Code;
use crate::losses::Losses;
use crate::prng::SplitMix64;

/// What a climb came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Climb {
    /// Symbols that the worst loss with k blocks left leaves open.
    pub open: usize,
    /// Losses one block smaller that were made of it, with k+1 blocks left.
    pub tried: u64,
    /// How many of these are not survived either.
    pub failed: u64,
    /// One that is not, if there is any, else any.
    pub worst: Vec<usize>,
}

impl Climb {
    /// Exchanges one lost block after the other as long as that leaves no less open; then gives one block back, in every
    /// way. The same for the same numbers. `rank` says what is survived; the climb itself looks less far ahead.
    ///
    /// # Panics
    /// If the code has no two blocks of data or of parity: there is nowhere to climb.
    #[must_use]
    pub fn new(code: &Code, rank: &mut RankTest<'_>, seed: u64, index: u64) -> Self {
        let profile = code.profile();
        let most = profile.parity().min(profile.data());
        assert!(most > 1, "{profile:?}");
        let mut quick = RankTest::new(code).with_look_ahead(LOOK_AHEAD);
        let mut prng =
            SplitMix64::new(SplitMix64::new(seed).next() ^ index.wrapping_mul(0xA076_1D64_78BD_642F));
        let mut below = |bound: usize| prng.below(u32::try_from(bound).expect("at most BLOCKS_MAX")) as usize;
        // Few lost data blocks have least equations to spare.
        let data_lost = 2 + below(8.min(most - 1));
        let losses = Losses::new(profile, profile.data(), data_lost.min(most)).expect("at most m");
        let mut live = losses.sample(seed, index);
        let mut open = quick.undetermined(&live);
        for _ in 0..STEPS {
            let (inside, outside): (Vec<usize>, Vec<usize>) =
                (0..profile.blocks()).partition(|&block| live.contains(block));
            let mut next = live.clone();
            next.remove(inside[below(inside.len())]);
            next.insert(outside[below(outside.len())]);
            if (0..profile.data()).all(|block| next.contains(block)) {
                continue;
            }
            let now = quick.undetermined(&next);
            if now >= open {
                (live, open) = (next, now);
            }
        }
        let lost: Vec<usize> = (0..profile.blocks()).filter(|&block| !live.contains(block)).collect();
        let mut failing = Vec::new();
        for &block in &lost {
            live.insert(block);
            if !rank.determines(&live) {
                failing.push(block);
            }
            live.remove(block);
        }
        let back = failing.first().unwrap_or(&lost[0]);
        let worst = lost.iter().filter(|block| *block != back).copied().collect();
        Self { open, tried: lost.len() as u64, failed: failing.len() as u64, worst }
    }
}

/// Steps.
const LOOK_AHEAD: usize = 48;
const STEPS: usize = 400;
