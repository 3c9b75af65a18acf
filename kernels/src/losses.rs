//! Losses of one kind, numbered: all of them, or drawn at random.

use std::ops::RangeInclusive;

use crate::block_set::BlockSet;
use crate::prng::SplitMix64;
use crate::profile::Profile;

/// The losses that leave so many blocks and take so many data blocks: one stratum of all losses. How hard a loss is
/// depends on the number of data blocks in it, so each stratum is counted for itself.
#[derive(Clone, Copy, Debug)]
pub struct Losses {
    data: usize,
    blocks: usize,
    data_lost: usize,
    parity_lost: usize,
}

impl Losses {
    /// `None` if there is no such loss.
    #[must_use]
    pub fn new(profile: &Profile, left: usize, data_lost: usize) -> Option<Self> {
        let (data, blocks) = (profile.data(), profile.blocks());
        let parity_lost = blocks.checked_sub(left)?.checked_sub(data_lost)?;
        let fits = data_lost <= data && parity_lost <= profile.parity();
        fits.then_some(Self { data, blocks, data_lost, parity_lost })
    }

    /// The numbers of lost data blocks, but for none, that there are among the losses which leave so many blocks.
    #[must_use]
    pub fn strata(profile: &Profile, left: usize) -> RangeInclusive<usize> {
        let lost = profile.blocks() - left;
        lost.saturating_sub(profile.parity()).max(1)..=lost.min(profile.data())
    }

    /// Data blocks in each loss.
    #[must_use]
    pub fn data_lost(&self) -> usize {
        self.data_lost
    }

    /// How many there are, unless that is more than numbers of 64 bits.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        let of_data = choose(self.data, self.data_lost)?;
        of_data.checked_mul(choose(self.blocks - self.data, self.parity_lost)?)
    }

    /// What is left after loss `index` of all.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn nth(&self, index: u64) -> BlockSet {
        assert!(self.count().is_some_and(|count| index < count), "loss {index} of {:?}", self.count());
        let of_data = choose(self.data, self.data_lost).expect("counted");
        let mut live = BlockSet::all(self.blocks);
        remove_nth(&mut live, 0..self.data, self.data_lost, index % of_data);
        remove_nth(&mut live, self.data..self.blocks, self.parity_lost, index / of_data);
        live
    }

    /// What is left after a random loss: the same for the same seed and index, independent for others.
    #[must_use]
    pub fn sample(&self, seed: u64, index: u64) -> BlockSet {
        let kind = (self.data_lost as u64) << 16 ^ self.parity_lost as u64;
        // Draws of a generator are as good seeds as any.
        let mut prng = SplitMix64::new(seed ^ kind.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let mut prng = SplitMix64::new(prng.next() ^ index.wrapping_mul(0xA076_1D64_78BD_642F));
        let mut live = BlockSet::all(self.blocks);
        for (blocks, count) in [(0..self.data, self.data_lost), (self.data..self.blocks, self.parity_lost)] {
            // Floyd: the last of each prefix stands in for one that was drawn before.
            for last in blocks.end - count..blocks.end {
                let bound = u32::try_from(last + 1 - blocks.start).expect("at most BLOCKS_MAX");
                let drawn = blocks.start + prng.below(bound) as usize;
                live.remove(if live.contains(drawn) { drawn } else { last });
            }
        }
        live
    }
}

/// How many subsets of `size` elements there are, unless that is more than numbers of 64 bits.
pub(crate) fn choose(elements: usize, size: usize) -> Option<u64> {
    // A factor after the other keeps the quotient whole.
    let count = (0..size).try_fold(1_u128, |count, taken| {
        Some(count.checked_mul(elements.saturating_sub(taken) as u128)? / (taken as u128 + 1))
    });
    count.and_then(|count| u64::try_from(count).ok())
}

/// Removes the elements of one of all subsets of `size` elements.
fn remove_nth(live: &mut BlockSet, elements: std::ops::Range<usize>, mut size: usize, mut index: u64) {
    for element in elements.clone() {
        // Those without the element come first.
        let without = choose(elements.end - element - 1, size).expect("no more than all");
        if index >= without {
            index -= without;
            live.remove(element);
            size -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Losses;
    use crate::Profile;

    /// A loss that is left out would be promised unseen.
    #[test]
    fn all_losses_of_a_kind_are_there_once_and_samples_are_of_it() {
        let profile = Profile::for_source(5, 4, 1 << 20).unwrap();
        for (left, data_lost, count) in [(6, 2, 10 * 4), (5, 4, 5), (5, 1, 5 * 4), (9, 0, 1)] {
            let losses = Losses::new(&profile, left, data_lost).unwrap();
            assert_eq!(losses.count(), Some(count));
            let is_of_kind = |live: &crate::BlockSet| {
                live.len() == left && live.iter().filter(|&block| block < 5).count() == 5 - data_lost
            };
            let all: HashSet<_> = (0..count).map(|index| losses.nth(index)).collect();
            assert!(all.len() as u64 == count && all.iter().all(is_of_kind));
            // Each is drawn sooner or later, and none that is not of the kind.
            let drawn: HashSet<_> = (0..40 * count).map(|index| losses.sample(7, index)).collect();
            assert_eq!(drawn, all);
        }
        assert!(Losses::new(&profile, 5, 5).is_none() && Losses::new(&profile, 10, 0).is_none());
    }
}
