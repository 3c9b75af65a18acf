//! Evacuating a store: what it has is put into others, and only when all is well there does it go.

use std::sync::Arc;

use crate::error::Error;
use crate::fetch::{Found, Trouble};
use crate::forget::delete;
use crate::progress::Progress;
use crate::repair::{Repair, RepairReport};
use crate::resources::{Resources, Stop};
use crate::scheduler::Demand;

/// A backup that is to leave a store.
pub struct Evacuate {
    /// The backup, in that store and all others that have blocks of it or are to get some.
    pub found: Found,
    /// The store, by its place among these.
    pub leaving: usize,
    /// Whether each of the stores may get blocks.
    pub may_get: Vec<bool>,
    /// What must be survived without the store; else what was survived as the blocks were placed.
    pub survive: Vec<Demand>,
    /// Whether to say what would be done and do nothing.
    pub dry_run: bool,
}

/// What became of it.
#[derive(Debug)]
pub struct Evacuated {
    /// What was put where, and how the backup is without the store.
    pub report: RepairReport,
    /// Whether the store has nothing of the backup any more.
    pub has_left: bool,
    /// What kept something from being deleted.
    pub troubles: Vec<Trouble>,
}

impl Evacuate {
    /// Copies the blocks that no other store has, and rebuilds those that are not good any more; then deletes what the
    /// store has, its manifest first. If the backup is below target without the store, nothing is deleted.
    ///
    /// # Errors
    /// As those of a [`Repair`].
    pub async fn run(
        self,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<Evacuated, Error> {
        let Self { found, leaving, may_get, survive, dry_run } = self;
        let (id, store) = (found.manifest.id, found.stores[leaving].clone());
        // What is copied is checked on its way; what stays where it is is no worse without this store.
        let repair = Repair { found, may_get, quick: true, dry_run, leaving: Some(leaving), survive };
        let report = repair.run(resources, stop, progress).await?;
        let may_go = report.is_complete() && !dry_run;
        let troubles = if may_go { delete(id, &[store]).await } else { Vec::new() };
        Ok(Evacuated { has_left: may_go && troubles.is_empty(), report, troubles })
    }
}
