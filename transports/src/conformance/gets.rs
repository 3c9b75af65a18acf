//! Trials of reading: exactly the bytes asked for, or an error.

use std::ops::Range;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};

use super::{Place, assert_missing, assert_whole, lacks, name, pattern, read, stored};
use crate::{ObjectName, PIECE_BYTES_MAX, Transport, TransportError};

/// A store with an object of `pattern(0, length)`, if ranges of it can be read.
async fn ranged(place: &Place, length: usize) -> Option<(Arc<dyn Transport>, ObjectName)> {
    let (transport, name) = (place(), name("id/7"));
    if lacks(transport.capabilities().ranges, "ranges") {
        return None;
    }
    stored(&*transport, &name, &pattern(0, length)).await;
    Some((transport, name))
}

fn part(range: &Range<u64>) -> bytes::Bytes {
    pattern(range.start as usize, (range.end - range.start) as usize)
}

pub(super) async fn every_part_of_an_object_can_be_read_alone(place: &Place) {
    const LENGTH: u64 = 3_000_001;
    let Some((transport, name)) = ranged(place, LENGTH as usize).await else { return };
    let few = [0..1, 0..4096, 4095..4098, 1_000_000..1_000_001, LENGTH - 1..LENGTH, LENGTH - 4097..LENGTH];
    let many = [0..LENGTH, 1..LENGTH, 0..LENGTH - 1, 777..2_500_000];
    for range in few.into_iter().chain(many) {
        let found = read(&*transport, &name, range.clone()).await.expect("read");
        assert!(found == part(&range), "bytes {range:?}");
    }
}

pub(super) async fn an_empty_range_is_no_error(place: &Place) {
    let Some((transport, name)) = ranged(place, 100).await else { return };
    for at in [0, 50, 100] {
        assert_eq!(read(&*transport, &name, at..at).await.expect("read").len(), 0);
    }
}

pub(super) async fn a_range_past_the_end_is_never_cut_short(place: &Place) {
    let Some((transport, name)) = ranged(place, 100).await else { return };
    for range in
        [99..101, 0..101, 100..101, 101..101, 1 << 40..(1 << 40) + 5, 0..u64::MAX, u64::MAX..u64::MAX]
    {
        refused(&*transport, &name, range).await;
    }
}

pub(super) async fn an_inverted_range_is_refused(place: &Place) {
    let Some((transport, name)) = ranged(place, 100).await else { return };
    for (start, end) in [(1, 0), (100, 0), (60, 50), (u64::MAX, 0)] {
        refused(&*transport, &name, Range { start, end }).await;
    }
}

async fn refused(transport: &dyn Transport, name: &ObjectName, range: Range<u64>) {
    let one = transport.get(name, range.clone()).await.map(drop);
    let many = transport.get_ranges(name, std::slice::from_ref(&range)).await.map(drop);
    for result in [one, many] {
        match result {
            Err(TransportError::OutOfRange { range: named, length: 100, .. }) => assert_eq!(named, range),
            other => panic!("bytes {range:?} of 100: {other:?}"),
        }
    }
}

pub(super) async fn pieces_are_never_empty_nor_huge(place: &Place) {
    let (transport, name) = (place(), name("id/7"));
    stored(&*transport, &name, &pattern(0, (3 << 20) + 1)).await;
    let pieces = transport.get(&name, 0..(3 << 20) + 1).await.expect("get");
    let lengths: Vec<_> = pieces.map_ok(|piece| piece.len()).try_collect().await.expect("read");
    assert!(lengths.iter().all(|length| (1..=PIECE_BYTES_MAX).contains(length)), "{lengths:?}");
    assert_eq!(lengths.iter().sum::<usize>(), (3 << 20) + 1);
}

pub(super) async fn many_ranges_come_in_the_order_asked(place: &Place) {
    let Some((transport, name)) = ranged(place, 1_000_000).await else { return };
    let scattered = (0..300).map(|i| (i * 7919) % 999_000).map(|start| start..start + start % 1000);
    let special = [0..1_000_000, 0..10, 5..15, 5..15, 999_999..1_000_000, 0..0, 1_000_000..1_000_000];
    let ranges: Vec<Range<u64>> = scattered.chain(special).collect();
    let found = transport.get_ranges(&name, &ranges).await.expect("read");
    assert_eq!(found.len(), ranges.len());
    for (range, bytes) in ranges.iter().zip(found) {
        assert!(bytes == part(range), "bytes {range:?}");
    }
}

