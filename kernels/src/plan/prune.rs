//! Leaves out of a plan what no output needs.

use std::collections::HashSet;

use super::{DecodePlan, ROUNDS_MAX, Role};
use crate::program::{Program, Slot};

/// Drops all rows whose results reach no output.
pub(super) fn prune(mut plan: DecodePlan) -> DecodePlan {
    let Some(last) = plan.programs.len().checked_sub(1) else { return plan };
    // What the groups from the last program on need of those before; grows until it is all.
    let mut later = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        let before = Pass::new(&plan, &plan.programs[last], &later).run().0;
        if before == later {
            let mut keep = Vec::new();
            for program in plan.programs.iter().rev() {
                let (before, rows) = Pass::new(&plan, program, &later).run();
                later = before;
                keep.push(rows);
            }
            for (program, keep) in plan.programs.iter_mut().rev().zip(keep) {
                let mut keep = keep.into_iter();
                program.groups[0].retain(|_| keep.next().expect("one flag for each row"));
            }
            return plan;
        }
        later = before;
    }
    plan
}

/// One group, walked backwards.
struct Pass<'a> {
    roles: &'a [Role],
    program: &'a Program,
    /// Slots whose values are needed by what follows.
    needed: HashSet<Slot>,
}

impl<'a> Pass<'a> {
    /// `later` is what the next group needs, counted from its own first step.
    fn new(plan: &'a DecodePlan, program: &'a Program, later: &HashSet<Slot>) -> Self {
        let advance = i32::try_from(program.advance).expect("periods are short");
        let outputs = plan.roles.iter().enumerate().filter(|(_, role)| matches!(role, Role::Output(_)));
        let outputs =
            outputs.flat_map(|(stream, _)| (0..advance).map(move |symbol| Slot::new(stream, symbol)));
        let later = later.iter().map(|slot| Slot { symbol: slot.symbol + advance, ..*slot });
        Self { roles: &plan.roles, program, needed: outputs.chain(later).collect() }
    }

    /// What is needed of the groups before, and which rows are.
    fn run(mut self) -> (HashSet<Slot>, Vec<bool>) {
        let rows = &self.program.groups[0];
        let mut keep = vec![false; rows.len()];
        for (row, keep) in rows.iter().zip(&mut keep).rev() {
            *keep = self.needed.remove(&row.to);
            if *keep {
                let is_computed = |slot: &&Slot| !matches!(self.roles[slot.stream as usize], Role::Input(_));
                self.needed.extend(row.from.iter().filter(is_computed));
            }
        }
        (self.needed, keep)
    }
}
