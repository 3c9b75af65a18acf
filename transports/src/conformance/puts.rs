//! Trials of storing: all the bytes, at once, once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::Barrier;

use super::{Place, assert_absent, assert_whole, lacks, name, pattern, store, stored};
use crate::{Transport, TransportError};

async fn comes_back(place: &Place, length: usize) {
    let (transport, name, bytes) = (place(), name(&format!("id/{length}")), pattern(7, length));
    stored(&*transport, &name, &bytes).await;
    assert_whole(&*transport, &name, &bytes).await;
}

pub(super) async fn an_empty_object_comes_back(place: &Place) {
    comes_back(place, 0).await;
}

pub(super) async fn one_byte_comes_back(place: &Place) {
    comes_back(place, 1).await;
}

pub(super) async fn objects_around_a_page_come_back_exactly(place: &Place) {
    for length in 4095..=4097 {
        comes_back(place, length).await;
    }
}

pub(super) async fn several_mebibytes_come_back_exactly(place: &Place) {
    comes_back(place, (5 << 20) + 3).await;
}

pub(super) async fn thousands_of_small_writes_join_without_a_gap(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 20_000));
    let mut pieces = Vec::new();
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        pieces.push(rest.split_to(rest.len().min(1 + pieces.len() % 13)));
    }
    store(&*transport, &name, None, &pieces).await.expect("stored");
    assert_whole(&*transport, &name, &bytes).await;
}

pub(super) async fn empty_writes_change_nothing(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 10));
    let pieces = [Bytes::new(), bytes.clone(), Bytes::new()];
    store(&*transport, &name, Some(10), &pieces).await.expect("stored");
    assert_whole(&*transport, &name, &bytes).await;
}

pub(super) async fn a_declared_length_is_kept(place: &Place) {
    for length in [0, 1, 70_000] {
        let (transport, name, bytes) = (place(), name(&format!("id/{length}")), pattern(3, length));
        store(&*transport, &name, Some(length as u64), std::slice::from_ref(&bytes)).await.expect("stored");
        assert_whole(&*transport, &name, &bytes).await;
    }
}

pub(super) async fn a_put_is_invisible_before_its_commit(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 300_000));
    let mut put = transport.put(&name, Some(300_000)).await.expect("put");
    assert_absent(&*transport, &name).await;
    put.write(bytes.clone()).await.expect("write");
    assert_absent(&*transport, &name).await;
    assert_absent(&*place(), &name).await;
    put.commit().await.expect("commit");
    assert_whole(&*transport, &name, &bytes).await;
    assert_whole(&*place(), &name, &bytes).await;
}

pub(super) async fn an_abandoned_put_leaves_nothing(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 9));
    let mut put = transport.put(&name, None).await.expect("put");
    put.write(pattern(5, 9000)).await.expect("write");
    put.abandon().await.expect("abandon");
    assert_absent(&*transport, &name).await;
    stored(&*transport, &name, &bytes).await;
    assert_whole(&*transport, &name, &bytes).await;
}

pub(super) async fn a_dropped_put_leaves_nothing(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 9));
    let mut put = transport.put(&name, Some(10_000)).await.expect("put");
    put.write(pattern(5, 9000)).await.expect("write");
    drop(put);
    assert_absent(&*transport, &name).await;
    stored(&*transport, &name, &bytes).await;
    assert_whole(&*transport, &name, &bytes).await;
}

pub(super) async fn a_cancelled_write_leaves_nothing(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 9));
    let mut put = transport.put(&name, None).await.expect("put");
    let ended = put.write(pattern(0, 8 << 20)).now_or_never();
    if ended.is_none() {
        assert!(put.write(bytes.clone()).await.is_err(), "a write after a cancelled one");
        assert!(put.commit().await.is_err(), "a commit after a cancelled write");
    }
    assert_absent(&*transport, &name).await;
    stored(&*transport, &name, &bytes).await;
    assert_whole(&*transport, &name, &bytes).await;
}

