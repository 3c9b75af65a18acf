//! Where clients' objects are, and how much room they have.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::taken_back::TakenBack;
use crate::{ObjectName, Put, Result, Target, Transport, TransportError, Trash};

/// A store and how much of it may be used.
#[derive(Debug)]
pub struct Area {
    pub(super) store: Arc<dyn Transport>,
    quota_bytes: Option<u64>,
    /// What was there already.
    count: AsyncMutex<Count>,
    used: Mutex<Used>,
    /// Held while an object is looked at and deleted, so that it is subtracted once.
    deleting: AsyncMutex<()>,
    /// Where deleted objects are for a while.
    trash: Option<Trash>,
    taken_back: TakenBack,
}

/// How far the counting has come. It goes on when nobody waits for it any more: a client that gives up and asks again
/// must not make it begin anew for ever.
#[derive(Debug)]
enum Count {
    Wanted,
    UnderWay(JoinHandle<Result<Used>>),
    Known,
}

/// What is in use.
#[derive(Debug, Default)]
struct Used {
    /// All of it.
    bytes: u64,
    /// Of this, what is kept and nobody writes, by its token: about 200 bytes of memory for each [`COST_BYTES`] of quota.
    kept: HashMap<Bytes, u64>,
    /// When the store was last asked what of this it has swept.
    asked: Option<Instant>,
}

impl Area {
    /// All that `store` keeps counts, with up to `quota_bytes` of objects. Each takes its bytes, rounded up to the next
    /// 4 KiB, and 4 KiB when it is empty: as on a disk, where many small ones fill what a quota is to protect, too. What is
    /// kept of a put counts as it did when it was on its way.
    pub fn new(store: Arc<dyn Transport>, quota_bytes: Option<u64>) -> Self {
        let (count, used) = (AsyncMutex::new(Count::Wanted), Mutex::default());
        let (deleting, taken_back) = (AsyncMutex::default(), TakenBack::default());
        Self { store, quota_bytes, count, used, deleting, trash: None, taken_back }
    }

    /// What is deleted goes to this trash, which has to be that of the store, and counts until it is purged there. The
    /// server purges it when it begins to run and each hour.
    #[must_use]
    pub fn with_trash(mut self, trash: Trash) -> Self {
        self.trash = Some(trash);
        self
    }

    pub(super) fn at(&self, name: &ObjectName) -> Target {
        Target::object(self.store.url(), name)
    }

    /// Sets room aside for an object that is about to come.
    pub(super) async fn reserve(self: &Arc<Self>, at: &Target, object_bytes: u64) -> Result<Reservation> {
        self.counted().await?;
        let mut reservation = Reservation { area: self.clone(), bytes: 0, kept: None };
        reservation.hold(at, object_bytes).await?;
        Ok(reservation)
    }

    /// Hands the room of what is kept to who goes on with it.
    pub(super) fn resume(self: &Arc<Self>, token: &[u8]) -> Reservation {
        let bytes = self.used().kept.remove(token).unwrap_or(0);
        // A copy: the frame that it came in is larger.
        Reservation { area: self.clone(), bytes, kept: Some(Bytes::copy_from_slice(token)) }
    }

    /// Deletes an object of a backup that has no manifest here.
    pub(super) async fn take_back(&self, name: &ObjectName) -> Result<()> {
        self.taken_back.note(&*self.store, name).await?;
        self.delete(name).await
    }

    /// Removes from the trash what has been there for long enough, and frees its room.
    ///
    /// # Errors
    /// Those of the trash, or of counting what is there.
    pub async fn purge(&self) -> Result<()> {
        let Some(trash) = &self.trash else { return Ok(()) };
        self.counted().await?;
        self.release(trash.purge(cost).await?);
        Ok(())
    }

    /// Purges now and each hour, without end.
    pub(super) async fn purge_on(self: Arc<Self>) {
        loop {
            // What could not be purged now is purged later.
            let _ = self.purge().await;
            tokio::time::sleep(PURGE_TIME).await;
        }
    }

    pub(super) fn has_trash(&self) -> bool {
        self.trash.is_some()
    }

    /// Deletes an object and frees its room, unless it is in the trash now. Leaves the room in use if it is dropped
    /// half-way.
    pub(super) async fn delete(&self, name: &ObjectName) -> Result<()> {
        if let Some(trash) = &self.trash {
            // A count that is under way must not count the object before it moves and after.
            self.counted().await?;
            return trash.take(name).await;
        }
        if self.quota_bytes.is_none() {
            return self.store.delete(name).await;
        }
        self.counted().await?;
        let _alone = self.deleting.lock().await;
        let bytes = self.store.stat(name).await.map_or(0, |meta| cost(meta.length));
        self.store.delete(name).await?;
        self.release(bytes);
        Ok(())
    }

    /// Waits until it is known what was there already, if that matters.
    pub(super) async fn counted(&self) -> Result<()> {
        if self.quota_bytes.is_none() {
            return Ok(());
        }
        let mut count = self.count.lock().await;
        if matches!(*count, Count::Wanted) {
            *count = Count::UnderWay(tokio::spawn(count_used(self.store.clone(), self.trash.clone())));
        }
        let Count::UnderWay(task) = &mut *count else { return Ok(()) };
        let counted = task.await;
        *count = Count::Wanted;
        let at = || Target::store(self.store.url());
        let panicked = |error| TransportError::Other { at: at(), source: io::Error::other(error) };
        *self.used() = counted.map_err(panicked)??;
        *count = Count::Known;
        Ok(())
    }

