//! Trials of puts that outlive their program: what was kept is gone on with, exactly, by one writer, or is gone.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;

use super::cancels::{POLLS_MAX, polled};
use super::{Place, assert_absent, assert_missing, assert_whole, lacks, name, pattern, stored};
use crate::{KEPT_TOKEN_BYTES_MAX, Kept, ObjectName, Put, Result, Transport, TransportError};

/// More than a store may hold back.
const LENGTH: usize = 9 << 20;

fn keeps(transport: &dyn Transport) -> bool {
    !lacks(transport.capabilities().keep, "kept puts")
}

async fn kept(put: &mut Box<dyn Put>) -> Kept {
    let kept = put.keep().await.expect("keep").expect("the store says that it can");
    assert!(kept.token.len() <= KEPT_TOKEN_BYTES_MAX, "a token of {} bytes", kept.token.len());
    kept
}

/// A put of which `bytes` were written and then kept.
async fn begun(
    transport: &dyn Transport,
    name: &ObjectName,
    length: Option<u64>,
    bytes: &Bytes,
) -> (Box<dyn Put>, Kept) {
    let mut put = transport.put(name, length).await.expect("put");
    put.write(bytes.clone()).await.expect("write");
    let kept = kept(&mut put).await;
    assert!(kept.bytes <= bytes.len() as u64, "{} bytes kept of {}", kept.bytes, bytes.len());
    (put, kept)
}

/// Resumes a put, whose last writer the store may still believe to be alive.
async fn resumed(
    transport: &dyn Transport,
    name: &ObjectName,
    length: Option<u64>,
    kept: &Kept,
) -> Result<Box<dyn Put>> {
    for _ in 0..1000 {
        match transport.resume(name, length, kept).await {
            Err(TransportError::Busy { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
            result => return result,
        }
    }
    transport.resume(name, length, kept).await
}

/// Goes on to the end of `bytes`, of which the beginning is kept, and commits.
async fn finished(transport: &dyn Transport, name: &ObjectName, bytes: &Bytes, kept: &Kept) {
    let length = Some(bytes.len() as u64);
    let mut put = resumed(transport, name, length, kept).await.expect("resume");
    put.write(bytes.slice(kept.bytes as usize..)).await.expect("write");
    put.commit().await.expect("commit");
    assert_whole(transport, name, bytes).await;
}

pub(super) async fn what_is_kept_is_no_object(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, LENGTH));
    if !keeps(&*transport) {
        let mut put = transport.put(&name, None).await.expect("put");
        put.write(bytes.slice(..100)).await.expect("write");
        assert_eq!(put.keep().await.expect("keep"), None);
        put.commit().await.expect("commit");
        let kept = Kept { bytes: 0, token: Bytes::new() };
        let result = transport.resume(&name, None, &kept).await.map(drop);
        assert!(matches!(result, Err(TransportError::Refused { .. })), "{result:?}");
        return;
    }
    let (put, kept) = begun(&*transport, &name, None, &bytes).await;
    assert_absent(&*transport, &name).await;
    drop(put);
    assert_absent(&*place(), &name).await;
    let put = resumed(&*transport, &name, None, &kept).await.expect("resume");
    assert_absent(&*transport, &name).await;
    drop(put);
    // Nor is it in the way of one.
    let whole = pattern(9, 5000);
    stored(&*transport, &name, &whole).await;
    assert_whole(&*transport, &name, &whole).await;
}

pub(super) async fn a_kept_put_is_gone_on_with_by_another_opening(place: &Place) {
    let bytes = pattern(0, LENGTH + 777_777);
    for (name, length) in
        [(name("id/0"), None), (name("id/1"), Some(bytes.len() as u64)), (name("manifest"), None)]
    {
        let transport = place();
        if !keeps(&*transport) {
            return;
        }
        let (put, kept) = begun(&*transport, &name, length, &bytes.slice(..LENGTH)).await;
        drop((put, transport));
        let transport = place();
        let mut put = resumed(&*transport, &name, length, &kept).await.expect("resume");
        for piece in bytes.slice(kept.bytes as usize..).chunks(100_000) {
            put.write(Bytes::copy_from_slice(piece)).await.expect("write");
        }
        put.commit().await.expect("commit");
        assert_whole(&*transport, &name, &bytes).await;
        assert_missing(transport.resume(&name, length, &kept).await);
    }
}

/// Also where the object then ends before those.
pub(super) async fn bytes_behind_what_was_kept_are_written_again(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, LENGTH + 1000));
    if !keeps(&*transport) {
        return;
    }
    let (mut put, kept) = begun(&*transport, &name, None, &bytes.slice(..LENGTH)).await;
    put.write(pattern(99, LENGTH)).await.expect("write");
    drop(put);
    finished(&*transport, &name, &bytes, &kept).await;
}

