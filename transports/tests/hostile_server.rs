//! A server that lies, stalls, floods and dies: whatever it does, a client ends with the right number of bytes or
//! with an error that names the store and what happened, and within its deadline.
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use tanner_transports::net::{Identity, Patience, Remote};
use tanner_transports::wire::{Answer, Header, Kind, Refusal, Request, Welcome};
use tanner_transports::{Kept, ObjectName, Result, Target, Transport, TransportError};

use self::common::script::Step::{Close, Drip, Endless, Read, Send, Stall};
use self::common::script::{Script, Step, frame, play, welcome};

/// What the client does.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Get,
    Large,
    Gets,
    Stat,
    List,
    Prove,
    Put,
    Delete,
    Keep,
    Resume,
}

fn name() -> ObjectName {
    ObjectName::new("id/7").unwrap()
}

async fn ask(store: &Remote, what: Ask) -> Result<usize> {
    let joined = |pieces: Vec<Bytes>| pieces.iter().map(Bytes::len).sum();
    match what {
        Ask::Get => store.get(&name(), 0..100).await?.try_collect().await.map(joined),
        Ask::Large => store.get(&name(), 0..1_000_000).await?.try_collect().await.map(joined),
        // More than any memory, if it were believed.
        Ask::Gets => store.get_ranges(&name(), &[0..1 << 62, 5..9]).await.map(joined),
        Ask::Stat => store.stat(&name()).await.map(|meta| meta.length as usize),
        Ask::List => Ok(store.list("id").await?.try_collect::<Vec<_>>().await?.len()),
        Ask::Prove => store.prove(&name(), 0..100, &[7; 32]).await.map(|_| 32),
        Ask::Delete => store.delete(&name()).await.map(|()| 0),
        Ask::Keep => {
            let mut put = store.put(&name(), None).await?;
            put.write(vec![7; 100].into()).await?;
            let kept = put.keep().await?;
            put.commit().await.map(|()| kept.map_or(0, |kept| kept.bytes as usize))
        }
        Ask::Resume => {
            let kept = Kept { bytes: 5, token: "token".into() };
            store.resume(&name(), None, &kept).await?.commit().await.map(|()| 5)
        }
        Ask::Put => {
            let mut put = store.put(&name(), None).await?;
            for _ in 0..50 {
                put.write(vec![7; 1 << 18].into()).await?;
            }
            put.commit().await.map(|()| 0)
        }
    }
}

fn patience() -> Patience {
    let ms = Duration::from_millis;
    Patience { connect: ms(4000), stall: ms(1200), stall_bytes: 1000, answer: ms(1500) }
}

fn word(result: &Result<usize>) -> String {
    match result {
        Ok(count) => format!("{count} bytes"),
        Err(error) => {
            let debug = format!("{error:?}");
            debug[..debug.find([' ', '(']).unwrap_or(debug.len())].to_owned()
        }
    }
}

