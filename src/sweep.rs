//! Taking back what unfinished backups left that nobody makes any more.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tanner_transports::{Kept, ObjectName, Registry, TransportError};
use tokio::time::timeout;

use crate::error::Error;
use crate::fetch::chain;
use crate::forget;
use crate::id::BackupId;
use crate::journal::{Contents, End, Journal, Journals, Record};
use crate::store::{Store, block_name, manifest_name};
use crate::unfinished::resume;

/// What became of an unfinished backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Swept {
    /// Another run is making it, or taking it back.
    Running,
    /// It is younger than what is to be taken back.
    Young,
    /// Nothing is left of it. With a dry run: nothing would be, if all stores can be reached.
    TakenBack,
    /// It is there with its manifest, and stays; only what it had besides is gone.
    Finished,
    /// Something may be left, for these reasons. The journal stays.
    Left(Vec<String>),
}

/// An unfinished backup that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sweep {
    /// Its id.
    pub id: BackupId,
    /// The file that it is of; empty if its journal cannot be read.
    pub source: String,
    /// When it began, in seconds since 1970.
    pub created: u64,
    /// What became of it.
    pub swept: Swept,
}

/// Which unfinished backups to take back.
pub struct SweepPlan<'a> {
    /// Where their journals are.
    pub journals: &'a Journals,
    /// Which of them; all if there are none here.
    pub ids: &'a [BackupId],
    /// Only those that began before, in seconds since 1970.
    pub before: u64,
    /// Whether to do nothing.
    pub dry_run: bool,
    /// Opens their stores.
    pub registry: &'a Registry,
}

impl SweepPlan<'_> {
    /// Takes them back, one after the other.
    ///
    /// # Errors
    /// If the journals cannot be listed.
    pub async fn run(&self) -> Result<Vec<Sweep>, Error> {
        let failed =
            |source: io::Error| Error::Journal { path: self.journals.directory().to_owned(), source };
        let mut ids = self.journals.ids().map_err(failed)?;
        if let Some(&id) = self.ids.iter().find(|id| !ids.contains(id)) {
            return Err(Error::NoJournal { id, path: self.journals.directory().to_owned() });
        }
        ids.retain(|id| self.ids.is_empty() || self.ids.contains(id));
        ids.sort_unstable();
        let mut all = Vec::new();
        for id in ids {
            all.extend(self.sweep(id).await);
        }
        Ok(all)
    }

    async fn sweep(&self, id: BackupId) -> Option<Sweep> {
        let unread = |swept| Some(Sweep { id, source: String::new(), created: 0, swept });
        let journal = match self.journals.open(id) {
            Ok(journal) => journal?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return unread(Swept::Running),
            Err(error) => return unread(Swept::Left(vec![format!("its journal cannot be read: {error}")])),
        };
        let header = &journal.contents.header;
        let (source, created) = (String::from_utf8_lossy(&header.source).into_owned(), header.created);
        let swept = if created > self.before { Swept::Young } else { self.take_back(journal).await };
        Some(Sweep { id, source, created, swept })
    }

    async fn take_back(&self, mut journal: Journal) -> Swept {
        let id = journal.id;
        let (mut stores, mut troubles) = (Vec::new(), Vec::new());
        for url in &journal.contents.header.stores {
            let opened = self.registry.open(url).map(Store::new);
            stores.push(opened.map_err(|error| troubles.push(chain(&error))).ok());
        }
        if journal.contents.end == Some(End::Forgetting) {
            return self.go_on_forgetting(journal, stores, troubles).await;
        }
        let finished = self.is_finished(&journal, &stores, &mut troubles).await;
        if self.dry_run {
            return match finished {
                _ if !troubles.is_empty() => Swept::Left(troubles),
                true => Swept::Finished,
                false => Swept::TakenBack,
            };
        }
        // Where a manifest may be, nothing is touched that it speaks of.
        if !troubles.is_empty() && journal.contents.end == Some(End::Publishing) && !finished {
            return Swept::Left(troubles);
        }
        let end = if finished { End::Published } else { End::Removing };
        if let Err(error) = journal.append(Record::End(end)) {
            return Swept::Left(vec![format!("its journal cannot be written: {error}")]);
        }
        if !finished {
            troubles.extend(delete(id, &journal.contents, &stores).await);
        }
        troubles.extend(take_back_kept(id, &journal.contents, &stores, &BTreeSet::new()).await);
        troubles.extend(take_back_strays(id, &journal.contents, &stores).await);
        if troubles.is_empty()
            && let Err(error) = journal.remove()
        {
            troubles.push(format!("its journal cannot be removed: {error}"));
        }
        match finished {
            _ if !troubles.is_empty() => Swept::Left(troubles),
            true => Swept::Finished,
            false => Swept::TakenBack,
        }
    }

    /// Ends what `tanner forget` began.
    async fn go_on_forgetting(
        &self,
        journal: Journal,
        stores: Vec<Option<Store>>,
        mut troubles: Vec<String>,
    ) -> Swept {
        let stores: Vec<Store> = stores.into_iter().flatten().collect();
        // Where a manifest may be left no block is touched.
        if troubles.is_empty() && !self.dry_run {
            troubles =
                forget::delete(journal.id, &stores).await.into_iter().map(|trouble| trouble.what).collect();
            if troubles.is_empty()
                && let Err(error) = journal.remove()
            {
                troubles.push(format!("its journal cannot be removed: {error}"));
            }
        }
        if troubles.is_empty() { Swept::TakenBack } else { Swept::Left(troubles) }
    }

    /// Whether somebody may rely on it: it has a manifest somewhere.
    async fn is_finished(
        &self,
        journal: &Journal,
        stores: &[Option<Store>],
        troubles: &mut Vec<String>,
    ) -> bool {
        match journal.contents.end {
            Some(End::Removing | End::Forgetting) => return false,
            Some(End::Published) => return true,
            Some(End::Publishing) | None => {}
        }
        let mut has_manifest = false;
        for store in stores.iter().flatten() {
            match in_time(store.transport.stat(&manifest_name(journal.id))).await {
                Ok(_) => has_manifest = true,
                Err(error) if is_gone(&error, &journal.contents) => {}
                Err(error) => troubles.push(unanswered(store, &error)),
            }
        }
        has_manifest
    }
}