pub(super) async fn a_put_is_kept_as_often_as_one_likes(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, 3 * LENGTH));
    if !keeps(&*transport) {
        return;
    }
    let length = Some(bytes.len() as u64);
    let (mut put, first) = begun(&*transport, &name, length, &bytes.slice(..LENGTH)).await;
    assert_eq!(kept(&mut put).await, first);
    put.write(bytes.slice(LENGTH..2 * LENGTH)).await.expect("write");
    let second = kept(&mut put).await;
    assert!(second.bytes > first.bytes, "{} after {}", second.bytes, first.bytes);
    drop(put);
    let mut put = resumed(&*transport, &name, length, &second).await.expect("resume");
    assert_eq!(kept(&mut put).await.bytes, second.bytes);
    put.write(bytes.slice(second.bytes as usize..2 * LENGTH + 5)).await.expect("write");
    let third = kept(&mut put).await;
    assert!(third.bytes >= second.bytes, "{} after {}", third.bytes, second.bytes);
    drop(put);
    finished(&*transport, &name, &bytes, &third).await;
}

pub(super) async fn a_put_is_kept_before_its_first_byte(place: &Place) {
    let transport = place();
    if !keeps(&*transport) {
        return;
    }
    for (name, length) in [(name("id/0"), 0), (name("id/1"), 10_000)] {
        let (put, kept) = begun(&*transport, &name, Some(length as u64), &Bytes::new()).await;
        assert_eq!(kept.bytes, 0);
        drop(put);
        finished(&*transport, &name, &pattern(3, length), &kept).await;
    }
}

pub(super) async fn a_kept_put_goes_on_as_any_other(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, LENGTH + 1000));
    if !keeps(&*transport) {
        return;
    }
    let (mut put, kept) = begun(&*transport, &name, None, &bytes.slice(..LENGTH)).await;
    put.write(bytes.slice(LENGTH..)).await.expect("write");
    put.commit().await.expect("commit");
    assert_whole(&*transport, &name, &bytes).await;
    assert_missing(transport.resume(&name, None, &kept).await);
}

pub(super) async fn what_is_abandoned_is_kept_no_more(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, LENGTH));
    if !keeps(&*transport) {
        return;
    }
    let (put, first) = begun(&*transport, &name, None, &bytes).await;
    put.abandon().await.expect("abandon");
    let (put, second) = begun(&*transport, &name, None, &bytes).await;
    drop(put);
    let put = resumed(&*transport, &name, None, &second).await.expect("resume");
    put.abandon().await.expect("abandon");
    for kept in [first, second] {
        assert_missing(transport.resume(&name, None, &kept).await);
        assert_missing(place().resume(&name, None, &kept).await);
    }
    assert_absent(&*transport, &name).await;
    stored(&*transport, &name, &bytes).await;
    assert_whole(&*transport, &name, &bytes).await;
}

/// Without one of them knowing of the other, at least.
pub(super) async fn of_two_that_go_on_with_one_put_one_wins(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, LENGTH + 1000));
    if !keeps(&*transport) {
        return;
    }
    let (put, kept) = begun(&*transport, &name, None, &bytes.slice(..LENGTH)).await;
    drop(put);
    let rest = bytes.slice(kept.bytes as usize..);
    let mut first = resumed(&*transport, &name, None, &kept).await.expect("resume");
    let second = place().resume(&name, None, &kept).await;
    first.write(rest.clone()).await.expect("write");
    let late = match second {
        Err(TransportError::Busy { .. }) => None,
        Err(error) => panic!("neither busy nor resumed: {error}"),
        Ok(mut second) => {
            second.write(rest).await.expect("write");
            Some(second)
        }
    };
    first.commit().await.expect("commit");
    assert_whole(&*transport, &name, &bytes).await;
    if let Some(late) = late {
        late.commit().await.expect_err("both committed");
        assert_whole(&*transport, &name, &bytes).await;
    }
}

pub(super) async fn a_resumed_put_has_its_declared_length(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, LENGTH));
    if !keeps(&*transport) {
        return;
    }
    let wrong = |result: Result<()>| assert!(matches!(result, Err(TransportError::WrongLength { .. })));
    let length = Some(LENGTH as u64);
    let (put, kept) = begun(&*transport, &name, length, &bytes.slice(..LENGTH - 1)).await;
    drop(put);
    wrong(transport.resume(&name, kept.bytes.checked_sub(1), &kept).await.map(drop));
    let put = resumed(&*transport, &name, length, &kept).await.expect("resume");
    wrong(put.commit().await);
    let mut put = resumed(&*transport, &name, length, &kept).await.expect("resume");
    wrong(put.write(pattern(0, LENGTH + 1 - kept.bytes as usize)).await);
    drop(put);
    assert_absent(&*transport, &name).await;
    finished(&*transport, &name, &bytes, &kept).await;
}

