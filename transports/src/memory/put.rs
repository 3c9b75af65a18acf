//! The life of one put, and what may be left of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;

use super::lock;
use crate::transport::{check_length, not_kept, over};
use crate::{Kept, ObjectName, Put, Result, Target, TransportError};

/// An object on its way into memory.
pub(super) struct MemoryPut {
    store: Arc<Mutex<Store>>,
    at: Target,
    name: ObjectName,
    length: Option<u64>,
    bytes: Vec<u8>,
    over: bool,
    /// The token of what is kept, and its bytes.
    kept: Option<(u64, usize)>,
}

impl MemoryPut {
    pub(super) fn new(store: Arc<Mutex<Store>>, at: Target, name: ObjectName, length: Option<u64>) -> Self {
        Self { store, at, name, length, bytes: Vec::new(), over: false, kept: None }
    }

    /// Goes on with what is kept, and takes it out of the store meanwhile.
    pub(super) fn resume(mut self, kept: &Kept) -> Result<Self> {
        let of_another = || not_kept(self.at.clone(), "what was kept there is not of this object");
        let missing = || TransportError::Missing { at: self.at.clone() };
        let token = <[u8; 8]>::try_from(&*kept.token).map_err(|_| of_another())?;
        let token = u64::from_le_bytes(token);
        {
            let mut store = lock(&self.store);
            let (name, bytes) = store.kept.get_mut(&token).ok_or_else(missing)?;
            if *name != self.name {
                return Err(of_another());
            }
            let there = bytes.as_ref().ok_or_else(|| TransportError::Busy { at: self.at.clone() })?.len();
            if (there as u64) < kept.bytes {
                return Err(missing());
            }
            self.bytes = bytes.take().unwrap_or_default();
        }
        self.bytes.truncate(kept.bytes as usize);
        self.kept = Some((token, self.bytes.len()));
        Ok(self)
    }

    /// Leaves what was kept to whoever goes on with it.
    fn give_back(&mut self) {
        let Some((token, length)) = self.kept.take() else { return };
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(length);
        lock(&self.store).kept.entry(token).and_modify(|(_, kept)| *kept = Some(bytes));
    }

    /// Makes room for the declared length.
    pub(super) fn reserve(mut self) -> Result<Self> {
        let length = usize::try_from(self.length.unwrap_or(0)).unwrap_or(usize::MAX);
        match self.bytes.try_reserve_exact(length.saturating_sub(self.bytes.len())) {
            Ok(()) => Ok(self),
            Err(error) => Err(TransportError::from_io(self.at.clone(), error.into())),
        }
    }
}

#[async_trait]
impl Put for MemoryPut {
    async fn write(&mut self, more: Bytes) -> Result<()> {
        if self.over {
            return Err(over(&self.at));
        }
        let written = (self.bytes.len() + more.len()) as u64;
        if let Err(error) = check_length(&self.at, self.length, written, false) {
            self.over = true;
            self.give_back();
            return Err(error);
        }
        self.bytes.extend_from_slice(&more);
        Ok(())
    }

    async fn keep(&mut self) -> Result<Option<Kept>> {
        if self.over {
            return Err(over(&self.at));
        }
        let token = match self.kept {
            Some((token, _)) => token,
            None => lock(&self.store).keep(&self.name),
        };
        self.kept = Some((token, self.bytes.len()));
        Ok(Some(Kept { bytes: self.bytes.len() as u64, token: Bytes::copy_from_slice(&token.to_le_bytes()) }))
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        if self.over {
            return Err(over(&self.at));
        }
        check_length(&self.at, self.length, self.bytes.len() as u64, true)?;
        let bytes = std::mem::take(&mut self.bytes);
        let mut store = lock(&self.store);
        if let Some((token, _)) = self.kept.take() {
            store.kept.remove(&token);
        }
        if store.objects.contains_key(&self.name) {
            return Err(TransportError::Exists { at: self.at.clone() });
        }
        store.objects.insert(self.name.clone(), bytes.into());
        Ok(())
    }

    async fn abandon(mut self: Box<Self>) -> Result<()> {
        if let Some((token, _)) = self.kept.take() {
            lock(&self.store).kept.remove(&token);
        }
        Ok(())
    }
}

impl Drop for MemoryPut {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// All that a store has.
#[derive(Default)]
pub(super) struct Store {
    pub(super) objects: BTreeMap<ObjectName, Bytes>,
    /// What is kept, by its token: of which object, and `None` while it is written.
    pub(super) kept: BTreeMap<u64, (ObjectName, Option<Vec<u8>>)>,
    /// Tokens that were given out: none is given out again.
    tokens: u64,
}

impl Store {
    fn keep(&mut self, name: &ObjectName) -> u64 {
        self.tokens += 1;
        self.kept.insert(self.tokens, (name.clone(), None));
        self.tokens
    }
}