    /// Frees the room of what was kept and is there no more: the store sweeps without a word. Whoever has no room left
    /// asks in vain as often as he likes, so the store is not asked each time. Whether anything was freed.
    async fn forget_swept(&self) -> bool {
        // Of those only: what is kept while the store looks may be there without being seen.
        let mut gone: HashSet<Bytes> = {
            let mut used = self.used();
            if used.kept.is_empty() || used.asked.is_some_and(|asked| asked.elapsed() < ASK_TIME) {
                return false;
            }
            used.asked = Some(Instant::now());
            used.kept.keys().cloned().collect()
        };
        let Ok(kept) = self.store.kept().await else { return false };
        kept.iter().for_each(|kept| _ = gone.remove(&kept.token));
        let mut used = self.used();
        let freed: u64 = gone.iter().filter_map(|token| used.kept.remove(token)).sum();
        used.bytes = used.bytes.saturating_sub(freed);
        freed > 0
    }

    fn release(&self, bytes: u64) {
        let mut used = self.used();
        used.bytes = used.bytes.saturating_sub(bytes);
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn count_used(store: Arc<dyn Transport>, trash: Option<Trash>) -> Result<Used> {
    let mut used = Used::default();
    // First: what is brought back meanwhile is rather counted twice than not at all.
    if let Some(trash) = trash {
        used.bytes = trash.sum(cost).await?;
    }
    let mut names = match store.list("").await {
        Ok(names) => names,
        Err(TransportError::Missing { .. }) => return Ok(used),
        Err(error) => return Err(error),
    };
    while let Some(name) = names.try_next().await? {
        match store.stat(&name).await {
            Ok(meta) => used.bytes = used.bytes.saturating_add(cost(meta.length)),
            Err(TransportError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    used.kept = store.kept().await?.into_iter().map(|kept| (kept.token, cost(kept.bytes))).collect();
    used.bytes = used.kept.values().fold(used.bytes, |sum, bytes| sum.saturating_add(*bytes));
    Ok(used)
}

/// Bytes of quota that an object of this length takes.
fn cost(object_bytes: u64) -> u64 {
    object_bytes.max(1).checked_next_multiple_of(COST_BYTES).unwrap_or(u64::MAX)
}

/// Room for an object. Dropping it gives the room back, unless something was kept of the object.
#[derive(Debug)]
pub(super) struct Reservation {
    area: Arc<Area>,
    bytes: u64,
    /// The token of what is kept.
    kept: Option<Bytes>,
}

impl Reservation {
    /// Makes room for as much of the object as is known to come.
    pub(super) async fn hold(&mut self, at: &Target, object_bytes: u64) -> Result<()> {
        match self.try_hold(at, object_bytes) {
            Err(_) if self.area.forget_swept().await => self.try_hold(at, object_bytes),
            held => held,
        }
    }

    fn try_hold(&mut self, at: &Target, object_bytes: u64) -> Result<()> {
        let Some(quota) = self.area.quota_bytes else { return Ok(()) };
        let more = cost(object_bytes).saturating_sub(self.bytes);
        let mut used = self.area.used();
        match used.bytes.checked_add(more).filter(|sum| *sum <= quota) {
            Some(sum) => {
                used.bytes = sum;
                self.bytes += more;
                Ok(())
            }
            None => {
                let words = format!("the quota of {quota} bytes leaves {}", quota.saturating_sub(used.bytes));
                let source = io::Error::new(io::ErrorKind::QuotaExceeded, words);
                Err(TransportError::Full { at: at.clone(), source })
            }
        }
    }

    /// From here on the object keeps its room when nobody writes it.
    pub(super) fn keep(&mut self, token: Bytes) {
        self.kept = Some(token);
    }

    pub(super) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// What was kept is gone.
    pub(super) fn forget_kept(&mut self) {
        self.kept = None;
    }

    /// Publishes the object, which then has its room for good.
    pub(super) async fn commit(mut self, put: Box<dyn Put>, name: &ObjectName) -> Result<()> {
        let area = self.area.clone();
        let committing = match area.taken_back.committing(&*area.store, name).await {
            Ok(committing) => committing,
            Err(error) => {
                put.abandon().await?;
                self.kept = None;
                return Err(error);
            }
        };
        let committed = put.commit().await;
        drop(committing);
        let is_there = match &committed {
            Ok(()) => true,
            // The room of that one is counted already.
            Err(TransportError::Exists { .. }) => false,
            Err(_) => self.bytes > 0 && self.may_be_there(name).await,
        };
        if is_there {
            self.bytes = 0;
        }
        if is_there || matches!(committed, Err(TransportError::Exists { .. })) {
            self.kept = None;
        }
        committed
    }

    async fn may_be_there(&self, name: &ObjectName) -> bool {
        !matches!(self.area.store.stat(name).await, Err(TransportError::Missing { .. }))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        match self.kept.take() {
            Some(token) if self.bytes > 0 => _ = self.area.used().kept.insert(token, self.bytes),
            _ => self.area.release(self.bytes),
        }
    }
}

/// How often the trash is looked through.
const PURGE_TIME: Duration = Duration::from_secs(60 * 60);
/// What room is counted in.
const COST_BYTES: u64 = 4096;
/// How often a store is asked what it has swept, at most.
const ASK_TIME: Duration = Duration::from_secs(60);
