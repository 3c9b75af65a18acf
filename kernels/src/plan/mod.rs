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
mod draft;
mod emit;
mod horizon;
mod peel;
mod prune;
mod repair;
mod solve;
mod system;

use std::iter::once;

use thiserror::Error;

use crate::block_set::BlockSet;
use crate::code::Code;
use crate::program::Program;
use draft::Draft;
pub(crate) use draft::{chunk_steps, look_ahead_max};
pub use repair::{Reads, RepairPlan};
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
    /// Symbols of blocks that are read or written at least once.
    pub lines: usize,
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
        let plan = |live: BlockSet| Ok(Draft::solve(code, &live, &System::new(code, &live, &lost))?.finish());
        // With more parity the rows are shorter, with less there is less to read.
        let all = plan(live.clone())?;
        let fewer = with_fewer_parity(code, live).into_iter().filter_map(|live| plan(live).ok());
        Ok(once(all).chain(fewer).min_by_key(|plan| plan.cost.estimate()).expect("one at least"))
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

impl PlanCost {
    /// What a group takes, in units of what an operand takes in the first-level cache. A line of memory takes six times
    /// as much on machines whose cores wait for memory, as most do.
    fn estimate(&self) -> usize {
        self.operands + self.rows + 6 * self.lines
    }
}

/// The live blocks without some of their parity, where there is more of it than the promise needs: as much as that,
/// and a little more. Neighbours are kept, for between neighbours rows are shortest.
fn with_fewer_parity(code: &Code, live: &BlockSet) -> Vec<BlockSet> {
    let profile = code.profile();
    let (data, parity): (Vec<usize>, Vec<usize>) = live.iter().partition(|&block| block < profile.data());
    let needed = profile.threshold().saturating_sub(data.len());
    let counts = [needed, needed + (needed / 4).max(2)].into_iter().filter(|count| *count < parity.len());
    counts
        .filter_map(|count| {
            let neighbours = parity.windows(count.max(1)).min_by_key(|run| run[run.len() - 1] - run[0])?;
            let mut kept = BlockSet::none(live.blocks());
            data.iter().chain(neighbours).for_each(|&block| kept.insert(block));
            Some(kept)
        })
        .collect()
}
