//! Whether live blocks restore a file: the planner's answer without its program.
//!
//! Which symbols of a horizon are determined is a matter of rank alone, and a chunk that is determined by what
//! follows it stays so when more is known from the chunk before. So one round tells what the planner would say.
//! It runs as a wave: a symbol set aside is found as soon as enough equations behind the front are complete, and
//! from then on costs nothing, so rows stay a few words long however many blocks are lost.

use super::draft::{chunk_steps, look_aheads};
use super::system::System;
use crate::block_set::BlockSet;
use crate::code::Code;

/// Whether [`super::DecodePlan::new`] has a plan for `live`.
pub(crate) fn determines(code: &Code, live: &BlockSet) -> bool {
    if live.len() < code.profile().data() {
        return false;
    }
    let system = System::of_lost(code, live);
    let chunk = chunk_steps(code);
    look_aheads(code, &system)
        .any(|look_ahead| Wave::new(&system, chunk + look_ahead).reaches(chunk * system.lost.len()))
}

struct Wave {
    /// Unknowns of each equation, and equations of each unknown; both are numbered in the order of their steps.
    equations: Vec<Vec<usize>>,
    contained: Vec<Vec<usize>>,
    /// The first equation of each step.
    starts: Vec<usize>,
    /// How many steps an unknown's equations may lie after it.
    reach: usize,
    per_step: usize,
    /// Unsettled unknowns left in each equation.
    left: Vec<usize>,
    ready: Vec<usize>,
    settled: Vec<bool>,
    /// Which inactive unknowns a settled one still lacks.
    lacks: Vec<Row>,
    /// The unknowns that lack any.
    lacking: Vec<usize>,
    inactive: usize,
    /// Independent equations of the inactive unknowns; none has the first one of a row before it.
    pivots: Vec<Row>,
    /// No unknown below is unsettled.
    front: usize,
}

impl Wave {
    fn new(system: &System, horizon: usize) -> Self {
        let per_step = system.lost.len();
        let (mut equations, mut starts) = (Vec::new(), Vec::new());
        let mut contained = vec![Vec::new(); horizon * per_step];
        for step in 0..horizon {
            starts.push(equations.len());
            for equation in &system.phases[step % system.phases.len()] {
                let unknown = equation.lost.iter().filter_map(|term| {
                    Some(step.checked_add_signed(term.symbol as isize)? * per_step + term.block)
                });
                let unknowns: Vec<usize> = unknown.collect();
                unknowns.iter().for_each(|&unknown| contained[unknown].push(equations.len()));
                equations.push(unknowns);
            }
        }
        let left: Vec<usize> = equations.iter().map(Vec::len).collect();
        Self {
            ready: (0..left.len()).rev().filter(|&equation| left[equation] == 1).collect(),
            settled: vec![false; contained.len()],
            lacks: vec![Row::new(); contained.len()],
            lacking: Vec::new(),
            inactive: 0,
            pivots: Vec::new(),
            front: 0,
            reach: system.depth + 1,
            per_step,
            left,
            starts,
            equations,
            contained,
        }
    }

    /// Whether the first `chunk` unknowns are determined.
    fn reaches(mut self, chunk: usize) -> bool {
        if self.contained[..chunk].iter().any(Vec::is_empty) {
            return false;
        }
        loop {
            while let Some(equation) = self.ready.pop() {
                self.peel(equation);
            }
            let passed = |&unknown: &usize| self.settled[unknown] || self.contained[unknown].is_empty();
            self.front += (self.front..self.settled.len()).take_while(passed).count();
            if self.inactive == 0 && self.front >= chunk {
                return true;
            }
            let Some(unknown) = self.choose_inactive() else { break };
            self.lacks[unknown] = unit(self.inactive);
            self.inactive += 1;
            self.settle(unknown);
        }
        (0..chunk).all(|unknown| self.reduce(self.lacks[unknown].clone()).is_empty())
    }

    fn peel(&mut self, equation: usize) {
        let unsettled = self.equations[equation].iter().find(|&&unknown| !self.settled[unknown]);
        // Another equation may have given the unknown since this one became ready.
        let Some(&unknown) = unsettled else { return };
        self.lacks[unknown] = self.residue(equation);
        // Used up: it says nothing more about the inactive ones.
        self.left[equation] = usize::MAX;
        self.settle(unknown);
    }

    fn settle(&mut self, unknown: usize) {
        self.settled[unknown] = true;
        if !self.lacks[unknown].is_empty() {
            self.lacking.push(unknown);
        }
        for index in 0..self.contained[unknown].len() {
            let equation = self.contained[unknown][index];
            self.left[equation] -= 1;
            match self.left[equation] {
                0 => self.spare(equation),
                1 => self.ready.push(equation),
                _ => {}
            }
        }
    }

