//! Whom a server serves.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Area, Limits};
use crate::net::{DeleteToken, Pin, TokenHash};

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

    /// The areas that clients have, each once.
    pub(super) fn areas(&self) -> Vec<Arc<Area>> {
        let mut areas: Vec<_> = self.by_pin.values().map(|client| client.area.clone()).collect();
        areas.sort_by_key(|area| Arc::as_ptr(area).addr());
        areas.dedup_by(|one, other| Arc::ptr_eq(one, other));
        areas
    }

    pub(super) fn get(&self, pin: Pin) -> Option<Arc<Client>> {
        self.by_pin.get(&pin).cloned()
    }
}

/// What one client may do, and what it does just now.
#[derive(Debug)]
pub struct Client {
    pub(super) area: Arc<Area>,
    append_only: bool,
    delete_tokens: Vec<TokenHash>,
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
            delete_tokens: Vec::new(),
            tcp: semaphore(limits.tcp_connections_per_client),
            quic: semaphore(limits.quic_connections_per_client),
            inflight: semaphore(limits.inflight_bytes_per_client),
        }
    }

    /// Lets it delete nothing that belongs to a finished backup: a thief of its key cannot destroy the backups that are
    /// there.
    #[must_use]
    pub fn append_only(mut self) -> Self {
        self.append_only = true;
        self
    }

    /// As [`append_only`](Self::append_only), but lets it delete everything with one of these tokens.
    #[must_use]
    pub fn delete_tokens(mut self, tokens: impl IntoIterator<Item = TokenHash>) -> Self {
        self.delete_tokens.extend(tokens);
        self
    }

    /// Whether its key alone lets it delete but what belongs to no finished backup.
    pub(super) fn only_adds(&self) -> bool {
        self.append_only || self.wants_token()
    }

    pub(super) fn wants_token(&self) -> bool {
        !self.delete_tokens.is_empty()
    }

    /// What it may delete with this token; `None` when it is none of its tokens, which is never taken for having none.
    pub(super) fn right(&self, token: Option<&DeleteToken>) -> Option<Right> {
        match token {
            Some(token) if self.wants_token() => {
                token.hash().is_one_of(&self.delete_tokens).then_some(Right::Everything)
            }
            _ if self.only_adds() => Some(Right::Unfinished),
            _ => Some(Right::Everything),
        }
    }
}

/// What may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// All objects.
    Everything,
    /// What belongs to no finished backup.
    Unfinished,
}
