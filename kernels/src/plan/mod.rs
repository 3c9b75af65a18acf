//! Decode plans: periodic XOR programs that compute lost blocks, for every code.
//!
//! Given the past, the equations near the front are the same in every period. So a plan solves one chunk of
//! a few periods, everything before it known, with a look-ahead whose symbols may be solved as well; what
//! had to be solved ahead is known when the next chunk begins. After a few rounds that set stays the same: the
//! last round's program then serves the rest of the frame, of whatever length. Before a frame and after its
//! end all symbols are zero, which the buffers provide.
//!
//! Symbols are peeled (`peel`); where that is stuck one is set aside, and equations left over tell later what it is
//! (`dense`). Rows are written such that as few as possible depend on what is set aside (`emit`).

mod bits;
mod chain;
mod dense;
mod direct;
mod emit;
mod horizon;
mod peel;
mod prune;
pub(crate) mod rank;
mod repair;
mod solve;
mod system;

use thiserror::Error;

use crate::block_set::BlockSet;
use crate::code::Code;
use crate::program::{Program, XorRow};
use chain::chain;
pub use repair::{Reads, RepairPlan};
use solve::{Keep, Solved, solve};
use system::System;

/// What a stream of a decode arena holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The symbols of this live block, to be filled in before the program runs.
    Input(usize),
    /// The symbols of this lost block, computed by the program.
    Output(usize),
    /// A lost block that nobody wants, but the programs use.
    Scratch,
}

/// How to compute lost blocks of a frame: programs for the first groups, the last of them for all
/// groups after, too.
#[derive(Clone, Debug)]
pub struct DecodePlan {
    roles: Vec<Role>,
    programs: Vec<Program>,
    cost: PlanCost,
}

/// What the last program of a [`DecodePlan`] takes for one group, which is [`DecodePlan::advance`] symbols of
/// each lost block.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PlanCost {
    /// Symbols read: one load each.
    pub operands: usize,
    /// Symbols written: one store each.
    pub rows: usize,
    /// Symbols that were found by elimination, not by peeling.
    pub inactive: usize,
    /// Steps after the group whose symbols the planner could use.
    pub look_ahead: usize,
}

/// Why the live blocks do not restore the file.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum Unrecoverable {
    /// Fewer blocks than there are data blocks.
    #[error("{live} blocks are left where {data} are needed: {} are missing", data - live)]
    TooFew {
        /// Live blocks.
        live: usize,
        /// Data blocks (k).
        data: usize,
    },
    /// As many blocks as data, but not independent ones; [`crate::Profile::threshold`] blocks always do.
    #[error("these {live} blocks do not determine the data: any {threshold} are promised to")]
    Dependent {
        /// Live blocks.
        live: usize,
        /// Blocks that always suffice (T).
        threshold: usize,
    },
}

impl DecodePlan {
    /// Plans the decoding of all data blocks that are not in `live`.
    ///
    /// # Errors
    /// If the live blocks do not determine the lost ones.
    pub fn new(code: &Code, live: &BlockSet) -> Result<Self, Unrecoverable> {
        let blocks = live.blocks();
        let mut lost = BlockSet::none(blocks);
        (0..code.profile().data()).filter(|&b| !live.contains(b)).for_each(|block| lost.insert(block));
        Self::solve(code, live, &System::new(code, live, &lost)).map(Self::chained)
    }

    /// Finds all unknowns of the system, each row for itself.
    fn solve(code: &Code, live: &BlockSet, system: &System) -> Result<Self, Unrecoverable> {
        let profile = code.profile();
        if live.len() < profile.data() {
            return Err(Unrecoverable::TooFew { live: live.len(), data: profile.data() });
        }
        if system.lost.is_empty() {
            return Ok(Self { roles: Vec::new(), programs: Vec::new(), cost: PlanCost::default() });
        }
        let chunk = chunk_steps(code);
        look_aheads(code, system)
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
        let plan = Self::from_rows(roles, chunk, rounds.into_iter().map(|round| round.rows));
        Some(Self { cost, ..plan })
    }

