//! Light kernels: one or two data symbols whose sum leaves most parity blocks untouched.
//!
//! Who loses the few blocks that such a sum is in cannot tell it from nothing. So kernels that are in no more blocks than
//! may be lost break a promise whatever else the code is good for, and a seed that has one is not used. Here *all* of
//! them are looked at, where random losses meet the few that there are by luck only.

use std::ops::Range;

use crate::code::Code;

/// The kernels of one and of two data symbols of a coupled code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LightKernels {
    /// How many there are in so many blocks, by that number.
    pub counts: Vec<u64>,
    /// The blocks of one in the fewest: their loss leaves something open.
    pub lightest: Vec<usize>,
}

impl LightKernels {
    /// Looks at each data symbol of a period, alone and with each that it shares rows with. `None` for other codes than
    /// the coupled one, whose parity never ends after such a sum, or whose promise is no matter of luck.
    #[must_use]
    pub fn of(code: &Code) -> Option<Self> {
        if !code.is_chained() || code.profile().stripe() != 1 {
            return None;
        }
        let profile = code.profile();
        let (period, parity) = (code.phases().len(), profile.parity());
        let mut search = Search {
            order: code.phases().iter().flatten().map(|row| row.parity).collect(),
            parity,
            data: profile.data(),
            seen: vec![0; parity],
            looks: 0,
            runs: Vec::new(),
            found: Self { counts: vec![0; profile.blocks() + 1], lightest: Vec::new() },
        };
        // Rows that a symbol is in, in order, counted from the first of its step.
        let mut rows = vec![Vec::new(); period * profile.data()];
        for delay in 0..=profile.depth() {
            for (phase, of_phase) in code.phases().iter().enumerate() {
                let from = (phase + delay * (period - 1)) % period;
                for (place, row) in of_phase.iter().enumerate() {
                    for tap in row.taps.iter().filter(|tap| tap.delay == delay) {
                        rows[from * profile.data() + tap.block].push(delay * parity + place);
                    }
                }
            }
        }
        for (first, of_first) in rows.iter().enumerate() {
            let (phase, block) = (first / profile.data(), first % profile.data());
            search.look([(phase, of_first), (phase, &[])], &[block]);
            for later in 0..=profile.depth() {
                let step = phase + later;
                for other in if later == 0 { block + 1 } else { 0 }..profile.data() {
                    let of_other = &rows[step % period * profile.data() + other];
                    search.look([(phase, of_first), (step, of_other)], &[block, other]);
                }
            }
        }
        Some(search.found)
    }

    /// The number of blocks that the lightest one is in.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.lightest.len()
    }
}

struct Search {
    /// The parity blocks of the rows of a period.
    order: Vec<usize>,
    parity: usize,
    data: usize,
    /// The last look that met a parity block.
    seen: Vec<u64>,
    looks: u64,
    runs: Vec<Range<usize>>,
    found: LightKernels,
}

impl Search {
    /// Takes two symbols by their steps and their rows. Between a row with a tap and the next one the accumulator holds
    /// their sum, so all parity between is touched.
    fn look(&mut self, [first, other]: [(usize, &[usize]); 2], data: &[usize]) {
        let [mut first, mut other] = [first, other].map(|(step, rows)| {
            let start = step * self.parity;
            rows.iter().map(move |row| start + row).peekable()
        });
        let rows = std::iter::from_fn(|| match (first.peek(), other.peek()) {
            (Some(a), Some(b)) if a <= b => first.next(),
            (Some(_), None) => first.next(),
            _ => other.next(),
        });
        self.runs.clear();
        let mut start = None;
        for row in rows {
            let Some(start) = start.take() else {
                start = Some(row);
                continue;
            };
            if start.next_multiple_of(self.parity) + self.parity <= row {
                // All of a phase, so all parity blocks: no loss that anybody promises to survive.
                return;
            }
            self.runs.push(start..row);
        }
        self.looks += 1;
        let mut touched = 0;
        for row in self.runs.iter().cloned().flatten() {
            let seen = &mut self.seen[self.order[row % self.order.len()]];
            touched += usize::from(*seen != self.looks);
            *seen = self.looks;
        }
        if touched == self.parity {
            return;
        }
        let mut lost = data.to_vec();
        lost.dedup();
        let blocks = lost.len() + touched;
        self.found.counts[blocks] += 1;
        if self.found.lightest.is_empty() || blocks < self.found.lightest.len() {
            let touched = (0..self.parity).filter(|&block| self.seen[block] == self.looks);
            lost.extend(touched.map(|block| self.data + block));
            lost.sort_unstable();
            self.found.lightest = lost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LightKernels;
    use crate::rank::RankTest;
    use crate::{BlockSet, Code, Construction, Profile};

    fn code(k: u64, m: u64, construction: Construction) -> Code {
        Code::new(Profile::new(k, m, construction, 64, 1 << 16).unwrap())
    }

    /// A kernel that is none would reject good seeds; one that is missed lets a bad one through.
    #[test]
    fn the_loss_of_a_kernels_blocks_is_fatal() {
        for seed in 1..20 {
            let code = code(20, 20, Construction::Coupled { n1: 4, period: 8, depth: 7, seed });
            let lightest = LightKernels::of(&code).unwrap().lightest;
            let mut live = BlockSet::all(40);
            lightest.iter().for_each(|&block| live.remove(block));
            assert!(!lightest.is_empty() && !RankTest::new(&code).determines(&live), "{seed}: {lightest:?}");
        }
    }

    /// With few taps that lie close together a pair of symbols merges soon: random losses show how soon.
    #[test]
    fn seeds_with_lighter_kernels_than_is_promised_are_told_apart() {
        let lightest = |n1, depth, seed| {
            LightKernels::of(&code(24, 26, Construction::Coupled { n1, period: 32, depth, seed }))
        };
        assert!(lightest(4, 7, 1).unwrap().blocks() <= 25);
        let shipped = Profile::for_source(24, 26, 1 << 30).unwrap();
        let Construction::Coupled { n1, depth, seed, .. } = shipped.construction() else { unreachable!() };
        let shipped = lightest(n1, depth, seed).unwrap();
        assert!(shipped.lightest.is_empty() || shipped.blocks() > 25, "{:?}", shipped.counts);
        assert_eq!(LightKernels::of(&code(10, 5, Construction::Shift { modulus: 11 })), None);
    }
}
