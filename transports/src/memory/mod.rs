//! Objects in memory: the reference of the contract, and a store for tests that can be damaged at will.

mod put;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use self::put::{MemoryPut, Store};
use crate::transport::{check_length, check_range};
use crate::{
    ByteStream, Capabilities, Hash, Kept, NameStream, Nonce, ObjectMeta, ObjectName, PIECE_BYTES_MAX, Put,
    Result, Target, Transport, TransportError,
};

/// A store in the memory of this process. Clones are the same store.
#[derive(Clone)]
pub struct Memory {
    url: Arc<str>,
    store: Arc<Mutex<Store>>,
}

impl Memory {
    /// A new, empty store which only its clones share.
    pub fn new() -> Self {
        Self { url: "memory:".into(), store: Arc::default() }
    }

    /// The store called `name`: the same one wherever this process asks for it.
    pub fn named(name: &str) -> Self {
        static STORES: LazyLock<Mutex<HashMap<String, Memory>>> = LazyLock::new(Mutex::default);
        let new = || Self { url: format!("memory:{name}").into(), store: Arc::default() };
        lock(&STORES).entry(name.to_owned()).or_insert_with(new).clone()
    }

    /// Damages an object for a test: flips all bits of the byte at `offset`.
    ///
    /// # Errors
    /// `Missing`, or `OutOfRange` when the object has no such byte.
    pub fn corrupt(&self, name: &ObjectName, offset: u64) -> Result<()> {
        let byte = offset..offset.saturating_add(1);
        check_range(&self.at(name), &byte, self.find(name)?.len() as u64)?;
        self.change(name, |bytes| bytes[offset as usize] ^= 0xff)
    }

    /// Damages an object for a test: cuts it to `length` bytes; does nothing if it is shorter.
    ///
    /// # Errors
    /// `Missing`.
    pub fn truncate(&self, name: &ObjectName, length: u64) -> Result<()> {
        self.change(name, |bytes| bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX)))
    }

    /// Loses an object for a test.
    ///
    /// # Errors
    /// `Missing`: a test that loses what was never there is wrong.
    pub fn remove(&self, name: &ObjectName) -> Result<()> {
        self.lock()
            .objects
            .remove(name)
            .map(drop)
            .ok_or_else(|| TransportError::Missing { at: self.at(name) })
    }

    fn change(&self, name: &ObjectName, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let mut bytes = self.find(name)?.to_vec();
        change(&mut bytes);
        self.lock().objects.insert(name.clone(), bytes.into());
        Ok(())
    }

    fn find(&self, name: &ObjectName) -> Result<Bytes> {
        self.lock().objects.get(name).cloned().ok_or_else(|| TransportError::Missing { at: self.at(name) })
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    fn at(&self, name: &ObjectName) -> Target {
        Target::object(self.url.clone(), name)
    }
}

#[async_trait]
impl Transport for Memory {
    fn url(&self) -> &str {
        &self.url
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            exclusive_create: true,
            ranges: true,
            list: true,
            keep: true,
            prove: true,
            range_gap_bytes: 0,
            object_bytes_max: None,
        }
    }

    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>> {
        let put = MemoryPut::new(self.store.clone(), self.at(name), name.clone(), length);
        Ok(Box::new(put.reserve()?))
    }

    async fn resume(&self, name: &ObjectName, length: Option<u64>, kept: &Kept) -> Result<Box<dyn Put>> {
        check_length(&self.at(name), length, kept.bytes, false)?;
        let put = MemoryPut::new(self.store.clone(), self.at(name), name.clone(), length);
        Ok(Box::new(put.resume(kept)?.reserve()?))
    }

    async fn kept(&self) -> Result<Vec<Kept>> {
        let store = self.lock();
        let kept = store.kept.iter().map(|(token, (_, bytes))| Kept {
            bytes: bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            token: Bytes::copy_from_slice(&token.to_le_bytes()),
        });
        Ok(kept.collect())
    }

    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream> {
        let mut rest = self.get_ranges(name, &[range]).await?.remove(0);
        let pieces = std::iter::from_fn(move || {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
            (!piece.is_empty()).then_some(Ok(piece))
        });
        Ok(stream::iter(pieces).boxed())
    }

    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (at, object) = (self.at(name), self.find(name)?);
        let slice = |range: &Range<u64>| {
            check_range(&at, range, object.len() as u64)?;
            Ok(object.slice(range.start as usize..range.end as usize))
        };
        ranges.iter().map(slice).collect()
    }

    async fn prove(&self, name: &ObjectName, range: Range<u64>, nonce: &Nonce) -> Result<Hash> {
        Ok(blake3::keyed_hash(nonce, &self.get_ranges(name, &[range]).await?[0]))
    }

    async fn stat(&self, name: &ObjectName) -> Result<ObjectMeta> {
        Ok(ObjectMeta { length: self.find(name)?.len() as u64 })
    }

    async fn list(&self, prefix: &str) -> Result<NameStream> {
        ObjectName::check_prefix(prefix)?;
        let wanted = |name: &&ObjectName| prefix.is_empty() || name.prefix() == Some(prefix);
        let names: Vec<_> = self.lock().objects.keys().filter(wanted).cloned().map(Ok).collect();
        Ok(stream::iter(names).boxed())
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        self.lock().objects.remove(name);
        Ok(())
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({}, {} objects)", self.url, self.lock().objects.len())
    }
}

/// No call panics while it holds the lock, and a test that does must not hide its own message.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store() -> (Memory, ObjectName) {
        let (store, name) = (Memory::new(), ObjectName::new("id/7").unwrap());
        let mut put = store.put(&name, None).await.unwrap();
        put.write("0123456789".into()).await.unwrap();
        put.commit().await.unwrap();
        (store, name)
    }

    #[tokio::test]
    async fn a_test_can_damage_an_object_in_every_way() {
        let (store, name) = store().await;
        store.corrupt(&name, 3).unwrap();
        assert_eq!(store.get_ranges(&name, &[2..5, 0..1]).await.unwrap(), [&b"2\xcc4"[..], b"0"]);
        store.truncate(&name, 4).unwrap();
        assert_eq!(store.stat(&name).await.unwrap().length, 4);
        assert!(matches!(store.corrupt(&name, 4), Err(TransportError::OutOfRange { length: 4, .. })));
        store.remove(&name).unwrap();
        assert!(matches!(store.remove(&name), Err(TransportError::Missing { .. })));
        assert!(matches!(store.truncate(&name, 0), Err(TransportError::Missing { .. })));
    }

    #[tokio::test]
    async fn a_read_that_began_is_not_touched_by_later_damage() {
        let (store, name) = store().await;
        let mut pieces = store.get(&name, 0..10).await.unwrap();
        store.truncate(&name, 0).unwrap();
        assert_eq!(pieces.next().await.unwrap().unwrap(), "0123456789");
    }
}
