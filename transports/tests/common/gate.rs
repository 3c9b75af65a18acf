//! A store that stands still whenever a test wants it to.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tanner_transports::{
    ByteStream, Capabilities, Hash, Kept, NameStream, Nonce, ObjectMeta, ObjectName, Put, Result, Transport,
};
use tokio::sync::watch;

/// Another store, in which bytes, keeps, commits, lists and deletes wait until the gate is open.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    inner: Arc<dyn Transport>,
    open: Arc<watch::Sender<bool>>,
    arrived: Arc<AtomicUsize>,
}

impl Gate {
    pub(crate) fn new(inner: Arc<dyn Transport>) -> Self {
        Self { inner, open: Arc::new(watch::Sender::new(true)), arrived: Arc::default() }
    }

    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Calls that came to the gate.
    pub(crate) fn arrived(&self) -> usize {
        self.arrived.load(Ordering::SeqCst)
    }

    /// Waits until one more has come than there were.
    pub(crate) async fn arrival(&self, before: usize) {
        while self.arrived() <= before {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn pass(&self) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

#[async_trait]
impl Transport for Gate {
    fn url(&self) -> &str {
        self.inner.url()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>> {
        let put = self.inner.put(name, length).await?;
        Ok(Box::new(GatePut { put, gate: self.clone() }))
    }

    async fn resume(&self, name: &ObjectName, length: Option<u64>, kept: &Kept) -> Result<Box<dyn Put>> {
        let put = self.inner.resume(name, length, kept).await?;
        Ok(Box::new(GatePut { put, gate: self.clone() }))
    }

    async fn kept(&self) -> Result<Vec<Kept>> {
        self.inner.kept().await
    }

    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream> {
        self.inner.get(name, range).await
    }

    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(name, ranges).await
    }

    async fn prove(&self, name: &ObjectName, range: Range<u64>, nonce: &Nonce) -> Result<Hash> {
        self.inner.prove(name, range, nonce).await
    }

    async fn stat(&self, name: &ObjectName) -> Result<ObjectMeta> {
        self.inner.stat(name).await
    }

    async fn list(&self, prefix: &str) -> Result<NameStream> {
        self.pass().await;
        self.inner.list(prefix).await
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        self.pass().await;
        self.inner.delete(name).await
    }
}

struct GatePut {
    put: Box<dyn Put>,
    gate: Gate,
}

#[async_trait]
impl Put for GatePut {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.gate.pass().await;
        self.put.write(bytes).await
    }

    async fn keep(&mut self) -> Result<Option<Kept>> {
        self.gate.pass().await;
        self.put.keep().await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.gate.pass().await;
        self.put.commit().await
    }

    async fn abandon(self: Box<Self>) -> Result<()> {
        self.put.abandon().await
    }
}
