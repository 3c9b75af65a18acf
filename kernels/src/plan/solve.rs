//! One chunk of the periodic plan: from the equations of a horizon to the XOR rows that restore its symbols.
//!
//! Symbols are peeled, one row each. Where peeling is stuck a symbol is set aside: it counts as zero, and what is
//! peeled with it *lacks* it. An equation left over tells what symbols set aside are; as soon as one is known
//! its value is added to the symbols that lack it, and nothing after lacks it any more. So the sooner, the
//! fewer corrections.

use super::bits::Bits;
use super::dense::Dense;
use super::horizon::Horizon;
use super::peel::Peel;
use super::system::System;
use crate::program::{Slot, XorRow};

/// What is known of the symbols of a horizon before (or after) a chunk is solved: one flag for each lost
/// block of each step.
pub(super) type Known = Vec<bool>;

pub(super) struct Solved {
    /// The rows, in the order in which they must run.
    pub(super) rows: Vec<XorRow>,
    /// Which symbols of the horizon are right after the rows ran, those known before included.
    pub(super) known: Known,
    /// How many symbols were set aside.
    pub(super) inactive: usize,
}

/// Solves as much as can be of `steps` steps, everything before them known and `known` of their symbols.
/// `streams` tells the stream of each block.
pub(super) fn solve(system: &System, streams: &[Option<usize>], steps: usize, known: &[bool]) -> Solved {
    let horizon = Horizon::new(system, steps, known);
    let mut wave = Wave {
        system,
        streams,
        horizon: &horizon,
        peel: Peel::new(&horizon),
        lacks: vec![Bits::default(); horizon.count()],
        lacking: Vec::new(),
        dense: Dense::default(),
        rows: Vec::new(),
    };
    wave.run();
    let after = wave.finish(known);
    let outputs = (0..after.len()).filter(|&unknown| after[unknown] && !known[unknown]);
    let outputs = outputs.map(|unknown| wave.slot(unknown)).collect();
    Solved { rows: only_needed(wave.rows, outputs), known: after, inactive: wave.dense.columns.len() }
}

struct Wave<'a> {
    system: &'a System,
    streams: &'a [Option<usize>],
    horizon: &'a Horizon,
    peel: Peel<'a>,
    /// For each unknown, the columns that its slot lacks.
    lacks: Vec<Bits>,
    /// The unknowns that lack any.
    lacking: Vec<usize>,
    dense: Dense,
    rows: Vec<XorRow>,
}

