//! All losses of a shift code: every minor of its matrix of delays.
//!
//! If d data blocks are lost and d parity blocks are used, the system's matrix is a d×d minor of the matrix
//! z^s(b,j), z being the delay by a symbol. The loss restores, for every length, exactly if the minor is not the zero
//! polynomial over F2. Its value modulo one polynomial of degree 64 is enough to see that it is not: if that is not
//! zero, the minor is not.
//!
//! Minors are expanded along their last column (Laplace), so the minors of all sets of rows share those of the columns
//! before: walking the sets of columns depth-first, each minor takes d multiplications by a power of z, which are
//! shifts.

use crate::code::Code;

/// The minors of one shift code.
pub struct Minors {
    /// Delays by block and parity.
    delays: Vec<Vec<usize>>,
    parity: usize,
}

/// Losses that were looked at.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Found {
    /// How many.
    pub tried: u64,
    /// Those whose minor is zero modulo the polynomial: data blocks, and the parity blocks used. The minor itself may
    /// be another than zero.
    pub zero: Vec<(Vec<usize>, Vec<usize>)>,
}

impl Minors {
    /// `None` unless the code is a shift code with at most [`Self::PARITY_MAX`] parity blocks.
    #[must_use]
    pub fn new(code: &Code) -> Option<Self> {
        let parity = code.profile().parity();
        let plain =
            code.phases().len() == 1 && code.phases()[0].iter().all(|row| !row.chained && row.back == 0);
        if !plain || parity > Self::PARITY_MAX {
            return None;
        }
        let delay = |block: usize| {
            let of =
                |row: &crate::code::Row| row.taps.iter().find(|tap| tap.block == block).map(|tap| tap.delay);
            code.phases()[0].iter().map(of).collect::<Option<Vec<usize>>>()
        };
        let delays: Option<Vec<_>> = (0..code.profile().data()).map(delay).collect();
        Some(Self { delays: delays?, parity })
    }

    /// More parity blocks have more sets than are kept at a time.
    pub const PARITY_MAX: usize = 16;

    /// Looks at every minor whose first column is `first`: all of them, over all `first`, are the C(n, m) losses of m
    /// blocks but the one of no data block.
    #[must_use]
    pub fn with_first(&self, first: usize) -> Found {
        let mut found = Found::default();
        // By number of columns, the minor of each set of so many rows.
        let mut one = vec![0; 1 << self.parity];
        one[0] = 1;
        let mut minors = vec![one];
        self.walk(first, &mut vec![first], &mut minors, &mut found);
        found
    }

    /// Extends the minors by the last of `columns`, and goes on with each column behind it.
    fn walk(&self, column: usize, columns: &mut Vec<usize>, minors: &mut Vec<Vec<u64>>, found: &mut Found) {
        let depth = columns.len();
        if minors.len() == depth {
            minors.push(vec![0; 1 << self.parity]);
        }
        let (before, now) = minors.split_at_mut(depth);
        for rows in sets(self.parity, depth) {
            let minor = ones(rows).fold(0, |sum, row| {
                sum ^ times_power(before[depth - 1][rows & !(1 << row)], self.delays[column][row])
            });
            now[0][rows] = minor;
            found.tried += 1;
            if minor == 0 {
                found.zero.push((columns.clone(), ones(rows).collect()));
            }
        }
        if depth < self.parity {
            for next in column + 1..self.delays.len() {
                columns.push(next);
                self.walk(next, columns, minors, found);
                columns.pop();
            }
        }
    }
}

/// `value`·z^`power` modulo z^64 + z^4 + z^3 + z + 1.
fn times_power(mut value: u64, mut power: usize) -> u64 {
    while power > 0 {
        let now = power.min(60);
        let over = value.checked_shr(64 - now as u32).unwrap_or(0);
        value = value << now ^ over ^ over << 1 ^ over << 3 ^ over << 4;
        power -= now;
    }
    value
}

