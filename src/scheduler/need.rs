//! Refusals, and what would be enough: found by placing, not by rules of thumb.

use std::fmt;

use super::domains::{Demand, Domains};
use super::facts::Facts;
use super::place::{Blocks, Task};

/// Why blocks are not placed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No store has the label.
    NoLabel {
        /// What was demanded.
        demand: Demand,
    },
    /// Too little room.
    Room {
        /// All blocks.
        blocks: usize,
        /// How many could be placed.
        fit: usize,
        /// Bytes of the others.
        missing_bytes: u64,
        /// Whether there is room enough but for the demands.
        demanded: bool,
    },
    /// The demands cannot be kept on these stores.
    Demand(Need),
}

/// What would have to be different for a demand to be kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need {
    /// The demand.
    pub demand: Demand,
    /// Whether it could be kept but for the others.
    pub together: bool,
    /// Data and parity blocks.
    pub shape: (usize, usize),
    /// How many domains there are of its label.
    pub have: usize,
    /// How many would be enough, if any number is.
    pub domains: Option<usize>,
    /// How many parity blocks would be enough on the stores as they are, if any number is.
    pub parity: Option<usize>,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { demand, shape: (data, parity), have, .. } = self;
        let domains = |count: usize| Demand { losses: count, label: demand.label.clone() };
        let others = if self.together { " together with what else is to be survived" } else { "" };
        write!(
            f,
            "the loss of {demand} cannot be survived{others} by {data}+{parity} blocks on {}: ",
            domains(*have)
        )?;
        match (self.domains, self.parity) {
            (Some(count), Some(parity)) => write!(f, "needs {}, or --parity {parity}", domains(count)),
            (Some(count), None) => write!(f, "needs {}", domains(count)),
            (None, Some(parity)) => write!(f, "needs --parity {parity}"),
            (None, None) => write!(f, "needs more parity and more {}s", demand.label),
        }
    }
}

impl Task<'_> {
    /// Why there is no placement. Labels are known to be those of the stores.
    pub(super) fn refusal(&self, with_parity: &dyn Fn(usize) -> Option<Blocks>) -> Refusal {
        let profile = self.blocks.codec.profile();
        let spare = profile.blocks() - profile.threshold();
        let room = |fit: usize, demanded: bool| {
            let missing_bytes = (profile.blocks() - fit) as u64 * self.blocks.block_bytes;
            Refusal::Room { blocks: profile.blocks(), fit, missing_bytes, demanded }
        };
        let free = Task { survive: &[], ..self.clone() };
        if let Err(fit) = free.fill(spare) {
            return room(fit, false);
        }
        let roomy: Vec<Facts> = self
            .stores
            .iter()
            .map(|store| Facts { capacity_bytes: None, free: None, ..store.clone() })
            .collect();
        if (Task { stores: &roomy, ..self.clone() }).try_place().is_some()
            && let Err(fit) = self.fill(spare)
        {
            return room(fit, true);
        }
        let alone = |demand: &&Demand| {
            Task { survive: std::slice::from_ref(*demand), ..self.clone() }.try_place().is_some()
        };
        let failing = self.survive.iter().find(|demand| !alone(demand));
        let demand = failing.or(self.survive.last()).expect("without a demand, what fits is placed").clone();
        let have = Domains::of_label(&demand.label, &self.labels()).count;
        Refusal::Demand(Need {
            together: failing.is_none(),
            shape: (profile.data(), profile.parity()),
            have,
            domains: self.domains_needed(&demand, have),
            parity: self.parity_needed(&demand, have, with_parity),
            demand,
        })
    }

    /// The least number of domains that is enough, if the new ones have one store each with room.
    fn domains_needed(&self, demand: &Demand, have: usize) -> Option<usize> {
        let profile = self.blocks.codec.profile();
        // If any `left` blocks restore, and of the others each lost domain may have the same.
        let least = |left: usize| {
            let each = (profile.blocks() - left) / demand.losses;
            (each > 0).then(|| demand.losses + left.div_ceil(each))
        };
        // Fewer are enough only for blocks without bytes; more than by the threshold never are needed.
        let fewest = if self.blocks.empty.is_empty() { least(profile.data())? } else { 0 };
        let surely = least(profile.threshold()).unwrap_or(fewest);
        let tries = |from: usize| (from.max(have + 1)..).take(TRIES);
        tries(fewest).chain(tries(surely)).find(|&count| {
            let mut stores = self.stores.to_vec();
            stores.resize(stores.len() + count - have, Facts::of("more"));
            Task { stores: &stores, ..self.clone() }.try_place().is_some()
        })
    }

    /// The least number of parity blocks that is enough on these stores.
    fn parity_needed(
        &self,
        demand: &Demand,
        have: usize,
        with_parity: &dyn Fn(usize) -> Option<Blocks>,
    ) -> Option<usize> {
        let profile = self.blocks.codec.profile();
        let left = have.checked_sub(demand.losses).filter(|&left| left > 0)?;
        // What is left of the domains must have all data, each as much as is lost with one.
        let least = demand.losses * profile.data().div_ceil(left);
        let tries = least.max(profile.parity() + 1)..;
        tries.take(TRIES * demand.losses).find(|&parity| {
            with_parity(parity)
                .is_some_and(|blocks| Task { blocks: &blocks, ..self.clone() }.try_place().is_some())
        })
    }
}

/// Placements tried to find out what would be enough.
const TRIES: usize = 16;
