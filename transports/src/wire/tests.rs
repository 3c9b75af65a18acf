//! What the protocol's document says, held against the code; and bytes that no honest peer sends.

use std::io;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::token::DeleteToken;
use crate::{Hash, KEPT_TOKEN_BYTES_MAX, Kept, NameError, ObjectName, Target, TransportError};

fn name(name: &str) -> ObjectName {
    ObjectName::new(name).unwrap()
}

fn at() -> Target {
    Target::object("tcp://host:1#pin", &name("id/7"))
}

fn every_error() -> Vec<TransportError> {
    use TransportError as E;
    let source = || io::Error::other("why");
    let busy = io::Error::new(io::ErrorKind::ResourceBusy, "why");
    let store = Target::store("tcp://host:1#pin");
    let names = ["a".repeat(200), "a/b/c".into(), "a//".into(), "a/..".into(), "aB".into()];
    let mut errors: Vec<_> = names.map(|name| E::BadName(ObjectName::new(name).unwrap_err())).into();
    errors.extend([
        E::Missing { at: at() },
        E::Missing { at: store.clone() },
        E::Exists { at: at() },
        E::Full { at: at(), source: source() },
        E::Corrupt { at: at(), source: source() },
        E::Truncated { at: at(), wanted: 9, got: u64::MAX },
        E::WrongLength { at: at(), declared: 9, written: 10 },
        E::OutOfRange { at: at(), range: 5..9, length: 7 },
        E::Unreachable { at: store, source: source() },
        E::Refused { at: at(), source: source() },
        E::Slow { at: at(), source: source() },
        E::Other { at: at(), source: source() },
        E::Other { at: at(), source: busy },
        E::Busy { at: at() },
    ]);
    errors
}

fn requests() -> Vec<Request> {
    let (name, range) = (name("id/7"), 1..3);
    vec![
        Request::Hello { version: VERSION },
        Request::Put { name: name.clone(), length: Some(3) },
        Request::Put { name: name.clone(), length: None },
        Request::Data("abc".into()),
        Request::Commit,
        Request::Abandon,
        Request::Get { name: name.clone(), range: range.clone() },
        Request::Gets { name: name.clone(), ranges: vec![range.clone(); 3] },
        Request::Gets { name: name.clone(), ranges: vec![0..u64::MAX; RANGES_MAX] },
        Request::Prove { name: name.clone(), range, nonce: [7; 32] },
        Request::Stat { name: name.clone() },
        Request::List { prefix: String::new() },
        Request::List { prefix: "../x".into() },
        Request::Delete { name: name.clone(), token: None },
        Request::Delete { name: name.clone(), token: Some(DeleteToken::from_bytes(&[9; 32])) },
        Request::Keep,
        Request::Resume { name: name.clone(), length: Some(3), kept: kept(2, b"token") },
        Request::Resume { name: name.clone(), length: None, kept: kept(0, b"") },
        Request::Resume { name, length: None, kept: kept(u64::MAX, &[0xff; KEPT_TOKEN_BYTES_MAX]) },
    ]
}

fn kept(bytes: u64, token: &[u8]) -> Kept {
    Kept { bytes, token: Bytes::copy_from_slice(token) }
}

fn answers() -> Vec<Answer> {
    let welcome = Welcome {
        version: VERSION,
        durable: true,
        complete: true,
        append_only: false,
        lanes: 1,
        object_bytes_max: None,
        keep: false,
        delete_token: false,
    };
    let refusals = every_error().into_iter().map(|error| Answer::Error(Refusal::of(&error)));
    let others = [
        Answer::Welcome(welcome),
        Answer::Welcome(Welcome { object_bytes_max: Some(5), append_only: true, ..welcome }),
        Answer::Welcome(Welcome { keep: true, ..welcome }),
        Answer::Welcome(Welcome { delete_token: true, ..welcome }),
        Answer::Kept(None),
        Answer::Kept(Some(kept(0, b""))),
        Answer::Kept(Some(kept(3, &[0xff; KEPT_TOKEN_BYTES_MAX]))),
        Answer::Ok,
        Answer::Data("abc".into()),
        Answer::End,
        Answer::Proof(Hash::from_bytes([9; 32])),
        Answer::Meta(u64::MAX),
        Answer::Names(vec![name("id/7"), name("lonely")]),
        Answer::Wait,
    ];
    refusals.chain(others).collect()
}

