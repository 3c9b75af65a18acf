//! Chance that can be played again: every decision is a hash of the seed and of what is decided about.
//!
//! Nothing is drawn from a common sequence, so neither the interleaving of calls nor another fault that is switched
//! on changes a decision; and what fails with one probability fails with every higher one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::ObjectName;

/// A node in a tree of seeds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roll([u8; 32]);

impl Roll {
    pub(super) fn new(seed: u64) -> Self {
        Self(*blake3::hash(&seed.to_le_bytes()).as_bytes())
    }

    /// The branch called `label`.
    pub(super) fn then(&self, label: &str) -> Self {
        Self(*blake3::keyed_hash(&self.0, label.as_bytes()).as_bytes())
    }

    /// Whether that happens which has this probability.
    pub(super) fn chance(&self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// Uniform in 0.0 to below 1.0.
    pub(super) fn fraction(&self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `0..bound`, but for a bias that no test of less than 2^60 calls can see; 0 when there is nothing.
    pub(super) fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }

    pub(super) fn bytes(&self) -> [u8; 32] {
        self.0
    }

    fn number(&self) -> u64 {
        let (first, _) = self.0.split_first_chunk().expect("32 bytes are more than 8");
        u64::from_le_bytes(*first)
    }
}

/// Numbers the calls of each kind for each object. Takes some 200 bytes for each, and forgets none.
#[derive(Debug, Default)]
pub(super) struct Numbers(Mutex<HashMap<(&'static str, Option<ObjectName>), u64>>);

impl Numbers {
    pub(super) fn next(&self, call: &'static str, name: Option<&ObjectName>) -> u64 {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers.entry((call, name.cloned())).or_default();
        *number += 1;
        *number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_what_they_are_said_to_be() {
        let roll = Roll::new(7);
        let each = || (0..10_000).map(|i| roll.then(&i.to_string()));
        for probability in [0.0, 0.1, 0.5, 1.0] {
            let happened = each().filter(|roll| roll.chance(probability)).count() as f64;
            assert!((happened - 10_000.0 * probability).abs() < 200.0, "{happened} at {probability}");
        }
        assert!(each().all(|roll| roll.below(3) < 3 && roll.below(0) == 0));
        let quarter = each().filter(|roll| roll.below(4) == 3).count();
        assert!((2300..2700).contains(&quarter), "{quarter}");
    }

    #[test]
    fn a_failure_is_played_again_by_its_seed_on_every_machine() {
        assert_eq!(Roll::new(7).then("loss").then("id/7").below(1_000_000), FROZEN);
        assert_ne!(Roll::new(8).then("loss").then("id/7").below(1_000_000), FROZEN);
    }

    const FROZEN: u64 = 607_325;
}
