//! Making parity beside a file, and finding it again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt;
use rustix::fs::{FlockOperation, flock};
use tanner_transports::{ObjectName, Target, TransportError};

use super::{Beside, copy, directory};
use crate::backup::{Backup, Shape};
use crate::error::Error;
use crate::fetch::Found;
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
    /// The URL of the store of all its blocks: of the file, and the parity beside it.
    pub home: String,
    /// The URL of the store that has the other copy of its manifest, and nothing else.
    pub copy: String,
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
        let stores = stores(self.path, Some(data))?;
        let _lock = lock(self.path, stores[0].url())?;
        let mut before = BTreeSet::new();
        for (id, is_whole) in beside(&stores).await? {
            match is_whole {
                true if !self.replace => return Err(Error::Protected { path: self.path.to_owned(), id }),
                true => _ = before.insert(id),
                // What a run left that was killed.
                false => remove(&stores, id).await?,
            }
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
            created: self.created,
        };
        let report = backup.run(resources, stop, progress).await?;
        if report.is_complete() {
            for id in before {
                remove(&stores, id).await?;
            }
        }
        Ok(report)
    }
}

/// What protects the file at `path`, the newest if there is more; none if nothing does.
///
/// # Errors
/// If what is beside it cannot be read.
pub async fn protection(path: &Path) -> Result<Option<Protected>, Error> {
    if !directory(path).is_dir() {
        return Ok(None);
    }
    let (stores, mut newest, mut unreadable) = (stores(path, None)?, None, None);
    for (id, _) in beside(&stores).await?.into_iter().filter(|(_, is_whole)| *is_whole) {
        match Found::open(stores.to_vec(), id).await {
            Err(error) => unreadable = Some(error),
            Ok(found) => {
                let (created, bytes) =
                    (found.opened().map(|opened| opened.created), found.manifest.geometry.source_bytes());
                newest = newest.max(Some((created, id, bytes)));
            }
        }
    }
    let Some((_, id, bytes)) = newest else { return unreadable.map_or(Ok(None), Err) };
    let length = path.metadata().map_or(0, |metadata| metadata.len());
    let [home, copy] = stores.map(|store| store.url().to_owned());
    Ok(Some(Protected { id, home, copy, unprotected_bytes: length.saturating_sub(bytes) }))
}

/// The file's store, and that of the other copy of the manifest.
fn stores(path: &Path, making: Option<usize>) -> Result<[Store; 2], Error> {
    let mut copy = Store::new(Arc::new(copy(path)?));
    copy.facts.capacity_bytes = Some(0);
    Ok([Store::new(Arc::new(Beside::new(path, making)?)), copy])
}

/// The directory beside the file, for one run at a time.
fn lock(path: &Path, url: &str) -> Result<File, Error> {
    let directory = directory(path);
    let failed = |source| TransportError::from_io(Target::store(url), source);
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let lock = File::open(&directory).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(_) => Err(TransportError::Busy { at: Target::store(url) }.into()),
    }
}

/// The ids of what the stores have something of, and whether they have a manifest of it.
async fn beside(stores: &[Store]) -> Result<BTreeMap<BackupId, bool>, Error> {
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
