//! Leaves out of a plan what no output needs.

use std::collections::HashSet;

use super::Role;
use super::draft::{Draft, ROUNDS_MAX};
use crate::program::{Slot, XorRow};

/// Drops all rows whose results reach no output.
pub(super) fn prune(mut draft: Draft) -> Draft {
    let Some(last) = draft.rounds.last() else { return draft };
    // What the groups of the last round need of those before; grows until it is all.
    let mut later = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        let before = Pass::new(&draft, last, &later).run().0;
        if before == later {
            let mut keep = Vec::new();
            for rows in draft.rounds.iter().rev() {
                let (before, kept) = Pass::new(&draft, rows, &later).run();
                later = before;
                keep.push(kept);
            }
            for (rows, keep) in draft.rounds.iter_mut().rev().zip(keep) {
                let mut keep = keep.into_iter();
                rows.retain(|_| keep.next().expect("one flag for each row"));
            }
            return draft;
        }
        later = before;
    }
    draft
}

/// One group, walked backwards.
struct Pass<'a> {
    roles: &'a [Role],
    rows: &'a [XorRow],
    /// Slots whose values are needed by what follows.
    needed: HashSet<Slot>,
}

impl<'a> Pass<'a> {
    /// `later` is what the next group needs, counted from its own first step.
    fn new(draft: &'a Draft, rows: &'a [XorRow], later: &HashSet<Slot>) -> Self {
        let advance = i32::try_from(draft.advance).expect("periods are short");
        let outputs = draft.roles.iter().enumerate().filter(|(_, role)| matches!(role, Role::Output(_)));
        let outputs =
            outputs.flat_map(|(stream, _)| (0..advance).map(move |symbol| Slot::new(stream, symbol)));
        let later = later.iter().map(|slot| Slot { symbol: slot.symbol + advance, ..*slot });
        Self { roles: &draft.roles, rows, needed: outputs.chain(later).collect() }
    }

    /// What is needed of the groups before, and which rows are.
    fn run(mut self) -> (HashSet<Slot>, Vec<bool>) {
        let mut keep = vec![false; self.rows.len()];
        for (row, keep) in self.rows.iter().zip(&mut keep).rev() {
            *keep = self.needed.remove(&row.to);
            if *keep {
                let is_computed = |slot: &&Slot| !matches!(self.roles[slot.stream as usize], Role::Input(_));
                self.needed.extend(row.from.iter().filter(is_computed));
            }
        }
        (self.needed, keep)
    }
}
