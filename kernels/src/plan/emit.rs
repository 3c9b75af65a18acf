//! The rows of a chunk as they are written, and what each slot holds meanwhile.
//!
//! A symbol set aside counts as zero until it is known, so a row that reads what depends on it gives a value that
//! *lacks* it. A peeled symbol that would lack anything waits: either its row is needed to find what was set
//! aside, and it is corrected once that is known, or it is written afterwards and needs no correction.

use super::bits::Bits;
use super::dense::Dense;
use super::horizon::Horizon;
use super::system::System;
use crate::program::{Slot, XorRow};

pub(super) struct Emit<'a> {
    system: &'a System,
    /// The stream of each block of the profile, unless it is not used.
    streams: &'a [Option<usize>],
    horizon: &'a Horizon,
    pub(super) dense: Dense,
    pub(super) rows: Vec<XorRow>,
    symbols: Vec<Symbol>,
    /// Symbols whose slots lack something.
    lacking: Vec<usize>,
    /// Symbols that wait, in the order in which they were peeled; and some that no longer do.
    waiting: Vec<usize>,
}

#[derive(Clone, Default)]
struct Symbol {
    /// The columns that the slot lacks, or would if it was written; solved ones may be among them.
    lacks: Bits,
    /// For a symbol that waits, the equation it is peeled from and how many were peeled before.
    waits: Option<(usize, usize)>,
}

impl<'a> Emit<'a> {
    pub(super) fn new(system: &'a System, streams: &'a [Option<usize>], horizon: &'a Horizon) -> Self {
        let symbols = vec![Symbol::default(); horizon.count()];
        let (dense, rows, lacking, waiting) = (Dense::default(), Vec::new(), Vec::new(), Vec::new());
        Self { system, streams, horizon, dense, rows, symbols, lacking, waiting }
    }

    /// Peels `unknown` from `equation`.
    pub(super) fn peel(&mut self, equation: usize, unknown: usize) {
        if self.is_clean(equation) {
            self.write(equation, unknown);
        } else {
            let lacks = self.lacks(equation);
            self.symbols[unknown] = Symbol { lacks, waits: Some((equation, self.waiting.len())) };
            self.waiting.push(unknown);
        }
    }

    pub(super) fn set_aside(&mut self, unknown: usize) {
        self.symbols[unknown].lacks = Bits::one(self.dense.add(unknown));
        self.lacking.push(unknown);
    }

    /// Learns what it can of the columns from an equation without unsettled unknowns.
    pub(super) fn eliminate(&mut self, equation: usize) {
        let mut row = self.lacks(equation);
        row.take(&self.dense.solved);
        self.dense.reduce(&mut row);
        if row.is_zero() {
            return;
        }
        self.write_waiting(self.horizon.equations[equation].unknowns.clone());
        let (mut from, mut row) = self.sum(equation, None);
        from.extend(self.slots_of(&self.dense.reduce(&mut row)));
        let column = row.first().expect("the same columns as before");
        self.push(self.dense.unknowns[column], from);
        self.dense.pivot(column, row);
        let before = self.dense.solved.clone();
        while let Some((column, sum)) = self.dense.solve() {
            let (unknown, from) = (self.dense.unknowns[column], self.slots_of(&sum));
            if from.len() > 1 {
                self.push(unknown, from);
            }
            self.symbols[unknown].lacks = Bits::default();
        }
        if self.dense.solved != before {
            self.correct();
            self.write_clean();
        }
    }

    /// Whether all settled unknowns below `end` are in their slots.
    pub(super) fn is_complete(&self, end: usize) -> bool {
        let mut open = self.lacking.iter().chain(&self.waiting);
        open.all(|&unknown| unknown >= end || self.symbols[unknown].is_clean())
    }

    /// Completes all settled symbols that are determined, and says which are not. Columns that nothing solved
    /// may cancel, and count as zero.
    pub(super) fn finish(&mut self) -> Vec<usize> {
        let waiting = std::mem::take(&mut self.waiting);
        let open: Vec<usize> =
            waiting.into_iter().filter(|&unknown| self.symbols[unknown].waits.is_some()).collect();
        let (determined, mut undetermined): (Vec<usize>, Vec<usize>) =
            open.into_iter().partition(|&unknown| self.free(unknown).0.is_zero());
        self.write_waiting(determined);
        for unknown in std::mem::take(&mut self.lacking) {
            let (free, sum) = self.free(unknown);
            if free.is_zero() {
                self.add(unknown, &sum);
            } else {
                undetermined.push(unknown);
            }
        }
        undetermined
    }

    /// The columns on which a symbol still depends, and those whose slots it lacks.
    fn free(&self, unknown: usize) -> (Bits, Bits) {
        let mut free = self.symbols[unknown].lacks.clone();
        let mut sum = free.take(&self.dense.solved);
        sum.xor(&self.dense.reduce(&mut free));
        (free, sum)
    }

    /// Writes those of `unknowns` that wait, and what they are made of.
    fn write_waiting(&mut self, unknowns: Vec<usize>) {
        let mut open = unknowns;
        let mut found = Vec::new();
        while let Some(unknown) = open.pop() {
            if let Some((equation, order)) = self.symbols[unknown].waits.take() {
                found.push((order, equation, unknown));
                open.extend(&self.horizon.equations[equation].unknowns);
            }
        }
        found.sort_unstable();
        found.into_iter().for_each(|(_, equation, unknown)| self.write(equation, unknown));
    }

