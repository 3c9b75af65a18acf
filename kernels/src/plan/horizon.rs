//! The equations of a horizon: those of the system at each of some steps, with everything before the first
//! step known.

use super::system::System;

pub(super) struct Horizon {
    /// The equations in the order of their steps.
    pub(super) equations: Vec<Line>,
    /// Steps of the horizon.
    pub(super) steps: usize,
    /// Unknowns in each step, known ones included: unknown v belongs to step v / `per_step`.
    pub(super) per_step: usize,
}

/// An equation of the system at one step.
pub(super) struct Line {
    pub(super) step: usize,
    /// Its place in its phase of the system.
    pub(super) index: usize,
    /// Symbols in it, known ones included.
    pub(super) weight: usize,
    /// The symbols that are not known.
    pub(super) unknowns: Vec<usize>,
}

impl Horizon {
    /// `known` has a flag for each unknown of the horizon.
    pub(super) fn new(system: &System, known: &[bool]) -> Self {
        let per_step = system.lost.len();
        let steps = known.len() / per_step;
        let mut equations = Vec::new();
        for step in 0..steps {
            for (index, equation) in system.phases[step % system.phases.len()].iter().enumerate() {
                let unknown = equation.lost.iter().filter_map(|term| {
                    let at = step.checked_add_signed(term.symbol as isize)?;
                    Some(at * per_step + term.block).filter(|&unknown| !known[unknown])
                });
                let weight = equation.live.len() + equation.lost.len();
                equations.push(Line { step, index, weight, unknowns: unknown.collect() });
            }
        }
        Self { equations, steps, per_step }
    }

    /// How many unknowns there are, known ones included.
    pub(super) fn count(&self) -> usize {
        self.steps * self.per_step
    }
}
