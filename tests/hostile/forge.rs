//! Manifests as somebody would forge them: a good one, changed in a few places, and sealed or signed again.

use aws_lc_rs::signature::Ed25519KeyPair;
use minicbor::{Decoder, Encoder};
use tanner::BackupId;

use crate::cases::{file, hex, notation};
use crate::readers::{DEVICE, sealed, signed};

/// A manifest in its parts.
struct Forged {
    header: [u8; 16],
    /// What comes before the two parts and the keys.
    begin: Vec<u8>,
    public: Map,
    private: Private,
    keys: Vec<Vec<u8>>,
    end: Vec<u8>,
    is_others: bool,
}

/// What is between the braces may be in any order, and anything.
struct Map {
    begin: Option<Vec<u8>>,
    entries: Vec<(u64, Vec<u8>)>,
    end: Vec<u8>,
}

enum Private {
    Open(Map),
    /// Nobody but a reader could change it so that it opens.
    Encrypted(Vec<u8>),
}

/// The manifest that the lines describe, and the id that it is found under.
pub(crate) fn forge(lines: &[String]) -> (BackupId, Vec<u8>) {
    let (base, lines) = lines.split_first().expect("plain or signed comes first");
    let mut forged = Forged::of(&match base.as_str() {
        "plain" => file("golden/placed/0/7f3681e72d5a0df5b4fe9d81aa329f23/manifest"),
        "signed" => file("golden/encrypted/e774796e1d6e8756a584064d3f3ee0ad/manifest"),
        _ => panic!("`{base}`: wanted plain or signed"),
    });
    let mut id = forged.id();
    let after = lines.iter().position(|line| line.starts_with("then ")).unwrap_or(lines.len());
    for line in &lines[..after] {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("under", text) => id = hex(text).try_into().expect("16 bytes"),
            _ => forged.change(line),
        }
    }
    let mut bytes = forged.bytes();
    for line in &lines[after..] {
        let [_, what, rest] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("`{line}`") };
        match what {
            "cut" => bytes.truncate(bytes.len() - rest.parse::<usize>().expect("then cut COUNT")),
            "add" => bytes.extend(notation(rest)),
            "put" => {
                let (at, new) = rest.split_once(' ').expect("then put AT BYTES");
                put(&mut bytes, at, &notation(new));
            }
            _ => panic!("`{line}`: wanted then cut, then add or then put"),
        }
    }
    (BackupId::from_bytes(id), bytes)
}

/// Over what is there, counted from the end if `at` is negative.
fn put(bytes: &mut [u8], at: &str, new: &[u8]) {
    let at: isize = at.parse().expect("a number");
    let at = if at < 0 { bytes.len() - at.unsigned_abs() } else { at.unsigned_abs() };
    bytes[at..at + new.len()].copy_from_slice(new);
}

impl Forged {
    fn of(bytes: &[u8]) -> Self {
        let (header, rest) = bytes.split_first_chunk::<16>().unwrap();
        let is_plain = header[8] == 0;
        let mut body = Decoder::new(&rest[..rest.len() - if is_plain { 32 } else { 96 }]);
        assert_eq!(body.array().unwrap(), Some(3));
        let (public, private) = (Map::of(body.bytes().unwrap()), body.bytes().unwrap());
        let private =
            if is_plain { Private::Open(Map::of(private)) } else { Private::Encrypted(private.to_vec()) };
        let keys = (0..body.array().unwrap().unwrap()).map(|_| body.bytes().unwrap().to_vec()).collect();
        Self { header: *header, begin: vec![0x83], public, private, keys, end: Vec::new(), is_others: false }
    }

    fn id(&self) -> [u8; 16] {
        self.public.entries[0].1[1..].try_into().unwrap()
    }