    /// Completes the symbols all of whose lacks are solved.
    fn correct(&mut self) {
        for unknown in std::mem::take(&mut self.lacking) {
            let mut lacks = self.symbols[unknown].lacks.clone();
            let sum = lacks.take(&self.dense.solved);
            if lacks.is_zero() {
                self.symbols[unknown].lacks = lacks;
                self.add(unknown, &sum);
            } else {
                self.lacking.push(unknown);
            }
        }
    }

    /// Writes the symbols that wait for nothing any more.
    fn write_clean(&mut self) {
        for unknown in std::mem::take(&mut self.waiting) {
            let Some((equation, _)) = self.symbols[unknown].waits else { continue };
            let others = self.horizon.equations[equation].unknowns.iter();
            if others.filter(|&&other| other != unknown).all(|&other| self.symbols[other].is_clean()) {
                self.symbols[unknown].waits = None;
                self.write(equation, unknown);
            } else {
                self.symbols[unknown].waits = Some((equation, self.waiting.len()));
                self.waiting.push(unknown);
            }
        }
    }

    fn is_clean(&self, equation: usize) -> bool {
        self.horizon.equations[equation].unknowns.iter().all(|&unknown| self.symbols[unknown].is_clean())
    }

    /// The columns that the XOR of an equation's symbols lacks.
    fn lacks(&self, equation: usize) -> Bits {
        let mut lacks = Bits::default();
        let unknowns = self.horizon.equations[equation].unknowns.iter();
        unknowns.for_each(|&unknown| lacks.xor(&self.symbols[unknown].lacks));
        lacks
    }

    fn write(&mut self, equation: usize, unknown: usize) {
        self.symbols[unknown].lacks = Bits::default();
        let (from, lacks) = self.sum(equation, Some(unknown));
        if !lacks.is_zero() {
            self.lacking.push(unknown);
        }
        self.symbols[unknown].lacks = lacks;
        self.push(unknown, from);
    }

    /// All symbols of an equation but `target` and what is set aside, and solved columns that they lack; and the
    /// unsolved ones.
    fn sum(&self, equation: usize, target: Option<usize>) -> (Vec<Slot>, Bits) {
        let line = &self.horizon.equations[equation];
        let step = i32::try_from(line.step).expect("horizons are short");
        let terms = &self.system.phases[line.step % self.system.phases.len()][line.index];
        let live = terms.live.iter().map(|term| self.block_slot(term.block, step + term.symbol));
        let lost = terms.lost.iter().filter_map(|term| {
            let symbol = step + term.symbol;
            let unknown = usize::try_from(symbol).ok().map(|at| at * self.horizon.per_step + term.block);
            let skip = unknown.is_some_and(|unknown| target == Some(unknown) || self.is_aside(unknown));
            (!skip).then(|| self.block_slot(self.system.lost[term.block], symbol))
        });
        let mut from: Vec<Slot> = live.chain(lost).collect();
        let mut lacks = self.lacks(equation);
        for slot in self.slots_of(&lacks.take(&self.dense.solved)) {
            // One that is in the equation, too, cancels.
            match from.iter().position(|&other| other == slot) {
                Some(place) => drop(from.swap_remove(place)),
                None => from.push(slot),
            }
        }
        (from, lacks)
    }

    /// Whether an unknown is an unsolved column.
    fn is_aside(&self, unknown: usize) -> bool {
        let column = self.symbols[unknown].lacks.first();
        column.is_some_and(|column| self.dense.unknowns[column] == unknown)
    }

    /// Adds the slots of `columns` to a symbol.
    fn add(&mut self, unknown: usize, columns: &Bits) {
        if !columns.is_zero() {
            let others = self.slots_of(columns);
            self.push(unknown, std::iter::once(self.slot(unknown)).chain(others).collect());
        }
    }

    fn push(&mut self, unknown: usize, from: Vec<Slot>) {
        self.rows.push(XorRow { to: self.slot(unknown), chained: false, from });
    }

    fn slots_of(&self, columns: &Bits) -> Vec<Slot> {
        columns.ones().map(|column| self.slot(self.dense.unknowns[column])).collect()
    }

    fn slot(&self, unknown: usize) -> Slot {
        let (step, block) = (unknown / self.horizon.per_step, unknown % self.horizon.per_step);
        self.block_slot(self.system.lost[block], i32::try_from(step).expect("horizons are short"))
    }

    fn block_slot(&self, block: usize, symbol: i32) -> Slot {
        let stream = self.streams[block].expect("lost blocks and those in equations have streams");
        Slot::new(stream, symbol)
    }

    /// The unknown whose slot this is.
    pub(super) fn unknown(&self, slot: Slot) -> Option<usize> {
        let first = self.streams[self.system.lost[0]].expect("lost blocks have streams");
        let block = (slot.stream as usize).checked_sub(first)?;
        Some(usize::try_from(slot.symbol).ok()? * self.horizon.per_step + block)
    }
}

impl Symbol {
    /// Whether the slot holds the symbol.
    fn is_clean(&self) -> bool {
        self.waits.is_none() && self.lacks.is_zero()
    }
}
