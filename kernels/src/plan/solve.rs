//! One chunk of the periodic plan: from the equations of a horizon to the XOR rows that restore its symbols.

use super::bits::Bits;
use super::peel::{Found, Peeling, Unknowns, peel};
use super::system::System;
use crate::program::{Slot, XorRow};

/// What is known of the symbols of a horizon before (or after) a chunk is solved: one flag for each lost
/// block of each step.
pub(super) type Known = Vec<bool>;

/// Where symbols live in the arena of the plan.
pub(super) struct Streams {
    /// The stream of each block of the profile, unless it is not used.
    pub(super) of_block: Vec<Option<usize>>,
    /// The first scratch stream; scratch symbols fill `chunk` places of each.
    pub(super) scratch: usize,
    /// Steps in a chunk.
    pub(super) chunk: usize,
}

pub(super) struct Solved {
    /// The rows, in the order in which they must run.
    pub(super) rows: Vec<XorRow>,
    /// Which symbols of the horizon are right after the rows ran, those known before included.
    pub(super) known: Known,
    /// How many scratch symbols the rows use.
    pub(super) scratch: usize,
    /// How many symbols elimination found.
    pub(super) inactive: usize,
}

/// Solves as much as can be of `horizon` steps, everything before them known and `known` of their symbols.
pub(super) fn solve(system: &System, streams: &Streams, horizon: usize, known: &[bool]) -> Solved {
    let setup = Setup::new(system, horizon, known);
    let peeling = peel(&setup.unknowns);
    let elimination = Elimination::new(&setup.unknowns, &peeling);
    let known = elimination.known(&peeling, known);
    let emit = Emit { system, streams, setup: &setup, peeling: &peeling, elimination: &elimination };
    let (rows, scratch) = emit.rows(&known);
    Solved { rows, known, scratch, inactive: peeling.inactive.len() }
}

/// The equations of the horizon, instantiated.
struct Setup {
    unknowns: Unknowns,
    /// Phase and index of each equation in the system.
    origins: Vec<(usize, usize)>,
}

impl Setup {
    fn new(system: &System, horizon: usize, known: &[bool]) -> Self {
        let per_step = system.lost.len();
        let (mut equations, mut steps, mut origins) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..horizon {
            let phase = step % system.phases.len();
            for (index, equation) in system.phases[phase].iter().enumerate() {
                let unknown = equation.lost.iter().filter_map(|term| {
                    let at = step.checked_add_signed(term.symbol as isize)?;
                    Some(at * per_step + term.block).filter(|&unknown| !known[unknown])
                });
                equations.push(unknown.collect());
                steps.push(step);
                origins.push((phase, index));
            }
        }
        let (count, reach) = (horizon * per_step, system.depth + 1);
        Self { unknowns: Unknowns { equations, steps, per_step, count, reach }, origins }
    }
}

/// The dense rest: what the inactive unknowns are, in terms of the right-hand sides of spare equations.
struct Elimination {
    /// For each unknown, which inactive unknowns its peeled value still lacks (empty if none are inactive).
    lacks: Vec<Bits>,
    /// Spare equations that are independent, in order.
    spare: Vec<usize>,
    /// Reduced rows, one for each of `spare`.
    pivots: Vec<Pivot>,
    /// For each inactive unknown, its row in `pivots`.
    pivot_of: Vec<Option<usize>>,
}

/// An inactive unknown is the XOR of the right-hand sides in `sum` and of the other inactive ones in `row`.
struct Pivot {
    column: usize,
    row: Bits,
    sum: Bits,
}

