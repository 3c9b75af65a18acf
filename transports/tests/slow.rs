//! Slow is not dead: neither a store that takes its time behind a server, nor a reader that does in front of it.
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::{FutureExt, TryStreamExt};
use tanner_transports::net::{Patience, Remote};
use tanner_transports::server::Limits;
use tanner_transports::{Disk, Transport, TransportError};

use self::common::gate::Gate;
use self::common::{Served, name, put};

const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1 << 20;

/// More than any buffer between a client and a store holds.
const LARGE_BYTES: usize = 48 * MIB;

/// A server in front of a store with a gate.
async fn gated(schemes: &[&str], limits: Limits) -> (Served, Arc<Gate>) {
    let mut gate = None;
    let over = |path| gate.insert(Arc::new(Gate::new(Arc::new(Disk::open(path).unwrap())))).clone();
    let served = Served::over(over, schemes, limits, None, false).await;
    (served, gate.unwrap())
}

/// Waits of a store several times as long as a client waits for silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_put_into_a_store_that_stands_still_for_a_while_is_not_given_up() {
    // So little memory that the second put also waits for the first.
    let inflight = 384 * 1024;
    let limits = Limits {
        wait_time: SECOND / 5,
        inflight_bytes_per_client: inflight,
        lanes_per_connection: 8,
        ..Limits::default()
    };
    for scheme in ["tcp", "quic"] {
        let (served, gate) = gated(&[scheme], limits).await;
        let patience = Patience { stall: SECOND, answer: 120 * SECOND, ..Patience::default() };
        let store = Remote::open(&served.urls[0], &served.client, patience).unwrap();
        gate.set_open(false);
        let puts = try_join_all((0..2).map(|i| {
            let store = store.clone();
            async move { put(&store, &format!("id/{i}"), LARGE_BYTES).await }
        }));
        let opened = async {
            tokio::time::sleep(4 * SECOND).await;
            gate.set_open(true);
        };
        let (result, ()) = tokio::join!(puts, opened);
        result.unwrap_or_else(|error| panic!("{scheme}: {}", common::words(&error)));
        assert_eq!(store.stat(&name("id/1")).await.unwrap().length, LARGE_BYTES as u64);
    }
}

/// The other side of it: being at work is believed for so long and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stands_still_for_ever_is_slow() {
    let limits = Limits { wait_time: SECOND / 5, ..Limits::default() };
    for scheme in ["tcp", "quic"] {
        let (served, gate) = gated(&[scheme], limits).await;
        let patience = Patience { stall: SECOND, answer: 2 * SECOND, ..Patience::default() };
        let store = Remote::open(&served.urls[0], &served.client, patience).unwrap();
        gate.set_open(false);
        let error = put(&store, "id/7", LARGE_BYTES).await.unwrap_err();
        assert!(matches!(error, TransportError::Slow { .. }), "{scheme}: {error:?}");
        assert!(common::words(&error).contains("at work"), "{scheme}: {}", common::words(&error));
    }
}

/// A restore through a narrow line, or to a slow disk, reads a block now and then.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_pauses_longer_than_its_server_waits_reads_on_where_it_was() {
    let limits = Limits { progress_time: SECOND / 2, ..Limits::default() };
    let bytes: Vec<u8> = (0..LARGE_BYTES).map(|i| (i % 251) as u8).collect();
    for scheme in ["tcp", "quic"] {
        let served = Served::with(&[scheme], limits, None, false).await;
        let patience = Patience { stall: 3 * SECOND, ..Patience::default() };
        let store = Remote::open(&served.urls[0], &served.client, patience).unwrap();
        let mut stored = store.put(&name("id/7"), None).await.unwrap();
        stored.write(bytes.clone().into()).await.unwrap();
        stored.commit().await.unwrap();

        let mut pieces = store.get(&name("id/7"), 5..LARGE_BYTES as u64 - 5).await.unwrap();
        let mut read = Vec::new();
        for pause in [true, true, false] {
            if let Some(piece) = pieces.try_next().await.unwrap() {
                read.extend_from_slice(&piece);
            }
            if pause {
                tokio::time::sleep(3 * SECOND).await;
                // What is left of the lane that the server closed.
                while let Some(Some(piece)) = pieces.try_next().now_or_never().map(Result::unwrap) {
                    read.extend_from_slice(&piece);
                }
            }
        }
        let rest: Vec<_> = pieces.try_collect().await.unwrap();
        read.extend(rest.concat());
        assert!(read == bytes[5..LARGE_BYTES - 5], "{scheme}");
    }
}
