//! What a quota counts: neither more nor less than is there, whatever clients do half-way.
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use tanner_transports::net::Remote;
use tanner_transports::server::Limits;
use tanner_transports::{Disk, KEPT_TIME, Kept, Result, Transport, TransportError};

use self::common::gate::Gate;
use self::common::{Served, name, put};

/// What room is counted in.
const UNIT: usize = 4096;

fn is_full(result: &Result<()>) -> bool {
    matches!(result, Err(TransportError::Full { .. }))
}

/// A server with room for four small objects, in front of a store with a gate.
async fn gated(scheme: &str) -> (Served, Arc<Gate>) {
    let limits = Limits { wait_time: Duration::from_millis(50), ..Limits::default() };
    let mut gate = None;
    let over = |path| gate.insert(Arc::new(Gate::new(Arc::new(Disk::open(path).unwrap())))).clone();
    let served = Served::over(over, &[scheme], limits, Some(4 * UNIT as u64), false).await;
    (served, gate.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_counts_what_is_there_and_what_is_on_its_way() {
    let served = Served::with(&["tcp"], Limits::default(), Some(10 * UNIT as u64), false).await;
    let disk = Disk::open(served.place.path().join("store")).unwrap();
    put(&disk, "old/0", 3 * UNIT).await.unwrap();
    let store = served.open();
    put(&store, "id/0", 5 * UNIT).await.unwrap();
    assert!(is_full(&put(&store, "id/1", 2 * UNIT + 1).await), "declared");
    let mut running = store.put(&name("id/1"), Some(2 * UNIT as u64)).await.unwrap();
    assert!(is_full(&put(&store, "id/2", 1).await), "beside a put under way");
    running.write(vec![0; 2 * UNIT].into()).await.unwrap();
    running.abandon().await.unwrap();
    let mut undeclared = store.put(&name("id/1"), None).await.unwrap();
    let mut result = undeclared.write(vec![0; 2 * UNIT + 1].into()).await;
    if result.is_ok() {
        result = undeclared.commit().await;
    }
    assert!(is_full(&result), "undeclared");
    // An object that is there costs its room once, and gives it back once.
    assert!(matches!(put(&store, "id/0", 100).await, Err(TransportError::Exists { .. })));
    for _ in 0..3 {
        store.delete(&name("id/0")).await.unwrap();
    }
    assert!(is_full(&put(&store, "id/3", 7 * UNIT + 1).await));
    put(&store, "id/3", 7 * UNIT).await.unwrap();
}

/// Each takes an inode of the server's disk, and a name in its lists.
#[tokio::test(flavor = "multi_thread")]
async fn empty_objects_are_not_for_nothing() {
    let served = Served::with(&["tcp"], Limits::default(), Some(3 * UNIT as u64), false).await;
    let disk = Disk::open(served.place.path().join("store")).unwrap();
    put(&disk, "old/0", 0).await.unwrap();
    let store = served.open();
    put(&store, "id/0", 0).await.unwrap();
    store.put(&name("id/1"), None).await.unwrap().commit().await.unwrap();
    assert!(is_full(&put(&store, "id/2", 0).await));
    assert!(is_full(&store.put(&name("id/2"), None).await.map(drop)));
    store.delete(&name("old/0")).await.unwrap();
    put(&store, "id/2", 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_give_up_do_not_make_the_count_begin_anew() {
    for scheme in ["tcp", "quic"] {
        let (served, gate) = gated(scheme).await;
        gate.set_open(false);
        for _ in 0..5 {
            let store = served.open();
            let gave_up = tokio::time::timeout(Duration::from_millis(300), put(&store, "id/7", 5)).await;
            assert!(gave_up.is_err(), "{scheme}: {gave_up:?}");
        }
        assert_eq!(gate.arrived(), 1, "{scheme}: lists");
        gate.set_open(true);
        put(&served.open(), "id/7", 5).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_within_a_commit_or_delete_changes_no_sum() {
    for scheme in ["tcp", "quic"] {
        let (served, gate) = gated(scheme).await;
        put(&served.open(), "id/0", UNIT).await.unwrap();
        let leave_within = async |call: &dyn Fn(Remote) -> tokio::task::JoinHandle<Result<()>>| {
            gate.set_open(false);
            let before = gate.arrived();
            let under_way = call(served.open());
            gate.arrival(before).await;
            under_way.abort();
            assert!(under_way.await.unwrap_err().is_cancelled());
            // The server has told a client that is gone that it is at work.
            tokio::time::sleep(Duration::from_millis(400)).await;
            gate.set_open(true);
        };
        leave_within(&|store| {
            tokio::spawn(async move { store.put(&name("id/1"), Some(0)).await?.commit().await })
        })
        .await;
        until(async || served.open().stat(&name("id/1")).await.is_ok()).await;
        leave_within(&|store| tokio::spawn(async move { store.delete(&name("id/0")).await })).await;
        until(async || served.open().stat(&name("id/0")).await.is_err()).await;

        // One unit is taken and three are free.
        let store = served.open();
        assert!(is_full(&put(&store, "id/2", 3 * UNIT + 1).await), "{scheme}: room for nothing");
        until(async || put(&store, "id/2", 3 * UNIT).await.is_ok()).await;
    }
}

/// The lock of the last writer of what is kept ends a moment after its connection.
async fn kept_file(served: &Served) -> std::fs::File {
    let stage = served.place.path().join("store/.tanner-stage");
    let mut found = None;
    for _ in 0..200 {
        let entry = std::fs::read_dir(&stage).unwrap().next().expect("a kept file").unwrap();
        let file = std::fs::File::options().write(true).open(entry.path()).unwrap();
        if file.try_lock().is_ok() {
            found = Some(file);
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    found.expect("the file of a put that was dropped is still locked")
}

/// Keeps two units of an object that is to have five.
async fn keep(store: &Remote) -> Kept {
    let mut put = store.put(&name("id/7"), Some(5 * UNIT as u64)).await.unwrap();
    put.write(vec![7; 2 * UNIT].into()).await.unwrap();
    put.keep().await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_counts_until_it_is_given_up() {
    for scheme in ["tcp", "quic"] {
        let served = Served::with(&[scheme], Limits::default(), Some(10 * UNIT as u64), false).await;
        let store = served.open();
        let kept = keep(&store).await;
        drop(kept_file(&served).await);
        assert!(is_full(&put(&store, "id/0", 5 * UNIT + 1).await), "{scheme}: kept");
        let again = store.resume(&name("id/7"), Some(5 * UNIT as u64), &kept).await.unwrap();
        assert!(is_full(&put(&store, "id/0", 5 * UNIT + 1).await), "{scheme}: gone on with");
        again.abandon().await.unwrap();
        put(&store, "id/0", 10 * UNIT).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_and_forgotten_is_room_again() {
    let served = Served::with(&["tcp"], Limits::default(), Some(10 * UNIT as u64), false).await;
    let store = served.open();
    keep(&store).await;
    let file = kept_file(&served).await;
    file.set_modified(std::time::SystemTime::now() - KEPT_TIME - Duration::from_secs(60)).unwrap();
    drop(file);
    put(&store, "id/0", 10 * UNIT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_within_a_keep_has_no_more_room_for_it() {
    for scheme in ["tcp", "quic"] {
        let (served, gate) = gated(scheme).await;
        put(&served.open(), "id/0", UNIT).await.unwrap();
        gate.set_open(false);
        let (before, store) = (gate.arrived(), served.open());
        let under_way = tokio::spawn(async move {
            let mut put = store.put(&name("id/1"), Some(2 * UNIT as u64)).await?;
            put.keep().await
        });
        gate.arrival(before).await;
        under_way.abort();
        assert!(under_way.await.unwrap_err().is_cancelled());
        // The server has told a client that is gone that it is at work.
        tokio::time::sleep(Duration::from_millis(400)).await;
        gate.set_open(true);
        drop(kept_file(&served).await);
        let store = served.open();
        put(&store, "id/2", UNIT).await.unwrap();
        assert!(is_full(&put(&store, "id/3", 1).await), "{scheme}: room for nothing");
    }
}

async fn until(what: impl AsyncFn() -> bool) {
    for _ in 0..200 {
        if what().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came to be");
}
