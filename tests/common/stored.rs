//! A backup of a source of a known pattern.

use std::path::Path;
use std::sync::Arc;

use tanner::{Backup, BackupId, Error, Even, Found, IoMode, Progress, Resources, Shape, Stop, Store};
use tanner_kernels::Profile;
use tanner_transports::{Memory, ObjectName, Transport};

pub(crate) struct Stored<T = Memory> {
    pub(crate) stores: Vec<T>,
    pub(crate) id: BackupId,
    pub(crate) source: Vec<u8>,
    /// As they were stored.
    pub(crate) blocks: Vec<Vec<u8>>,
    pub(crate) profile: Profile,
    pub(crate) resources: Arc<Resources>,
    /// Has the source, and room for stores and more.
    pub(crate) directory: tempfile::TempDir,
}

impl<T: Transport + Clone + 'static> Stored<T> {
    /// Backs up `bytes` bytes to the stores that `stores` opens, in a directory of the backup's own if they need one.
    pub(crate) async fn new(
        stores: impl FnOnce(&Path) -> Vec<T>,
        profile: Profile,
        bytes: usize,
        resources: Resources,
    ) -> Self {
        let source: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8 ^ (i / 251 % 256) as u8).collect();
        let directory = tempfile::tempdir().unwrap();
        let stores = stores(directory.path());
        let path = directory.path().join("source");
        std::fs::write(&path, &source).unwrap();
        let (id, resources) = (BackupId::random(), Arc::new(resources));
        let backup = Backup {
            source: &path,
            io: IoMode::Auto,
            shape: Shape::Profile(profile),
            stores: opened(&stores),
            policy: &Even,
            quorum: 1,
            survive: &[],
            encryption: None,
            id,
            created: 0,
        };
        let report = backup.run(&resources, &Stop::default(), &Arc::new(Progress::default())).await.unwrap();
        assert!(report.is_complete());
        let mut stored = Self { stores, id, source, blocks: Vec::new(), profile, resources, directory };
        for block in 0..profile.blocks() {
            stored.blocks.push(stored.read(block).await);
        }
        stored
    }

    pub(crate) async fn find(&self) -> Result<Found, Error> {
        Found::open(opened(&self.stores), self.id).await
    }

    pub(crate) fn name(&self, block: usize) -> ObjectName {
        ObjectName::new(format!("{}/{block}", self.id)).unwrap()
    }

    /// A block, from the store where it was put.
    pub(crate) async fn read(&self, block: usize) -> Vec<u8> {
        tanner::read_object(&self.stores[block % self.stores.len()], &self.name(block)).await.unwrap()
    }
}

pub(crate) fn opened<T: Transport + Clone + 'static>(stores: &[T]) -> Vec<Store> {
    stores.iter().map(|store| Store::new(Arc::new(store.clone()))).collect()
}