/// Deletes the manifests, then the blocks.
async fn delete(id: BackupId, contents: &Contents, stores: &[Option<Store>]) -> Vec<String> {
    let manifests = (0..stores.len()).map(|store| (store, manifest_name(id)));
    let blocks: BTreeSet<(usize, usize)> = contents.places().collect();
    let blocks = blocks.into_iter().map(|(block, store)| (store, block_name(id, block)));
    let mut troubles: BTreeMap<usize, String> = BTreeMap::new();
    for names in [manifests.collect::<Vec<_>>(), blocks.collect()] {
        let delete = |(at, name): (usize, ObjectName)| async move {
            let store = stores[at].as_ref()?;
            let deleted = in_time(store.transport.delete(&name)).await;
            let error = deleted.err().filter(|error| !is_gone(error, contents))?;
            Some((at, unanswered(store, &error)))
        };
        let failed: Vec<_> = stream::iter(names).map(delete).buffer_unordered(AT_ONCE).collect().await;
        failed.into_iter().flatten().for_each(|(at, what)| _ = troubles.entry(at).or_insert(what));
    }
    troubles.into_values().collect()
}

/// Takes back what stores keep of blocks, but for those blocks in those stores that are to stay.
pub(crate) async fn take_back_kept(
    id: BackupId,
    contents: &Contents,
    stores: &[Option<Store>],
    stay: &BTreeSet<(usize, usize)>,
) -> Vec<String> {
    let mut troubles = BTreeMap::new();
    for mark in contents.marks.values() {
        let (block, at) = (mark.block as usize, mark.store as usize);
        let (Some(kept), Some(store)) = (mark.kept(), &stores[at]) else { continue };
        if stay.contains(&(block, at)) || troubles.contains_key(&at) {
            continue;
        }
        let name = block_name(id, block);
        let taken = in_time(async {
            match resume(store, &name, contents.header.block_bytes[block], &kept).await {
                Ok(put) => put.abandon().await,
                // Not there any more.
                Err(TransportError::Refused { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        });
        if let Err(error) = taken.await
            && !is_gone(&error, contents)
        {
            troubles.insert(at, unanswered(store, &error));
        }
    }
    troubles.into_values().collect()
}

/// Takes back what was kept by a run that did not live to write it down: it is found by trying.
pub(crate) async fn take_back_strays(
    id: BackupId,
    contents: &Contents,
    stores: &[Option<Store>],
) -> Vec<String> {
    let mut troubles = Vec::new();
    let places: BTreeSet<(usize, usize)> = contents.places().collect();
    for (at, store) in stores.iter().enumerate().filter_map(|(at, store)| Some((at, store.as_ref()?))) {
        let kept = match in_time(store.transport.kept()).await {
            Ok(kept) => kept,
            Err(error) if is_gone(&error, contents) => continue,
            Err(error) => {
                troubles.push(unanswered(store, &error));
                continue;
            }
        };
        let mine = || places.iter().filter(|&&(_, of)| of == at).map(|&(block, _)| block);
        let tries = kept.into_iter().flat_map(|kept| mine().map(move |block| (block, kept.token.clone())));
        for (block, token) in tries.take(STRAYS_MAX) {
            let (name, length) = (block_name(id, block), contents.header.block_bytes[block]);
            // Most are of another object, and refused for that.
            let kept = Kept { bytes: 0, token };
            if let Ok(put) = in_time(store.transport.resume(&name, Some(length), &kept)).await
                && let Err(error) = in_time(put.abandon()).await
            {
                troubles.push(unanswered(store, &error));
            }
        }
    }
    troubles
}

/// An answer, if it comes in time; an error without an error if it does not.
pub(crate) async fn in_time<T>(
    answer: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, Option<TransportError>> {
    timeout(ANSWER_WAIT, answer).await.map_err(|_| None)?.map_err(Some)
}

/// What a store said, or that it said nothing.
pub(crate) fn unanswered(store: &Store, error: &Option<TransportError>) -> String {
    error.as_ref().map_or_else(|| format!("store {} does not answer", store.url()), chain)
}

/// Whether there is nothing to take back: no such object, or no store where none was ever made. A store that was there
/// may only be out of reach.
fn is_gone(error: &Option<TransportError>, contents: &Contents) -> bool {
    match error {
        Some(TransportError::Missing { at }) => {
            at.name.is_some() || (contents.made.is_none() && contents.marks.is_empty())
        }
        _ => false,
    }
}

/// Requests to all stores together.
pub(crate) const AT_ONCE: usize = 32;
/// Longer than the deadlines within which transports try again.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Pairs of a block and something kept that are tried in one store.
const STRAYS_MAX: usize = 10_000;