/// All frames of a lane, or what is wrong with the first that is none.
fn decode<T>(
    mut bytes: Bytes,
    one: impl Fn(Kind, Bytes) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let mut frames = Vec::new();
    while bytes.len() >= Header::BYTES {
        let header = Header::decode(bytes[..Header::BYTES].try_into().unwrap())?;
        if bytes.len() < Header::BYTES + header.length {
            break;
        }
        drop(bytes.split_to(Header::BYTES));
        frames.push(one(header.kind, bytes.split_to(header.length))?);
    }
    Ok(frames)
}

fn encoded() -> Vec<Bytes> {
    let encode = |one: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        one(&mut out);
        out.freeze()
    };
    let requests = requests().into_iter().map(|request| encode(&|out| request.encode(out)));
    let answers = answers().into_iter().map(|answer| encode(&|out| answer.encode(out)));
    requests.chain(answers).collect()
}

#[test]
fn every_frame_comes_back_as_it_was_sent() {
    let mut out = BytesMut::new();
    requests().iter().for_each(|request| request.encode(&mut out));
    assert_eq!(decode(out.freeze(), Request::decode).unwrap(), requests());
    let mut out = BytesMut::new();
    answers().iter().for_each(|answer| answer.encode(&mut out));
    assert_eq!(decode(out.freeze(), Answer::decode).unwrap(), answers());
}

#[test]
fn every_error_of_a_store_reaches_the_client_as_what_it_is() {
    for error in every_error() {
        let said = Refusal::of(&error).into_error(&at());
        let kind = std::mem::discriminant(&error);
        assert_eq!(kind, std::mem::discriminant(&said), "{error:?} became {said:?}");
        assert_eq!(error.to_string(), said.to_string());
        assert_eq!(error.is_retryable(), said.is_retryable(), "{error:?}");
        if let (TransportError::BadName(one), TransportError::BadName(other)) = (error, said) {
            assert_eq!(one, other);
        }
    }
}

#[test]
fn a_servers_words_can_neither_steer_a_terminal_nor_fill_a_log() {
    let evil = "\u{1b}[2J\r\nroot#\u{202e}".repeat(1000);
    let error = TransportError::Refused { at: at(), source: io::Error::other(evil.clone()) };
    let Answer::Error(refusal) = sent(&Answer::Error(Refusal::of(&error))) else { panic!("another answer") };
    let TransportError::Refused { source, .. } = refusal.into_error(&at()) else { panic!("another error") };
    let words = source.to_string();
    assert!(words.len() < TEXT_BYTES_MAX + 32 && words.contains("root#"), "{}", words.len());
    assert!(!words.contains(['\u{1b}', '\r', '\n', '\u{202e}']), "{words:?}");

    // And those of a server that does not clean them itself.
    let mut raw = vec![10, 0, 0, 0];
    raw.extend([0; 24]);
    raw.extend(b"\x1b]0;\xff\x07");
    let Answer::Error(refusal) = Answer::decode(Kind::Error, raw.into()).unwrap() else { panic!() };
    let words = refusal.into_error(&at());
    assert!(!format!("{words:?}").contains("\\u{1b}"), "{words:?}");
}

fn sent(answer: &Answer) -> Answer {
    let mut out = BytesMut::new();
    answer.encode(&mut out);
    decode(out.freeze(), Answer::decode).unwrap().remove(0)
}

