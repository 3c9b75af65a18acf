//! A store that takes everything and keeps nothing, for what is to be measured without a disk.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tanner_transports::{
    ByteStream, Capabilities, Hash, NameStream, Nonce, ObjectMeta, ObjectName, Put, Result, Target,
    Transport, TransportError,
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sink;

impl Sink {
    fn missing<T>(name: &ObjectName) -> Result<T> {
        Err(TransportError::Missing { at: Target::object("sink:", name) })
    }
}

#[async_trait]
impl Transport for Sink {
    fn url(&self) -> &str {
        "sink:"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Nothing of it is true: what is measured is what is in front of it, which asks for all of this.
            durable: true,
            exclusive_create: true,
            ranges: true,
            list: true,
            keep: false,
            prove: true,
            range_gap_bytes: 0,
            object_bytes_max: None,
        }
    }

    async fn put(&self, _: &ObjectName, _: Option<u64>) -> Result<Box<dyn Put>> {
        Ok(Box::new(*self))
    }

    async fn get(&self, name: &ObjectName, _: Range<u64>) -> Result<ByteStream> {
        Self::missing(name)
    }

    async fn get_ranges(&self, name: &ObjectName, _: &[Range<u64>]) -> Result<Vec<Bytes>> {
        Self::missing(name)
    }

    async fn prove(&self, name: &ObjectName, _: Range<u64>, _: &Nonce) -> Result<Hash> {
        Self::missing(name)
    }

    async fn stat(&self, name: &ObjectName) -> Result<ObjectMeta> {
        Self::missing(name)
    }

    async fn list(&self, _: &str) -> Result<NameStream> {
        Ok(stream::empty().boxed())
    }

    async fn delete(&self, _: &ObjectName) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Put for Sink {
    async fn write(&mut self, _: Bytes) -> Result<()> {
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        Ok(())
    }

    async fn abandon(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
