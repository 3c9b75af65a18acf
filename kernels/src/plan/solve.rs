//! One chunk of the periodic plan: from the equations of a horizon to the XOR rows that restore its symbols.

use super::emit::Emit;
use super::horizon::Horizon;
use super::peel::Peel;
use super::system::System;
use crate::program::XorRow;

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

/// Which symbols after the chunk are kept for the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keep {
    /// Those that the chunk's own symbols need: a later chunk may have lighter equations for the others.
    Needed,
    /// All that are determined.
    All,
}

/// Solves the first `chunk` steps of a horizon, everything before it known and `known` of its symbols. `streams`
/// tells the stream of each block.
pub(super) fn solve(
    system: &System,
    streams: &[Option<usize>],
    chunk: usize,
    known: &[bool],
    keep: Keep,
) -> Solved {
    let horizon = Horizon::new(system, known);
    let (mut peel, mut emit) = (Peel::new(&horizon), Emit::new(system, streams, &horizon));
    let ahead = chunk * horizon.per_step;
    loop {
        if let Some(equation) = peel.spare() {
            emit.eliminate(equation);
        } else if let Some((equation, unknown)) = peel.ready() {
            emit.peel(equation, unknown);
            peel.settle(unknown);
        } else if peel.has_spare() {
            // Those that were in the queue to peel from.
        } else if let Some(unknown) = peel.choose_inactive() {
            // Nothing after is kept.
            if keep == Keep::Needed && unknown >= ahead && emit.is_complete(ahead) {
                break;
            }
            emit.set_aside(unknown);
            peel.settle(unknown);
        } else {
            break;
        }
    }
    let is_known = |(unknown, &known): (usize, &bool)| known || peel.is_settled(unknown);
    let mut after: Known = known.iter().enumerate().map(is_known).collect();
    emit.finish().into_iter().for_each(|unknown| after[unknown] = false);
    if keep == Keep::Needed {
        let mut needed = known.to_vec();
        for (_, row) in needed_rows(&emit, &after[..ahead], known).filter(|&(needed, _)| needed) {
            needed[emit.unknown(row.to).expect("rows write unknowns")] = true;
        }
        after[ahead..].iter_mut().zip(&needed[ahead..]).for_each(|(after, needed)| *after &= needed);
    }
    let mut needed: Vec<bool> = needed_rows(&emit, &after, known).map(|(needed, _)| needed).collect();
    let inactive = emit.dense.unknowns.len();
    let rows = emit.rows.into_iter().filter(|_| needed.pop().expect("a flag for each row")).collect();
    Solved { rows, known: after, inactive }
}

/// The rows, last first, and whether they are needed for what is in `wanted` and not in `known`.
fn needed_rows<'a>(
    emit: &'a Emit<'_>,
    wanted: &[bool],
    known: &[bool],
) -> impl Iterator<Item = (bool, &'a XorRow)> {
    let mut needed = vec![false; known.len()];
    let new = wanted.iter().zip(known).map(|(&wanted, &known)| wanted && !known);
    needed.iter_mut().zip(new).for_each(|(needed, new)| *needed = new);
    emit.rows.iter().rev().map(move |row| {
        let to = emit.unknown(row.to).expect("rows write unknowns");
        let is_needed = std::mem::take(&mut needed[to]);
        if is_needed {
            let from = row.from.iter().filter_map(|&slot| emit.unknown(slot));
            from.for_each(|unknown| needed[unknown] = true);
        }
        (is_needed, row)
    })
}
