//! Repair from a store that reads single symbols: what is rebuilt, and how little is read for it. And from
//! directories that change meanwhile: what is good by then is never touched.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::meddled::{Call, Meddled};
use common::stored::{Stored, opened};
use proptest::prelude::*;
use tanner::{DamageKind, Error, Found, Progress, Repair, RepairReport, Resources, Stop, Store, verify};
use tanner_kernels::Profile;
use tanner_transports::{Disk, Memory, ObjectName, Target, Transport, TransportError};

async fn in_memory(k: u64, m: u64, bytes: usize) -> Stored {
    let profile = Profile::for_source(k, m, bytes as u64).unwrap();
    Stored::new(|_| vec![Memory::new()], profile, bytes, Resources::new(2, 512 << 20).unwrap()).await
}

impl<T: Transport + Clone + 'static> Stored<T> {
    async fn repair(&self, quick: bool) -> Result<RepairReport, Error> {
        self.repair_in(opened(&self.stores), vec![true; self.stores.len()], quick).await
    }

    async fn repair_in(
        &self,
        stores: Vec<Store>,
        may_get: Vec<bool>,
        quick: bool,
    ) -> Result<RepairReport, Error> {
        let found = Found::open(stores, self.id).await?;
        let repair = Repair { found, may_get, quick, dry_run: false, leaving: None, survive: Vec::new() };
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
        let stored = in_memory(k, m, 24 << 20).await;
        for (block, most) in [(1, data_max), (k as usize + 3, parity_max)] {
            stored.stores[0].remove(&stored.name(block)).unwrap();
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
            let stored = in_memory(k, m, bytes).await;
            let (memory, blocks) = (&stored.stores[0], &stored.blocks);
            let mut harmed = std::collections::BTreeSet::new();
            for (index, kind) in harm {
                let block = index.index(blocks.len());
                let length = blocks[block].len() as u64;
                if length == 0 || !harmed.insert(block) {
                    continue;
                }
                let name = stored.name(block);
                match kind {
                    0 => memory.remove(&name).unwrap(),
                    1 => memory.truncate(&name, length / 2).unwrap(),
                    _ => memory.corrupt(&name, length / 3).unwrap(),
                }
            }
            match stored.repair(quick).await {
                // A quick repair may miss damage, but restores what it says it restored.
                Ok(report) if quick && !report.verified => {
                    for (block, _) in report.rebuilt {
                        assert!(stored.read(block).await == blocks[block]);
                    }
                }
                Ok(report) => {
                    assert!(report.is_complete());
                    stored.is_whole().await;
                }
                Err(Error::NotRecoverable { .. }) => {
                    assert!(blocks.len() - harmed.len() < stored.profile.threshold());
                }
                Err(error) => panic!("{error}"),
            }
        });
    }
}

async fn in_directories(k: u64, m: u64, bytes: usize) -> Stored<Disk> {
    let profile = Profile::for_source(k, m, bytes as u64).unwrap();
    let resources = Resources::new(2, 512 << 20).unwrap();
    let disks = |root: &Path| ["a", "b"].map(|name| Disk::open(root.join(name)).unwrap()).to_vec();
    Stored::new(disks, profile, bytes, resources).await
}

impl Stored<Disk> {
    /// The file of a block where it was put.
    fn file(&self, block: usize) -> PathBuf {
        self.directory.path().join(["a", "b"][block % 2]).join(self.name(block).as_str())
    }

    fn flip(&self, block: usize) {
        let mut bytes = std::fs::read(self.file(block)).unwrap();
        bytes[1000] ^= 1;
        std::fs::write(self.file(block), bytes).unwrap();
    }

    /// Repairs while `meddler` is at work in both stores.
    async fn repair_meddled(
        &self,
        may_get: [bool; 2],
        meddler: impl Fn(Call, &ObjectName) -> Result<(), TransportError> + Clone + Send + Sync + 'static,
    ) -> Result<RepairReport, Error> {
        let meddled = |disk: &Disk| Meddled::new(disk.clone(), meddler.clone());
        let stores: Vec<Meddled> = self.stores.iter().map(meddled).collect();
        self.repair_in(opened(&stores), may_get.to_vec(), false).await
    }

