//! Scrub: goes over all that is stored, the longest unread first, and mends what it finds wrong.
//!
//! Manifests and the lengths of blocks are looked at in every run; the blocks themselves are read if nobody has read
//! them for a time. None of it takes a key, but who has one knows what was survived as the blocks were placed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tanner_kernels::BlockSet;
use tanner_transports::TransportError;
use tokio::runtime::Handle;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::fetch::{Damage, DamageKind, Found, Trouble, chain, list_backups};
use crate::id::BackupId;
use crate::manifest::newest;
use crate::parallel::blocking;
use crate::progress::Progress;
use crate::repair::{Repair, RepairReport, broken};
use crate::resources::{Resources, Stop};
use crate::scheduler::Demand;
use crate::seen::Seen;
use crate::store::Store;
use crate::verify::{Health, drawn, lengths, read_copies};

/// What to go over, and how.
pub struct Scrub<'a> {
    /// The stores, all of which hold blocks of the backups that are gone over.
    pub stores: Vec<Store>,
    /// Whether each of them may get blocks.
    pub may_get: Vec<bool>,
    /// What was seen of backups before: what is older is damage.
    pub seen: &'a Seen,
    /// What earlier scrubs read.
    pub cursor: Cursor,
    /// Where that is kept; nowhere if it is not to be.
    pub cursor_path: Option<PathBuf>,
    /// Now, in seconds since 1970.
    pub now: u64,
    /// Copies that were read so lately are not read.
    pub age_min: Duration,
    /// The share of the others that is read, drawn at random; all without it.
    pub sample: Option<f64>,
    /// Whether to mend what is wrong.
    pub repair: bool,
    /// What must be survived; without it what was survived as the blocks were placed, of backups that open.
    pub survive: Vec<Demand>,
    /// Opens a backup, if that can be done.
    pub unlock: &'a mut dyn FnMut(&mut Found),
}

/// What a scrub came to.
#[derive(Debug, Default)]
pub struct ScrubReport {
    /// The backups, by id.
    pub backups: Vec<Scrubbed>,
    /// Stores that could not be listed.
    pub troubles: Vec<Trouble>,
    /// Copies of blocks that there are.
    pub copies: usize,
    /// Copies that were read.
    pub copies_read: usize,
    /// Bytes that were read, without what repairs read.
    pub bytes_read: u64,
    /// When the copy was read that was not read for the longest time; none if one never was, or there is none.
    pub oldest: Option<u64>,
}

/// A backup that was gone over.
#[derive(Debug)]
pub struct Scrubbed {
    /// Its id.
    pub id: BackupId,
    /// How it was found, and what is wrong with stores or their copies of the manifest; an error if that is of no use.
    pub found: Result<(Health, Vec<Trouble>), Error>,
    /// Stores without a good copy of its manifest.
    pub manifests_damaged: usize,
    /// Losses that were to be survived, and were not when it was found.
    pub broken: Vec<Demand>,
    /// What became of its repair; none if it needed none, or was to get none.
    pub repaired: Option<Result<Box<RepairReport>, Error>>,
}

impl Scrubbed {
    /// Whether it was found without fault.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let is_sound = |(health, troubles): &(Health, Vec<Trouble>)| {
            health.damages.is_empty() && troubles.is_empty() && self.broken.is_empty()
        };
        self.found.as_ref().is_ok_and(is_sound)
    }

    /// Whether it can be restored now.
    #[must_use]
    pub fn is_restorable(&self) -> bool {
        let health = match (&self.repaired, &self.found) {
            (Some(Ok(report)), _) => &report.health,
            (_, Ok((health, _))) => health,
            (_, Err(_)) => return false,
        };
        health.blocks_survivable.is_some()
    }

    /// Whether nothing is wrong with it any more.
    #[must_use]
    pub fn is_mended(&self) -> bool {
        matches!(&self.repaired, Some(Ok(report)) if report.is_complete())
    }
}

/// A backup on its way through a scrub.
struct Subject {
    found: Found,
    held: Vec<BlockSet>,
    damages: Vec<Damage>,
}

