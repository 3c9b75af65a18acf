//! Random shapes, sizes, losses and damage: the right bytes or a clean refusal, never anything else.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::stored::Stored;
use common::{Blocks, Sink};
use proptest::prelude::*;
use tanner::{
    Backup, BackupId, Error, Even, IoMode, Progress, Resources, RestoreReport, RestoreTo, Shape, Stop, Store,
    restore,
};
use tanner_kernels::{CodeChoice, Codec, Construction, Profile};
use tanner_transports::Memory;

impl Stored {
    async fn restore(&self, name: &str) -> Result<(Vec<u8>, RestoreReport), Error> {
        let output = self.directory.path().join(name);
        let found = self.find().await?;
        let progress = Arc::new(Progress::default());
        let to = RestoreTo { path: output.clone(), replace: false, resume: false };
        let report = restore(found, to, &self.resources, &Stop::default(), &progress).await;
        if report.is_err() {
            assert!(!output.exists(), "a failed restore left a file under the final name");
        }
        assert_no_leftovers(self.directory.path());
        Ok((std::fs::read(&output).unwrap_or_default(), report?))
    }
}

async fn in_memory(profile: Profile, bytes: usize, threads: usize, memory_bytes: u64) -> Stored {
    let resources = Resources::new(threads, memory_bytes).unwrap();
    Stored::new(|_| vec![Memory::new()], profile, bytes, resources).await
}

fn assert_no_leftovers(directory: &Path) {
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    let leftovers: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| hidden(name))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

/// Frames of many chunks, with periods that fit neither KiB nor each other, and hardly any memory: whatever the
/// pass cuts a file into, the blocks are those of the definition, and restore.
#[tokio::test(flavor = "multi_thread")]
async fn however_the_file_is_cut_its_blocks_are_the_same() {
    let coupled = |n1, period, depth| Construction::Coupled { n1, period, depth, seed: 7 };
    for (k, m, construction, frame) in [
        (5, 4, coupled(4, 5, 9), 65_536),
        (3, 11, coupled(8, 63, 31), 16_384),
        (12, 12, coupled(8, 32, 31), 8192),
        (10, 5, Construction::Shift { modulus: 11 }, 4096 + 16),
        (20, 10, Construction::Shift { modulus: 0 }, 65_536),
        (4, 3, Construction::Shift { modulus: 0 }, 48),
        (12, 9, Construction::Rfc5170 { n1: 9, group: 20, seed: 3 }, 8000),
        (10, 6, Construction::Rfc5170 { n1: 7, group: 5, seed: 3 }, 65_520),
    ] {
        let profile = Profile::new(k, m, construction, 64, frame).unwrap();
        let bytes = k as usize * 64 * 64 * 320;
        let stored = in_memory(profile, bytes, 3, 32 << 20).await;
        let expected = Codec::new(profile).encode_all(&stored.source);
        for (block, expected) in expected.iter().enumerate() {
            assert!(
                stored.blocks[block] == *expected,
                "{profile:?}: block {block} of {} bytes",
                expected.len()
            );
        }
        let lost = (k + m) as usize - profile.threshold();
        (0..lost.min(k as usize)).for_each(|block| stored.stores[0].remove(&stored.name(block)).unwrap());
        let (restored, report) = stored.restore("restored").await.unwrap();
        assert!(restored == stored.source, "{profile:?}");
        // On a busy machine others may be slow to come, and be decoded, too.
        assert!(
            (0..lost.min(k as usize)).all(|block| report.decoded.contains(&block)),
            "{profile:?}: {report:?}"
        );
    }
}

#[derive(Clone, Debug)]
enum Harm {
    Remove,
    Truncate(u16),
    Flip(u32),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![Just(Harm::Remove), any::<u16>().prop_map(Harm::Truncate), any::<u32>().prop_map(Harm::Flip)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// What a user trusts: enough good blocks restore exactly, fewer are refused, and every bad block is named.
    #[test]
    fn any_harm_to_blocks_is_survived_or_refused(
        (k, m) in prop_oneof![Just((10, 5)), Just((12, 12)), Just((3, 2)), Just((1, 1)), Just((24, 26)), (1_u64..30, 1_u64..30)],
        bytes in prop_oneof![0_usize..200, 0_usize..20_000, 0_usize..600_000],
        harms in prop::collection::vec((any::<prop::sample::Index>(), harm()), 0..30),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let stored = in_memory(Profile::for_source(k, m, bytes as u64).unwrap(), bytes, 2, 256 << 20).await;
            let memory = &stored.stores[0];
            let mut harmed = std::collections::BTreeSet::new();
            for (index, harm) in &harms {
                let block = index.index((k + m) as usize);
                let (name, length) = (stored.name(block), stored.blocks[block].len() as u64);
                if length == 0 || !harmed.insert(block) {
                    continue;
                }
                match harm {
                    Harm::Remove => memory.remove(&name).unwrap(),
                    Harm::Truncate(to) => memory.truncate(&name, u64::from(*to) % length).unwrap(),
                    Harm::Flip(at) => memory.corrupt(&name, u64::from(*at) % length).unwrap(),
                }
            }
            let good = (k + m) as usize - harmed.len();
            match stored.restore("restored").await {
                Ok((restored, report)) => {
                    assert!(restored == stored.source, "wrong bytes without {harmed:?}");
                    assert!(report.damages.iter().all(|damage| harmed.contains(&damage.block)));
                    let data_harmed = harmed.iter().filter(|&&block| block < k as usize);
                    data_harmed.for_each(|block| assert!(report.damages.iter().any(|d| d.block == *block), "block {block} is not named"));
                }
                Err(Error::NotRecoverable { damages, .. }) => {
                    assert!(good < stored.profile.threshold(), "refused with {good} good blocks of {k}+{m}");
                    assert!(damages.iter().all(|damage| harmed.contains(&damage.block)));
                }
                Err(error) => panic!("{error}"),
            }
        });
    }
}

/// A store that never answers must not keep the user from stopping the run.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_a_store_that_hangs_can_be_stopped() {
    let source = tempfile::NamedTempFile::new().unwrap();
    source.as_file().set_len(100 << 20).unwrap();
    let stop = Stop::default();
    let backup = Backup {
        source: source.path(),
        io: IoMode::Auto,
        shape: Shape::Blocks { code: CodeChoice::Auto, data: 10, parity: 5 },
        stores: vec![Store::new(Arc::new(Sink::new(Blocks::Hanging)))],
        policy: &Even,
        quorum: 1,
        survive: &[],
        encryption: None,
        id: BackupId::random(),
        created: 0,
    };
    let resources = Arc::new(Resources::new(2, 256 << 20).unwrap());
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        stopper.request(2);
    });
    let progress = Arc::new(Progress::default());
    let run = backup.run(&resources, &stop, &progress);
    let result = tokio::time::timeout(std::time::Duration::from_secs(60), run).await.expect("the run ends");
    assert!(matches!(result, Err(Error::Stopped { signal: 2 })));
}
