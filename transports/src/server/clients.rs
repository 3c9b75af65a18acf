//! Whom a server serves.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Area, Limits};
use crate::net::Pin;

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