/// The sets of `count` of the numbers below `of`, as bits, ascending.
fn sets(of: usize, count: usize) -> impl Iterator<Item = usize> {
    let first = (1_usize << count) - 1;
    std::iter::successors(Some(first), |&set| {
        // The next number with as many ones.
        let lowest = set & set.wrapping_neg();
        let carried = set + lowest;
        Some(carried | ((set ^ carried) / lowest) >> 2)
    })
    .take_while(move |&set| set >> of == 0)
}

fn ones(set: usize) -> impl Iterator<Item = usize> {
    let some = |set: usize| (set != 0).then_some(set);
    std::iter::successors(some(set), move |&left| some(left & (left - 1)))
        .map(|left| left.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Minors, sets, times_power};
    use crate::{BlockSet, Code, Construction, Profile, RankTest};

    /// All losses by both engines.
    #[test]
    fn no_minor_is_zero_where_the_rank_test_finds_every_loss_determined() {
        for (k, m, modulus) in [(6, 3, 7), (4, 5, 5), (5, 4, 0), (7, 6, 7)] {
            let code = Code::new(Profile::new(k, m, Construction::Shift { modulus }, 64, 1152).unwrap());
            let found = |first| Minors::new(&code).unwrap().with_first(first);
            let all: Vec<_> = (0..k as usize).map(found).collect();
            assert!(all.iter().all(|found| found.zero.is_empty()), "{k}+{m} mod {modulus}");
            let mut rank = RankTest::new(&code);
            let mut losses = 0;
            for set in sets((k + m) as usize, m as usize) {
                let mut live = BlockSet::all((k + m) as usize);
                (0..(k + m) as usize)
                    .filter(|block| set >> block & 1 == 1)
                    .for_each(|block| live.remove(block));
                assert!(rank.determines(&live), "{k}+{m} mod {modulus}: {live:?}");
                losses += 1;
            }
            // The loss of no data block has no minor.
            assert_eq!(all.iter().map(|found| found.tried).sum::<u64>() + 1, losses, "{k}+{m}");
        }
    }

    /// A composite modulus, which no code may have, makes minors vanish: the same as when each is expanded by all
    /// permutations.
    #[test]
    fn minors_vanish_where_their_terms_cancel() {
        for modulus in [4, 6, 8, 9] {
            let (data, parity) = (modulus.min(6), 4);
            let delay = |block: usize| (0..parity).map(|row| block * row % modulus).collect();
            let minors = Minors { delays: (0..data).map(delay).collect(), parity };
            let mut zero = BTreeSet::new();
            for first in 0..data {
                zero.extend(minors.with_first(first).zero);
            }
            let mut expected = BTreeSet::new();
            for count in 1..=parity {
                for columns in sets(data, count).map(|set| super::ones(set).collect::<Vec<_>>()) {
                    for rows in sets(parity, count).map(|set| super::ones(set).collect::<Vec<_>>()) {
                        let mut terms = BTreeSet::new();
                        expand(&minors.delays, &columns, &mut rows.clone(), 0, &mut terms);
                        if terms.is_empty() {
                            expected.insert((columns.clone(), rows));
                        }
                    }
                }
            }
            assert!(!expected.is_empty());
            assert_eq!(zero, expected, "mod {modulus}");
        }
    }

    /// Adds the powers of z of all products of one entry in each column and row; equal ones cancel.
    fn expand(
        delays: &[Vec<usize>],
        columns: &[usize],
        rows: &mut Vec<usize>,
        power: usize,
        terms: &mut BTreeSet<usize>,
    ) {
        let Some((&column, columns)) = columns.split_first() else {
            if !terms.insert(power) {
                terms.remove(&power);
            }
            return;
        };
        for place in 0..rows.len() {
            let row = rows.remove(place);
            expand(delays, columns, rows, power + delays[column][row], terms);
            rows.insert(place, row);
        }
    }

    #[test]
    fn powers_of_z_are_reduced() {
        assert_eq!(times_power(1, 64), 0b11011);
        assert_eq!(times_power(1, 63), 1 << 63);
        let value = 0x1234_5678_9abc_def1;
        for (a, b) in [(1, 100), (60, 60), (17, 0), (3, 200)] {
            assert_eq!(times_power(times_power(value, a), b), times_power(value, a + b));
        }
    }
}
