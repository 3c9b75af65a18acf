//! Repair from a store that reads single symbols: what is rebuilt, and how little is read for it.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use tanner::{
    Backup, BackupId, Error, Even, Found, IoMode, Progress, Repair, RepairReport, Resources, Shape, Stop,
    Store, read_object,
};
use tanner_kernels::Profile;
use tanner_transports::{Memory, ObjectName};

struct Stored {
    memory: Memory,
    id: BackupId,
    resources: Arc<Resources>,
    blocks: Vec<Vec<u8>>,
}

impl Stored {
    async fn new(k: u64, m: u64, bytes: usize) -> Self {
        let source: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8 ^ (i / 251 % 256) as u8).collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("source");
        std::fs::write(&path, &source).unwrap();
        let (memory, id) = (Memory::new(), BackupId::random());
        let backup = Backup {
            source: &path,
            io: IoMode::Auto,
            shape: Shape::Profile(Profile::for_source(k, m, bytes as u64).unwrap()),
            stores: vec![Store { transport: Arc::new(memory.clone()) }],
            policy: &Even,
            id,
            created: 0,
        };
        let resources = Arc::new(Resources::new(2, 512 << 20).unwrap());
        backup.run(&resources, &Stop::default(), &Arc::new(Progress::default())).await.unwrap();
        let mut stored = Self { memory, id, resources, blocks: Vec::new() };
        for block in 0..(k + m) as usize {
            stored.blocks.push(stored.read(block).await);
        }
        stored
    }

    fn name(&self, block: usize) -> ObjectName {
        ObjectName::new(format!("{}/{block}", self.id)).unwrap()
    }

    async fn read(&self, block: usize) -> Vec<u8> {
        read_object(&self.memory, &self.name(block)).await.unwrap()
    }

    async fn repair(&self, quick: bool) -> Result<RepairReport, Error> {
        let found = Found::open(vec![Store { transport: Arc::new(self.memory.clone()) }], self.id).await?;
        let repair = Repair { found, may_get: vec![true], quick, dry_run: false };
        repair.run(&self.resources, &Stop::default(), &Arc::new(Progress::default())).await
    }

    async fn is_whole(&self) {
        for (block, bytes) in self.blocks.iter().enumerate() {
            assert!(self.read(block).await == *bytes, "block {block} came back with other bytes");
        }
    }
}

/// The figures of the README.
#[tokio::test(flavor = "multi_thread")]
async fn one_lost_block_is_read_from_a_fraction_of_the_others() {
    for (k, m, data_max, parity_max) in
        [(10, 5, 10.1, 10.1), (20, 20, 7.2, 7.6), (24, 26, 6.8, 7.3), (50, 50, 9.3, 9.9)]
    {
        let stored = Stored::new(k, m, 24 << 20).await;
        for (block, most) in [(1, data_max), (k as usize + 3, parity_max)] {
            stored.memory.remove(&stored.name(block)).unwrap();
            let report = stored.repair(true).await.unwrap();
            assert!(report.is_complete() && !report.verified);
            let read = report.bytes_read as f64 / stored.blocks[block].len() as f64;
            println!("{k}+{m}: block {block} from {read:.2} blocks' worth");
            assert!(read <= most, "{k}+{m}: block {block} from {read:.2}");
        }
        stored.is_whole().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Blocks that are lost, cut off or damaged, in any mix: all good again, or refused and nothing changed.
    #[test]
    fn random_harm_is_mended_or_refused(
        (k, m) in prop_oneof![Just((10, 5)), Just((3, 7)), Just((12, 12)), Just((24, 26))],
        bytes in prop_oneof![1_usize..20_000, 100_000_usize..3_000_000],
        harm in prop::collection::vec((any::<prop::sample::Index>(), 0..3), 1..20),
        quick in any::<bool>(),
    ) {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
            let stored = Stored::new(k, m, bytes).await;
            let mut harmed = std::collections::BTreeSet::new();
            for (index, kind) in harm {
                let block = index.index(stored.blocks.len());
                let length = stored.blocks[block].len() as u64;
                if length == 0 || !harmed.insert(block) {
                    continue;
                }
                let name = stored.name(block);
                match kind {
                    0 => stored.memory.remove(&name).unwrap(),
                    1 => stored.memory.truncate(&name, length / 2).unwrap(),
                    _ => stored.memory.corrupt(&name, length / 3).unwrap(),
                }
            }
            let threshold = Profile::for_source(k, m, bytes as u64).unwrap().threshold();
            match stored.repair(quick).await {
                // A quick repair may miss damage, but restores what it says it restored.
                Ok(report) if quick && !report.verified => {
                    for (block, _) in report.rebuilt {
                        assert!(stored.read(block).await == stored.blocks[block]);
                    }
                }
                Ok(report) => {
                    assert!(report.is_complete());
                    stored.is_whole().await;
                }
                Err(Error::NotRecoverable { .. }) => assert!(stored.blocks.len() - harmed.len() < threshold),
                Err(error) => panic!("{error}"),
            }
        });
    }
}