impl Wave<'_> {
    fn run(&mut self) {
        loop {
            if let Some(equation) = self.peel.spare() {
                self.eliminate(equation);
            } else if let Some((equation, unknown)) = self.peel.ready() {
                let (from, lacks) = self.sum(equation, Some(unknown));
                self.push(unknown, from);
                self.settle(unknown, lacks);
            } else if let Some(unknown) = self.peel.choose_inactive() {
                let column = self.dense.add(unknown);
                self.settle(unknown, Bits::one(column));
            } else {
                break;
            }
        }
    }

    fn settle(&mut self, unknown: usize, lacks: Bits) {
        if !lacks.is_zero() {
            self.lacks[unknown] = lacks;
            self.lacking.push(unknown);
        }
        self.peel.settle(unknown);
    }

    /// Learns from an equation without unsettled unknowns.
    fn eliminate(&mut self, equation: usize) {
        let (mut from, mut row) = self.sum(equation, None);
        let sum = self.dense.reduce(&mut row);
        let Some(column) = row.ones().next() else { return };
        from.extend(self.columns(&sum));
        self.push(self.dense.columns[column], from);
        self.dense.pivot(column, row);
        let mut any = false;
        while let Some((column, sum)) = self.dense.solve() {
            let unknown = self.dense.columns[column];
            if sum.ones().nth(1).is_some() {
                let from = self.columns(&sum);
                self.push(unknown, from);
            }
            self.lacks[unknown] = Bits::default();
            any = true;
        }
        if any {
            self.correct();
        }
    }

    /// Completes the symbols all of whose lacks are solved.
    fn correct(&mut self) {
        for unknown in std::mem::take(&mut self.lacking) {
            let lacks = std::mem::take(&mut self.lacks[unknown]);
            if lacks.ones().all(|column| self.dense.solved[column]) {
                self.add(unknown, &lacks);
            } else {
                self.lacks[unknown] = lacks;
                self.lacking.push(unknown);
            }
        }
    }

    /// Which symbols are right, now or once what they lack is added: columns that nothing solved may cancel,
    /// and count as zero.
    fn finish(&mut self, known: &[bool]) -> Known {
        let mut after: Known = known
            .iter()
            .enumerate()
            .map(|(unknown, &known)| known || self.peel.is_settled(unknown))
            .collect();
        for unknown in std::mem::take(&mut self.lacking) {
            let mut free = std::mem::take(&mut self.lacks[unknown]);
            let mut sum = Bits::default();
            for column in free.ones().filter(|&column| self.dense.solved[column]) {
                sum.flip(column);
            }
            free.xor(&sum);
            sum.xor(&self.dense.reduce(&mut free));
            after[unknown] = free.is_zero();
            if free.is_zero() {
                self.add(unknown, &sum);
            }
        }
        after
    }

    /// All symbols of an equation but `target` and the unsolved columns, which count as zero; and the columns that
    /// this sum lacks.
    fn sum(&self, equation: usize, target: Option<usize>) -> (Vec<Slot>, Bits) {
        let line = &self.horizon.equations[equation];
        let step = i32::try_from(line.step).expect("horizons are short");
        let terms = &self.system.phases[line.step % self.system.phases.len()][line.index];
        let mut lacks = Bits::default();
        line.unknowns.iter().for_each(|&unknown| lacks.xor(&self.lacks[unknown]));
        let live = terms.live.iter().map(|term| self.block_slot(term.block, step + term.symbol));
        let lost = terms.lost.iter().filter_map(|term| {
            let symbol = step + term.symbol;
            let unknown = usize::try_from(symbol).ok().map(|at| at * self.system.lost.len() + term.block);
            let skip =
                unknown.is_some() && (unknown == target || unknown.is_some_and(|it| self.is_aside(it)));
            (!skip).then(|| self.block_slot(self.system.lost[term.block], symbol))
        });
        let mut from: Vec<Slot> = live.chain(lost).collect();
        let solved: Vec<usize> = lacks.ones().filter(|&column| self.dense.solved[column]).collect();
        for column in solved {
            lacks.flip(column);
            from.push(self.slot(self.dense.columns[column]));
        }
        (from, lacks)
    }

    fn is_aside(&self, unknown: usize) -> bool {
        self.lacks[unknown].ones().next().is_some_and(|column| self.dense.columns[column] == unknown)
    }

    fn add(&mut self, unknown: usize, columns: &Bits) {
        if !columns.is_zero() {
            let from = std::iter::once(self.slot(unknown)).chain(self.columns(columns)).collect();
            self.push(unknown, from);
        }
    }

    fn push(&mut self, unknown: usize, from: Vec<Slot>) {
        self.rows.push(XorRow { to: self.slot(unknown), chained: false, from });
    }

    fn columns(&self, columns: &Bits) -> Vec<Slot> {
        columns.ones().map(|column| self.slot(self.dense.columns[column])).collect()
    }

    fn slot(&self, unknown: usize) -> Slot {
        let (step, block) = (unknown / self.system.lost.len(), unknown % self.system.lost.len());
        self.block_slot(self.system.lost[block], i32::try_from(step).expect("horizons are short"))
    }

    fn block_slot(&self, block: usize, symbol: i32) -> Slot {
        let stream = self.streams[block].expect("lost blocks and those in equations have streams");
        Slot::new(stream, symbol)
    }
}

/// Leaves out the rows whose result no later row and no output needs.
fn only_needed(mut rows: Vec<XorRow>, outputs: std::collections::HashSet<Slot>) -> Vec<XorRow> {
    let mut needed = outputs;
    rows.reverse();
    rows.retain(|row| {
        let keep = needed.remove(&row.to);
        if keep {
            needed.extend(&row.from);
        }
        keep
    });
    rows.reverse();
    rows
}