    /// A plan of groups of `advance` steps, one list of rows for each program.
    fn from_rows(roles: Vec<Role>, advance: usize, rows: impl Iterator<Item = Vec<XorRow>>) -> Self {
        let program = |rows| {
            let prefetched = (0..roles.len()).collect();
            let (streams, init) = (roles.len(), Vec::new());
            let mut program = Program { streams, advance, groups: vec![rows], init, prefetched };
            // A line that is written has to be in the cache as much as one that is read; unless nothing reads it again.
            if program.is_feed_forward() {
                program.prefetched.retain(|&stream| matches!(roles[stream], Role::Input(_)));
            }
            program
        };
        let programs = rows.map(program).collect();
        Self { programs, roles, cost: PlanCost::default() }
    }

    /// The same plan with rows that continue the row before, once no row is left out any more.
    fn chained(mut self) -> Self {
        for program in &mut self.programs {
            program.groups = std::mem::take(&mut program.groups).into_iter().map(chain).collect();
        }
        let rows = self.programs.last().map_or(&[][..], |last| &last.groups[0]);
        self.cost.operands = rows.iter().map(|row| row.from.len()).sum();
        self.cost.rows = rows.len();
        self
    }

    /// What each stream of the arena holds. Empty if no block is lost.
    #[must_use]
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The programs: group g of a frame is run by `programs()[g.min(len − 1)]`. All have the same streams
    /// and the same [`Program::advance`].
    #[must_use]
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// What a group takes, counted.
    #[must_use]
    pub fn cost(&self) -> PlanCost {
        self.cost
    }

    /// Steps in a group.
    #[must_use]
    pub fn advance(&self) -> usize {
        self.programs.first().map_or(1, Program::advance)
    }

    /// What the plan takes of memory, in bytes, with one binding of its programs.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.programs.iter().map(Program::memory_bytes).sum()
    }

    /// Symbols before a group's first step that a group may read.
    #[must_use]
    pub fn reach_back(&self) -> usize {
        self.programs.iter().map(Program::reach_back).max().unwrap_or(0)
    }

    /// Symbols from a group's first step on that a group may read or write, its own steps included.
    #[must_use]
    pub fn reach_ahead(&self) -> usize {
        self.programs.iter().map(Program::reach_ahead).max().unwrap_or(0).max(self.advance())
    }
}

/// Streams for the live blocks that occur in any equation, and for the lost ones.
fn assign_streams(code: &Code, system: &System) -> (Vec<Role>, Vec<Option<usize>>) {
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
fn chunk_steps(code: &Code) -> usize {
    let period = code.phases().len();
    if code.profile().stripe() > 1 { period } else { CHUNK_STEPS_MIN.next_multiple_of(period) }
}

/// The look-aheads to try, in steps: a longer one solves more patterns and costs more planning.
fn look_aheads(code: &Code, system: &System) -> impl Iterator<Item = usize> + use<> {
    let first = match code.profile().stripe() {
        1 if code.is_chained() => LOOK_AHEAD_MIN,
        1 => LOOK_AHEAD_MIN.max(2 * system.depth),
        // Nothing outside a stripe says anything about it.
        _ => 0,
    };
    // Wanted parity follows from the data: it makes no pattern harder.
    let data_lost = system.lost.partition_point(|&block| block < code.profile().data()).max(1);
    let chunk = chunk_steps(code);
    let unknowns_max = UNKNOWNS_MAX.max(data_lost * (chunk + 2 * LOOK_AHEAD_MIN));
    let fits = move |next: &usize| *next > 0 && data_lost * (chunk + next) <= unknowns_max;
    // The first is tried whatever it costs.
    std::iter::successors(Some(first), move |look_ahead| Some(2 * look_ahead).filter(fits))
}

const CHUNK_STEPS_MIN: usize = 32;
const LOOK_AHEAD_MIN: usize = 48;
const ROUNDS_MAX: usize = 16;
/// Beyond this many unknowns no longer look-ahead is tried (unless few are lost).
const UNKNOWNS_MAX: usize = 1 << 15;
