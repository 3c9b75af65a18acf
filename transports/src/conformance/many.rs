//! Trials of much: many ranges, many objects, many bytes, many changes.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::join_all;

use super::{Place, assert_absent, assert_whole, lacks, name, names, pattern, read, stored};
use crate::TransportError;

/// Numbers that look like chance and are always the same (splitmix64).
fn numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |bound| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

pub(super) async fn random_ranges_come_back_exactly(place: &Place) {
    const LENGTH: u64 = 700_001;
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, LENGTH as usize));
    if lacks(transport.capabilities().ranges, "ranges") {
        return;
    }
    stored(&*transport, &name, &bytes).await;
    let mut number = numbers(7);
    for _ in 0..20 {
        let mut range = |longest| {
            let start = number(LENGTH + 1);
            start..(start + number(longest)).min(LENGTH)
        };
        let ranges: Vec<Range<u64>> = (0..50).map(|i| range([10, 5000, LENGTH][i % 3])).collect();
        let found = transport.get_ranges(&name, &ranges).await.expect("read");
        assert_eq!(found.len(), ranges.len());
        for (range, found) in ranges.iter().zip(found) {
            assert!(found == bytes[range.start as usize..range.end as usize], "bytes {range:?}");
        }
        let one = range(LENGTH);
        let found = read(&*transport, &name, one.clone()).await.expect("read");
        assert!(found == bytes[one.start as usize..one.end as usize], "bytes {one:?}");
    }
}

pub(super) async fn stat_and_list_agree_after_every_change(place: &Place) {
    let transport = place();
    if lacks(transport.capabilities().list, "list") {
        return;
    }
    let (mut there, mut number) = (BTreeSet::new(), numbers(8));
    stored(&*transport, &name("other/0"), &pattern(0, 1)).await;
    for _ in 0..60 {
        let seed = number(8) as usize;
        let object = name(&format!("id/{seed}"));
        if there.remove(object.as_str()) {
            transport.delete(&object).await.expect("delete");
        } else {
            stored(&*transport, &object, &pattern(seed, 100 + seed)).await;
            there.insert(object.to_string());
        }
        assert_eq!(names(&*transport, "id").await, there);
        for seed in 0..8 {
            let object = name(&format!("id/{seed}"));
            match transport.stat(&object).await {
                Ok(meta) => assert!(there.contains(object.as_str()) && meta.length == 100 + seed),
                Err(TransportError::Missing { .. }) => assert!(!there.contains(object.as_str())),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

pub(super) async fn what_one_opening_did_the_other_sees_at_once(place: &Place) {
    let (first, second, object) = (place(), place(), name("id/7"));
    for seed in 0..5 {
        let (writer, reader) = if seed % 2 == 0 { (&first, &second) } else { (&second, &first) };
        let bytes = pattern(seed, 10_000 + seed);
        stored(&**writer, &object, &bytes).await;
        assert_whole(&**reader, &object, &bytes).await;
        if reader.capabilities().list {
            assert_eq!(names(&**reader, "id").await.len(), 1);
        }
        reader.delete(&object).await.expect("delete");
        assert_absent(&**writer, &object).await;
        assert_absent(&**reader, &object).await;
    }
}

pub(super) async fn a_list_of_ten_thousand_objects_is_complete_and_quick(place: &Place) {
    const OBJECTS: usize = 10_000;
    let transport = place();
    if lacks(transport.capabilities().list, "list") {
        return;
    }
    let mut all: Vec<_> = (0..OBJECTS).map(|i| name(&format!("{:02x}/{i}", i % 16))).collect();
    let (began, is_patient) = (Instant::now(), std::env::var_os("TANNER_CONFORMANCE_LARGE").is_some());
    for some in 0..all.len().div_ceil(64) {
        let some = some * 64..all.len().min(some * 64 + 64);
        join_all(
            all[some.clone()].iter().map(async |object| stored(&*transport, object, &Bytes::new()).await),
        )
        .await;
        if began.elapsed() > PUT_TIME_MAX && !is_patient {
            eprintln!("{} objects instead of {OBJECTS}: this store is slow", some.end);
            all.truncate(some.end);
            break;
        }
    }
    let began = Instant::now();
    assert_eq!(names(&*transport, "").await, all.iter().map(ToString::to_string).collect());
    let took = began.elapsed();
    assert!(took < LIST_TIME_MAX || is_patient, "a list of {} objects took {took:?}", all.len());
    assert_eq!(names(&*transport, "0f").await.len(), all.len() / 16);
}

/// Written and read a piece at a time, in the memory of a few. Where lengths are kept in 32 bits, this shows.
pub(super) async fn five_gibibytes_come_back_exactly(place: &Place) {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 5 << 10;
    if lacks(
        std::env::var_os("TANNER_CONFORMANCE_LARGE").is_some(),
        "5 GiB to spare: TANNER_CONFORMANCE_LARGE=1 says it has",
    ) {
        return;
    }
    let (transport, object, length) = (place(), name("id/7"), (PIECES * PIECE) as u64);
    let mut put = transport.put(&object, Some(length)).await.expect("put");
    for seed in 0..PIECES {
        put.write(pattern(seed, PIECE)).await.expect("write");
    }
    put.commit().await.expect("commit");
    assert_eq!(transport.stat(&object).await.expect("stat").length, length);
    if transport.capabilities().ranges {
        for seed in [0, 2047, 2048, 4095, 4096, PIECES - 1] {
            let start = (seed * PIECE) as u64;
            let found =
                transport.get_ranges(&object, &[start..start + 5, start + 7..start + PIECE as u64]).await;
            let found = found.expect("read");
            assert!(found[0] == pattern(seed, 5) && found[1] == pattern(seed + 7, PIECE - 7), "MiB {seed}");
        }
        let result = transport.get(&object, length - 1..length + 1).await.map(drop);
        assert!(matches!(result, Err(TransportError::OutOfRange { length: known, .. }) if known == length));
    }
    let mut pieces = transport.get(&object, 0..length).await.expect("get");
    let mut offset = 0;
    while let Some(piece) = pieces.try_next().await.expect("a piece") {
        let wrong =
            piece.iter().zip(offset..).find(|(byte, at)| **byte != ((at / PIECE + at % PIECE) % 251) as u8);
        assert!(wrong.is_none(), "{wrong:?}");
        offset += piece.len();
    }
    assert_eq!(offset as u64, length);
    transport.delete(&object).await.expect("delete");
}

const LIST_TIME_MAX: Duration = Duration::from_secs(10);
/// Who has `TANNER_CONFORMANCE_LARGE` waits for all of them.
const PUT_TIME_MAX: Duration = Duration::from_secs(5);
