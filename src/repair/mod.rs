//! Repair: what is lost or damaged is rebuilt from the rest, checked, and put in its place.
//!
//! A rebuilt block is written beside what it replaces, as an object that nobody sees. Only when its hash is the
//! manifest's, a damaged object in its way is read once more and deleted if it is still wrong, and then the block gets
//! its name. A crash in between leaves the block missing where it was damaged, which is no worse: nothing that anybody
//! could use is ever touched, so what could be restored before can be restored at every moment.
//!
//! Repairs may run at the same time. One may delete what another put since it looked, but it has a good copy of its own
//! by then: before its delete, ready to be named in that place or already named in another.

mod aims;
mod manifests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tanner_kernels::BlockSet;
use tanner_transports::TransportError;
use tokio::runtime::Handle;

pub(crate) use self::aims::broken;
use self::manifests::InPlace;
use crate::error::Error;
use crate::fetch::{Damage, DamageKind, Found, Trouble, chain, no_such_backup};
use crate::margins::labels_of;
use crate::parallel::blocking;
use crate::place::{Jobs, wrong_copies};
use crate::progress::Progress;
use crate::rebuild::{Rebuild, Sources};
use crate::resources::{Resources, Stop};
use crate::scheduler::Demand;
use crate::store::block_name;
use crate::streams::{Writer, abandon};
use crate::verify::{Health, glance, verify};

/// What to repair and how.
pub struct Repair {
    /// The backup.
    pub found: Found,
    /// Whether each of its stores may get blocks. All of them get the manifest.
    pub may_get: Vec<bool>,
    /// Whether to trust the blocks that are there, instead of reading them all. If what is rebuilt from them turns
    /// out wrong, they are read after all.
    pub quick: bool,
    /// Whether to say what would be done and do nothing.
    pub dry_run: bool,
    /// A store that is to hold nothing that no other one has: what is good in it is copied to others, and it gets nothing.
    pub leaving: Option<usize>,
    /// What must be survived in the end; without it what was survived as the blocks were placed, as far as their manifest
    /// says so to whoever opened it.
    pub survive: Vec<Demand>,
}

/// What became of a repair.
#[derive(Debug)]
pub struct RepairReport {
    /// What was wrong.
    pub damages: Vec<Damage>,
    /// Blocks that were rebuilt, or would be, and the stores' URLs.
    pub rebuilt: Vec<(usize, String)>,
    /// Copies that were to be replaced or removed and are right by now, with the stores' URLs. They stay.
    pub sound: Vec<(usize, String)>,
    /// Stores that got the manifest, or would.
    pub manifests: Vec<String>,
    /// What could not be stored.
    pub failed: Vec<Trouble>,
    /// Blocks that no store takes.
    pub unplaced: Vec<usize>,
    /// What the stores hold now.
    pub health: Health,
    /// Whether each of the stores has the manifest now.
    pub has_manifest: Vec<bool>,
    /// Losses that were to be survived, and are not.
    pub broken: Vec<Demand>,
    /// Whether every block was read.
    pub verified: bool,
    /// Bytes read from stores, or with a dry run those read and those to be read.
    pub bytes_read: u64,
    /// Bytes that reading and checking every block takes, and then reading what the rebuilding needs.
    pub bytes_read_full: u64,
}

impl RepairReport {
    /// Whether nothing is wrong any more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.health.damages.is_empty() && !self.has_manifest.contains(&false) && self.broken.is_empty()
    }
}

