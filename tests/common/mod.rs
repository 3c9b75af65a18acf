//! A store for tests that takes blocks and keeps none, or never gets round to it; and what tests share besides.
#![allow(dead_code, reason = "each test binary uses some of it")]

pub(crate) mod meddled;
pub(crate) mod stored;

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use tanner_transports::{
    ByteStream, Capabilities, Hash, Memory, NameStream, Nonce, ObjectMeta, ObjectName, Put, Result, Transport,
};

/// What becomes of blocks; manifests are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blocks {
    Discarded,
    Hanging,
}

#[derive(Debug)]
pub(crate) struct Sink {
    kept: Memory,
    blocks: Blocks,
}

impl Sink {
    pub(crate) fn new(blocks: Blocks) -> Self {
        Self { kept: Memory::new(), blocks }
    }
}

#[async_trait]
impl Put for Blocks {
    async fn write(&mut self, _bytes: Bytes) -> Result<()> {
        if *self == Self::Hanging { std::future::pending().await } else { Ok(()) }
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        Ok(())
    }

    async fn abandon(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Transport for Sink {
    fn url(&self) -> &str {
        "sink:"
    }

    fn capabilities(&self) -> Capabilities {
        self.kept.capabilities()
    }

    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>> {
        if name.part() == "manifest" { self.kept.put(name, length).await } else { Ok(Box::new(self.blocks)) }
    }

    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream> {
        self.kept.get(name, range).await
    }

    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.kept.get_ranges(name, ranges).await
    }

    async fn prove(&self, name: &ObjectName, range: Range<u64>, nonce: &Nonce) -> Result<Hash> {
        self.kept.prove(name, range, nonce).await
    }

    async fn stat(&self, name: &ObjectName) -> Result<ObjectMeta> {
        self.kept.stat(name).await
    }

    async fn list(&self, prefix: &str) -> Result<NameStream> {
        self.kept.list(prefix).await
    }

    async fn delete(&self, name: &ObjectName) -> Result<()> {
        self.kept.delete(name).await
    }
}