pub(super) async fn one_bad_range_fails_them_all(place: &Place) {
    let Some((transport, name)) = ranged(place, 100).await else { return };
    let result = transport.get_ranges(&name, &[0..10, 95..105, 10..20]).await;
    assert!(matches!(result, Err(TransportError::OutOfRange { length: 100, .. })), "{result:?}");
}

pub(super) async fn no_ranges_give_no_bytes(place: &Place) {
    let Some((transport, name)) = ranged(place, 100).await else { return };
    assert_eq!(transport.get_ranges(&name, &[]).await.expect("read").len(), 0);
}

pub(super) async fn a_missing_object_is_missing_to_every_read(place: &Place) {
    let transport = place();
    // First in a store that may not exist, then beside another object.
    for _ in 0..2 {
        for name in [name("id/8"), name("other/7")] {
            assert_missing(transport.stat(&name).await);
            assert_missing(transport.get(&name, 0..0).await);
            assert_missing(transport.get(&name, 0..100).await);
            assert_missing(transport.get_ranges(&name, &[0..1, 5..6]).await);
            assert_missing(transport.get_ranges(&name, &[]).await);
        }
        if transport.stat(&name("id/7")).await.is_err() {
            stored(&*transport, &name("id/7"), &pattern(0, 100)).await;
        }
    }
}

pub(super) async fn a_dropped_read_harms_nobody(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 3 << 20));
    stored(&*transport, &name, &bytes).await;
    for taken in 0..3 {
        let pieces = transport.get(&name, 0..3 << 20).await.expect("get");
        drop(pieces.take(taken).try_collect::<Vec<_>>().await.expect("read"));
    }
    assert_whole(&*transport, &name, &bytes).await;
}

pub(super) async fn concurrent_reads_see_the_same_bytes(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 1_500_000));
    stored(&*transport, &name, &bytes).await;
    join_all((0..8).map(|_| assert_whole(&*transport, &name, &bytes))).await;
}

pub(super) async fn an_object_deleted_while_read_is_never_cut_short(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 5 << 20));
    stored(&*transport, &name, &bytes).await;
    let mut pieces = transport.get(&name, 0..5 << 20).await.expect("get");
    let first = pieces.try_next().await.expect("read").expect("a piece");
    transport.delete(&name).await.expect("delete");
    if let Ok(rest) = pieces.try_collect::<Vec<_>>().await {
        assert!([vec![first], rest].concat().concat() == bytes, "cut short or changed");
    }
}

pub(super) async fn a_proof_is_of_the_bytes_that_are_there(place: &Place) {
    let (transport, name) = (place(), name("id/7"));
    if lacks(transport.capabilities().prove, "proofs") {
        refused_proof(&*transport, &name).await;
        return;
    }
    assert_missing(transport.prove(&name, 0..0, &[7; 32]).await);
    stored(&*transport, &name, &pattern(0, 3_000_001)).await;
    for (range, nonce) in
        [(0..3_000_001, [7; 32]), (0..3_000_001, [8; 32]), (4095..4098, [7; 32]), (9..9, [7; 32])]
    {
        let proof = transport.prove(&name, range.clone(), &nonce).await.expect("prove");
        assert_eq!(proof, blake3::keyed_hash(&nonce, &part(&range)), "bytes {range:?}");
    }
    for range in [0..3_000_002, 3_000_002..3_000_002, 0..u64::MAX] {
        let result = transport.prove(&name, range, &[7; 32]).await;
        assert!(matches!(result, Err(TransportError::OutOfRange { length: 3_000_001, .. })), "{result:?}");
    }
}

async fn refused_proof(transport: &dyn Transport, name: &ObjectName) {
    let result = transport.prove(name, 0..0, &[7; 32]).await;
    assert!(matches!(result, Err(TransportError::Refused { .. })), "{result:?}");
}

pub(super) async fn stat_tells_the_exact_length(place: &Place) {
    let transport = place();
    for length in [0, 1, 4096, 100_001] {
        let name = name(&format!("id/{length}"));
        stored(&*transport, &name, &pattern(0, length)).await;
        assert_eq!(transport.stat(&name).await.expect("stat").length, length as u64);
    }
}