pub(super) async fn a_cancelled_commit_leaves_all_or_nothing(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 1 << 20));
    let mut put = transport.put(&name, None).await.expect("put");
    put.write(bytes.clone()).await.expect("write");
    drop(put.commit().now_or_never());
    for _ in 0..50 {
        match transport.stat(&name).await {
            Ok(_) => return assert_whole(&*transport, &name, &bytes).await,
            Err(error) => assert!(matches!(error, TransportError::Missing { .. }), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) async fn a_put_shorter_than_declared_leaves_nothing(place: &Place) {
    let (transport, name) = (place(), name("id/7"));
    for pieces in [vec![], vec![pattern(0, 9_999)]] {
        let result = store(&*transport, &name, Some(10_000), &pieces).await;
        assert!(matches!(result, Err(TransportError::WrongLength { declared: 10_000, .. })), "{result:?}");
        assert_absent(&*transport, &name).await;
    }
}

pub(super) async fn a_put_longer_than_declared_leaves_nothing(place: &Place) {
    let (transport, name) = (place(), name("id/7"));
    for (declared, pieces) in [(0, [1, 1]), (10_000, [10_000, 1])] {
        let mut put = transport.put(&name, Some(declared)).await.expect("put");
        let mut results = Vec::new();
        for piece in pieces {
            results.push(put.write(pattern(0, piece)).await);
        }
        results.push(put.commit().await);
        let wrong = |result: &Result<(), _>| matches!(result, Err(TransportError::WrongLength { .. }));
        assert!(results.iter().any(wrong), "{results:?}");
        assert!(results[2].is_err(), "committed after a failed write");
        assert_absent(&*transport, &name).await;
    }
}

pub(super) async fn what_cannot_fit_is_refused_before_it_is_sent(place: &Place) {
    let (transport, name) = (place(), name("id/7"));
    let length = transport.capabilities().object_bytes_max.map_or(u64::MAX, |max| max + 1);
    let error = transport.put(&name, Some(length)).await.map(drop).expect_err("no store has so much room");
    assert!(matches!(error, TransportError::Full { .. }), "{error:?}");
    assert_absent(&*transport, &name).await;
}

pub(super) async fn a_second_put_never_overwrites_the_first(place: &Place) {
    let (transport, name, first) = (place(), name("id/7"), pattern(0, 5000));
    if lacks(transport.capabilities().exclusive_create, "exclusive create") {
        return;
    }
    stored(&*transport, &name, &first).await;
    for second in [pattern(9, 5000), first.clone(), Bytes::new()] {
        let result = store(&*transport, &name, None, &[second]).await;
        assert!(matches!(result, Err(TransportError::Exists { .. })), "{result:?}");
        assert_whole(&*transport, &name, &first).await;
    }
}

/// A damaged object is deleted once what replaces it is whole, not before.
pub(super) async fn a_put_waits_for_its_commit_with_an_object_in_its_way(place: &Place) {
    let (transport, name, first, second) = (place(), name("id/7"), pattern(0, 5000), pattern(9, 6000));
    stored(&*transport, &name, &first).await;
    let mut late = transport.put(&name, Some(6000)).await.expect("put");
    late.write(second.clone()).await.expect("write");
    assert_whole(&*transport, &name, &first).await;
    transport.delete(&name).await.expect("delete");
    assert_absent(&*transport, &name).await;
    late.commit().await.expect("commit");
    assert_whole(&*transport, &name, &second).await;
}

pub(super) async fn a_name_taken_meanwhile_is_not_overwritten(place: &Place) {
    let (transport, name, first) = (place(), name("id/7"), pattern(0, 5000));
    if lacks(transport.capabilities().exclusive_create, "exclusive create") {
        return;
    }
    let mut late = transport.put(&name, None).await.expect("put");
    late.write(pattern(9, 6000)).await.expect("write");
    stored(&*transport, &name, &first).await;
    let result = late.commit().await;
    assert!(matches!(result, Err(TransportError::Exists { .. })), "{result:?}");
    assert_whole(&*transport, &name, &first).await;
}

pub(super) async fn of_racing_puts_one_wins_whole(place: &Place) {
    let (transport, name) = (place(), name("id/7"));
    if lacks(transport.capabilities().exclusive_create, "exclusive create") {
        return;
    }
    let start = Arc::new(Barrier::new(8));
    let racers = (0..8).map(|seed| {
        let (transport, name, start) = (transport.clone(), name.clone(), start.clone());
        tokio::spawn(async move {
            let mut put = transport.put(&name, None).await.expect("put");
            put.write(pattern(seed, 200_000)).await.expect("write");
            put.write(pattern(0, seed)).await.expect("write");
            start.wait().await;
            put.commit().await
        })
    });
    let mut winners = Vec::new();
    for (seed, result) in join_all(racers).await.into_iter().enumerate() {
        match result.expect("no racer panics") {
            Ok(()) => winners.push(seed),
            Err(error) => assert!(matches!(error, TransportError::Exists { .. }), "{error:?}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    let whole = [pattern(winners[0], 200_000), pattern(0, winners[0])].concat();
    assert_whole(&*transport, &name, &whole.into()).await;
}

pub(super) async fn concurrent_puts_do_not_mix_their_bytes(place: &Place) {
    let transport = place();
    let object = |seed: usize| (name(&format!("id/{seed}")), pattern(seed, 100_000 + seed));
    let puts = (0..40).map(|seed| {
        let transport: Arc<dyn Transport> = transport.clone();
        let (name, bytes) = object(seed);
        let pieces: Vec<_> = bytes.chunks(20_000).map(Bytes::copy_from_slice).collect();
        tokio::spawn(async move { store(&*transport, &name, None, &pieces).await })
    });
    for put in join_all(puts).await {
        put.expect("no put panics").expect("stored");
    }
    for (name, bytes) in (0..40).map(object) {
        assert_whole(&*transport, &name, &bytes).await;
    }
}

pub(super) async fn committed_objects_survive_reopening(place: &Place) {
    let (name, bytes) = (name("id/manifest"), pattern(0, 12_345));
    stored(&*place(), &name, &bytes).await;
    assert_whole(&*place(), &name, &bytes).await;
}

pub(super) async fn puts_of_two_openings_do_not_disturb_each_other(place: &Place) {
    let (first, second) = (place(), place());
    let mut put = first.put(&name("id/0"), None).await.expect("put");
    put.write(pattern(0, 5000)).await.expect("write");
    // The first put of an opening may clean the store up: not what is being written.
    stored(&*second, &name("id/1"), &pattern(1, 5000)).await;
    put.write(pattern(5000, 5000)).await.expect("write");
    put.commit().await.expect("commit");
    assert_whole(&*second, &name("id/0"), &pattern(0, 10_000)).await;
    assert_whole(&*first, &name("id/1"), &pattern(1, 5000)).await;
}
