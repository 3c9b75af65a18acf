//! Plans in the making: rows for each round of groups, before they are ordered and bound.

use std::collections::BTreeSet;

use super::chain::chain;
use super::solve::{Keep, Solved, solve};
use super::system::System;
use super::{DecodePlan, PlanCost, Role, Unrecoverable};
use crate::block_set::BlockSet;
use crate::code::Code;
use crate::program::{Program, Slot, XorRow};

/// Rows that compute what is lost, each for itself.
pub(super) struct Draft {
    pub(super) roles: Vec<Role>,
    /// Steps in a group.
    pub(super) advance: usize,
    /// The rows of the first groups, those of the last for all groups after, too.
    pub(super) rounds: Vec<Vec<XorRow>>,
    /// What is known of it so far.
    pub(super) cost: PlanCost,
}

impl Draft {
    /// Finds all unknowns of the system, each row for itself.
    pub(super) fn solve(code: &Code, live: &BlockSet, system: &System) -> Result<Self, Unrecoverable> {
        let profile = code.profile();
        if live.len() < profile.data() {
            return Err(Unrecoverable::TooFew { live: live.len(), data: profile.data() });
        }
        if system.lost.is_empty() {
            return Ok(Self { roles: Vec::new(), advance: 1, rounds: Vec::new(), cost: PlanCost::default() });
        }
        let chunk = chunk_steps(code);
        let data_lost = system.lost.partition_point(|&block| block < profile.data());
        look_aheads(code, data_lost)
            .find_map(|look_ahead| Self::with_look_ahead(code, system, chunk, look_ahead))
            .ok_or(Unrecoverable::Dependent { live: live.len(), threshold: profile.threshold() })
    }

    fn with_look_ahead(code: &Code, system: &System, chunk: usize, look_ahead: usize) -> Option<Self> {
        let (roles, streams) = assign_streams(code, system);
        let (per_step, horizon) = (system.lost.len(), chunk + look_ahead);
        let mut known = vec![false; horizon * per_step];
        let mut rounds: Vec<Solved> = Vec::new();
        loop {
            // Which symbols are needed may change with what is known, so it might never settle.
            let keep = if rounds.len() < ROUNDS_MAX / 2 { Keep::Needed } else { Keep::All };
            let solved = solve(system, &streams, chunk, &known, keep);
            let (now, ahead) = solved.known.split_at(chunk * per_step);
            if now.contains(&false) || rounds.len() == ROUNDS_MAX {
                return None;
            }
            // What was solved ahead is known when the next chunk begins.
            let mut next = ahead.to_vec();
            next.resize(horizon * per_step, false);
            let settled = next == known;
            rounds.push(solved);
            if settled {
                break;
            }
            known = next;
        }
        let last = rounds.last()?;
        let cost = PlanCost { inactive: last.inactive, look_ahead, ..PlanCost::default() };
        Some(Self {
            roles,
            advance: chunk,
            rounds: rounds.into_iter().map(|round| round.rows).collect(),
            cost,
        })
    }

    /// The plan: rows that continue the row before, now that none is left out any more.
    pub(super) fn finish(self) -> DecodePlan {
        let Self { roles, advance, rounds, cost } = self;
        let lines = rounds.last().map_or_else(BTreeSet::new, |rows| lines(rows, advance));
        let program = |rows: Vec<XorRow>| {
            let mut program = Program::new(roles.len(), advance, vec![chain(rows)], Vec::new());
            // A line that is written has to be in the cache as much as one that is read; unless nothing reads it again.
            let streams = program.is_feed_forward();
            let is_input = |slot: &Slot| matches!(roles[slot.stream as usize], Role::Input(_));
            program.prefetched = lines.iter().filter(|slot| !streams || is_input(slot)).copied().collect();
            program
        };
        let programs: Vec<Program> = rounds.into_iter().map(program).collect();
        let rows = programs.last().map_or(&[][..], |last| &last.groups[0]);
        let operands = rows.iter().map(|row| row.from.len()).sum();
        let cost = PlanCost { operands, rows: rows.len(), lines: lines.len(), ..cost };
        DecodePlan { roles, programs, cost }
    }
}

/// Streams for the live blocks that occur in any equation, and for the lost ones.
pub(super) fn assign_streams(code: &Code, system: &System) -> (Vec<Role>, Vec<Option<usize>>) {
    let mut of_block = vec![None; code.profile().blocks()];
    let mut roles = Vec::new();
    let mut assign = |block: usize, role| {
        of_block[block].get_or_insert_with(|| {
            roles.push(role);
            roles.len() - 1
        });
    };
    let mut used: Vec<usize> =
        system.phases.iter().flatten().flat_map(|equation| &equation.live).map(|term| term.block).collect();
    used.sort_unstable();
    used.dedup();
    used.into_iter().for_each(|block| assign(block, Role::Input(block)));
    for &block in &system.lost {
        assign(block, if system.wanted.contains(block) { Role::Output(block) } else { Role::Scratch });
    }
    (roles, of_block)
}

/// Steps that one group solves: a stripe, or a few periods.
pub(crate) fn chunk_steps(code: &Code) -> usize {
    let period = code.phases().len();
    if code.profile().stripe() > 1 { period } else { CHUNK_STEPS_MIN.next_multiple_of(period) }
}

/// The look-aheads to try, in steps: a longer one solves more patterns and costs more planning. Wanted parity follows
/// from the data: it makes no pattern harder, and only lost data counts.
fn look_aheads(code: &Code, data_lost: usize) -> impl Iterator<Item = usize> + use<> {
    let (chunk, data_lost) = (chunk_steps(code), data_lost.max(1));
    let first = match code.profile().stripe() {
        1 if code.is_chained() => LOOK_AHEAD_MIN,
        1 => LOOK_AHEAD_MIN.max(2 * code.profile().depth()),
        // Nothing outside a stripe says anything about it.
        _ => 0,
    };
    let unknowns_max = UNKNOWNS_MAX.max(data_lost * (chunk + 2 * LOOK_AHEAD_MIN));
    // Minors of the shift code have degrees up to the number of their columns times D; no wave runs nearly as far.
    let profile = code.profile();
    let steps_max = LOOK_AHEAD_MAX.max(profile.depth() * profile.data().min(profile.parity()));
    let fits =
        move |next: &usize| (1..=steps_max).contains(next) && data_lost * (chunk + next) <= unknowns_max;
    // The first is tried whatever it costs.
    std::iter::successors(Some(first), move |look_ahead| Some(2 * look_ahead).filter(fits))
}

/// The longest look-ahead for so many lost data blocks.
pub(crate) fn look_ahead_max(code: &Code, data_lost: usize) -> usize {
    look_aheads(code, data_lost).last().expect("one at least")
}

/// The symbols that groups read and write, each counted from the group to which it belongs.
fn lines(rows: &[XorRow], advance: usize) -> BTreeSet<Slot> {
    let advance = i32::try_from(advance).expect("periods are short");
    let slots = rows.iter().flat_map(|row| row.from.iter().chain([&row.to]));
    slots.map(|slot| Slot { symbol: slot.symbol.rem_euclid(advance), ..*slot }).collect()
}

const CHUNK_STEPS_MIN: usize = 32;
const LOOK_AHEAD_MIN: usize = 48;
const LOOK_AHEAD_MAX: usize = 2048;
pub(super) const ROUNDS_MAX: usize = 16;
/// Beyond this many unknowns no longer look-ahead is tried (unless few are lost).
const UNKNOWNS_MAX: usize = 1 << 15;
