//! tanner with a transport more: `tape:/PATH`, a directory in which every bit is the other way round.
//!
//! What is needed to plug a transport in is here: the trait, an opener, and one call of the command line.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tanner_transports::{
    ByteStream, Capabilities, Disk, Hash, NameStream, Nonce, ObjectMeta, ObjectName, Put, Registry, Result,
    Target, Transport, TransportError,
};

fn main() -> ExitCode {
    let mut registry = Registry::lasting();
    registry.register("tape", |url| Ok(Arc::new(Tape::open(url)?)));
    tanner::cli::run_with(std::env::args_os(), registry)
}

#[derive(Debug)]
struct Tape {
    url: String,
    disk: Disk,
}

impl Tape {
    fn open(url: &str) -> Result<Self> {
        let path = url.split_once(':').map_or("", |(_, path)| path);
        if !path.starts_with('/') {
            let reason = "a tape is an absolute path, as in tape:/mnt/reel";
            return Err(TransportError::BadUrl { url: url.to_owned(), reason });
        }
        Ok(Self { url: format!("tape:{path}"), disk: Disk::open(path)? })
    }
}

#[async_trait]
impl Transport for Tape {
    fn url(&self) -> &str {
        &self.url
    }

    fn capabilities(&self) -> Capabilities {
        // What the disk proves is not what was put, and nobody passes on here what it keeps.
        Capabilities { prove: false, keep: false, ..self.disk.capabilities() }
    }

    async fn put(&self, name: &ObjectName, length: Option<u64>) -> Result<Box<dyn Put>> {
        Ok(Box::new(TapePut(self.disk.put(name, length).await?)))
    }

    async fn get(&self, name: &ObjectName, range: Range<u64>) -> Result<ByteStream> {
        Ok(self.disk.get(name, range).await?.map_ok(|bytes| turned(&bytes)).boxed())
    }

    async fn get_ranges(&self, name: &ObjectName, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        Ok(self.disk.get_ranges(name, ranges).await?.into_iter().map(|bytes| turned(&bytes)).collect())
    }

    async fn prove(&self, name: &ObjectName, _: Range<u64>, _: &Nonce) -> Result<Hash> {
        let source = std::io::Error::other("a tape proves nothing");
        Err(TransportError::Refused { at: Target::object(self.url.clone(), name), source })
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

struct TapePut(Box<dyn Put>);

#[async_trait]
impl Put for TapePut {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.0.write(turned(&bytes)).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.0.commit().await
    }

    async fn abandon(self: Box<Self>) -> Result<()> {
        self.0.abandon().await
    }
}

fn turned(bytes: &[u8]) -> Bytes {
    bytes.iter().map(|byte| !byte).collect()
}
