//! Evacuating a store: what it has is put into others, and only when all is well there does it go.

use std::sync::Arc;

use tanner_transports::TransportError;

use crate::error::Error;
use crate::fetch::{Found, Trouble, read_manifest};
use crate::forget::delete;
use crate::id::BackupId;
use crate::progress::Progress;
use crate::repair::{Repair, RepairReport};
use crate::resources::{Resources, Stop};
use crate::scheduler::Demand;
use crate::store::{Store, manifest_name, put_and_read_back};
use crate::verify::{Health, glance, lengths};

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
        let (id, stores) = (found.manifest.id, found.stores.clone());
        let health = match dry_run {
            true => glance(&found).await,
            false => without_rotten_twins(&found, leaving, stop).await?,
        };
        let repair = Repair { found, may_get, quick: true, dry_run, leaving: Some(leaving), survive };
        let report = repair.run_knowing(health, resources, stop, progress).await?;
        let may_go = report.is_complete() && !dry_run;
        let troubles = if may_go { leave(id, &stores, leaving).await? } else { Vec::new() };
        Ok(Evacuated { has_left: may_go && troubles.is_empty(), report, troubles })
    }
}

/// How the backup is. Of what the store has, other stores' copies count only if they are good: what is copied is checked
/// on its way, and what other stores have alone is no worse without this one.
async fn without_rotten_twins(found: &Found, leaving: usize, stop: &Stop) -> Result<Health, Error> {
    let (mut held, mut damages) = lengths(found).await;
    for block in held[leaving].clone().iter() {
        for store in (0..held.len()).filter(|&store| store != leaving) {
            stop.check()?;
            if !held[store].contains(block) {
                continue;
            }
            if let Some(kind) = found.reread(block, store).await {
                held[store].remove(block);
                damages.push(found.damage(block, store, kind));
            }
        }
    }
    damages.sort_by_key(|damage| damage.block);
    Ok(Health::of(found, held, damages))
}

/// Deletes what the store has, its manifest first. Where the others' manifests go with it, it is one of them by another
/// name.
async fn leave(id: BackupId, stores: &[Store], leaving: usize) -> Result<Vec<Trouble>, Error> {
    let (store, name) = (&stores[leaving], manifest_name(id));
    if let Ok(bytes) = read_manifest(store, id).await {
        store.transport.delete(&name).await?;
        for other in stores.iter().filter(|other| other.url() != store.url()) {
            if matches!(other.transport.stat(&name).await, Err(TransportError::Missing { .. })) {
                put_and_read_back(&*store.transport, &name, bytes.into()).await?;
                return Err(Error::SamePlace { url: store.url().into(), other: other.url().into() });
            }
        }
    }
    Ok(delete(id, std::slice::from_ref(store)).await)
}