/// Each behaviour by name: what is asked, what the server answers, and how that has to end.
fn behaviours() -> Vec<(&'static str, Ask, Vec<Step>, &'static str)> {
    let (ok, end) = (|| Send(frame(&Answer::Ok)), || Send(frame(&Answer::End)));
    let data = |count: usize| Send(frame(&Answer::Data(vec![9; count].into())));
    let header = |kind: Kind, length: usize| Send(Header { kind, length }.encode().to_vec());
    let raw = |bytes: &[u8]| Send(bytes.to_vec());
    let kept = |bytes: Option<u64>| {
        let kept = bytes.map(|bytes| Kept { bytes, token: "token".into() });
        Send(frame(&Answer::Kept(kept)))
    };
    let names = |names: &[&str]| {
        let names = names.iter().map(|name| ObjectName::new(*name).unwrap()).collect();
        frame(&Answer::Names(names))
    };
    let refuse = |error: TransportError| Send(frame(&Answer::Error(Refusal::of(&error))));
    let at = || Target::object("somewhere", &name());
    let other = |text: &str| std::io::Error::other(text.to_owned());
    let request = |request: Request| {
        let mut out = bytes::BytesMut::new();
        request.encode(&mut out);
        Send(out.to_vec())
    };
    let tiny = [frame(&Answer::Data(vec![9].into()))].concat();
    let crumb = [frame(&Answer::Wait), frame(&Answer::Data(vec![9].into()))].concat();
    let hostile_name = [&[Kind::Names as u8, 10, 0, 0, 0, 9][..], b"../../etc"].concat();
    let many: Vec<String> = (0..5000).map(|i| format!("id/{i}")).collect();
    let many = names(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let full = || TransportError::Full { at: at(), source: other("no room") };
    let escape = || TransportError::Refused { at: at(), source: other("\u{1b}[2J\nroot# ") };
    vec![
        ("other bytes of the right length", Ask::Get, vec![ok(), data(100), end()], "100 bytes"),
        ("fewer bytes", Ask::Get, vec![ok(), data(99), end()], "Truncated"),
        ("no bytes", Ask::Get, vec![ok(), end()], "Truncated"),
        ("ten times the bytes", Ask::Get, vec![ok(), data(1000), end()], "Corrupt"),
        ("endless bytes", Ask::Get, vec![ok(), Endless(frame(&Answer::Data(vec![9; 60].into())))], "Corrupt"),
        ("empty pieces", Ask::Get, vec![ok(), Endless(vec![Kind::Data as u8, 0, 0, 0, 0])], "Corrupt"),
        ("a byte now and then", Ask::Get, vec![ok(), header(Kind::Data, 100), Drip(vec![9])], "Slow"),
        ("a tiny frame now and then", Ask::Large, vec![ok(), Drip(tiny)], "Slow"),
        ("silence instead of an answer", Ask::Get, vec![Stall], "Slow"),
        ("silence after OK", Ask::Get, vec![ok(), Stall], "Slow"),
        ("silence after a header", Ask::Get, vec![ok(), header(Kind::Data, 100), Stall], "Slow"),
        ("silence within a header", Ask::Get, vec![ok(), raw(&[3, 100]), Stall], "Slow"),
        ("silence before END", Ask::Get, vec![ok(), data(100), Stall], "Slow"),
        ("closing instead of an answer", Ask::Get, vec![Close], "Unreachable"),
        ("closing within a frame", Ask::Get, vec![ok(), header(Kind::Data, 100), Close], "Unreachable"),
        ("closing before END", Ask::Get, vec![ok(), data(100), Close], "Unreachable"),
        ("a lie that it is missing", Ask::Get, vec![refuse(TransportError::Missing { at: at() })], "Missing"),
        ("OK twice", Ask::Get, vec![ok(), ok(), data(100), end()], "Corrupt"),
        ("the end before the bytes", Ask::Get, vec![ok(), end(), data(100)], "Truncated"),
        ("bytes without OK", Ask::Get, vec![data(100), end()], "Corrupt"),
        ("a piece of 4 GiB", Ask::Get, vec![ok(), raw(&[3, 255, 255, 255, 255])], "Corrupt"),
        ("names of 4 GiB", Ask::List, vec![raw(&[0x86, 255, 255, 255, 255])], "Corrupt"),
        ("garbage", Ask::Get, vec![raw(&[0x9e; 300])], "Corrupt"),
        (
            "another protocol",
            Ask::Get,
            vec![raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")],
            "Corrupt",
        ),
        (
            "a redirect",
            Ask::Stat,
            vec![raw(b"HTTP/1.1 301 Moved\r\nLocation: file:///etc\r\n\r\n")],
            "Corrupt",
        ),
        ("another answer", Ask::Get, vec![Send(frame(&Answer::Meta(100)))], "Corrupt"),
        ("a question back", Ask::Get, vec![request(Request::Stat { name: name() })], "Corrupt"),
        (
            "an error of no kind",
            Ask::Get,
            vec![raw(&[&[0x88, 28, 0, 0, 0, 99][..], &[0; 27]].concat())],
            "Corrupt",
        ),
        ("an error of 64 KiB of text", Ask::Get, vec![raw(&[0x88, 0, 0, 1, 0])], "Corrupt"),
        ("an error that steers a terminal", Ask::Stat, vec![refuse(escape())], "Refused"),
        ("always at work", Ask::Stat, vec![Drip(frame(&Answer::Wait))], "Slow"),
        ("crumbs between being at work", Ask::Large, vec![ok(), Drip(crumb)], "Slow"),
        ("a flood of being at work", Ask::Stat, vec![Endless(frame(&Answer::Wait))], "Slow"),
        ("a length of no number of bytes", Ask::Stat, vec![raw(&[0x85, 3, 0, 0, 0, 1, 2, 3])], "Corrupt"),
        ("a proof of no length", Ask::Prove, vec![raw(&[0x84, 0, 0, 0, 0])], "Corrupt"),
        ("names of other backups", Ask::List, vec![Send(names(&["other/7"])), end()], "Corrupt"),
        ("names that lead out of the store", Ask::List, vec![Send(hostile_name)], "Corrupt"),
        ("endless names", Ask::List, vec![Endless(many)], "Corrupt"),
        ("no names for ever", Ask::List, vec![Endless(vec![Kind::Names as u8, 0, 0, 0, 0])], "Corrupt"),
        ("agreeing to more bytes than there can be", Ask::Gets, vec![ok(), data(100), end()], "Truncated"),
        ("stored before it was sent", Ask::Put, vec![ok(), Read, ok(), Stall], "Corrupt"),
        ("full while it is sent", Ask::Put, vec![ok(), Read, refuse(full()), Stall], "Full"),
        ("a put that nobody reads", Ask::Put, vec![ok(), Stall], "Slow"),
        ("always at work within a put", Ask::Put, vec![ok(), Drip(frame(&Answer::Wait))], "Slow"),
        (
            "a flood of being at work within a put",
            Ask::Put,
            vec![ok(), Endless(frame(&Answer::Wait))],
            "Slow",
        ),
        ("dying within a put", Ask::Put, vec![ok(), Read, Read, Close], "Unreachable"),
        ("keeping nothing", Ask::Keep, vec![ok(), Read, Read, kept(None), Read, ok()], "0 bytes"),
        ("keeping less", Ask::Keep, vec![ok(), Read, Read, kept(Some(99)), Read, ok()], "99 bytes"),
        ("keeping more than was sent", Ask::Keep, vec![ok(), Read, Read, kept(Some(101)), Stall], "Corrupt"),
        ("a token of 4 GiB", Ask::Keep, vec![ok(), Read, Read, raw(&[0x89, 255, 255, 255, 255])], "Corrupt"),
        ("keeping without saying what", Ask::Keep, vec![ok(), Read, Read, ok(), Stall], "Corrupt"),
        ("a keep that is never confirmed", Ask::Keep, vec![ok(), Read, Read, Stall], "Slow"),
        ("full while it is kept", Ask::Keep, vec![ok(), Read, Read, refuse(full()), Stall], "Full"),
        ("somebody else at it", Ask::Resume, vec![refuse(TransportError::Busy { at: at() })], "Busy"),
        ("going on with what is not there", Ask::Resume, vec![kept(Some(5)), Stall], "Corrupt"),
        ("a delete that is never confirmed", Ask::Delete, vec![Stall], "Slow"),
        ("bytes for a delete", Ask::Delete, vec![data(5)], "Corrupt"),
    ]
}

async fn every_behaviour_ends_cleanly(scheme: &str) {
    let mut wrong = Vec::new();
    let behaviours = behaviours();
    assert!(behaviours.len() >= 24);
    for (behaviour, what, steps, wanted) in behaviours {
        let url = play(scheme, Script::answering(steps)).await;
        let store = Remote::open(&url, &Identity::generate(), patience()).unwrap();
        let began = Instant::now();
        let result = ask(&store, what).await;
        if word(&result) != wanted {
            wrong.push(format!("{behaviour}: wanted {wanted}, got {result:?}"));
        }
        if let Err(error) = &result {
            let mut words = error.to_string();
            words.extend(std::error::Error::source(error).map(|source| format!(": {source}")));
            let clean = !words.contains(['\n', '\u{1b}']) && words.len() < 2000;
            if !clean || !words.contains(&url) {
                wrong.push(format!("{behaviour}: {words:?}"));
            }
        }
        if began.elapsed() > Duration::from_secs(8) {
            wrong.push(format!("{behaviour}: took {:?}", began.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_behaviour_of_a_tcp_server_hangs_floods_or_fools_a_client() {
    every_behaviour_ends_cleanly("tcp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_behaviour_of_a_quic_server_hangs_floods_or_fools_a_client() {
    every_behaviour_ends_cleanly("quic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_greet_is_not_used() {
    let Answer::Welcome(good) = welcome() else { panic!("a welcome") };
    let greet = |welcome: Welcome| vec![Send(frame(&Answer::Welcome(welcome)))];
    let greetings: [(Vec<Step>, &str); 6] = [
        (greet(Welcome { version: 9, ..good }), "Other"),
        (greet(Welcome { complete: false, ..good }), "Other"),
        (vec![Send(frame(&Answer::Ok))], "Corrupt"),
        (vec![Stall], "Slow"),
        (vec![Close], "Unreachable"),
        (vec![Send(vec![0xff; 100])], "Corrupt"),
    ];
    for scheme in ["tcp", "quic"] {
        for (hello, wanted) in greetings.clone() {
            let script = Script { hello: hello.clone(), requests: vec![vec![Stall]] };
            let store = Remote::open(&play(scheme, script).await, &Identity::generate(), patience()).unwrap();
            let result = ask(&store, Ask::Stat).await;
            assert_eq!(word(&result), wanted, "{scheme} {hello:?}: {result:?}");
        }
    }
}

/// It would end the lane at a frame that it does not know, and with it the put.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_to_keep_puts_still_gets_them() {
    let Answer::Welcome(new) = welcome() else { panic!("a welcome") };
    let hello = vec![Send(frame(&Answer::Welcome(Welcome { keep: false, ..new })))];
    let ok = || Send(frame(&Answer::Ok));
    for scheme in ["tcp", "quic"] {
        let script = Script { hello: hello.clone(), requests: vec![vec![ok(), Read, Read, ok()]] };
        let store = Remote::open(&play(scheme, script).await, &Identity::generate(), patience()).unwrap();
        assert_eq!(word(&ask(&store, Ask::Keep).await), "0 bytes", "{scheme}");
        let script = Script { hello: hello.clone(), requests: vec![vec![Close]] };
        let store = Remote::open(&play(scheme, script).await, &Identity::generate(), patience()).unwrap();
        assert_eq!(word(&ask(&store, Ask::Resume).await), "Refused", "{scheme}");
    }
}

/// A lane on which the server misbehaved is never used again: the next request starts afresh.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_answer_does_not_spoil_the_good_one_after_it() {
    let good =
        vec![Send([Answer::Ok, Answer::Data(vec![1; 100].into()), Answer::End].map(|a| frame(&a)).concat())];
    let late = vec![Send(frame(&Answer::Ok)), Send(frame(&Answer::End)), Send(frame(&Answer::Meta(5)))];
    for scheme in ["tcp", "quic"] {
        let script =
            Script { hello: Script::answering(vec![]).hello, requests: vec![good.clone(), late.clone()] };
        let store = Remote::open(&play(scheme, script).await, &Identity::generate(), patience()).unwrap();
        for round in 0..6 {
            let wanted = ["100 bytes", "Truncated"][round % 2];
            let result = ask(&store, Ask::Get).await;
            assert_eq!(word(&result), wanted, "{scheme} round {round}: {result:?}");
        }
    }
}

/// A read that is given up leaves its answer on the lane: whoever asks next must not be given it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_request_given_up_is_not_taken_for_another() {
    let late = vec![Send(frame(&Answer::Wait)), Step::Pause(300), Send(frame(&Answer::Meta(1)))];
    let prompt = vec![Send(frame(&Answer::Meta(2)))];
    for scheme in ["tcp", "quic"] {
        let script =
            Script { hello: Script::answering(vec![]).hello, requests: vec![late.clone(), prompt.clone()] };
        let store = Remote::open(&play(scheme, script).await, &Identity::generate(), patience()).unwrap();
        let gave_up = tokio::time::timeout(Duration::from_millis(200), store.stat(&name())).await;
        assert!(gave_up.is_err() || gave_up.is_ok_and(|result| result.is_err()));
        assert_eq!(store.stat(&name()).await.unwrap().length, 2, "{scheme}");
    }
}

/// The server is killed after every number of its frames, and in the middle of each.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_at_any_frame_border_is_never_taken_for_one_that_is_done() {
    let names = Answer::Names(vec![ObjectName::new("id/0").unwrap()]);
    let bytes = || Answer::Data(vec![1; 50].into());
    let get = [Answer::Ok, bytes(), bytes(), Answer::End].map(|answer| frame(&answer));
    let list = [names.clone(), names, Answer::End].map(|answer| frame(&answer));
    for scheme in ["tcp", "quic"] {
        for (what, frames) in [(Ask::Get, &get[..]), (Ask::List, &list[..])] {
            for alive in 0..frames.len() {
                for part in [0, 3] {
                    let sent = [frames[..alive].concat(), frames[alive][..part].to_vec()].concat();
                    let script = Script::answering(vec![Send(sent), Close]);
                    let store = Remote::open(&play(scheme, script).await, &Identity::generate(), patience());
                    let result = ask(&store.unwrap(), what).await;
                    assert_eq!(
                        word(&result),
                        "Unreachable",
                        "{scheme} {what:?} {alive} + {part}: {result:?}"
                    );
                }
            }
        }
        for frames in 0..4 {
            let mut steps = vec![Step::Read; frames];
            if frames > 0 {
                steps.insert(0, Send(frame(&Answer::Ok)));
            }
            steps.push(Close);
            let url = play(scheme, Script::answering(steps)).await;
            let store = Remote::open(&url, &Identity::generate(), patience()).unwrap();
            let stored = async {
                let mut put = store.put(&name(), Some(6)).await?;
                put.write("abc".into()).await?;
                put.write("def".into()).await?;
                put.commit().await
            };
            let result = stored.await.map(|()| 0);
            assert_eq!(word(&result), "Unreachable", "{scheme} put, {frames} frames: {result:?}");
        }
    }
}