impl Elimination {
    fn new(unknowns: &Unknowns, peeling: &Peeling) -> Self {
        let inactive = peeling.inactive.len();
        let mut this =
            Self { lacks: Vec::new(), spare: Vec::new(), pivots: Vec::new(), pivot_of: vec![None; inactive] };
        if inactive == 0 {
            return this;
        }
        this.lacks = vec![Bits::new(inactive); unknowns.count];
        for (index, &unknown) in peeling.inactive.iter().enumerate() {
            this.lacks[unknown].flip(index);
        }
        for &unknown in &peeling.order {
            let Found::Peeled(equation) = peeling.found[unknown] else { continue };
            this.lacks[unknown] = this.residue(&unknowns.equations[equation], inactive);
        }
        for (equation, list) in unknowns.equations.iter().enumerate() {
            if !peeling.used[equation] && this.pivots.len() < inactive {
                let residue = this.residue(list, inactive);
                this.reduce(equation, residue, inactive);
            }
        }
        this.back_substitute();
        this
    }

    /// Which inactive unknowns remain in the XOR of `list` once the peeled ones are replaced.
    fn residue(&self, list: &[usize], inactive: usize) -> Bits {
        let mut bits = Bits::new(inactive);
        list.iter().for_each(|&unknown| bits.xor(&self.lacks[unknown]));
        bits
    }

    fn reduce(&mut self, equation: usize, mut row: Bits, inactive: usize) {
        let mut sum = Bits::new(inactive);
        for pivot in &self.pivots {
            if row.get(pivot.column) {
                row.xor(&pivot.row);
                sum.xor(&pivot.sum);
            }
        }
        if let Some(column) = row.first() {
            sum.flip(self.spare.len());
            self.spare.push(equation);
            self.pivot_of[column] = Some(self.pivots.len());
            self.pivots.push(Pivot { column, row, sum });
        }
    }

    fn back_substitute(&mut self) {
        for last in (1..self.pivots.len()).rev() {
            let (before, from) = self.pivots.split_at_mut(last);
            for pivot in before.iter_mut().filter(|pivot| pivot.row.get(from[0].column)) {
                pivot.row.xor(&from[0].row);
                pivot.sum.xor(&from[0].sum);
            }
        }
    }

    /// Which symbols are determined. A symbol may lack inactive unknowns that stay free and still be
    /// determined, if they cancel.
    fn known(&self, peeling: &Peeling, before: &[bool]) -> Known {
        let determined = |unknown: usize| match peeling.found[unknown] {
            Found::Never => false,
            _ if self.lacks.is_empty() => true,
            _ => {
                let mut free = self.lacks[unknown].clone();
                for inactive in self.lacks[unknown].ones() {
                    if let Some(pivot) = self.pivot_of[inactive] {
                        free.xor(&self.pivots[pivot].row);
                    }
                }
                free.is_zero()
            }
        };
        before.iter().enumerate().map(|(unknown, &known)| known || determined(unknown)).collect()
    }

    /// The pivots whose unknowns the peeled value of `unknown` lacks; free ones count as zero.
    fn corrections(&self, unknown: usize) -> impl Iterator<Item = &Pivot> {
        let lacks = self.lacks.get(unknown).into_iter().flat_map(Bits::ones);
        lacks.filter_map(|inactive| Some(&self.pivots[self.pivot_of[inactive]?]))
    }
}

/// Turns the solution into rows: peeled values with all inactive symbols taken as zero, the right-hand sides
/// of the spare equations, the inactive symbols, and the corrections of what depends on them.
struct Emit<'a> {
    system: &'a System,
    streams: &'a Streams,
    setup: &'a Setup,
    peeling: &'a Peeling,
    elimination: &'a Elimination,
}

