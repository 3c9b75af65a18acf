//! A store on a disk, and somebody who meddles with it between its calls.

use std::fmt::{self, Debug};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::once;
use tanner_transports::{
    ByteStream, Capabilities, Disk, Hash, NameStream, Nonce, ObjectMeta, ObjectName, Put, Result, Transport,
};

/// What is about to happen to an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Get,
    Put,
    Commit,
}

type Meddler = Arc<dyn Fn(Call, &ObjectName) -> Result<()> + Send + Sync>;

/// Before each call somebody does something, and may let it fail; a get then fails when its stream is read.
#[derive(Clone)]
pub(crate) struct Meddled {
    disk: Disk,
    meddler: Meddler,
}

impl Meddled {
    pub(crate) fn new(
        disk: Disk,
        meddler: impl Fn(Call, &ObjectName) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { disk, meddler: Arc::new(meddler) }
    }
}

impl Debug for Meddled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

#[async_trait]
impl Transport for Meddled {
    fn url(&self) -> &str {
        self.disk.url()
    }

    fn capabilities(&self) -> Capabilities {
        self.disk.capabilities()
    }

    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>> {
        (self.meddler)(Call::Put, name)?;
        let put = self.disk.put(name, length).await?;
        Ok(Box::new(MeddledPut { put, name: name.clone(), meddler: self.meddler.clone() }))
    }

    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream> {
        match (self.meddler)(Call::Get, name) {
            Ok(()) => self.disk.get(name, range).await,
            Err(error) => Ok(once(std::future::ready(Err(error))).boxed()),
        }
    }

    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        (self.meddler)(Call::Get, name)?;
        self.disk.get_ranges(name, ranges).await
    }

    async fn prove(&self, name: &ObjectName, range: Range<u64>, nonce: &Nonce) -> Result<Hash> {
        (self.meddler)(Call::Get, name)?;
        self.disk.prove(name, range, nonce).await
    }

    async fn stat(&self, name: &ObjectName) -> Result<ObjectMeta> {
        self.disk.stat(name).await
    }

    async fn list(&self, prefix: &str) -> Result<NameStream> {
        self.disk.list(prefix).await
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        self.disk.delete(name).await
    }
}

struct MeddledPut {
    put: Box<dyn Put>,
    name: ObjectName,
    meddler: Meddler,
}

#[async_trait]
impl Put for MeddledPut {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.put.write(bytes).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        (self.meddler)(Call::Commit, &self.name)?;
        self.put.commit().await
    }

    async fn abandon(self: Box<Self>) -> Result<()> {
        self.put.abandon().await
    }
}