impl Scrub<'_> {
    /// Goes over everything.
    ///
    /// # Errors
    /// If none of the stores is there, or it was told to stop. What was read until then is not read again by the next scrub.
    pub async fn run(
        mut self,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<ScrubReport, Error> {
        let mut report = ScrubReport::default();
        let ids = self.list(&mut report).await?;
        let (mut subjects, mut lost) = (BTreeMap::new(), Vec::new());
        for &id in &ids {
            stop.check()?;
            match self.open(id).await {
                Ok(found) => {
                    let (held, damages) = lengths(&found).await;
                    subjects.insert(id, Subject { found, held, damages });
                }
                // It was forgotten meanwhile.
                Err(Error::NoSuchBackup { .. }) if self.is_gone(id).await => {}
                Err(error) => lost.push(Scrubbed {
                    id,
                    found: Err(error),
                    manifests_damaged: self.stores.len(),
                    broken: Vec::new(),
                    repaired: None,
                }),
            }
        }
        if report.troubles.is_empty() {
            self.cursor.retain(&ids);
        }
        let subjects = self.read(subjects, &mut report, stop, progress).await?;
        report.backups = lost;
        for (id, Subject { found, held, damages }) in subjects {
            let health = Health::of(&found, held, damages);
            let broken = broken(&found, &self.survive, &health);
            let is_wrong =
                !health.damages.is_empty() || found.has_manifest.contains(&false) || !broken.is_empty();
            let repaired = match self.repair && is_wrong {
                true => Some(self.mend(&found, &health, resources, stop, progress).await?),
                false => None,
            };
            let manifests_damaged = found.has_manifest.iter().filter(|&&has| !has).count();
            let found = Ok((health, found.troubles));
            report.backups.push(Scrubbed { id, found, manifests_damaged, broken, repaired });
        }
        report.backups.sort_by_key(|scrubbed| scrubbed.id);
        Ok(report)
    }

    /// All backups that any store has a manifest of. A store that cannot be listed is gone without.
    ///
    /// # Errors
    /// If all stores are missing: that is a machine without its disks, and not one without backups.
    async fn list(&mut self, report: &mut ScrubReport) -> Result<BTreeSet<BackupId>, Error> {
        let (mut ids, mut reached) = (BTreeSet::new(), Vec::new());
        let mut missing = Vec::new();
        for (store, may_get) in self.stores.drain(..).zip(self.may_get.drain(..)) {
            match list_backups(&store).await {
                Ok(listed) => ids.extend(listed),
                // One that may get blocks can be made anew where it was.
                Err(TransportError::Missing { at }) if at.name.is_none() && self.repair && may_get => {
                    missing.push(at);
                }
                Err(error) => {
                    report.troubles.push(Trouble { store: store.url().to_owned(), what: chain(&error) });
                    continue;
                }
            }
            reached.push((store, may_get));
        }
        match missing.pop() {
            Some(at) if missing.len() + 1 == reached.len() => Err(TransportError::Missing { at }.into()),
            _ => {
                (self.stores, self.may_get) = reached.into_iter().unzip();
                Ok(ids)
            }
        }
    }

    /// Whether no store lists a backup any more, and all can be asked.
    async fn is_gone(&self, id: BackupId) -> bool {
        for store in &self.stores {
            if !list_backups(store).await.is_ok_and(|ids| !ids.contains(&id)) {
                return false;
            }
        }
        true
    }

    async fn open(&mut self, id: BackupId) -> Result<Found, Error> {
        let mut found = Found::open(self.stores.clone(), id).await?.without_strangers();
        (self.unlock)(&mut found);
        let checked = newest([&found.manifest], self.seen.of(id)).map(|_| ());
        checked.map(|()| found).map_err(|source| Error::Sealed { id, source: source.into() })
    }

    /// Reads what is due, and notes what is right.
    async fn read(
        &mut self,
        mut subjects: BTreeMap<BackupId, Subject>,
        report: &mut ScrubReport,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<BTreeMap<BackupId, Subject>, Error> {
        let due = self.due(&subjects, report);
        let bytes = |&(id, block, _): &(BackupId, usize, usize)| subjects[&id].found.block_bytes(block);
        progress.start(due.iter().map(bytes).sum());
        report.copies_read = due.len();
        let (mut cursor, path, now) = (std::mem::take(&mut self.cursor), self.cursor_path.clone(), self.now);
        let (io, stop, progress) = (Handle::current(), stop.clone(), Arc::clone(progress));
        let run = move || {
            let (mut wrong, mut saved) = (Vec::new(), Instant::now());
            let save = |cursor: &Cursor| {
                // The next scrub reads again what it does not know to be read.
                path.iter().for_each(|path| _ = cursor.write(path));
            };
            let copies = due.into_iter().map(|(id, block, store)| (&subjects[&id].found, block, store));
            let take = |found: &Found, block: usize, store: usize, read: Result<_, DamageKind>| {
                let (id, url) = (found.manifest.id, found.stores[store].url());
                match read {
                    Ok(_) => cursor.note(id, url, block, now),
                    Err(kind) => {
                        cursor.clear(id, url, block);
                        wrong.push((id, block, store, kind));
                    }
                }
                if saved.elapsed() >= SAVE_INTERVAL {
                    save(&cursor);
                    saved = Instant::now();
                }
            };
            let read = read_copies(copies, false, &io, &stop, &progress, take);
            save(&cursor);
            read?;
            for (id, block, store, kind) in wrong {
                let subject = subjects.get_mut(&id).expect("it was read");
                subject.held[store].remove(block);
                subject.damages.push(subject.found.damage(block, store, kind));
                subject.damages.sort_by_key(|damage| damage.block);
            }
            Ok::<_, Error>((subjects, cursor, progress.get().0))
        };
        let (subjects, cursor, bytes_read) = blocking(run).await?;
        (self.cursor, report.bytes_read) = (cursor, bytes_read);
        report.oldest = self.copies(&subjects).into_iter().map(|(last, ..)| last).min().flatten();
        Ok(subjects)
    }

    /// The copies that are to be read, the longest unread first.
    fn due(
        &self,
        subjects: &BTreeMap<BackupId, Subject>,
        report: &mut ScrubReport,
    ) -> Vec<(BackupId, usize, usize)> {
        let mut due = self.copies(subjects);
        report.copies = due.len();
        due.retain(|(last, ..)| last.is_none_or(|last| Duration::from_secs(self.now - last) >= self.age_min));
        if let Some(share) = self.sample.filter(|_| !due.is_empty()) {
            due = drawn(due, share);
        }
        due.sort_unstable();
        due.into_iter().map(|(_, id, block, store)| (id, block, store)).collect()
    }

    /// All copies, and when they were last found right.
    fn copies(&self, subjects: &BTreeMap<BackupId, Subject>) -> Vec<(Option<u64>, BackupId, usize, usize)> {
        let mut all = Vec::new();
        for (&id, Subject { found, held, .. }) in subjects {
            for (store, blocks) in held.iter().enumerate() {
                let url = found.stores[store].url();
                let last = |block| (self.cursor.last(id, url, block, self.now), id, block, store);
                all.extend(blocks.iter().map(last));
            }
        }
        all
    }

    /// Repairs a backup; the inner error is its own affair.
    async fn mend(
        &self,
        found: &Found,
        health: &Health,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<Result<Box<RepairReport>, Error>, Error> {
        let place = |store: &Store| self.stores.iter().position(|known| known.url() == store.url());
        let may_get = found.stores.iter().map(|store| place(store).is_some_and(|place| self.may_get[place]));
        let repair = Repair {
            found: found.clone(),
            may_get: may_get.collect(),
            quick: true,
            dry_run: false,
            leaving: None,
            survive: self.survive.clone(),
        };
        match repair.run_knowing(health.clone(), resources, stop, progress).await {
            Err(error @ Error::Stopped { .. }) => Err(error),
            repaired => Ok(repaired.map(Box::new)),
        }
    }
}

/// Time between two writings of the cursor: what was read since the last one is read again after a crash.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
