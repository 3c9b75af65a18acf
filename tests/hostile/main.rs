//! What strangers send and disks make of files: every input is refused for what it is, in little time and memory, or is
//! what was written.
//!
//! The inputs are in `data/`, where `README.md` says how to add one. `tests/fuzz/` makes more of them.
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod allocated;
mod cases;
mod flips;
mod forge;
mod mutated;
#[path = "../fuzz/readers.rs"]
#[allow(unreachable_pub, reason = "the fuzzers use it as a crate")]
mod readers;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use cases::Case;
use readers::{READERS, Read};
use rustix::time::{ClockId, clock_gettime};

/// A length, a count or a promise in the wrong place must cost nobody a day, nor all memory, nor leave them guessing.
#[test]
fn what_is_not_as_tanner_writes_it_is_refused_at_once_for_what_it_is() {
    let (mut wrong, mut count, mut said) = (Vec::new(), 0, BTreeSet::new());
    for case in cases::all() {
        for (what, read) in inputs(&case) {
            count += 1;
            let (result, bytes, time) = measured(read);
            let mut is_wrong = |why: String| wrong.push(format!("{case}{what}\n    {why}"));
            match (result, &case.refused) {
                (None, _) => is_wrong("it panics".into()),
                (Some(Ok(())), Some(words)) => is_wrong(format!("it is taken, and not refused: {words}")),
                (Some(Err(error)), None) => is_wrong(format!("it is refused: {error}")),
                (Some(Err(error)), Some(words)) => {
                    if !error.contains(words) {
                        is_wrong(format!("`{error}` has no `{words}`"));
                    }
                    if error.contains(char::is_control) || error.len() > WORDS_MAX {
                        is_wrong(format!("`{error}` is no short line"));
                    }
                    said.insert(error.clone());
                }
                (Some(Ok(())), None) => {}
            }
            let most = most_bytes(&case.reader);
            if bytes > most || time > TIME {
                is_wrong(format!("it takes {bytes} bytes and {time:?}"));
            }
        }
    }
    println!("{count} inputs, {} refusals in other words", said.len());
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 120 && said.len() >= 300, "{count} inputs, {} words", said.len());
}

type Input = (String, Box<dyn FnOnce() -> Read>);

/// The inputs that a case stands for, each with what tells it from the others.
fn inputs(case: &Case) -> Vec<Input> {
    if case.reader == "manifest" {
        let (id, bytes) = forge::forge(&case.lines);
        return vec![(String::new(), Box::new(move || readers::manifest_of(id, &bytes)))];
    }
    let reader = READERS.iter().find(|(name, _)| *name == case.reader);
    let (_, read) = *reader.unwrap_or_else(|| panic!("{case}: nobody reads a {}", case.reader));
    let all = cases::bytes(&case.lines);
    let tell = |bytes: &[u8]| if all.len() > 1 { format!(", cut to {}", bytes.len()) } else { String::new() };
    all.iter()
        .map(|bytes| (tell(bytes), bytes.clone()))
        .map(|(tell, bytes)| -> Input { (tell, Box::new(move || read(&bytes))) })
        .collect()
}

/// The most memory that an input may cost.
fn most_bytes(reader: &str) -> usize {
    if STRANGERS.contains(&reader) { STRANGER_BYTES } else { BYTES }
}

/// What a reader says, none if it panics; and the memory and time that it takes.
fn measured(read: impl FnOnce() -> Read) -> (Option<Read>, usize, Duration) {
    let began = cpu_time();
    let (result, bytes) = allocated::peak_bytes(|| catch_unwind(AssertUnwindSafe(read)));
    (result.ok(), bytes, cpu_time() - began)
}

/// Of this thread: others may keep it from running.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).expect("less than a second"))
}

/// The most that a refusal may take.
const TIME: Duration = Duration::from_secs(1);
/// Whose inputs come from stores, servers and clients of whom nothing is known yet.
const STRANGERS: [&str; 6] =
    ["manifest", "frame to a server", "frame to a client", "object name", "listed prefix", "backup id"];
/// The most memory that these may cost.
const STRANGER_BYTES: usize = 1 << 20;
/// The most that a file of the user's own may cost, and what a known device has signed.
const BYTES: usize = 16 << 20;
/// The longest refusal in bytes.
const WORDS_MAX: usize = 1024;
