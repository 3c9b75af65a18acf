//! What a backup is worth in the end.

use tanner_kernels::BlockSet;

use super::Writing;
use crate::scheduler::domains::Demand;
use crate::scheduler::survive::{Margin, Spread};

/// How a writing ended. Without a backup nothing is visible of it; but what is there may be left to another run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// With a backup.
    Kept(Standing),
    /// The blocks that are durable do not bring the file back.
    TooFewBlocks,
    /// Fewer stores than the quorum have the manifest.
    TooFewStores { manifests: usize },
    /// The pass failed, or was to stop.
    Failed,
}

/// What a backup is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    /// Whether everything is as it was planned.
    pub(crate) is_complete: bool,
    /// How many stores may be lost, whichever they are.
    pub(crate) stores_survivable: usize,
    /// How many blocks may be lost besides.
    pub(crate) blocks_survivable: usize,
    /// How many domains may be lost, of each label.
    pub(crate) margins: Vec<Margin>,
    /// Demands that are not kept.
    pub(crate) broken: Vec<Demand>,
}

impl Writing {
    /// What the blocks that are durable are worth on the stores that have the manifest. A restore may be given the others
    /// too, but nothing is promised of a store that failed.
    pub(super) fn judge(&self) -> Verdict {
        let (codec, empty) = (&self.blocks.codec, &self.blocks.empty);
        let has_manifest: Vec<bool> = self.stores.iter().map(|store| store.has_manifest).collect();
        let mut held = vec![BlockSet::none(self.live.blocks()); self.stores.len()];
        let mut visible = empty.clone();
        let live = self.live.iter().map(|block| (block, self.homes.of[block]));
        live.filter(|&(_, store)| has_manifest[store]).for_each(|(block, store)| {
            held[store].insert(block);
            visible.insert(block);
        });
        let (always, labels) = (empty, &self.labels);
        let spread = Spread { codec, always, held: &held, has_manifest: &has_manifest, labels };
        let (Some(stores_survivable), Some(blocks_survivable)) =
            (spread.stores_survivable(), codec.recoverable(&visible))
        else {
            return Verdict::TooFewBlocks;
        };
        let manifests = has_manifest.iter().filter(|&&has| has).count();
        if manifests < self.quorum {
            return Verdict::TooFewStores { manifests };
        }
        let is_broken = |demand: &&Demand| spread.survives(demand).is_none();
        let broken: Vec<Demand> = self.demands.iter().filter(is_broken).cloned().collect();
        let is_complete = self.live.len() == self.live.blocks()
            && Some(stores_survivable) >= self.homes.planned()
            && broken.is_empty()
            && self.stores.iter().all(|store| !store.is_failing);
        let margins = spread.margins();
        Verdict::Kept(Standing { is_complete, stores_survivable, blocks_survivable, margins, broken })
    }
}