/// The example of `protocol.md`, byte for byte.
#[test]
fn the_documented_example_is_what_is_sent() {
    let welcome = Welcome {
        version: 1,
        durable: true,
        complete: true,
        append_only: false,
        lanes: 1,
        object_bytes_max: None,
        keep: true,
        delete_token: false,
    };
    let asked = [
        Request::Hello { version: 1 },
        Request::Put { name: name("id/7"), length: Some(3) },
        Request::Data("abc".into()),
        Request::Commit,
        Request::Get { name: name("id/7"), range: 1..3 },
        Request::Stat { name: name("id/8") },
        Request::Put { name: name("id/8"), length: None },
        Request::Data("de".into()),
        Request::Keep,
        Request::Resume { name: name("id/8"), length: None, kept: kept(2, b"k8") },
        Request::Abandon,
    ];
    let missing = TransportError::Missing { at: at() };
    let answered = [
        Answer::Welcome(welcome),
        Answer::Ok,
        Answer::Ok,
        Answer::Ok,
        Answer::Data("bc".into()),
        Answer::End,
        Answer::Error(Refusal::of(&missing)),
        Answer::Ok,
        Answer::Kept(Some(kept(2, b"k8"))),
        Answer::Ok,
        Answer::Ok,
    ];
    let document = |side: char| -> Vec<u8> {
        let lines = include_str!("protocol.md").lines().filter_map(|line| line.strip_prefix(side));
        lines.filter(|line| line.starts_with(' ')).flat_map(hex).collect()
    };
    let mut out = BytesMut::new();
    asked.iter().for_each(|request| request.encode(&mut out));
    assert_eq!(out, document('>'));
    assert_eq!(decode(document('>').into(), Request::decode).unwrap(), asked);
    out.clear();
    answered.iter().for_each(|answer| answer.encode(&mut out));
    assert_eq!(out, document('<'));
    assert_eq!(decode(document('<').into(), Answer::decode).unwrap(), answered);
}

