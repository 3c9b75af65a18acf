//! What lies in a store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::TryStreamExt;
use rustix::fs::statvfs;
use tanner_transports::TransportError;
use tokio::task::spawn_blocking;

use crate::fetch::{chain, read_manifest};
use crate::id::BackupId;
use crate::manifest::SealedManifest;
use crate::monitor::metrics::{Metrics, label};
use crate::store::{MANIFEST, Store};

/// A directory of a server.
#[derive(Debug)]
pub(crate) struct Root {
    /// What it is called.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) store: Store,
    pub(crate) quota_bytes: Option<u64>,
}

/// What was seen of a directory.
#[derive(Debug, Default)]
pub(super) struct RootState {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) quota_bytes: Option<u64>,
    /// Free bytes of the disk, and all of them.
    pub(super) room: Option<(u64, u64)>,
    pub(super) backups: BTreeMap<BackupId, BackupState>,
    /// What could not be seen.
    pub(super) trouble: Option<String>,
}

/// What a directory has of a backup.
#[derive(Debug, Default)]
pub(super) struct BackupState {
    pub(super) bytes: u64,
    /// Blocks and their lengths.
    blocks: Vec<(u32, u64)>,
    pub(super) has_manifest: bool,
    /// What its manifest says, unless it is unfinished.
    pub(super) shape: Option<Shape>,
}

/// What anybody can know of a backup, and how much of it is here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) source_bytes: u64,
    pub(super) blocks: usize,
    /// Blocks that always suffice.
    pub(super) threshold: usize,
    /// Blocks that are here and as long as they should be, and those that need not be anywhere.
    pub(super) here: usize,
    /// Blocks that are here and of another length.
    pub(super) wrong: usize,
}

impl Shape {
    /// How many of the blocks here may be lost with what is here still enough; none if it takes other stores.
    pub(super) fn margin(&self) -> Option<usize> {
        self.here.checked_sub(self.threshold)
    }
}

impl Root {
    pub(super) async fn scan(&self) -> RootState {
        let mut state = RootState {
            name: self.name.clone(),
            path: self.path.display().to_string(),
            quota_bytes: self.quota_bytes,
            ..RootState::default()
        };
        let path = self.path.clone();
        // A disk that hangs may hold up a thread, but none that serves.
        if let Ok(Ok(room)) = spawn_blocking(move || statvfs(&path)).await {
            state.room = Some((room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize));
        }
        match self.list(&mut state).await {
            Ok(()) | Err(TransportError::Missing { .. }) => {}
            Err(error) => state.trouble = Some(chain(&error)),
        }
        let finished = state.backups.iter_mut().filter(|(_, backup)| backup.has_manifest);
        for (id, backup) in finished.take(MANIFESTS_MAX) {
            let manifest = read_manifest(&self.store, *id).await.ok();
            let manifest = manifest.and_then(|bytes| SealedManifest::from_bytes_of(*id, &bytes).ok());
            backup.shape = manifest.map(|manifest| backup.shape(&manifest));
        }
        state
    }

    async fn list(&self, state: &mut RootState) -> Result<(), TransportError> {
        let mut names = self.store.transport.list("").await?;
        while let Some(name) = names.try_next().await? {
            if state.objects == OBJECTS_MAX {
                state.trouble =
                    Some(format!("there are more than {OBJECTS_MAX} objects, and those are counted"));
                return Ok(());
            }
            let length = match self.store.transport.stat(&name).await {
                Ok(meta) => meta.length,
                Err(TransportError::Missing { .. }) => continue,
                Err(error) => return Err(error),
            };
            state.objects += 1;
            state.bytes += length;
            let Some(id) = name.prefix().and_then(|prefix| prefix.parse().ok()) else { continue };
            let backup: &mut BackupState = state.backups.entry(id).or_default();
            backup.bytes += length;
            match name.part() {
                MANIFEST => backup.has_manifest = true,
                part => backup.blocks.extend(part.parse().ok().map(|block| (block, length))),
            }
        }
        Ok(())
    }
}

impl BackupState {
    fn shape(&self, manifest: &SealedManifest) -> Shape {
        let (geometry, profile) = (&manifest.geometry, manifest.geometry.profile());
        let mut here = geometry.empty_blocks();
        let mut wrong = 0;
        for &(block, length) in &self.blocks {
            let block = block as usize;
            match block < profile.blocks() && geometry.block_bytes(block) == length {
                true => here.insert(block),
                false => wrong += 1,
            }
        }
        Shape {
            source_bytes: geometry.source_bytes(),
            blocks: profile.blocks(),
            threshold: profile.threshold(),
            here: here.len(),
            wrong,
        }
    }
}

impl RootState {
    pub(super) fn measure(&self, metrics: &mut Metrics) {
        let of = || vec![label("root", &*self.name)];
        metrics.gauge("store_objects", "Objects in a directory of the server", &of(), self.objects as f64);
        metrics.gauge("store_bytes", "Bytes of these objects", &of(), self.bytes as f64);
        metrics.gauge("store_backups", "Backups that have an object there", &of(), self.backups.len() as f64);
        let ok = if self.trouble.is_none() { 1.0 } else { 0.0 };
        metrics.gauge("store_ok", "1 if all of the directory could be looked at", &of(), ok);
        if let Some((free, total)) = self.room {
            metrics.gauge("store_free_bytes", "Bytes free on its disk", &of(), free as f64);
            metrics.gauge("store_size_bytes", "Bytes of its disk", &of(), total as f64);
        }
        if let Some(quota) = self.quota_bytes {
            metrics.gauge("store_quota_bytes", "Bytes that it may hold", &of(), quota as f64);
        }
        let shapes = self.backups.iter().filter_map(|(id, backup)| Some((id, backup.shape?)));
        for (id, shape) in shapes.take(SERIES_MAX) {
            let of = |state| {
                vec![label("root", &*self.name), label("backup", id.to_string()), label("state", state)]
            };
            let help = "Blocks of a backup that are here; unchecked are those of the right length";
            metrics.gauge("blocks", help, &of("unchecked"), shape.here as f64);
            metrics.gauge("blocks", help, &of("corrupt"), shape.wrong as f64);
        }
    }
}

/// Objects that are looked at in one directory, with 16 bytes of memory each.
const OBJECTS_MAX: u64 = 1_000_000;
/// Manifests that are read in one directory; nothing of them is kept but a few numbers.
const MANIFESTS_MAX: usize = 1000;
/// Backups with measures of their own, which Prometheus remembers for ever.
const SERIES_MAX: usize = 200;