impl Emit<'_> {
    fn rows(&self, known: &[bool]) -> (Vec<XorRow>, usize) {
        let (peeling, elimination) = (self.peeling, self.elimination);
        let is_output = |unknown: &&usize| known[**unknown];
        let outputs = || peeling.order.iter().chain(&peeling.inactive).filter(is_output).copied();

        let inactive = peeling.inactive.len();
        let (mut pivots_used, mut sums_used) = (Bits::new(inactive), Bits::new(inactive));
        for pivot in outputs().flat_map(|unknown| elimination.corrections(unknown)) {
            if !pivots_used.get(pivot.column) {
                pivots_used.flip(pivot.column);
                sums_used.or(&pivot.sum);
            }
        }
        let needed = self.needed(outputs(), &sums_used);

        let mut rows = Vec::new();
        let mut push = |to, from| rows.push(XorRow { to, chained: false, from });
        for &unknown in peeling.order.iter().filter(|&&unknown| needed[unknown]) {
            let Found::Peeled(equation) = peeling.found[unknown] else { continue };
            push(self.slot(unknown), self.sources(equation, Some(unknown)));
        }
        let sums: Vec<usize> = sums_used.ones().collect();
        for (place, &sum) in sums.iter().enumerate() {
            push(self.scratch(place), self.sources(elimination.spare[sum], None));
        }
        let place =
            |sum: usize| self.scratch(sums.binary_search(&sum).expect("all sums of used pivots are used"));
        for pivot in elimination.pivots.iter().filter(|pivot| pivots_used.get(pivot.column)) {
            push(self.slot(peeling.inactive[pivot.column]), pivot.sum.ones().map(place).collect());
        }
        for &unknown in peeling.order.iter().filter(is_output) {
            let slot = self.slot(unknown);
            let others =
                elimination.corrections(unknown).map(|pivot| self.slot(peeling.inactive[pivot.column]));
            let from: Vec<Slot> = std::iter::once(slot).chain(others).collect();
            if from.len() > 1 {
                push(slot, from);
            }
        }
        (rows, sums.len())
    }

    /// The unknowns whose peeled values are needed, for the outputs or for the sums.
    fn needed(&self, outputs: impl Iterator<Item = usize>, sums: &Bits) -> Vec<bool> {
        let equations = &self.setup.unknowns.equations;
        let mut needed = vec![false; self.setup.unknowns.count];
        outputs.for_each(|unknown| needed[unknown] = true);
        let spare = sums.ones().flat_map(|sum| &equations[self.elimination.spare[sum]]);
        spare.for_each(|&unknown| needed[unknown] = true);
        for &unknown in self.peeling.order.iter().rev() {
            if let (true, Found::Peeled(equation)) = (needed[unknown], self.peeling.found[unknown]) {
                equations[equation].iter().for_each(|&other| needed[other] = true);
            }
        }
        needed
    }

    /// All symbols of an equation but `target` and the inactive ones, which count as zero.
    fn sources(&self, equation: usize, target: Option<usize>) -> Vec<Slot> {
        let (phase, index) = self.setup.origins[equation];
        let step = i32::try_from(self.setup.unknowns.steps[equation]).expect("horizons are short");
        let terms = &self.system.phases[phase][index];
        let live = terms.live.iter().map(|term| self.block_slot(term.block, step + term.symbol));
        let lost = terms.lost.iter().filter_map(|term| {
            let symbol = step + term.symbol;
            let unknown = usize::try_from(symbol).ok().map(|at| at * self.system.lost.len() + term.block);
            let inactive =
                unknown.is_some_and(|unknown| matches!(self.peeling.found[unknown], Found::Inactive(_)));
            let skip = inactive || (unknown.is_some() && unknown == target);
            (!skip).then(|| self.block_slot(self.system.lost[term.block], symbol))
        });
        live.chain(lost).collect()
    }

    fn slot(&self, unknown: usize) -> Slot {
        let (step, block) = (unknown / self.system.lost.len(), unknown % self.system.lost.len());
        self.block_slot(self.system.lost[block], i32::try_from(step).expect("horizons are short"))
    }

    fn block_slot(&self, block: usize, symbol: i32) -> Slot {
        let stream = self.streams.of_block[block].expect("lost blocks and those in equations have streams");
        Slot::new(stream, symbol)
    }

    fn scratch(&self, place: usize) -> Slot {
        let symbol = i32::try_from(place % self.streams.chunk).expect("chunks are short");
        Slot::new(self.streams.scratch + place / self.streams.chunk, symbol)
    }
}
