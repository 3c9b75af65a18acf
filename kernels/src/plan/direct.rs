//! The direct route: one equation for each wanted symbol, all else in it live or found before.
//!
//! A symbol has several equations to choose from. Rows repeat with the period, so what a choice reads are
//! (block, phase) pairs, and a pair that one symbol reads is free for the others of a period. Choosing is a
//! covering problem; taking the cheapest next and then reconsidering each choice comes close enough.

use super::PlanCost;
use super::draft::{Draft, assign_streams, chunk_steps};
use super::system::{System, Term};
use crate::code::Code;
use crate::program::{Slot, XorRow};

/// A way to find one symbol: all other terms of an equation, with `symbol` counted from the symbol sought.
struct Candidate {
    /// Symbols of live blocks.
    live: Vec<Term>,
    /// Symbols of wanted blocks, none of them later; `block` is the place in [`System::lost`].
    found: Vec<Term>,
}

/// Plans one row for each wanted symbol; `None` if some symbol has no equation to itself.
pub(super) fn plan(code: &Code, system: &System) -> Option<Draft> {
    let period = code.phases().len();
    let wanted: Vec<usize> =
        (0..system.lost.len()).filter(|&place| system.wanted.contains(system.lost[place])).collect();
    let candidates = candidates(system, period);
    let mut choice = Choice {
        reads: vec![0; code.profile().blocks() * period],
        period,
        lost: system.lost.len(),
        candidates: &candidates,
        chosen: Vec::new(),
    };
    for phase in 0..period {
        let mut open = wanted.clone();
        while !open.is_empty() {
            let ready = |&place: &usize| Some((place, choice.cheapest(phase, place, &open)?));
            let (place, index) = open.iter().find_map(ready)?;
            open.retain(|&other| other != place);
            choice.take(Chosen { phase, place, index });
        }
    }
    choice.improve();
    Some(choice.plan(code, system))
}

/// The candidates for each phase and lost block.
fn candidates(system: &System, period: usize) -> Vec<Vec<Candidate>> {
    let mut candidates: Vec<Vec<Candidate>> = Vec::new();
    candidates.resize_with(period * system.lost.len(), Vec::new);
    let equations = system.phases.iter().enumerate();
    for (at, equation) in equations.flat_map(|(at, all)| all.iter().map(move |equation| (at, equation))) {
        if equation.lost.iter().any(|term| !system.wanted.contains(system.lost[term.block])) {
            continue;
        }
        let Some(last) = equation.lost.iter().map(|term| term.symbol).max() else { continue };
        for sought in equation.lost.iter().filter(|term| term.symbol == last) {
            let from = |term: &Term| Term { block: term.block, symbol: term.symbol - last };
            candidates[moved(at, last, period) * system.lost.len() + sought.block].push(Candidate {
                live: equation.live.iter().map(from).collect(),
                found: equation.lost.iter().filter(|term| *term != sought).map(from).collect(),
            });
        }
    }
    candidates
}

/// Which candidate finds the symbols of a lost block in one phase.
#[derive(Clone, Copy)]
struct Chosen {
    phase: usize,
    place: usize,
    index: usize,
}

struct Choice<'a> {
    /// How many of the chosen candidates read each phase of each block.
    reads: Vec<u32>,
    period: usize,
    lost: usize,
    candidates: &'a [Vec<Candidate>],
    /// In the order in which they run, phase by phase.
    chosen: Vec<Chosen>,
}

impl Choice<'_> {
    fn of(&self, phase: usize, place: usize) -> &[Candidate] {
        &self.candidates[phase * self.lost + place]
    }

    /// Where in `reads` the live terms of a candidate count.
    fn pairs<'a>(&self, phase: usize, candidate: &'a Candidate) -> impl Iterator<Item = usize> + use<'a> {
        let period = self.period;
        candidate.live.iter().map(move |term| term.block * period + moved(phase, term.symbol, period))
    }

    /// What a candidate would read beyond what is read anyway, and how many terms it has.
    fn cost(&self, phase: usize, candidate: &Candidate) -> (usize, usize) {
        let fresh = self.pairs(phase, candidate).filter(|&pair| self.reads[pair] == 0).count();
        (fresh, candidate.live.len() + candidate.found.len())
    }

    /// The cheapest candidate that needs none of the blocks `open`, whose symbols of this step are yet to be found.
    fn cheapest(&self, phase: usize, place: usize, open: &[usize]) -> Option<usize> {
        let of = self.of(phase, place);
        let is_open = |term: &Term| term.symbol == 0 && open.contains(&term.block);
        let ready = (0..of.len()).filter(|&index| !of[index].found.iter().any(is_open));
        ready.min_by_key(|&index| self.cost(phase, &of[index]))
    }

    fn take(&mut self, chosen: Chosen) {
        self.count(chosen, |reads| reads + 1);
        self.chosen.push(chosen);
    }

    fn count(&mut self, chosen: Chosen, change: impl Fn(u32) -> u32) {
        let candidate = &self.candidates[chosen.phase * self.lost + chosen.place][chosen.index];
        for pair in self.pairs(chosen.phase, candidate) {
            self.reads[pair] = change(self.reads[pair]);
        }
    }

    /// Chooses anew, one by one, as long as that saves anything.
    fn improve(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut saved = false;
            for at in 0..self.chosen.len() {
                let old = self.chosen[at];
                // Found later in this phase, or just now: no candidate may need them.
                let later = self.chosen[at..].iter().take_while(|other| other.phase == old.phase);
                let open: Vec<usize> = later.map(|other| other.place).collect();
                self.count(old, |reads| reads - 1);
                let index = self.cheapest(old.phase, old.place, &open).unwrap_or(old.index);
                let of = self.of(old.phase, old.place);
                saved |= self.cost(old.phase, &of[index]) < self.cost(old.phase, &of[old.index]);
                self.chosen[at] = Chosen { index, ..old };
                self.count(self.chosen[at], |reads| reads + 1);
            }
            if !saved {
                break;
            }
        }
    }

    fn plan(&self, code: &Code, system: &System) -> Draft {
        let advance = chunk_steps(code);
        let (roles, streams) = assign_streams(code, system);
        let slot = |block: usize, symbol: i32| {
            Slot::new(streams[block].expect("blocks in equations have streams"), symbol)
        };
        let mut rows = Vec::new();
        for start in (0..advance).step_by(self.period) {
            for chosen in &self.chosen {
                let at = i32::try_from(start + chosen.phase).expect("periods are short");
                let candidate = &self.of(chosen.phase, chosen.place)[chosen.index];
                let live = candidate.live.iter().map(|term| slot(term.block, at + term.symbol));
                let found =
                    candidate.found.iter().map(|term| slot(system.lost[term.block], at + term.symbol));
                let (to, from) = (slot(system.lost[chosen.place], at), live.chain(found).collect());
                rows.push(XorRow { to, chained: false, from });
            }
        }
        Draft { roles, advance, rounds: vec![rows], cost: PlanCost::default() }
    }
}

/// The phase so many symbols from `phase`.
fn moved(phase: usize, symbols: i32, period: usize) -> usize {
    let phase = i32::try_from(phase).expect("periods are short") + symbols;
    phase.rem_euclid(i32::try_from(period).expect("periods are short")).unsigned_abs() as usize
}

const ROUNDS_MAX: usize = 8;