    fn change(&mut self, line: &str) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("header", rest) => {
                let (at, new) = rest.split_once(' ').expect("header AT BYTES");
                put(&mut self.header, at, &notation(new));
            }
            ("public", rest) => self.public.change(rest),
            ("private", rest) => match &mut self.private {
                Private::Open(map) => map.change(rest),
                Private::Encrypted(bytes) => *bytes = notation(rest),
            },
            ("body", rest) => match rest.split_once(' ').expect("body begins or ends BYTES") {
                ("begins", bytes) => self.begin = notation(bytes),
                ("ends", bytes) => self.end = notation(bytes),
                _ => panic!("`{line}`"),
            },
            ("keys", "none") => self.keys.clear(),
            ("key", bytes) => self.keys.push(notation(bytes)),
            ("by", "another device") => self.is_others = true,
            _ => panic!("`{line}`: not known"),
        }
    }

    fn bytes(mut self) -> Vec<u8> {
        let private = match self.private {
            Private::Open(map) => map.bytes(),
            Private::Encrypted(bytes) => bytes,
        };
        let mut body = Encoder::new(self.begin);
        body.bytes(&self.public.bytes()).unwrap().bytes(&private).unwrap();
        body.array(self.keys.len() as u64).unwrap();
        self.keys.iter().for_each(|key| _ = body.bytes(key).unwrap());
        let body = [body.into_writer(), self.end].concat();
        self.header[12..].copy_from_slice(&(body.len() as u32).to_le_bytes());
        let is_plain = self.header[8] == 0;
        let content = [self.header.as_slice(), &body].concat();
        let others = || Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        match (is_plain, self.is_others) {
            (true, _) => sealed(content),
            (false, false) => signed(content, &DEVICE),
            (false, true) => signed(content, &others()),
        }
    }
}

impl Map {
    fn of(bytes: &[u8]) -> Self {
        let mut map = Decoder::new(bytes);
        let count = map.map().unwrap().unwrap();
        let entry = |_| {
            let key = map.u64().unwrap();
            let start = map.position();
            map.skip().unwrap();
            (key, bytes[start..map.position()].to_vec())
        };
        let entries = (0..count).map(entry).collect();
        Self { begin: None, entries, end: Vec::new() }
    }

    /// `KEY = VALUE`, `KEY absent`, `KEY twice`, `KEY last`, `begins BYTES`, `ends BYTES`.
    fn change(&mut self, line: &str) {
        let (key, what) = line.split_once(' ').expect("a key and what becomes of it");
        match key {
            "begins" => return self.begin = Some(notation(what)),
            "ends" => return self.end = notation(what),
            _ => {}
        }
        let key: u64 = key.parse().expect("a key is a number");
        let at = self.entries.iter().position(|(other, _)| *other == key);
        let there = || at.expect("that key is there");
        match what {
            "absent" => _ = self.entries.remove(there()),
            "last" => {
                let entry = self.entries.remove(there());
                self.entries.push(entry);
            }
            "twice" => self.entries.insert(there(), self.entries[there()].clone()),
            _ => {
                let new = value(what.strip_prefix("= ").expect("KEY = VALUE"));
                match at {
                    Some(at) => self.entries[at].1 = new,
                    None => {
                        let place = self.entries.iter().position(|(other, _)| *other > key);
                        self.entries.insert(place.unwrap_or(self.entries.len()), (key, new));
                    }
                }
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut map = Encoder::new(Vec::new());
        match &self.begin {
            Some(begin) => map = Encoder::new(begin.clone()),
            None => _ = map.map(self.entries.len() as u64).unwrap(),
        }
        for (key, value) in &self.entries {
            map.u64(*key).unwrap();
            map.writer_mut().extend(value);
        }
        [map.into_writer(), self.end.clone()].concat()
    }
}

/// The CBOR of `7`, `2^60`, `2^64-1`, `bytes BYTES`, `text BYTES`, or as it is written behind `raw`.
fn value(text: &str) -> Vec<u8> {
    let mut cbor = Encoder::new(Vec::new());
    match text.split_once(' ').unwrap_or((text, "")) {
        ("bytes", bytes) => _ = cbor.bytes(&notation(bytes)).unwrap(),
        ("text", bytes) => _ = cbor.str(std::str::from_utf8(&notation(bytes)).unwrap()).unwrap(),
        ("raw", bytes) => return notation(bytes),
        _ => {
            let (power, less) = text.split_once('-').unwrap_or((text, "0"));
            let (base, exponent) = power.split_once('^').unwrap_or((power, "1"));
            let number = base.parse::<u128>().unwrap().pow(exponent.parse().unwrap());
            cbor.u64(u64::try_from(number - less.parse::<u128>().unwrap()).unwrap()).unwrap();
        }
    }
    cbor.into_writer()
}
