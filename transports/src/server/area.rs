//! Where clients' objects are, and how much room they have.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::TryStreamExt;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;

use crate::{ObjectName, Put, Result, Target, Transport, TransportError};

/// A store and how much of it may be used.
#[derive(Debug)]
pub struct Area {
    pub(super) store: Arc<dyn Transport>,
    quota_bytes: Option<u64>,
    /// What was there already.
    count: AsyncMutex<Count>,
    used_bytes: Mutex<u64>,
    /// Held while an object is looked at and deleted, so that it is subtracted once.
    deleting: AsyncMutex<()>,
}

/// How far the counting has come. It goes on when nobody waits for it any more: a client that gives up and asks again
/// must not make it begin anew for ever.
#[derive(Debug)]
enum Count {
    Wanted,
    UnderWay(JoinHandle<Result<u64>>),
    Known,
}

impl Area {
    /// All that `store` keeps counts, with up to `quota_bytes` of objects. Each takes its bytes, rounded up to the next
    /// 4 KiB, and 4 KiB when it is empty: as on a disk, where many small ones fill what a quota is to protect, too.
    pub fn new(store: Arc<dyn Transport>, quota_bytes: Option<u64>) -> Self {
        let (count, used_bytes) = (AsyncMutex::new(Count::Wanted), Mutex::new(0));
        Self { store, quota_bytes, count, used_bytes, deleting: AsyncMutex::new(()) }
    }

    pub(super) fn at(&self, name: &ObjectName) -> Target {
        Target::object(self.store.url(), name)
    }

    /// Sets room aside for an object that is about to come.
    pub(super) async fn reserve(self: &Arc<Self>, at: &Target, object_bytes: u64) -> Result<Reservation> {
        self.counted().await?;
        let mut reservation = Reservation { area: self.clone(), bytes: 0 };
        reservation.hold(at, object_bytes)?;
        Ok(reservation)
    }

    /// Deletes an object and frees its room. Leaves the room in use if it is dropped half-way.
    pub(super) async fn delete(&self, name: &ObjectName) -> Result<()> {
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
    async fn counted(&self) -> Result<()> {
        if self.quota_bytes.is_none() {
            return Ok(());
        }
        let mut count = self.count.lock().await;
        if matches!(*count, Count::Wanted) {
            *count = Count::UnderWay(tokio::spawn(count_bytes(self.store.clone())));
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

    fn release(&self, bytes: u64) {
        let mut used = self.used();
        *used = used.saturating_sub(bytes);
    }

    fn used(&self) -> MutexGuard<'_, u64> {
        self.used_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn count_bytes(store: Arc<dyn Transport>) -> Result<u64> {
    let mut used = 0_u64;
    let mut names = match store.list("").await {
        Ok(names) => names,
        Err(TransportError::Missing { .. }) => return Ok(0),
        Err(error) => return Err(error),
    };
    while let Some(name) = names.try_next().await? {
        match store.stat(&name).await {
            Ok(meta) => used = used.saturating_add(cost(meta.length)),
            Err(TransportError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(used)
}

/// Bytes of quota that an object of this length takes.
fn cost(object_bytes: u64) -> u64 {
    object_bytes.max(1).checked_next_multiple_of(COST_BYTES).unwrap_or(u64::MAX)
}

/// Room for an object. Dropping it gives the room back.
#[derive(Debug)]
pub(super) struct Reservation {
    area: Arc<Area>,
    bytes: u64,
}

impl Reservation {
    /// Makes room for as much of the object as is known to come.
    pub(super) fn hold(&mut self, at: &Target, object_bytes: u64) -> Result<()> {
        let Some(quota) = self.area.quota_bytes else { return Ok(()) };
        let more = cost(object_bytes).saturating_sub(self.bytes);
        let mut used = self.area.used();
        match used.checked_add(more).filter(|sum| *sum <= quota) {
            Some(sum) => {
                *used = sum;
                self.bytes += more;
                Ok(())
            }
            None => {
                let words = format!("the quota of {quota} bytes leaves {}", quota.saturating_sub(*used));
                let source = io::Error::new(io::ErrorKind::QuotaExceeded, words);
                Err(TransportError::Full { at: at.clone(), source })
            }
        }
    }

    /// Publishes the object, which then has its room for good.
    pub(super) async fn commit(mut self, put: Box<dyn Put>, name: &ObjectName) -> Result<()> {
        let committed = put.commit().await;
        let is_there = match &committed {
            Ok(()) => true,
            // The room of that one is counted already.
            Err(TransportError::Exists { .. }) => false,
            Err(_) => self.bytes > 0 && self.may_be_there(name).await,
        };
        if is_there {
            self.bytes = 0;
        }
        committed
    }

    async fn may_be_there(&self, name: &ObjectName) -> bool {
        !matches!(self.area.store.stat(name).await, Err(TransportError::Missing { .. }))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.area.release(self.bytes);
    }
}

/// What room is counted in.
const COST_BYTES: u64 = 4096;