    /// What somebody does who puts the good block in its place.
    fn heal(&self, block: usize) -> impl Fn() -> Result<(), TransportError> + Clone + use<> {
        let (file, bytes) = (self.file(block), self.blocks[block].clone());
        move || {
            std::fs::write(&file, &bytes).unwrap();
            Ok(())
        }
    }

    async fn is_good(&self, block: usize) -> bool {
        self.file(block).exists() && self.read(block).await == self.blocks[block]
    }
}

fn full(name: &ObjectName) -> TransportError {
    TransportError::Full { at: Target::object("a store", name), source: ErrorKind::StorageFull.into() }
}

/// A good copy must not be deleted for a rebuilt one, which may never get its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_healed_since_it_was_read_stays() {
    let stored = in_directories(4, 2, 300_000).await;
    stored.flip(0);
    let heal = stored.heal(0);
    let report = stored.repair_meddled([true, true], move |call, name| match call {
        Call::Get => Ok(()),
        Call::Put => heal(),
        Call::Commit => Err(full(name)),
    });
    let report = report.await.unwrap();
    assert!(stored.is_good(0).await);
    assert_eq!(report.sound, [(0, stored.stores[0].url().to_owned())]);
    assert!(report.is_complete() && report.rebuilt.is_empty() && report.failed.is_empty());
}

/// Nor where it is only in the way of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_healed_stays_beside_the_rebuilt_one() {
    let stored = in_directories(4, 2, 300_000).await;
    stored.flip(0);
    let heal = stored.heal(0);
    let report = stored.repair_meddled([false, true], move |call, _| match call {
        Call::Commit => heal(),
        _ => Ok(()),
    });
    let report = report.await.unwrap();
    assert!(stored.is_good(0).await);
    assert_eq!(report.sound, [(0, stored.stores[0].url().to_owned())]);
    assert_eq!(report.rebuilt, [(0, stored.stores[1].url().to_owned())]);
    assert!(report.is_complete());
}

/// A reading that was cut short says nothing about what the store has.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_could_not_be_read_to_its_end_stays() {
    let stored = in_directories(4, 2, 300_000).await;
    let bad = stored.name(0);
    let report = stored.repair_meddled([true, true], move |call, name| match call {
        Call::Get if *name == bad => {
            let at = Target::object("a store", name);
            Err(TransportError::Truncated { at, wanted: 75_000, got: 1000 })
        }
        _ => Ok(()),
    });
    let report = report.await.unwrap();
    assert!(stored.is_good(0).await);
    assert_eq!(report.rebuilt, [(0, stored.stores[1].url().to_owned())]);
    assert!(matches!(report.damages[0].kind, DamageKind::Unreadable(_)));
}

/// Blocks that verify, and then cannot be read when others are to be rebuilt from them.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rebuilt_although_all_verified_is_said_and_left() {
    let stored = in_directories(4, 2, 300_000).await;
    stored.flip(0);
    let is_rebuilding = Arc::new(AtomicBool::new(false));
    let error = stored.repair_meddled([true, true], move |call, name| {
        let fails = is_rebuilding.swap(call == Call::Put, Ordering::Relaxed) && call == Call::Get;
        if fails { Err(full(name)) } else { Ok(()) }
    });
    let error = error.await.unwrap_err();
    assert!(matches!(&error, Error::NotRebuilt { what, .. } if what.contains("no room")), "{error}");
    assert_eq!(error.exit_code(), 5);
    assert!(stored.file(0).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_repairs_at_the_same_time_leave_everything_good() {
    let stored = in_directories(24, 26, 3_000_000).await;
    for round in 0..10 {
        (round..round + 10).for_each(|block| stored.flip(block));
        (30..30 + round).for_each(|block| std::fs::remove_file(stored.file(block)).unwrap_or_default());
        let (one, other) = tokio::join!(stored.repair(false), stored.repair(round % 2 == 0));
        for report in [one.unwrap(), other.unwrap()] {
            assert!(report.is_complete(), "{:?} {:?}", report.health.damages, report.failed);
        }
        let found = stored.find().await.unwrap();
        let health = verify(found, &Stop::default(), &Arc::new(Progress::default())).await.unwrap();
        assert_eq!((health.damages, health.good.len()), (Vec::new(), 50));
    }
}
