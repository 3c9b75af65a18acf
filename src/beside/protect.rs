//! Making parity beside a file, and finding it again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt;
use rustix::fs::{FlockOperation, flock};
use tanner_transports::{ObjectName, Target, TransportError};

use super::{Beside, copy, directory};
use crate::backup::{Backup, Shape};
use crate::error::Error;
use crate::id::BackupId;
use crate::progress::Progress;
use crate::report::BackupReport;
use crate::resources::{Resources, Stop};
use crate::scheduler::Even;
use crate::source::{IoMode, Source};
use crate::store::{MANIFEST, Store};

/// What to protect, and how.
pub struct Protect<'a> {
    /// The file. It is read, and stays as it is.
    pub path: &'a Path,
    /// How to read it.
    pub io: IoMode,
    /// Data blocks that the file is taken for, and parity blocks.
    pub shape: Shape,
    /// Whether what protects it already is deleted in the end; else that is an error.
    pub replace: bool,
    /// When this begins, in seconds since 1970.
    pub created: u64,
}

/// What lies beside a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protected {
    /// Its id, as that of a backup.
    pub id: BackupId,
    /// The URL of the store of the file and what is beside it.
    pub store: String,
    /// Bytes of the file behind those that are protected.
    pub unprotected_bytes: u64,
}

impl Protect<'_> {
    /// Reads the file once and writes its parity beside it. The report is that of a backup whose data blocks are those of
    /// the file.
    ///
    /// # Errors
    /// [`Error::Protected`] if it is protected and that is not to be replaced; those of a backup. In all of these what was
    /// beside the file before stays.
    pub async fn run(
        self,
        resources: &Arc<Resources>,
        stop: &Stop,
        progress: &Arc<Progress>,
    ) -> Result<BackupReport, Error> {
        // An error of the file comes before anything is made beside it.
        drop(Source::open(self.path, self.io)?);
        let data = match self.shape {
            Shape::Blocks { data, .. } => usize::try_from(data).unwrap_or(usize::MAX),
            Shape::Profile(profile) => profile.data(),
        };
        let beside = Beside::new(self.path, Some(data))?;
        let _lock = lock(&beside.0.path, &beside.0.url)?;
        let current = beside.current().await?;
        let stores = stores(beside)?;
        let mut before = BTreeSet::new();
        for (id, has_manifest) in ids(&stores).await? {
            match has_manifest {
                true if current.as_ref().is_none_or(|current| current.id == id) => _ = before.insert(id),
                // Older, or what a run left that was killed.
                _ => remove(&stores, id).await?,
            }
        }
        if let Some(&id) = before.first().filter(|_| !self.replace) {
            return Err(Error::Protected { path: self.path.to_owned(), id });
        }
        let backup = Backup {
            source: self.path,
            io: self.io,
            shape: self.shape,
            quorum: stores.len(),
            stores: stores.to_vec(),
            policy: &Even,
            survive: &[],
            encryption: None,
            id: BackupId::random(),
            created: current.map_or(self.created, |current| self.created.max(current.created + 1)),
        };
        let report = backup.run(resources, stop, progress).await?;
        for id in before {
            remove(&stores, id).await?;
        }
        Ok(report)
    }
}

/// What protects the file at `path`; none if nothing does.
///
/// # Errors
/// If what is beside it cannot be read.
pub async fn protection(path: &Path) -> Result<Option<Protected>, Error> {
    let beside = Beside::open(path)?;
    let Some(current) = beside.current().await? else { return Ok(None) };
    let length = beside.0.path.metadata().map_or(0, |metadata| metadata.len());
    let unprotected_bytes = length.saturating_sub(current.geometry.source_bytes());
    Ok(Some(Protected { id: current.id, store: beside.0.url.clone(), unprotected_bytes }))
}

/// The file's store, and that of the other copy of the manifest, which gets nothing else.
fn stores(beside: Beside) -> Result<[Store; 2], Error> {
    let copy = Store::of_copy(copy(&beside.0.path)?);
    Ok([Store::new(Arc::new(beside)), copy])
}

/// The directory beside the file, for one run at a time.
fn lock(path: &Path, url: &str) -> Result<File, Error> {
    let failed = |source| TransportError::from_io(Target::store(url), source);
    let directory = directory(path);
    // Whoever may not read the file may not read what restores it.
    let mode = path.metadata().map_err(failed)?.mode();
    let readers = (mode & 0o044) | (mode & 0o044) >> 2;
    DirBuilder::new().recursive(true).mode(0o700 | readers).create(&directory).map_err(failed)?;
    let lock = File::open(&directory).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(_) => Err(TransportError::Busy { at: Target::store(url) }.into()),
    }
}

/// The ids of what the stores have something of, and whether they have a manifest of it.
async fn ids(stores: &[Store]) -> Result<BTreeMap<BackupId, bool>, Error> {
    let mut all = BTreeMap::new();
    for store in stores {
        for name in names(store, "").await? {
            let Some(id) = name.prefix().and_then(|prefix| prefix.parse().ok()) else { continue };
            *all.entry(id).or_default() |= name.part() == MANIFEST;
        }
    }
    Ok(all)
}

/// Deletes a protection: its manifests first.
async fn remove(stores: &[Store], id: BackupId) -> Result<(), Error> {
    let mut all = Vec::new();
    for store in stores {
        all.extend(names(store, &id.to_string()).await?.into_iter().map(|name| (store, name)));
    }
    all.sort_by_key(|(_, name)| name.part() != MANIFEST);
    for (store, name) in all {
        store.transport.delete(&name).await?;
    }
    Ok(())
}

async fn names(store: &Store, prefix: &str) -> Result<Vec<ObjectName>, TransportError> {
    match store.transport.list(prefix).await {
        Ok(names) => names.try_collect().await,
        // Nothing was ever put there.
        Err(TransportError::Missing { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
