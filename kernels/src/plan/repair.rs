//! Repair plans: any lost blocks, data or parity, from as few symbols of the others as can be found.
//!
//! Where each wanted symbol follows from one equation and what was found before it, the equations are chosen
//! so that they share what they read (`direct`). Where it does not, the lost data is decoded and the wanted parity
//! follows in the same program; rows that no wanted symbol needs are left out (`prune`).

use crate::block_set::BlockSet;
use crate::code::Code;
use crate::plan::draft::Draft;
use crate::plan::prune::prune;
use crate::plan::system::System;
use crate::plan::{DecodePlan, Role, Unrecoverable, direct};

/// How to compute some lost blocks of a frame, and what has to be read for it.
///
/// A frame has as many steps as the longest wanted block: a parity block has D more than data.
#[derive(Clone, Debug)]
pub struct RepairPlan {
    plan: DecodePlan,
    reads: Vec<Reads>,
}

/// The symbols of one live block that a repair reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reads {
    /// The block.
    pub block: usize,
    /// Its symbols of each group, counted from the group's first step, ascending. A group has
    /// [`DecodePlan::advance`] symbols, and all groups of a frame need the same.
    pub symbols: Vec<usize>,
}

impl RepairPlan {
    /// Plans the repair of the `wanted` blocks from the live ones.
    ///
    /// # Errors
    /// If the live blocks do not determine them.
    ///
    /// # Panics
    /// If a wanted block is live.
    pub fn new(code: &Code, live: &BlockSet, wanted: &BlockSet) -> Result<Self, Unrecoverable> {
        assert!(wanted.iter().all(|block| !live.contains(block)), "a live block needs no repair");
        let system = System::new(code, live, wanted);
        let plan = match direct::plan(code, &system) {
            Some(plan) => plan,
            None => prune(Draft::solve(code, live, &system)?),
        };
        let plan = plan.finish();
        Ok(Self { reads: reads(&plan), plan })
    }

    /// The streams and programs, to be run like those of any decode plan. Of its inputs only [`Self::reads`] need
    /// hold anything.
    #[must_use]
    pub fn plan(&self) -> &DecodePlan {
        &self.plan
    }

    /// What is read: the blocks that are needed at all, ascending.
    #[must_use]
    pub fn reads(&self) -> &[Reads] {
        &self.reads
    }

    /// How much that is, in blocks.
    #[must_use]
    pub fn blocks_read(&self) -> f64 {
        let symbols: usize = self.reads.iter().map(|reads| reads.symbols.len()).sum();
        symbols as f64 / self.plan.advance() as f64
    }
}

fn reads(plan: &DecodePlan) -> Vec<Reads> {
    let advance = plan.advance();
    let mut needed = vec![vec![false; advance]; plan.roles().len()];
    for row in plan.programs().iter().flat_map(|program| program.groups.iter().flatten()) {
        for slot in &row.from {
            let place = slot.symbol.rem_euclid(i32::try_from(advance).expect("periods are short"));
            needed[slot.stream as usize][place as usize] = true;
        }
    }
    let reads = plan.roles().iter().zip(needed).filter_map(|(role, needed)| match *role {
        Role::Input(block) if needed.contains(&true) => {
            Some(Reads { block, symbols: (0..advance).filter(|&symbol| needed[symbol]).collect() })
        }
        _ => None,
    });
    let mut reads: Vec<Reads> = reads.collect();
    reads.sort_by_key(|reads| reads.block);
    reads
}