/// The hexadecimal words of a line, up to the first that is none.
fn hex(line: &str) -> Vec<u8> {
    let is_hex = |word: &&str| {
        word.len().is_multiple_of(2) && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let digits: String = line.split_whitespace().take_while(is_hex).collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn a_token_that_is_cut_or_has_more_behind_it_is_none_and_no_token_is_shown() {
    let token = DeleteToken::generate();
    let request = Request::Delete { name: name("id/7"), token: Some(token.clone()) };
    let mut out = BytesMut::new();
    request.encode(&mut out);
    let payload = out.split_off(Header::BYTES).freeze();
    for bytes in (0..=payload.len() + 1).filter(|bytes| ![5, payload.len()].contains(bytes)) {
        let mut changed = payload.to_vec();
        changed.resize(bytes, 0);
        let decoded = Request::decode(Kind::Delete, changed.into());
        assert!(matches!(decoded, Err(WireError::Malformed { .. })), "{bytes} bytes: {decoded:?}");
    }
    assert_eq!(Request::decode(Kind::Delete, payload).unwrap(), request);
    let shown = format!("{request:?}");
    assert!(shown.ends_with("token: Some(DeleteToken(…)) }"), "{shown}");
}

/// The table of kinds and limits in `protocol.md` is that of the code.
#[test]
fn the_documented_limits_are_those_that_are_kept() {
    let document = include_str!("protocol.md");
    for &kind in Kind::ALL {
        let limit = match kind.bytes_max() {
            0x10_0000 => "1 MiB".to_owned(),
            0x1_0000 => "64 KiB".to_owned(),
            16_515 => "16 515".to_owned(),
            bytes => bytes.to_string(),
        };
        let row = format!("| {:#04x} | {} |", kind as u8, format!("{kind:?}").to_uppercase());
        let mut rows = document.lines().filter(|line| line.starts_with(&row));
        assert!(rows.any(|line| line.contains(&format!("| {limit} |"))), "{row} … {limit}");
    }
}

#[test]
fn a_length_is_refused_before_memory_is_taken_for_it() {
    for kind in 0..=u8::MAX {
        for length in [u32::MAX, 1 << 24, (1 << 20) + 1] {
            let mut bytes = [kind; Header::BYTES];
            bytes[1..].copy_from_slice(&length.to_le_bytes());
            Header::decode(bytes).unwrap_err();
        }
    }
}

/// Who waits for a slow source would be given up.
#[test]
fn a_client_may_say_that_more_is_to_come() {
    assert_eq!(Request::decode(Kind::Data, "".into()), Ok(Request::Data("".into())));
}

#[test]
fn each_malformed_frame_is_named() {
    let request = |kind, bytes: &'static [u8]| Request::decode(kind, bytes.into()).unwrap_err().to_string();
    let answer = |kind, bytes: &'static [u8]| Answer::decode(kind, bytes.into()).unwrap_err().to_string();
    assert_eq!(request(Kind::Hello, b"tenner\x01\0"), "a Hello frame with another magic");
    assert_eq!(answer(Kind::Data, b""), "a Data frame with nothing in it");
    assert_eq!(request(Kind::Stat, b"\x05id/7"), "a Stat frame with less in it than it says");
    assert_eq!(request(Kind::Stat, b"\x04id/7x"), "a Stat frame with more in it than it says");
    assert_eq!(request(Kind::Stat, b"\x04../7"), "a Stat frame with what is not the name of an object");
    assert_eq!(request(Kind::Ok, b""), "a Ok frame where a request was due");
    assert_eq!(answer(Kind::Stat, b"\x04id/7"), "a Stat frame where an answer was due");
    assert_eq!(request(Kind::Resume, b"\x04id/7\0"), "a Resume frame with less in it than it says");
    assert_eq!(answer(Kind::Names, b""), "a Names frame with nothing in it");
    assert_eq!(answer(Kind::Kept, b"\x01"), "a Kept frame with less in it than it says");
    assert_eq!(answer(Kind::Kept, b"\0x"), "a Kept frame with more in it than it says");
    assert_eq!(answer(Kind::Error, &[99; 28]), "a Error frame with a flag that is neither 0 nor 1");
}

/// Decodes as either side would; the only thing asked is that it ends and that what it gives can be sent.
fn try_decode(bytes: &Bytes) {
    let mut out = BytesMut::new();
    for request in decode(bytes.clone(), Request::decode).into_iter().flatten() {
        request.encode(&mut out);
    }
    for answer in decode(bytes.clone(), Answer::decode).into_iter().flatten() {
        answer.encode(&mut out);
        if let Answer::Error(refusal) = answer {
            assert!(!refusal.into_error(&at()).to_string().contains('\n'));
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_end_in_frames_or_in_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        try_decode(&bytes.into());
    }

    #[test]
    fn a_random_payload_of_any_kind_ends_in_a_frame_or_in_an_error(
        kind in 0..Kind::ALL.len(),
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let (kind, bytes) = (Kind::ALL[kind], Bytes::from(bytes));
        let _ = Request::decode(kind, bytes.clone());
        let _ = Answer::decode(kind, bytes);
    }

    #[test]
    fn any_put_get_and_name_error_comes_back(
        part in "[a-z0-9_-]{1,60}", length in any::<Option<u64>>(), start in any::<u64>(), end in any::<u64>(), bad in ".{0,140}",
    ) {
        let name = ObjectName::new(part).unwrap();
        let sent = [Request::Put { name: name.clone(), length }, Request::Get { name, range: start..end }];
        let mut out = BytesMut::new();
        sent.iter().for_each(|request| request.encode(&mut out));
        prop_assert_eq!(decode(out.freeze(), Request::decode).unwrap(), sent);
        if let Err(error @ (NameError::TooLong { .. } | NameError::Dot { .. })) = ObjectName::new(bad) {
            let back = Refusal::of(&TransportError::BadName(error.clone())).into_error(&at());
            prop_assert!(matches!(back, TransportError::BadName(_)));
        }
    }
}

/// Frames with bits turned over, cut, stretched and joined: the same ones on every run.
#[test]
fn two_hundred_thousand_damaged_frames_end_in_frames_or_in_errors() {
    let frames = encoded();
    let mut state = 0x7a6e_6e65_7200_0001_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize
    };
    for _ in 0..200_000 {
        let frame = &frames[random() % frames.len()];
        let mut bytes = frame[..frame.len().min(700)].to_vec();
        for _ in 0..1 + random() % 4 {
            let place = random() % bytes.len().max(1);
            match random() % 5 {
                0 => bytes.truncate(place),
                1 => bytes.insert(place.min(bytes.len()), random() as u8),
                2 => bytes.extend_from_slice(&frames[random() % frames.len()][..5]),
                _ => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << (random() % 8)),
            }
        }
        try_decode(&bytes.into());
    }
}
