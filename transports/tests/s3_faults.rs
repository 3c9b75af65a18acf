//! What only a store behind HTTP can get wrong: a server that fails, lies, is slow or never ends.
//!
//! Every case ends with the right bytes or with one typed error, in time, and leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

#[path = "common/s3_faults.rs"]
mod faults;

use std::time::Duration;

use bytes::Bytes;
use faults::{Act, PATIENCE, Rig, SECRET, cut, endless, full, refusal, say};
use futures_util::{FutureExt, TryStreamExt};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION};
use tanner_transports::{Kept, ObjectName, Put, Result, S3, Transport, TransportError};

fn name() -> ObjectName {
    ObjectName::new("id/7").expect("a valid name")
}

fn bytes(length: usize) -> Bytes {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// An object of three parts.
const LARGE: usize = 17 << 20;

async fn begin(store: &S3, length: usize) -> Result<Box<dyn Put>> {
    let mut put = store.put(&name(), Some(length as u64)).await?;
    put.write(bytes(length)).await?;
    Ok(put)
}

async fn store(store: &S3, length: usize) -> Result<()> {
    within(async { begin(store, length).await?.commit().await }).await
}

async fn read(store: &S3, length: usize) -> Result<Vec<u8>> {
    within(async {
        let pieces = store.get(&name(), 0..length as u64).await?.try_collect::<Vec<_>>().await?;
        Ok(pieces.concat())
    })
    .await
}

async fn list(store: &S3) -> Result<Vec<String>> {
    within(async {
        let names: Vec<_> = store.list("").await?.try_collect().await?;
        Ok(names.iter().map(ToString::to_string).collect())
    })
    .await
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("it ends in time")
}

/// A rig with one object of 1000 bytes, which then fails.
async fn stored(plan: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> (Rig, S3) {
    let rig = Rig::new(plan).await;
    let file = rig.root.path().join("bucket/id/7");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(file, bytes(1000)).unwrap();
    let store = rig.store();
    (rig, store)
}

async fn assert_whole(rig: &Rig, length: usize) {
    assert_eq!(rig.files(), ["7"], "one object and no left-overs");
    assert!(std::fs::read(rig.root.path().join("bucket/id/7")).unwrap() == bytes(length));
}

/// What is cleaned up after a put was dropped takes a moment.
async fn assert_nothing_is_left(rig: &Rig) {
    std::fs::create_dir_all(rig.root.path().join("bucket/id")).unwrap();
    for _ in 0..2000 {
        if rig.files().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("left: {:?}", rig.files());
}

macro_rules! assert_fails {
    ($result:expr, $variant:ident) => {{
        let error = $result.map(drop).expect_err("it cannot succeed");
        assert!(matches!(error, TransportError::$variant { .. }), "{error:?}");
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text += &format!(": {inner}");
            cause = inner.source();
        }
        assert!(!text.contains(SECRET) && !text.contains('\n') && text.len() < 500, "{text}");
        text
    }};
}

#[tokio::test]
async fn a_server_that_is_busy_twice_costs_no_block() {
    for code in ["InternalError", "SlowDown", "ServiceUnavailable"] {
        let plan = move |_: &str, count| if count < 2 { Act::Say(refusal(503, code)) } else { Act::Pass };
        let rig = Rig::new(plan).await;
        store(&rig.store(), LARGE).await.unwrap();
        assert_whole(&rig, LARGE).await;
        assert_eq!(read(&rig.store(), LARGE).await.unwrap(), bytes(LARGE));
    }
}

#[tokio::test]
async fn a_server_that_stays_busy_is_asked_a_few_times_and_then_named() {
    for (status, code, slow) in
        [(503, "SlowDown", true), (429, "", true), (500, "InternalError", false), (502, "", false)]
    {
        let (rig, store) = stored(move |_, _| Act::Say(refusal(status, code))).await;
        let text = match slow {
            true => assert_fails!(read(&store, 1000).await, Slow),
            false => assert_fails!(read(&store, 1000).await, Unreachable),
        };
        assert!(text.contains(&status.to_string()) && text.contains(code), "{text}");
        assert_eq!(rig.count("GET object"), PATIENCE.tries);
        assert!(within(store.stat(&name())).await.unwrap_err().is_retryable());
    }
}

#[tokio::test]
async fn a_block_whose_answer_was_lost_is_stored_once_and_reported_so() {
    for length in [1000, LARGE] {
        for lost in ["PUT object", "PUT part 2", "POST complete", "POST uploads"] {
            let rig = Rig::new(move |kind, count| match (kind == lost, count) {
                (true, 0) => Act::DoAndCut,
                _ => Act::Pass,
            })
            .await;
            store(&rig.store(), length).await.unwrap_or_else(|error| panic!("{lost}: {error:?}"));
            assert!(std::fs::read(rig.root.path().join("bucket/id/7")).unwrap() == bytes(length));
        }
    }
}

#[tokio::test]
async fn a_block_that_a_silent_server_stored_is_found() {
    for (length, silent) in [(1000, "PUT object"), (LARGE, "POST complete")] {
        let rig = Rig::new(move |kind, _| if kind == silent { Act::DoAndHang } else { Act::Pass }).await;
        store(&rig.store(), length).await.unwrap_or_else(|error| panic!("{silent}: {error:?}"));
        assert_whole(&rig, length).await;
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_slow_and_not_waited_for() {
    let (_rig, silent) = stored(|_, _| Act::Hang).await;
    assert_fails!(read(&silent, 1000).await, Slow);
    assert_fails!(list(&silent).await, Slow);
    assert_fails!(within(silent.delete(&name())).await, Slow);
    assert_fails!(store(&silent, 1000).await, Slow);
}

#[tokio::test]
async fn nobody_at_the_port_is_unreachable() {
    let rig = Rig::new(|_, _| Act::Pass).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = rig.store_at(&format!("s3://bucket?endpoint=http://{free}"), SECRET);
    let text = assert_fails!(read(&nobody, 1000).await, Unreachable);
    assert!(text.contains("refused"), "{text}");
    assert_fails!(store(&nobody, 1000).await, Unreachable);
    assert_fails!(list(&nobody).await, Unreachable);
}

#[tokio::test]
async fn an_answer_that_breaks_off_once_is_read_to_its_end() {
    let broken = |kind: &str, count| match (kind, count) {
        ("GET object", 0) => Act::Change(|answer| {
            let (mut parts, bytes) = answer.into_parts();
            parts.headers.insert("etag", "\"x\"".parse().unwrap());
            hyper::Response::from_parts(parts, cut(bytes.slice(..400), false))
        }),
        ("GET object", _) => Act::Change(|answer| {
            let (mut parts, bytes) = answer.into_parts();
            parts.headers.insert("etag", "\"x\"".parse().unwrap());
            hyper::Response::from_parts(parts, full(bytes))
        }),
        _ => Act::Pass,
    };
    let (_rig, store) = stored(broken).await;
    assert_eq!(read(&store, 1000).await.unwrap(), bytes(1000));
}

#[tokio::test]
async fn an_answer_that_always_breaks_off_is_no_object() {
    let (_rig, store) = stored(|_, _| {
        Act::Change(|answer| {
            let (parts, bytes) = answer.into_parts();
            let half = bytes.slice(..bytes.len() / 2);
            hyper::Response::from_parts(parts, cut(half, false))
        })
    })
    .await;
    let error = read(&store, 1000).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn an_answer_with_too_few_bytes_is_truncated_and_not_short() {
    let (_rig, store) = stored(|_, _| {
        Act::Change(|answer| {
            let (mut parts, bytes) = answer.into_parts();
            let few = bytes.slice(..bytes.len().min(400));
            parts.headers.insert(CONTENT_LENGTH, few.len().to_string().parse().unwrap());
            hyper::Response::from_parts(parts, full(few))
        })
    })
    .await;
    let error = read(&store, 1000).await.unwrap_err();
    assert!(matches!(error, TransportError::Truncated { wanted: 1000, got: 400, .. }), "{error:?}");
    let error = store.get_ranges(&name(), &[0..10, 0..1000]).await.unwrap_err();
    assert!(matches!(error, TransportError::Truncated { .. }), "{error:?}");
}

#[tokio::test]
async fn an_object_that_lost_its_tail_is_out_of_range_and_not_short() {
    let (rig, store) = stored(|_, _| Act::Pass).await;
    std::fs::write(rig.root.path().join("bucket/id/7"), "xy").unwrap();
    for range in [0..1000, 1..3, 2..3, 500..1000] {
        let error = store.get_ranges(&name(), &[range.clone(), 600..800]).await.unwrap_err();
        assert!(matches!(error, TransportError::OutOfRange { length: 2, .. }), "{range:?}: {error:?}");
    }
}

#[tokio::test]
async fn an_answer_with_too_many_bytes_gives_no_byte_too_many() {
    let (_rig, store) = stored(|_, _| {
        Act::Change(|answer| {
            let (mut parts, bytes) = answer.into_parts();
            parts.headers.remove(CONTENT_LENGTH);
            hyper::Response::from_parts(parts, full([&bytes[..], b"more"].concat()))
        })
    })
    .await;
    assert_fails!(read(&store, 1000).await, Other);
}

#[tokio::test]
async fn the_whole_object_for_a_range_is_not_taken_for_the_range() {
    let (_rig, store) = stored(|_, _| {
        Act::Change(|answer| {
            let (mut parts, _) = answer.into_parts();
            parts.status = hyper::StatusCode::OK;
            parts.headers.remove(CONTENT_RANGE);
            parts.headers.insert(CONTENT_LENGTH, "1000".parse().unwrap());
            hyper::Response::from_parts(parts, full(bytes(1000)))
        })
    })
    .await;
    for range in [5..10, 0..1000] {
        assert_fails!(store.get_ranges(&name(), &[range]).await, Other);
    }
}

#[tokio::test]
async fn another_range_than_asked_is_not_taken_for_it() {
    let (_rig, store) = stored(|_, _| {
        Act::Change(|answer| {
            let (mut parts, bytes) = answer.into_parts();
            parts.headers.insert(CONTENT_RANGE, "bytes 7-11/1000".parse().unwrap());
            hyper::Response::from_parts(parts, full(bytes))
        })
    })
    .await;
    assert_fails!(store.get_ranges(&name(), std::slice::from_ref(&(5..10))).await, Other);
}

#[tokio::test]
async fn a_redirect_leads_nowhere_else() {
    for status in [301, 307, 308] {
        let (trap, _) = stored(|_, _| Act::Pass).await;
        let there = trap.url.split('=').nth(1).unwrap().to_owned() + "/bucket/id/7";
        let (_rig, redirected) = stored(move |_, _| {
            let mut answer = refusal(status, "TemporaryRedirect");
            answer.headers_mut().insert(LOCATION, there.parse().unwrap());
            Act::Say(answer)
        })
        .await;
        assert_fails!(read(&redirected, 1000).await, Other);
        assert_fails!(store(&redirected, 1000).await, Other);
        assert_fails!(list(&redirected).await, Other);
        assert_eq!(trap.count("GET object") + trap.count("HEAD object") + trap.count("GET list"), 0);
    }
}

#[tokio::test]
async fn parts_of_a_put_that_failed_do_not_stay() {
    for failing in ["PUT part 1", "PUT part 2", "PUT part 3", "POST complete"] {
        let rig = Rig::new(move |kind, _| match kind == failing {
            true => Act::Say(refusal(500, "InternalError")),
            false => Act::Pass,
        })
        .await;
        assert_fails!(store(&rig.store(), LARGE).await, Unreachable);
        assert_nothing_is_left(&rig).await;
        assert_eq!(rig.count("DELETE upload"), 1, "{failing}");
    }
}

#[tokio::test]
async fn parts_of_a_put_that_was_given_up_do_not_stay() {
    let rig = Rig::new(|_, _| Act::Pass).await;
    let store = rig.store();
    begin(&store, LARGE).await.unwrap().abandon().await.unwrap();
    assert_nothing_is_left(&rig).await;
    drop(begin(&store, LARGE).await.unwrap());
    assert_nothing_is_left(&rig).await;
    let mut put = store.put(&name(), None).await.unwrap();
    for _ in 0..3 {
        assert!(put.write(bytes(LARGE)).now_or_never().is_none_or(|result| result.is_err()));
    }
    drop(put);
    // An upload that had not yet begun when the put was dropped may begin, and ends.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_nothing_is_left(&rig).await;
}

async fn resumed(rig: &Rig, kept: &Kept) -> Result<()> {
    let mut put = rig.store().resume(&name(), Some(LARGE as u64), kept).await?;
    put.write(bytes(LARGE).slice(kept.bytes as usize..)).await?;
    put.commit().await
}

#[tokio::test]
async fn parts_that_were_kept_stay_until_they_are_an_object_or_given_up() {
    let late = |kind: &str, count| match (kind, count) {
        ("POST complete", 0..3) => Act::Say(refusal(500, "InternalError")),
        _ => Act::Pass,
    };
    let rig = Rig::new(late).await;
    let mut put = begin(&rig.store(), LARGE).await.unwrap();
    let kept = put.keep().await.unwrap().unwrap();
    assert_fails!(put.commit().await, Unreachable);
    let sent = rig.count("PUT part 1");
    resumed(&rig, &kept).await.unwrap();
    assert_whole(&rig, LARGE).await;
    assert_eq!(rig.count("PUT part 1"), sent, "what was kept is not sent again");
    assert_eq!(rig.count("DELETE upload"), 0);

    let rig = Rig::new(|_, _| Act::Pass).await;
    let mut put = begin(&rig.store(), LARGE).await.unwrap();
    let kept = put.keep().await.unwrap().unwrap();
    drop(put);
    let put = rig.store().resume(&name(), Some(LARGE as u64), &kept).await.unwrap();
    put.abandon().await.unwrap();
    assert_nothing_is_left(&rig).await;
}

/// A page of parts, all of them of the size that is kept.
fn page(parts: &[u64], next: Option<u64>) -> Act {
    let parts = parts.iter().map(|number| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>&quot;{number}&quot;</ETag><Size>8388608</Size></Part>")
    });
    let next = next.map_or_else(String::new, |next| {
        format!("<IsTruncated>true</IsTruncated><NextPartNumberMarker>{next}</NextPartNumberMarker>")
    });
    let parts: String = parts.collect();
    Act::Say(say(200, format!("<?xml version=\"1.0\"?><ListPartsResult>{parts}{next}</ListPartsResult>")))
}

#[tokio::test]
async fn parts_are_counted_over_all_pages_and_up_to_the_first_that_is_missing() {
    const TWO: usize = 2 << 23;
    type Pages = fn(usize) -> Act;
    let cases: [(Pages, &str); 6] = [
        (|page_number| if page_number == 0 { page(&[1], Some(1)) } else { page(&[2], None) }, "Ok"),
        (|_| page(&[2, 1, 3], None), "Ok"),
        (|_| page(&[1, 3], None), "Missing"),
        (|_| page(&[], None), "Missing"),
        (|_| page(&[1], Some(1)), "Other"),
        (|_| Act::Say(refusal(404, "NoSuchUpload")), "Missing"),
    ];
    for (number, (pages, wanted)) in cases.into_iter().enumerate() {
        let rig =
            Rig::new(move |kind, count| if kind == "GET upload" { pages(count) } else { Act::Pass }).await;
        let mut put = rig.store().put(&name(), Some(LARGE as u64)).await.unwrap();
        put.write(bytes(LARGE).slice(..TWO)).await.unwrap();
        let kept = put.keep().await.unwrap().unwrap();
        assert_eq!(kept.bytes, TWO as u64);
        drop(put);
        let result = resumed(&rig, &kept).await;
        let word = result.as_ref().map_or_else(|error| format!("{error:?}"), |()| "Ok".to_owned());
        assert!(word.starts_with(wanted), "{number}: {word}");
        if result.is_ok() {
            assert_whole(&rig, LARGE).await;
        }
    }
}

#[tokio::test]
async fn whoever_says_nothing_of_parts_is_not_gone_on_with() {
    for (act, wanted) in [
        ((|| Act::Hang) as fn() -> Act, "Slow"),
        (|| Act::Say(refusal(403, "AccessDenied")), "Refused"),
        (|| Act::Say(refusal(503, "SlowDown")), "Slow"),
        (|| Act::Say(say(200, "<html>welcome</html>")), "Other"),
        (|| Act::Say(say(200, "<ListPartsResult><Part></ListPartsResult>")), "Other"),
    ] {
        let rig = Rig::new(move |kind, _| if kind == "GET upload" { act() } else { Act::Pass }).await;
        let mut put = begin(&rig.store(), LARGE).await.unwrap();
        let kept = put.keep().await.unwrap().unwrap();
        drop(put);
        let error = within(resumed(&rig, &kept)).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(wanted), "{wanted}: {error:?}");
        std::fs::create_dir_all(rig.root.path().join("bucket/id")).unwrap();
        assert!(!rig.files().is_empty(), "it is kept all the same");
    }
}

#[tokio::test]
async fn success_in_which_a_failure_is_hidden_is_a_failure() {
    let hidden = || Act::Say(refusal(200, "InternalError"));
    let rig = Rig::new(move |kind, _| if kind == "POST complete" { hidden() } else { Act::Pass }).await;
    assert_fails!(store(&rig.store(), LARGE).await, Unreachable);
    assert_nothing_is_left(&rig).await;
}

#[tokio::test]
async fn a_part_that_the_server_lost_is_missed_before_success() {
    for (length, last) in [(1000, "PUT object"), (LARGE, "POST complete")] {
        let rig = Rig::new(move |kind, _| match kind == last {
            true => Act::DoAnd(|root| {
                let file = std::fs::File::options().write(true).open(root.join("bucket/id/7")).unwrap();
                file.set_len(900).unwrap();
            }),
            false => Act::Pass,
        })
        .await;
        let error = store(&rig.store(), length).await.unwrap_err();
        assert!(matches!(error, TransportError::Truncated { got: 900, .. }), "{error:?}");
        assert_nothing_is_left(&rig).await;
    }
}

#[tokio::test]
async fn a_put_that_the_server_only_says_it_stored_is_a_failure() {
    let rig = Rig::new(|kind, _| match kind {
        "PUT object" => {
            let mut answer = say(200, "");
            answer.headers_mut().insert("etag", "\"x\"".parse().unwrap());
            Act::Say(answer)
        }
        _ => Act::Pass,
    })
    .await;
    let error = store(&rig.store(), 1000).await.unwrap_err();
    assert!(matches!(error, TransportError::Truncated { wanted: 1000, got: 0, .. }), "{error:?}");
}

#[tokio::test]
async fn an_object_that_is_there_is_not_overwritten() {
    let (rig, there) = stored(|_, _| Act::Pass).await;
    for length in [10, LARGE] {
        assert_fails!(store(&there, length).await, Exists);
        assert_whole(&rig, 1000).await;
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_a_missing_store() {
    let rig = Rig::new(|_, _| Act::Pass).await;
    let lost = rig.store_at(&rig.url.replace("s3://bucket", "s3://elsewhere"), SECRET);
    let errors = [
        store(&lost, 10).await,
        store(&lost, LARGE).await,
        read(&lost, 10).await.map(drop),
        list(&lost).await.map(drop),
        lost.stat(&name()).await.map(drop),
        lost.delete(&name()).await,
    ];
    for (call, error) in errors.into_iter().enumerate() {
        let error = error.unwrap_err();
        assert!(matches!(&error, TransportError::Missing { at } if at.name.is_none()), "{call}: {error:?}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_printed_nowhere() {
    let (rig, _) = stored(|_, _| Act::Pass).await;
    let wrong = rig.store_at(&rig.url, "another-secret");
    let texts = [
        assert_fails!(read(&wrong, 1000).await, Refused),
        assert_fails!(list(&wrong).await, Refused),
        assert_fails!(store(&wrong, LARGE).await, Refused),
        assert_fails!(within(wrong.delete(&name())).await, Refused),
    ];
    assert!(texts.iter().all(|text| !text.contains("another-secret")), "{texts:?}");
    assert!(texts[0].contains("SignatureDoesNotMatch"), "{texts:?}");
    assert!(!format!("{wrong:?}").contains("another-secret"));
    assert_whole(&rig, 1000).await;
}

#[tokio::test]
async fn what_the_server_says_is_cut_to_a_word() {
    let (_rig, skewed) = stored(|_, _| Act::Say(refusal(403, "RequestTimeTooSkewed"))).await;
    assert!(assert_fails!(read(&skewed, 1000).await, Refused).contains("403 RequestTimeTooSkewed"));
    for code in ["a\nb", "\u{1b}[2J", &"x".repeat(3000), "<", "ü"] {
        let code = code.to_owned();
        let (_rig, hostile) = stored(move |_, _| Act::Say(refusal(400, &code))).await;
        assert!(assert_fails!(read(&hostile, 1000).await, Other).ends_with("answered 400 "));
    }
}

#[tokio::test]
async fn a_full_store_is_full() {
    for (status, code) in [(507, ""), (400, "EntityTooLarge"), (403, "QuotaExceeded")] {
        let rig = Rig::new(move |kind, _| match kind {
            "PUT object" => Act::Say(refusal(status, code)),
            _ => Act::Pass,
        })
        .await;
        assert_fails!(store(&rig.store(), 1000).await, Full);
    }
}

#[tokio::test]
async fn a_listing_that_is_no_listing_ends_with_an_error() {
    let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
        <!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">]>
        <ListBucketResult><Contents><Key>id/&d;</Key><Size>1</Size></Contents></ListBucketResult>"#;
    let attributes: String = (0..200_000).map(|i| format!(" a{i}=\"\"")).collect();
    let wide = format!("<ListBucketResult><Contents{attributes}></Contents></ListBucketResult>");
    let deep = format!("<ListBucketResult>{}", "<Contents>".repeat(300_000));
    let half = "<ListBucketResult><Contents><Key>id/7</Key><Size>1</Si";
    let number = "<ListBucketResult><Contents><Key>id/7</Key><Size>-1</Size></Contents></ListBucketResult>";
    let garbage =
        ["", "garbage", "\0\0\0", "<", "<html>captive portal</html>x</y>", half, number, bomb, &wide, &deep];
    for body in garbage.map(str::to_owned) {
        let (_rig, store) = stored({
            let body = body.clone();
            move |_, _| Act::Say(say(200, body.clone()))
        })
        .await;
        match list(&store).await {
            Err(TransportError::Other { .. }) => {}
            other => panic!("{}: {other:?}", &body[..body.len().min(60)]),
        }
    }
}

#[tokio::test]
async fn an_endless_answer_is_given_up_in_bounded_memory() {
    const PIECE: &[u8] = &[b' '; 65536];
    for status in [200, 404, 500] {
        let (_rig, endless) = stored(move |_, _| Act::Say(endless(status, PIECE, Duration::ZERO))).await;
        assert_fails!(list(&endless).await, Other);
        assert!(read(&endless, 1000).await.is_err());
        assert!(store(&endless, 1000).await.is_err());
    }
}

#[tokio::test]
async fn an_answer_that_drips_is_slow() {
    let (_rig, store) = stored(|kind, _| match kind {
        "GET object" => {
            let mut answer = endless(206, b"x", Duration::from_millis(100));
            answer.headers_mut().insert(CONTENT_RANGE, "bytes 0-999/1000".parse().unwrap());
            answer.headers_mut().insert(CONTENT_LENGTH, "1000".parse().unwrap());
            Act::Say(answer)
        }
        _ => Act::Say(endless(200, b" ", Duration::from_millis(100))),
    })
    .await;
    assert_fails!(read(&store, 1000).await, Slow);
    assert_fails!(list(&store).await, Slow);
}

#[tokio::test]
async fn an_object_that_stops_in_its_middle_is_slow() {
    let (_rig, store) = stored(|_, _| {
        Act::Change(|answer| {
            let (parts, bytes) = answer.into_parts();
            hyper::Response::from_parts(parts, cut(bytes.slice(..bytes.len() / 2), true))
        })
    })
    .await;
    assert_fails!(read(&store, 1000).await, Slow);
}

#[tokio::test]
async fn a_listing_in_a_circle_ends() {
    let page = "<ListBucketResult><Contents><Key>id/7</Key><Size>1</Size>\
        <LastModified>2026-01-01T00:00:00Z</LastModified></Contents>\
        <NextContinuationToken>again</NextContinuationToken></ListBucketResult>";
    let (rig, store) = stored(move |_, _| Act::Say(say(200, page))).await;
    assert_fails!(list(&store).await, Other);
    assert!(rig.count("GET list") < 10);
}

#[tokio::test]
async fn a_listing_that_is_behind_costs_an_error_of_the_object_and_not_of_the_list() {
    let page = "<ListBucketResult><Contents><Key>id/deleted</Key><Size>1</Size>\
        <LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>";
    let (_rig, store) = stored(move |kind, _| match kind {
        "GET list" => Act::Say(say(200, page)),
        _ => Act::Pass,
    })
    .await;
    assert_eq!(list(&store).await.unwrap(), ["id/deleted"]);
    assert_fails!(store.stat(&ObjectName::new("id/deleted").unwrap()).await, Missing);
}

#[tokio::test]
async fn what_others_keep_in_the_bucket_is_none_of_ours() {
    let (rig, store) = stored(|_, _| Act::Pass).await;
    let bucket = rig.root.path().join("bucket");
    for other in ["README.TXT", "id/UPPER", "id/a b", ".hidden", "id/deep/0"] {
        std::fs::create_dir_all(bucket.join(other).parent().unwrap()).unwrap();
        std::fs::write(bucket.join(other), "x").unwrap();
    }
    assert_eq!(list(&store).await.unwrap(), ["id/7"]);
}

#[tokio::test]
async fn what_the_server_says_of_lengths_is_not_believed() {
    for length in ["18446744073709551615", "-1", "x", ""] {
        let (_rig, store) = stored(move |kind, _| match kind {
            "HEAD object" => {
                let mut answer = say(200, "");
                answer.headers_mut().insert("x-length", length.parse().unwrap());
                Act::Say(answer)
            }
            _ => Act::Pass,
        })
        .await;
        let stat = within(store.stat(&name())).await;
        assert!(stat.is_err() || stat.is_ok_and(|meta| meta.length == 0));
        let error =
            within(store.get_ranges(&name(), std::slice::from_ref(&(0..u64::MAX)))).await.unwrap_err();
        assert!(
            matches!(error, TransportError::OutOfRange { .. } | TransportError::Other { .. }),
            "{error:?}"
        );
    }
}

/// Above all tries and pauses of one call, and all calls of one put.
const DEADLINE: Duration = Duration::from_secs(60);
