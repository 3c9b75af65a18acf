//! Stores: opened transports, and the names of a backup's objects in them.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tanner_transports::{Disk, ObjectName, Registry, Target, Transport, TransportError};

use crate::beside::{copy_of, is_beside};
use crate::error::Error;
use crate::fetch::read_object;
use crate::id::BackupId;
use crate::probe::{facts_of, inside};
use crate::scheduler::Facts;

/// A place for blocks.
#[derive(Clone, Debug)]
pub struct Store {
    /// How it is spoken to.
    pub transport: Arc<dyn Transport>,
    /// What is known of it.
    pub facts: Facts,
}

impl Store {
    /// A store of which nothing is known.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { facts: Facts::of(transport.url()), transport }
    }

    /// Opens the stores that these URLs or paths name, and looks at where they are.
    ///
    /// # Errors
    /// If there are none, one is there twice, or one is no URL that a transport knows.
    pub fn open_all(registry: &Registry, urls: &[String], flag: &'static str) -> Result<Vec<Self>, Error> {
        if urls.is_empty() {
            return Err(Error::NoStore { flag });
        }
        let mut stores: Vec<Self> = Vec::new();
        for url in urls {
            let transport = registry.open(url)?;
            if stores.iter().any(|store| store.url() == transport.url()) {
                return Err(Error::StoreTwice { url: transport.url().to_owned() });
            }
            let copy = copy_of(transport.url())?;
            stores.push(Self { facts: facts_of(transport.url()), transport });
            stores.extend(copy.map(Self::of_copy));
        }
        Self::check_alone(&stores)?;
        Ok(stores)
    }

    /// A store that gets manifests only.
    pub(crate) fn of_copy(disk: Disk) -> Self {
        let mut copy = Self::new(Arc::new(disk));
        copy.facts.capacity_bytes = Some(0);
        copy
    }

    /// The store of a protected file has its data blocks in the file: none of them belongs in another store, and no other
    /// backup's in the file.
    ///
    /// # Errors
    /// [`Error::NotAlone`].
    pub(crate) fn check_alone(stores: &[Self]) -> Result<(), Error> {
        let Some(beside) = stores.iter().find(|store| is_beside(inside(store.url()))) else { return Ok(()) };
        let copy = copy_of(inside(beside.url()))?;
        let is_its = |store: &Self| {
            store.url() == beside.url() || copy.as_ref().is_some_and(|copy| copy.url() == store.url())
        };
        if stores.iter().all(is_its) { Ok(()) } else { Err(Error::NotAlone { url: beside.url().to_owned() }) }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.transport.url()
    }
}

/// The name of a block.
pub(crate) fn block_name(id: BackupId, block: usize) -> ObjectName {
    ObjectName::new(format!("{id}/{block}")).expect("hex digits and a number are a name")
}

/// The name of a manifest.
pub(crate) fn manifest_name(id: BackupId) -> ObjectName {
    ObjectName::new(format!("{id}/{MANIFEST}")).expect("hex digits and a word are a name")
}

/// Stores an object and reads it back.
pub(crate) async fn put_and_read_back(
    transport: &dyn Transport,
    name: &ObjectName,
    bytes: Bytes,
) -> Result<(), TransportError> {
    let length = bytes.len() as u64;
    let mut put = transport.put(name, Some(length)).await?;
    put.write(bytes.clone()).await?;
    match put.commit().await {
        // An earlier run put it, and did not live to read it back.
        Err(TransportError::Exists { .. }) => {}
        committed => committed?,
    }
    if read_object(transport, name).await? == bytes { Ok(()) } else { Err(differs(transport.url(), name)) }
}

fn differs(store: &str, name: &ObjectName) -> TransportError {
    let source = io::Error::new(io::ErrorKind::InvalidData, "it reads back differently");
    TransportError::Corrupt { at: Target::object(store, name), source }
}

/// The part of a manifest's name behind the id.
pub(crate) const MANIFEST: &str = "manifest";
