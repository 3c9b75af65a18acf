//! Whom a server serves, where their objects are and how much room they have.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::TryStreamExt;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, Semaphore};

use super::Limits;
use crate::net::Pin;
use crate::{ObjectName, Result, Target, Transport, TransportError};

/// The clients that a server knows.
#[derive(Debug, Default)]
pub struct Clients {
    by_pin: HashMap<Pin, Arc<Client>>,
}

impl Clients {
    /// Lets the holder of the key with this pin in. Replaces what was said of it before.
    pub fn allow(&mut self, pin: Pin, client: Client) -> &mut Self {
        self.by_pin.insert(pin, Arc::new(client));
        self
    }

    pub(super) fn get(&self, pin: Pin) -> Option<Arc<Client>> {
        self.by_pin.get(&pin).cloned()
    }
}

/// What one client may do, and what it does just now.
#[derive(Debug)]
pub struct Client {
    pub(super) area: Arc<Area>,
    pub(super) append_only: bool,
    pub(super) tcp: Arc<Semaphore>,
    pub(super) quic: Arc<Semaphore>,
    pub(super) inflight: Arc<Semaphore>,
}

impl Client {
    /// A client whose objects are in `area`, which other clients may share.
    pub fn new(area: Arc<Area>, limits: &Limits) -> Self {
        let semaphore = |most| Arc::new(Semaphore::new(most));
        Self {
            area,
            append_only: false,
            tcp: semaphore(limits.tcp_connections_per_client),
            quic: semaphore(limits.quic_connections_per_client),
            inflight: semaphore(limits.inflight_bytes_per_client),
        }
    }

    /// Lets it delete nothing: a thief of its key cannot destroy the backups that are there.
    #[must_use]
    pub fn append_only(mut self) -> Self {
        self.append_only = true;
        self
    }
}

/// A store and how much of it may be used.
#[derive(Debug)]
pub struct Area {
    pub(super) store: Arc<dyn Transport>,
    quota_bytes: Option<u64>,
    /// Whether what was there already has been counted.
    counted: OnceCell<()>,
    used_bytes: Mutex<u64>,
    /// Held while an object is looked at and deleted, so that it is subtracted once.
    deleting: AsyncMutex<()>,
}

impl Area {
    /// All that `store` keeps counts, with up to `quota_bytes` of objects.
    pub fn new(store: Arc<dyn Transport>, quota_bytes: Option<u64>) -> Self {
        let (counted, used_bytes, deleting) = (OnceCell::new(), Mutex::new(0), AsyncMutex::new(()));
        Self { store, quota_bytes, counted, used_bytes, deleting }
    }

    pub(super) fn at(&self, name: &ObjectName) -> Target {
        Target::object(self.store.url(), name)
    }

    /// Sets room aside for an object that is about to come.
    pub(super) async fn reserve(self: &Arc<Self>, at: &Target, bytes: u64) -> Result<Reservation> {
        if self.quota_bytes.is_some() {
            self.counted.get_or_try_init(|| self.count()).await?;
        }
        let mut reservation = Reservation { area: self.clone(), bytes: 0 };
        reservation.grow(at, bytes)?;
        Ok(reservation)
    }

    /// Deletes an object and frees its room.
    pub(super) async fn delete(&self, name: &ObjectName) -> Result<()> {
        if self.quota_bytes.is_none() {
            return self.store.delete(name).await;
        }
        self.counted.get_or_try_init(|| self.count()).await?;
        let _alone = self.deleting.lock().await;
        let length = match self.store.stat(name).await {
            Ok(meta) => meta.length,
            Err(_) => 0,
        };
        self.store.delete(name).await?;
        self.release(length);
        Ok(())
    }

    async fn count(&self) -> Result<()> {
        let mut used = 0_u64;
        let mut names = match self.store.list("").await {
            Ok(names) => names,
            Err(TransportError::Missing { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        while let Some(name) = names.try_next().await? {
            match self.store.stat(&name).await {
                Ok(meta) => used = used.saturating_add(meta.length),
                Err(TransportError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        *self.used() = used;
        Ok(())
    }

    fn release(&self, bytes: u64) {
        let mut used = self.used();
        *used = used.saturating_sub(bytes);
    }

    fn used(&self) -> std::sync::MutexGuard<'_, u64> {
        self.used_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for an object. Dropping it gives the room back.
#[derive(Debug)]
pub(super) struct Reservation {
    area: Arc<Area>,
    bytes: u64,
}

impl Reservation {
    /// Makes room for more of the object.
    pub(super) fn grow(&mut self, at: &Target, bytes: u64) -> Result<()> {
        let Some(quota) = self.area.quota_bytes else { return Ok(()) };
        let mut used = self.area.used();
        match used.checked_add(bytes).filter(|sum| *sum <= quota) {
            Some(sum) => {
                *used = sum;
                self.bytes += bytes;
                Ok(())
            }
            None => {
                let words = format!("the quota of {quota} bytes leaves {}", quota.saturating_sub(*used));
                let source = io::Error::new(io::ErrorKind::QuotaExceeded, words);
                Err(TransportError::Full { at: at.clone(), source })
            }
        }
    }

    /// The object is there, or may be: its room is used.
    pub(super) fn keep(mut self) -> Kept {
        Kept { area: self.area.clone(), bytes: std::mem::take(&mut self.bytes) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.area.release(self.bytes);
    }
}

/// Room that is used.
pub(super) struct Kept {
    area: Arc<Area>,
    bytes: u64,
}

impl Kept {
    /// The object did not come to be.
    pub(super) fn undo(self) {
        self.area.release(self.bytes);
    }
}
