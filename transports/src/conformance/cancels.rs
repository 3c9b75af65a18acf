//! Trials of giving up: any call, at each point where it waits.

use std::future::poll_fn;
use std::pin::pin;
use std::slice;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::join_all;

use super::{Place, assert_absent, assert_whole, name, pattern, read, store, stored};
use crate::{ObjectName, Put, Transport, TransportError};

/// Polls a future so often, each time when it asked for it, and drops it. Its result, if it ended before.
pub(super) async fn polled<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// How often a call is polled at the most: one that waits more often was given up often enough.
pub(super) const POLLS_MAX: usize = 40;

pub(super) async fn a_put_cancelled_at_any_await_leaves_nothing(place: &Place) {
    let (transport, bytes) = (place(), pattern(0, 200_000));
    let written = async |name: &ObjectName| -> Result<Box<dyn Put>, TransportError> {
        let mut put = transport.put(name, Some(300_000)).await?;
        put.write(bytes.clone()).await?;
        put.write(bytes.slice(..100_000)).await?;
        Ok(put)
    };
    for times in 0..POLLS_MAX {
        let name = name(&format!("id/{times}"));
        let ended = polled(written(&name), times).await.map(|put| put.map(drop));
        assert!(!matches!(ended, Some(Err(_))), "{ended:?}");
        assert_absent(&*transport, &name).await;
        stored(&*transport, &name, &bytes).await;
        assert_whole(&*transport, &name, &bytes).await;
        if ended.is_some() {
            break;
        }
    }
}

pub(super) async fn a_commit_cancelled_at_any_await_is_all_or_nothing(place: &Place) {
    let (transport, bytes) = (place(), pattern(0, 200_000));
    for times in 0..POLLS_MAX {
        let name = name(&format!("id/{times}"));
        let mut put = transport.put(&name, None).await.expect("put");
        put.write(bytes.clone()).await.expect("write");
        let ended = polled(put.commit(), times).await;
        match transport.stat(&name).await {
            Err(TransportError::Missing { .. }) => assert!(ended.is_none(), "committed and not there"),
            other => drop(other.expect("stat")),
        }
        // Whether or not the commit is still on its way, the object can be stored again, or is there.
        match store(&*transport, &name, None, std::slice::from_ref(&bytes)).await {
            Ok(()) | Err(TransportError::Exists { .. }) => {}
            Err(error) => panic!("after {times} polls: {error}"),
        }
        assert_whole(&*transport, &name, &bytes).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_whole(&*transport, &name, &bytes).await;
        if let Some(result) = ended {
            return result.expect("commit");
        }
    }
}

pub(super) async fn a_read_cancelled_at_any_await_harms_nobody(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 3 << 20));
    stored(&*transport, &name, &bytes).await;
    let all = 0..3 << 20;
    for times in 0..POLLS_MAX {
        let streamed = polled(read(&*transport, &name, all.clone()), times).await;
        let at_once = polled(transport.get_ranges(&name, slice::from_ref(&all)), times).await;
        let whole =
            [streamed.map(|found| found.expect("read")), at_once.map(|found| found.expect("read").remove(0))];
        assert!(whole.iter().flatten().all(|found| *found == bytes), "other bytes after {times} polls");
        polled(transport.stat(&name), times).await;
        if transport.capabilities().list {
            polled(async { transport.list("").await?.try_collect::<Vec<_>>().await }, times).await;
        }
        if whole.iter().all(Option::is_some) {
            break;
        }
    }
    assert_whole(&*transport, &name, &bytes).await;
}

pub(super) async fn a_delete_cancelled_at_any_await_can_be_repeated(place: &Place) {
    let (transport, bytes) = (place(), pattern(0, 5000));
    for times in 0..POLLS_MAX {
        let name = name(&format!("id/{times}"));
        stored(&*transport, &name, &bytes).await;
        let ended = polled(transport.delete(&name), times).await;
        match read(&*transport, &name, 0..5000).await {
            Ok(found) => assert!(ended.is_none() && found == bytes),
            Err(TransportError::Missing { .. } | TransportError::Truncated { .. }) => {}
            Err(error) => panic!("after {times} polls: {error}"),
        }
        transport.delete(&name).await.expect("delete");
        assert_absent(&*transport, &name).await;
        if ended.is_some() {
            break;
        }
    }
}

/// One pass writes all blocks of a store piece by piece: none may wait for the end of another.
pub(super) async fn blocks_written_in_step_do_not_wait_for_each_other(place: &Place) {
    let transport = place();
    let mut puts = Vec::new();
    for seed in 0..40 {
        puts.push((seed, transport.put(&name(&format!("id/{seed}")), Some(60_000)).await.expect("put")));
    }
    for step in 0..3 {
        for (seed, put) in &mut puts {
            put.write(pattern(*seed + step * 20_000, 20_000)).await.expect("write");
        }
    }
    for (seed, put) in puts {
        put.commit().await.expect("commit");
        assert_whole(&*transport, &name(&format!("id/{seed}")), &pattern(seed, 60_000)).await;
    }
}

/// A decoder reads as many blocks piece by piece.
pub(super) async fn blocks_read_in_step_do_not_wait_for_each_other(place: &Place) {
    const LENGTH: usize = (1 << 20) + 5;
    let transport = place();
    let mut streams = Vec::new();
    for seed in 0..16 {
        let name = name(&format!("id/{seed}"));
        stored(&*transport, &name, &pattern(seed, LENGTH)).await;
        streams.push((transport.get(&name, 0..LENGTH as u64).await.expect("get"), Vec::new()));
    }
    while streams.iter().any(|(_, found)| found.len() < LENGTH) {
        for (stream, found) in &mut streams {
            if let Some(piece) = stream.try_next().await.expect("a piece") {
                found.extend_from_slice(&piece);
            }
        }
    }
    for (seed, (_, found)) in streams.into_iter().enumerate() {
        assert!(pattern(seed, LENGTH) == found, "block {seed}");
    }
}

pub(super) async fn a_delete_beside_reads_never_changes_what_they_read(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 1 << 20));
    for _ in 0..10 {
        stored(&*transport, &name, &bytes).await;
        let reads = (0..4).map(|_| {
            let (transport, name): (Arc<dyn Transport>, _) = (transport.clone(), name.clone());
            tokio::spawn(async move { read(&*transport, &name, 0..1 << 20).await })
        });
        let reads: Vec<_> = reads.collect();
        transport.delete(&name).await.expect("delete");
        for found in join_all(reads).await {
            let found: Result<Bytes, _> = found.expect("no read panics");
            assert!(found.is_err() || found.is_ok_and(|found| found == bytes), "other bytes");
        }
        assert_absent(&*transport, &name).await;
    }
}
