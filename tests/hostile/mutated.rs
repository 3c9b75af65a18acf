//! Inputs that chance makes of all others: whatever they are, a reader takes them or refuses them, as quickly as it does
//! those that were made by hand. The fuzzers of `tests/fuzz/` begin with the same ones.
//!
//! `TANNER_FUZZ_ROUNDS=100000` tries more, `TANNER_FUZZ="journal 7"` one again, and `TANNER_FUZZ_CORPUS=DIR` writes the
//! inputs that all begin with to a directory for each target.

use std::fs;
use std::path::Path;

use crate::readers::{READERS, Reader, resealed_manifest};
use crate::{TIME, cases, forge, measured, most_bytes};

#[test]
fn what_chance_makes_of_good_and_bad_inputs_does_no_harm_either() {
    let var = |name| std::env::var(name).ok();
    let again = var("TANNER_FUZZ").map(|text| {
        let (name, round) = text.rsplit_once(' ').expect("TANNER_FUZZ=\"READER ROUND\"");
        (name.to_owned(), round.parse::<u64>().expect("a number"))
    });
    let rounds = var("TANNER_FUZZ_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number"));
    let mut wrong = Vec::new();
    for (name, read) in targets() {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "nothing begins like a {name}");
        if let Some(corpus) = var("TANNER_FUZZ_CORPUS") {
            write(Path::new(&corpus), name, &seeds);
        }
        let rounds = match &again {
            Some((only, round)) if only == name => *round..round + 1,
            Some(_) => continue,
            None => 0..rounds,
        };
        for round in rounds {
            let input = input(name, round, &seeds);
            let (result, bytes, time) = measured(|| read(&input));
            if result.is_none() || bytes > most_bytes(name) || time > TIME {
                wrong.push(format!(
                    "TANNER_FUZZ=\"{name} {round}\" cargo nextest run --test hostile chance: {bytes} bytes, {time:?}, of {:?}",
                    input.escape_ascii().to_string()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All readers; manifests are sealed again, or no change would ever get beyond their seals.
fn targets() -> impl Iterator<Item = Reader> {
    let resealed: Reader = ("resealed manifest", resealed_manifest);
    READERS.iter().copied().chain([resealed])
}

/// What a reader's inputs are made of: the cases, and what fuzzers found before.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let of = name.trim_start_matches("resealed ");
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for case in cases::all().iter().filter(|case| case.reader == of) {
        match of {
            "manifest" => seeds.push(forge::forge(&case.lines).1),
            // The longest of all its cuts is enough.
            _ => seeds.extend(cases::bytes(&case.lines).pop()),
        }
    }
    let found = cases::below_tests(&format!("fuzz/found/{}", target(name)));
    let files = fs::read_dir(found).into_iter().flatten();
    seeds.extend(files.map(|file| fs::read(file.unwrap().path()).unwrap()));
    // Whoever knows the passphrase does what scrypt asks for, up to its limit. That is not for thousands of times.
    seeds.retain(|seed| seed.len() <= SEED_BYTES_MAX && !seed.windows(6).any(|word| word == b"scrypt"));
    seeds
}

/// A seed as it is, in the first rounds; then seeds with a few changes.
fn input(name: &str, round: u64, seeds: &[Vec<u8>]) -> Vec<u8> {
    if let Some(seed) = usize::try_from(round).ok().and_then(|round| seeds.get(round)) {
        return seed.clone();
    }
    let hash = blake3::hash(format!("{name} {round}").as_bytes());
    let mut state = u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()) | 1;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % below.max(1)
    };
    let mut input = seeds[random(seeds.len())].clone();
    for _ in 0..1 + random(4) {
        let (at, other) = (random(input.len()), &seeds[random(seeds.len())]);
        let end = (at + 1 + random(16)).min(input.len());
        match random(8) {
            0 => input.truncate(at),
            1 => input.insert(at, random(256) as u8),
            2 => _ = input.drain(at..end),
            3 => input.extend_from_within(at..end),
            4 => _ = input.splice(at..end, other[random(other.len())..].iter().copied().take(64)),
            5 => _ = input.splice(at..end, NUMBERS[random(NUMBERS.len())].iter().copied()),
            _ => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random(8)),
        }
    }
    input
}

fn write(corpus: &Path, name: &str, seeds: &[Vec<u8>]) {
    let directory = corpus.join(target(name));
    fs::create_dir_all(&directory).unwrap();
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(directory.join(format!("{number:03}")), seed).unwrap();
    }
}

/// The name of a reader's fuzzer.
fn target(name: &str) -> String {
    name.replace(' ', "_")
}

/// Inputs for each reader.
const ROUNDS: u64 = 1000;
/// Longer ones say nothing that shorter ones do not.
const SEED_BYTES_MAX: usize = 16 << 10;
/// Where numbers end, as they are written here and there.
const NUMBERS: [&[u8]; 10] = [
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x1b\x80\0\0\0\0\0\0\0",
    b"\x9f",
    b"\xbf",
    b"18446744073709551616",
    b"-1",
    b"\n",
];
