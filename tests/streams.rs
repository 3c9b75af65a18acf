//! Streams come back as they were, wherever they end and whatever is lost of them.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use common::stored::opened;
use futures_util::StreamExt;
use tanner::{
    Backup, BackupId, BackupReport, Error, Even, Found, IoMode, Progress, Resources, RestoreTo, Shape, Stop,
    Store, Stream, restore, restore_spooled,
};
use tanner_kernels::{Construction, Profile};
use tanner_transports::{Fault, Faults, Memory, ObjectName, Transport};

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i % 251) as u8 ^ (i / 251 % 256) as u8).collect()
}

/// Backs up what a thread writes into a pipe, in pieces of this size.
async fn back_up(
    bytes: Vec<u8>,
    piece: usize,
    profile: Profile,
    id: BackupId,
    stores: Vec<Store>,
    resources: &Arc<Resources>,
) -> Result<BackupReport, Error> {
    let (from, mut into) = std::io::pipe().unwrap();
    let writer =
        std::thread::spawn(move || bytes.chunks(piece).for_each(|piece| into.write_all(piece).unwrap()));
    let backup = Backup {
        source: Path::new("-"),
        io: IoMode::Auto,
        shape: Shape::Profile(profile),
        stores,
        policy: &Even,
        quorum: 1,
        survive: &[],
        encryption: None,
        id,
        created: 0,
    };
    let (stream, stop) = (Stream::new("stream".into(), from.into()), Stop::default());
    let report = backup.run_stream(stream, resources, &stop, &Arc::new(Progress::default())).await;
    writer.join().unwrap();
    report
}

/// Restores in both ways.
async fn restored(stores: &[Memory], id: BackupId, resources: &Arc<Resources>) -> [Vec<u8>; 2] {
    let directory = tempfile::tempdir().unwrap();
    let (stop, progress) = (Stop::default(), Arc::new(Progress::default()));
    let found = Found::open(opened(stores), id).await.unwrap();
    let path = directory.path().join("restored");
    let to = RestoreTo { path: path.clone(), replace: false, resume: false };
    restore(found.clone(), to, resources, &stop, &progress).await.unwrap();
    let spooled = restore_spooled(found, directory.path().to_owned(), resources, &stop, &progress);
    let (mut file, report) = spooled.await.unwrap();
    assert!(report.verified > 0 || report.decoded.is_empty());
    let mut passed_on = Vec::new();
    file.read_to_end(&mut passed_on).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "only the file");
    [std::fs::read(path).unwrap(), passed_on]
}

/// Rows of 12 KiB, 6 frames of one row each and more; rows of 256 KiB, two in a frame.
fn shapes() -> [(Profile, usize); 3] {
    let profile = |k, m, construction, frame| Profile::new(k, m, construction, 64, frame).unwrap();
    let coupled = Construction::Coupled { n1: 4, period: 16, depth: 15, seed: 3 };
    [
        (profile(6, 4, Construction::Shift { modulus: 0 }, 32), 6 * 32 * 64),
        (profile(2, 3, Construction::Shift { modulus: 3 }, 4096), 2 * 2048 * 64),
        (profile(8, 7, coupled, 64), 8 * 64 * 64),
    ]
}

/// The first, the last and the edges of rows and frames: where bytes get lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_any_length_comes_back_without_any_blocks_that_may_be_lost() {
    let resources = Arc::new(Resources::new(2, 256 << 20).unwrap());
    for (profile, row) in shapes() {
        let blocks = profile.blocks();
        let losses = [vec![], (0..blocks - profile.threshold()).collect(), (1..blocks).step_by(3).collect()];
        let edges = [0, 1, 2].map(|rows| [rows * row, rows * row + 1, rows * row + row - 1]);
        for bytes in edges.into_iter().flatten().chain([63, row + 1025, 3 * row + row / 2]) {
            for lost in &losses {
                let (id, store) = (BackupId::random(), Memory::new());
                let stores = [store.clone()];
                let report =
                    back_up(content(bytes), 7777, profile, id, opened(&stores), &resources).await.unwrap();
                assert!(report.is_complete());
                let rows =
                    report.manifest.geometry.row_steps().map(|steps| steps as usize * profile.data() * 64);
                assert_eq!(rows, (bytes > row).then_some(row), "{bytes} bytes");
                assert_eq!(report.manifest.source_hash, blake3::hash(&content(bytes)));
                for block in lost.iter().take(blocks - profile.threshold()) {
                    let name = ObjectName::new(format!("{id}/{block}")).unwrap();
                    // Those without bytes are not there, or not needed.
                    let _ = store.delete(&name).await;
                }
                for restored in restored(&stores, id, &resources).await {
                    assert!(restored == content(bytes), "{bytes} bytes of {profile:?} without {lost:?}");
                }
            }
        }
    }
}

/// A stream cannot be read again: what its stores lose on the way stays lost, and what is left restores.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fills_up_on_the_way_costs_its_blocks_and_not_the_backup() {
    let resources = Arc::new(Resources::new(2, 256 << 20).unwrap());
    let (profile, row) = shapes()[0];
    let (id, good) = (BackupId::random(), [Memory::new(), Memory::new(), Memory::new()]);
    let mut stores = opened(&good);
    let full = Faults { room_bytes: Some(5000), ..Faults::none() };
    stores.push(Store::new(Arc::new(Fault::new(Arc::new(Memory::new()), 7, full))));
    let report = back_up(content(5 * row), 1000, profile, id, stores, &resources).await.unwrap();
    assert!(!report.is_complete() && report.failed.len() == 1);
    assert_eq!((report.passes, report.live.len()), (1, 8));
    assert_eq!(report.blocks_survivable, 2);
    for restored in restored(&good, id, &resources).await {
        assert!(restored == content(5 * row));
    }
}

/// Half a backup is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_which_too_little_can_be_stored_leaves_nothing() {
    let resources = Arc::new(Resources::new(2, 256 << 20).unwrap());
    let (profile, row) = shapes()[0];
    let (id, good) = (BackupId::random(), [Memory::new()]);
    let mut stores = opened(&good);
    let full = || Faults { room_bytes: Some(5000), ..Faults::none() };
    for seed in 0..2 {
        stores.push(Store::new(Arc::new(Fault::new(Arc::new(Memory::new()), seed, full()))));
    }
    let error = back_up(content(5 * row), 1000, profile, id, stores, &resources).await.unwrap_err();
    assert!(matches!(error, Error::Quorum { unfinished: None, .. }), "{error}");
    assert!(Found::open(opened(&good), id).await.is_err());
    assert!(good[0].list("").await.unwrap().next().await.is_none());
}