    /// An equation in settled unknowns only is one in the inactive ones.
    fn spare(&mut self, equation: usize) {
        let row = self.reduce(self.residue(equation));
        if row.is_empty() {
            return;
        }
        self.pivots.push(row);
        if self.pivots.len() == self.inactive {
            self.lacking.drain(..).for_each(|unknown| self.lacks[unknown].clear());
            self.pivots.clear();
            self.inactive = 0;
        }
    }

    /// Which inactive unknowns remain in an equation once the settled ones are replaced.
    fn residue(&self, equation: usize) -> Row {
        let mut row = Row::new();
        self.equations[equation].iter().for_each(|&unknown| xor(&mut row, &self.lacks[unknown]));
        row
    }

    fn reduce(&self, mut row: Row) -> Row {
        for pivot in &self.pivots {
            if has(&row, first(pivot)) {
                xor(&mut row, pivot);
            }
        }
        row
    }

    /// Of the lightest equation near the front, the unknown in most equations.
    fn choose_inactive(&self) -> Option<usize> {
        let step = (self.front < self.settled.len()).then(|| self.front / self.per_step)?;
        let end = self.starts.get(step + self.reach + 1).copied().unwrap_or(self.equations.len());
        let open = |equation: &usize| (2..usize::MAX / 2).contains(&self.left[*equation]);
        let lightest = (self.starts[step]..end).filter(open).min_by_key(|&equation| self.left[equation])?;
        let weight =
            |unknown: usize| self.contained[unknown].iter().filter(|equation| open(equation)).count();
        let unsettled = self.equations[lightest].iter().filter(|&&unknown| !self.settled[unknown]);
        unsettled.copied().max_by_key(|&unknown| weight(unknown))
    }
}

/// A row of bits whose last word is not zero.
type Row = Vec<u64>;

fn unit(bit: usize) -> Row {
    let mut row = vec![0; bit / 64 + 1];
    row[bit / 64] = 1 << (bit % 64);
    row
}

fn xor(row: &mut Row, other: &[u64]) {
    row.resize(row.len().max(other.len()), 0);
    row.iter_mut().zip(other).for_each(|(word, other)| *word ^= other);
    while row.last() == Some(&0) {
        row.pop();
    }
}

fn has(row: &[u64], bit: usize) -> bool {
    row.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
}

/// The first bit of a row that is not zero.
fn first(row: &[u64]) -> usize {
    let word = row.iter().take_while(|&&word| word == 0).count();
    word * 64 + row[word].trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::determines;
    use crate::plan::DecodePlan;
    use crate::{BlockSet, Code, Construction, Profile};

    /// Losses around the threshold, where the answer is not the same for all of them.
    #[test]
    fn the_rank_test_says_what_the_planner_says() {
        let coupled = |n1, period, depth| Construction::Coupled { n1, period, depth, seed: 7 };
        let rfc5170 = |n1, group| Construction::Rfc5170 { n1, group, seed: 7 };
        let shapes = [
            (3, 5, coupled(2, 4, 3), 14),
            (6, 6, coupled(4, 3, 5), 14),
            (10, 12, coupled(4, 8, 3), 7),
            (12, 8, coupled(6, 8, 7), 7),
            (20, 20, coupled(4, 4, 3), 4),
            (40, 12, coupled(8, 4, 7), 3),
            (8, 6, Construction::Shift { modulus: 11 }, 7),
            (7, 4, Construction::Shift { modulus: 0 }, 7),
            (4, 6, rfc5170(3, 1), 200),
            (6, 7, rfc5170(5, 4), 100),
            (10, 9, rfc5170(9, 24), 20),
            (20, 22, rfc5170(7, 8), 20),
        ];
        let (mut state, mut answers) = (1_u64, [0, 0]);
        for (k, m, construction, samples) in shapes {
            let code = Code::new(Profile::new(k, m, construction, 64, 1152).unwrap());
            for sample in 0..samples {
                let mut live = BlockSet::all((k + m) as usize);
                while live.len() > (k + sample % 4) as usize {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    live.remove((state >> 33) as usize % live.blocks());
                }
                let planned = DecodePlan::new(&code, &live).is_ok();
                assert_eq!(determines(&code, &live), planned, "{k}+{m} {construction:?} {live:?}");
                answers[usize::from(planned)] += 1;
            }
        }
        assert!(answers.iter().all(|&count| count > 5), "{answers:?}");
    }
}