impl Repair {
    /// Runs the repair.
    ///
    /// # Errors
    /// If too little is left to rebuild from, or it was told to stop; nothing is changed then. If the backup was forgotten
    /// meanwhile.
    pub async fn run(
        self,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<RepairReport, Error> {
        self.run_from(None, resources, stop, progress).await
    }

    /// Runs the repair of what was just looked at. If what is rebuilt from that turns out wrong, all is read after all.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_knowing(
        self,
        health: Health,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<RepairReport, Error> {
        Self { quick: true, ..self }.run_from(Some(health), resources, stop, progress).await
    }

    async fn run_from(
        mut self,
        mut known: Option<Health>,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<RepairReport, Error> {
        let labels = labels_of(&self.found);
        if let Some(demand) = self.survive.iter().find(|demand| demand.of_labels(&labels).is_none()) {
            return Err(Error::NoLabel { label: demand.label.clone() });
        }
        let bytes_read = Arc::new(AtomicU64::new(0));
        let mut held_before = None;
        loop {
            let health = match known.take() {
                Some(health) if health.blocks_survivable.is_none() => {
                    return Err(self.not_recoverable(&health));
                }
                Some(health) => health,
                None => self.look(stop, progress, &bytes_read).await?,
            };
            let (sources, held) = (self.sources(&health).await?, health.held.clone());
            let health = self.without_leaving(health);
            let mut jobs = Jobs::place(&self, &health).await;
            let found = self.found.clone();
            let mut report = self.report(&health, sources.as_deref(), &bytes_read);
            report.failed = std::mem::take(&mut jobs.failed);
            report.unplaced = std::mem::take(&mut jobs.unplaced);
            if self.dry_run {
                return Ok(self.foretell(report, &jobs, sources.as_deref()).await);
            }
            progress.start(jobs.blocks.iter().map(|&(block, _)| self.block_bytes(block)).sum());
            let (sinks, io) = (std::mem::take(&mut jobs.sinks), Handle::current());
            let (resources, stop_pass, progress) =
                (Arc::clone(resources), stop.clone(), Arc::clone(progress));
            let counter = Arc::clone(&bytes_read);
            let held_now = held.clone();
            let pass = blocking(move || {
                let (stop, bytes_read) = (stop_pass, counter);
                Rebuild { found, held, sources, sinks, resources, stop, progress, io, bytes_read }.run()
            });
            let wrong = pass.await.and_then(|wrong| stop.check().map(|()| wrong));
            if let Ok(None) = wrong {
                report.bytes_read = bytes_read.load(Ordering::Relaxed);
                if self.is_forgotten().await {
                    abandon(jobs.writers).await;
                    return Err(no_such_backup(self.found.manifest.id, &self.found.stores));
                }
                self.publish(&mut report, jobs).await;
                return Ok(report);
            }
            abandon(jobs.writers).await;
            // Some block is not what it was taken for: look at all of them, and give up when that shows nothing new.
            if let Some(what) = wrong?
                && !self.quick
                && held_before.as_ref() == Some(&held_now)
            {
                return Err(Error::NotRebuilt { id: self.found.manifest.id, what });
            }
            held_before = (!self.quick).then_some(held_now);
            self.quick = false;
        }
    }

    async fn look(
        &self,
        stop: &Stop,
        progress: &Arc<Progress>,
        bytes_read: &AtomicU64,
    ) -> Result<Health, Error> {
        let health = if self.quick {
            glance(&self.found).await
        } else {
            let health = verify(self.found.clone(), stop, progress).await?;
            bytes_read.fetch_add(progress.get().0, Ordering::Relaxed);
            health
        };
        if health.blocks_survivable.is_some() { Ok(health) } else { Err(self.not_recoverable(&health)) }
    }

    /// Whether a store may get blocks.
    pub(crate) fn may_get(&self, store: usize) -> bool {
        self.may_get[store] && self.leaving != Some(store)
    }

    fn not_recoverable(&self, health: &Health) -> Error {
        self.found.not_recoverable(health.good.len(), health.damages.clone())
    }

    /// How to rebuild what no store has a good copy of.
    async fn sources(&self, health: &Health) -> Result<Option<Arc<Sources>>, Error> {
        let mut lost = BlockSet::none(health.good.blocks());
        (0..lost.blocks()).filter(|&block| !health.good.contains(block)).for_each(|block| lost.insert(block));
        if lost.is_empty() {
            return Ok(None);
        }
        let (found, held) = (self.found.clone(), health.held.clone());
        let sources = blocking(move || Ok::<_, Error>(Sources::choose(&found, &held, &lost))).await?;
        sources.map(|sources| Some(Arc::new(sources))).map_err(|_| self.not_recoverable(health))
    }

    fn report(&self, health: &Health, sources: Option<&Sources>, bytes_read: &AtomicU64) -> RepairReport {
        let copies = self.found.listed.iter().flat_map(BlockSet::iter);
        let verified: u64 = copies.map(|block| self.block_bytes(block)).sum();
        RepairReport {
            damages: health.damages.clone(),
            rebuilt: Vec::new(),
            sound: Vec::new(),
            manifests: Vec::new(),
            failed: Vec::new(),
            unplaced: Vec::new(),
            health: health.clone(),
            has_manifest: self.found.has_manifest.clone(),
            broken: Vec::new(),
            verified: !self.quick,
            bytes_read: bytes_read.load(Ordering::Relaxed),
            bytes_read_full: verified + sources.map_or(0, |sources| sources.bytes_of_whole_blocks),
        }
    }

    async fn foretell(
        &self,
        mut report: RepairReport,
        jobs: &Jobs,
        sources: Option<&Sources>,
    ) -> RepairReport {
        let url = |&(block, store): &(usize, usize)| (block, self.found.stores[store].url().to_owned());
        report.rebuilt = jobs.blocks.iter().map(url).collect();
        report.bytes_read += sources.map_or(0, |sources| sources.bytes);
        for store in self.stays() {
            match self.manifest_in(store).await {
                Ok(InPlace::Good) => {}
                Ok(_) => report.manifests.push(self.found.stores[store].url().to_owned()),
                Err(what) => report.failed.push(self.trouble(store, what)),
            }
        }
        report
    }

    /// Gives the blocks their names, then the stores their manifests, and looks at what that makes of the backup.
    async fn publish(&mut self, report: &mut RepairReport, jobs: Jobs) {
        let mut held = report.health.held.clone();
        let wrong = wrong_copies(&self.found, &report.damages);
        let mut removed = Vec::new();
        for (index, writer) in jobs.writers {
            let (block, store) = jobs.blocks[index];
            let copy = (block, self.found.stores[store].url().to_owned());
            match self.replace(block, store, writer, wrong.contains(&(block, store))).await {
                Ok(is_new) => {
                    held[store].insert(block);
                    if is_new { report.rebuilt.push(copy) } else { report.sound.push(copy) }
                }
                Err(what) => report.failed.push(self.trouble(store, what)),
            }
        }
        // A damaged copy where no block may be put is of no use once there is a good one elsewhere.
        for (block, store) in wrong {
            if held[store].contains(block) || !held.iter().any(|held| held.contains(block)) {
                continue;
            }
            match self.remove_wrong(block, store).await {
                Ok(true) => removed.push((block, store)),
                Ok(false) => {
                    held[store].insert(block);
                    report.sound.push((block, self.found.stores[store].url().to_owned()));
                }
                Err(what) => report.failed.push(self.trouble(store, what)),
            }
        }
        for store in self.stays() {
            match self.put_manifest(store).await {
                Ok(true) => {
                    self.found.has_manifest[store] = true;
                    report.manifests.push(self.found.stores[store].url().to_owned());
                }
                Ok(false) => {}
                Err(what) => report.failed.push(self.trouble(store, what)),
            }
        }
        let is_mended = |damage: &Damage| match self.found.store_of(damage) {
            Some(store) if damage.kind != DamageKind::Missing => {
                held[store].contains(damage.block) || removed.contains(&(damage.block, store))
            }
            _ => held.iter().any(|held| held.contains(damage.block)),
        };
        let left = report.damages.iter().filter(|damage| !is_mended(damage)).cloned().collect();
        self.leaving.iter().for_each(|&store| self.found.has_manifest[store] = false);
        report.health = Health::of(&self.found, held, left);
        report.has_manifest = self.stays().map(|store| self.found.has_manifest[store]).collect();
        report.broken = broken(&self.found, &self.survive, &report.health);
    }

    /// Gives a rebuilt block its name, unless a copy that is right by now has it; whether it got it.
    async fn replace(
        &self,
        block: usize,
        store: usize,
        writer: Writer,
        is_damaged: bool,
    ) -> Result<bool, String> {
        let put = writer.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let put = put.map_err(|error| chain(&error))?;
        if is_damaged && !self.remove_wrong(block, store).await? {
            // What may be left is not visible, and swept later.
            let _ = put.abandon().await;
            return Ok(false);
        }
        match put.commit().await {
            Ok(()) => Ok(true),
            Err(TransportError::Exists { .. }) if self.found.reread(block, store).await.is_none() => {
                Ok(false)
            }
            Err(error) => Err(chain(&error)),
        }
    }

    /// Deletes a copy if it is still wrong; whether it is gone. If not, it is right by now: another repair was faster,
    /// or the first reading was bad.
    async fn remove_wrong(&self, block: usize, store: usize) -> Result<bool, String> {
        let kind = match self.found.reread(block, store).await {
            None => return Ok(false),
            Some(DamageKind::Missing) => return Ok(true),
            Some(kind) => kind,
        };
        if !kind.is_wrong() {
            return Err(self.found.damage(block, store, kind).to_string());
        }
        let name = block_name(self.found.manifest.id, block);
        let deleted = self.found.stores[store].transport.delete(&name).await;
        deleted.map(|()| true).map_err(|error| chain(&error))
    }

    pub(crate) fn block_bytes(&self, block: usize) -> u64 {
        self.found.manifest.geometry.block_bytes(block)
    }

    pub(crate) fn trouble(&self, store: usize, what: String) -> Trouble {
        Trouble { store: self.found.stores[store].url().to_owned(), what }
    }
}
