//! Decode plans: periodic XOR programs that restore lost data blocks, for every code.
//!
//! Given the past, the equations near the front are the same in every period. So a plan solves one chunk of
//! a few periods, everything before it known, with a look-ahead whose symbols may be solved as well; what
//! is solved ahead is known when the next chunk begins. That set only grows from chunk to chunk, so after a
//! few rounds it stays the same: the last round's program then serves the rest of the frame, of whatever
//! length. Before a frame and after its end all symbols are zero, which the buffers provide.

mod bits;
mod peel;
pub(crate) mod rank;
mod solve;
mod system;

use thiserror::Error;

use crate::block_set::BlockSet;
use crate::code::Code;
use crate::program::Program;
use solve::{Solved, Streams, solve};
use system::System;

/// What a stream of a decode arena holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The symbols of this live block, to be filled in before the program runs.
    Input(usize),
    /// The symbols of this lost data block, computed by the program.
    Output(usize),
    /// Sums that mean nothing outside a group.
    Scratch,
}

/// How to restore the lost data blocks of a frame: programs for the first groups, the last of them for all
/// groups after, too.
#[derive(Clone, Debug)]
pub struct DecodePlan {
    roles: Vec<Role>,
    programs: Vec<Program>,
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
    #[error("these {live} blocks do not determine the data: {threshold} blocks always do")]
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
        let profile = code.profile();
        if live.len() < profile.data() {
            return Err(Unrecoverable::TooFew { live: live.len(), data: profile.data() });
        }
        let system = System::new(code, live);
        if system.lost.is_empty() {
            return Ok(Self { roles: Vec::new(), programs: Vec::new() });
        }
        let chunk = chunk_steps(code);
        look_aheads(code, &system)
            .find_map(|horizon| Self::with_horizon(code, &system, chunk, horizon))
            .ok_or(Unrecoverable::Dependent { live: live.len(), threshold: profile.threshold() })
    }

    fn with_horizon(code: &Code, system: &System, chunk: usize, horizon: usize) -> Option<Self> {
        let (roles, streams) = assign_streams(code, system, chunk);
        let per_step = system.lost.len();
        let mut known = vec![false; horizon * per_step];
        let mut rounds: Vec<Solved> = Vec::new();
        loop {
            let solved = solve(system, &streams, horizon, &known);
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
        let scratch = rounds.iter().map(|round| round.scratch).max().unwrap_or(0).div_ceil(chunk);
        let roles: Vec<Role> = roles.into_iter().chain((0..scratch).map(|_| Role::Scratch)).collect();
        let is_input = |stream: &usize| matches!(roles[*stream], Role::Input(_));
        let inputs: Vec<usize> = (0..roles.len()).filter(is_input).collect();
        let programs = rounds.into_iter().map(|round| Program {
            streams: roles.len(),
            advance: chunk,
            groups: vec![round.rows],
            init: Vec::new(),
            inputs: inputs.clone(),
        });
        Some(Self { programs: programs.collect(), roles })
    }

    /// What each stream of the arena holds. Empty if no data block is lost.
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

/// Steps in a chunk.
fn chunk_steps(code: &Code) -> usize {
    CHUNK_STEPS_MIN.next_multiple_of(code.phases().len())
}

/// The horizons to try, in steps: a longer look-ahead solves more patterns and costs more planning.
fn look_aheads(code: &Code, system: &System) -> impl Iterator<Item = usize> {
    let (chunk, per_step) = (chunk_steps(code), system.lost.len());
    let unknowns_max = UNKNOWNS_MAX.max(per_step * (chunk + 2 * LOOK_AHEAD_MIN));
    let first = LOOK_AHEAD_MIN.max(if code.is_chained() { 0 } else { 2 * system.depth });
    let fits = move |look_ahead: &usize| per_step * (chunk + look_ahead) <= unknowns_max;
    // The first is tried whatever it costs.
    std::iter::successors(Some(first), move |look_ahead| Some(2 * look_ahead).filter(fits))
        .map(move |look_ahead| chunk + look_ahead)
}

/// Streams for the live blocks that occur in any equation, and for the lost ones.
fn assign_streams(code: &Code, system: &System, chunk: usize) -> (Vec<Role>, Streams) {
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
    system.lost.iter().for_each(|&block| assign(block, Role::Output(block)));
    let scratch = roles.len();
    (roles, Streams { of_block, scratch, chunk })
}

const CHUNK_STEPS_MIN: usize = 32;
const LOOK_AHEAD_MIN: usize = 48;
const ROUNDS_MAX: usize = 32;
/// Beyond this many unknowns no longer look-ahead is tried (unless few are lost).
const UNKNOWNS_MAX: usize = 1 << 15;