pub(super) async fn an_error_leaves_what_was_kept_before(place: &Place) {
    let (transport, name, bytes) = (place(), name("id/7"), pattern(0, LENGTH));
    if !keeps(&*transport) {
        return;
    }
    let length = Some(LENGTH as u64);
    let (mut put, kept) = begun(&*transport, &name, length, &bytes.slice(..LENGTH - 1)).await;
    let result = put.write(pattern(0, 2)).await;
    assert!(matches!(result, Err(TransportError::WrongLength { .. })), "{result:?}");
    assert!(put.keep().await.is_err(), "kept after the end");
    drop(put);
    finished(&*transport, &name, &bytes, &kept).await;
}

pub(super) async fn bytes_that_were_never_written_are_not_made_up(place: &Place) {
    let (transport, name) = (place(), name("id/7"));
    if !keeps(&*transport) {
        return;
    }
    let (put, kept) = begun(&*transport, &name, None, &pattern(0, LENGTH)).await;
    drop(put);
    for more in [1, LENGTH as u64, u64::MAX - kept.bytes] {
        let more = Kept { bytes: kept.bytes + more, ..kept.clone() };
        assert_missing(resumed(&*transport, &name, None, &more).await);
    }
    finished(&*transport, &name, &pattern(0, LENGTH), &kept).await;
}

/// A journal may be damaged, and a peer may try what it likes.
pub(super) async fn no_token_leads_to_anything_else(place: &Place) {
    let (transport, one) = (place(), name("id/7"));
    if !keeps(&*transport) {
        return;
    }
    stored(&*transport, &name("id/6"), &pattern(5, 5000)).await;
    let (put, kept) = begun(&*transport, &one, None, &pattern(0, LENGTH)).await;
    drop(put);
    for other in [name("id/8"), name("id/6"), name("7")] {
        let result = resumed(&*transport, &other, None, &kept).await.map(drop);
        assert!(matches!(result, Err(TransportError::Refused { .. })), "{other}: {result:?}");
    }
    let damaged = |at: usize| {
        let mut token = kept.token.to_vec();
        token[at] ^= 1;
        token
    };
    let damaged = (0..kept.token.len()).map(damaged);
    let cut = (0..kept.token.len()).map(|end| kept.token[..end].to_vec());
    let longer = [&kept.token[..], b"0"].concat();
    let hostile = ["../id/6", "id/6", "/etc/passwd", ".", "..", "kept-\0", "a\u{202e}b?uploadId=1&x=y#z"];
    let hostile = hostile.map(|token| token.as_bytes().to_vec());
    let huge = vec![b'0'; KEPT_TOKEN_BYTES_MAX + 1];
    for token in damaged.chain(cut).chain([longer, huge]).chain(hostile) {
        let kept = Kept { token: token.into(), ..kept.clone() };
        let result = transport.resume(&one, None, &kept).await.map(drop);
        let is_refused =
            matches!(result, Err(TransportError::Refused { .. } | TransportError::Missing { .. }));
        assert!(is_refused, "{:?}: {result:?}", kept.token);
    }
    assert_whole(&*transport, &name("id/6"), &pattern(5, 5000)).await;
    finished(&*transport, &one, &pattern(0, LENGTH), &kept).await;
}

pub(super) async fn a_keep_cancelled_at_any_await_leaves_what_was_kept_before(place: &Place) {
    let (transport, bytes) = (place(), pattern(0, LENGTH + 200_000));
    if !keeps(&*transport) {
        return;
    }
    for times in 0..POLLS_MAX {
        let name = name(&format!("id/{times}"));
        let (mut put, kept) = begun(&*transport, &name, None, &bytes.slice(..LENGTH)).await;
        put.write(bytes.slice(LENGTH..LENGTH + 100_000)).await.expect("write");
        let ended = polled(put.keep(), times).await;
        if ended.is_none() && times > 0 {
            let after = put.keep().now_or_never().expect("no call waits after the end");
            assert!(after.is_err(), "kept after a cancelled keep");
        }
        drop(put);
        finished(&*transport, &name, &bytes, &kept).await;
        if let Some(result) = ended {
            return drop(result.expect("keep"));
        }
    }
}

/// All blocks of a backup that was killed.
pub(super) async fn many_kept_puts_are_gone_on_with_at_once(place: &Place) {
    let transport = place();
    if !keeps(&*transport) {
        return;
    }
    let object = |seed: usize| (name(&format!("id/{seed}")), pattern(seed, 70_000 + seed));
    let puts = join_all((0..20).map(|seed| {
        let (transport, (name, bytes)) = (transport.clone(), object(seed));
        async move { begun(&*transport, &name, Some(bytes.len() as u64), &bytes.slice(..60_000)).await.1 }
    }));
    let tokens = puts.await;
    drop(transport);
    let transport = place();
    join_all(tokens.iter().enumerate().map(|(seed, kept)| {
        let (transport, (name, bytes)) = (transport.clone(), object(seed));
        async move { finished(&*transport, &name, &bytes, kept).await }
    }))
    .await;
}
