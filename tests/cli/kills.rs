//! `kill -9` at random moments: the next run goes on, or takes everything back, and nobody has to unlock anything.
//!
//! `TANNER_KILLS=100 cargo test --release --test cli kills` kills more often; `TANNER_KILL_SEED=7` replays one kill.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Tanner, tanner};
use crate::json::{objects, summary};
use crate::resume::Unfinished;

/// Runs and is killed after a share of the time; whether it had ended before.
pub(crate) fn kill_after(mut run: Tanner, whole: Duration, permille: u64) -> bool {
    let mut child: Child = run.0.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(whole * u32::try_from(permille).unwrap() / 1000);
    let ended = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    ended
}

pub(crate) fn draw(seed: u64, of: u64) -> u64 {
    let mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) % of
}

pub(crate) fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse().unwrap());
    number("TANNER_KILL_SEED")
        .map_or_else(|| (0..number("TANNER_KILLS").unwrap_or(25)).collect(), |seed| vec![seed])
}

/// Names the seed of a test that fails.
pub(crate) struct Replay(pub(crate) &'static str, pub(crate) u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again: TANNER_KILL_SEED={} cargo test --test cli {}", self.1, self.0);
        }
    }
}

const BYTES: usize = 6 << 20;

fn slow(unfinished: &Unfinished, words: &str) -> Tanner {
    unfinished.back_up(words).words("--json --checkpoint 20ms --limit 30MB")
}

#[test]
fn a_backup_that_is_killed_at_any_moment_is_gone_on_with_or_swept_whole() {
    let first = Unfinished::new(BYTES);
    let began = Instant::now();
    slow(&first, "").run().expect(0);
    let whole = began.elapsed();
    for seed in seeds() {
        let _replay = Replay("a_backup_that_is_killed_at_any_moment", seed);
        let unfinished = Unfinished::new(BYTES);
        let ended = kill_after(slow(&unfinished, ""), whole, draw(seed, 1050));
        // Some are killed once more while they go on.
        if draw(seed + 1_000_000, 3) == 0 {
            kill_after(slow(&unfinished, "--resume"), whole, draw(seed + 2_000_000, 900));
        }
        if draw(seed + 3_000_000, 2) == 0 && !ended {
            let sweep = unfinished.tanner("sweep").run().expect(0);
            assert_eq!(unfinished.unfinished(), [""; 0], "{sweep:?}");
            let ids = ids(&unfinished);
            ids.iter().for_each(|id| unfinished.restores(id));
            unfinished.is_tidy(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        } else {
            let json = objects(&slow(&unfinished, "--resume").run().expect(0));
            unfinished.restores(summary(&json)["id"].as_str().unwrap());
            let ids = ids(&unfinished);
            unfinished.is_tidy(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

/// The backups that are there, the last of which may have been done when it was to be killed.
fn ids(unfinished: &Unfinished) -> Vec<String> {
    if unfinished.stores.iter().any(|store| !store.exists()) {
        return Vec::new();
    }
    let list = tanner("ls").stores("", &unfinished.stores).run().expect(0);
    list.out.lines().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn a_restore_that_is_killed_at_any_moment_is_done_by_the_next() {
    let stored = Unfinished::new(BYTES);
    let id = stored.back_up("").run().expect(0).out.trim().to_owned();
    let output = stored.place.output();
    let restore = || {
        tanner("restore --limit 20MB").arg(&id).stores("--from", &stored.stores[1..]).arg("-o").arg(&output)
    };
    let began = Instant::now();
    restore().run().expect(0);
    let whole = began.elapsed();
    for seed in seeds() {
        let _replay = Replay("a_restore_that_is_killed_at_any_moment", seed);
        let _ = fs::remove_file(&output);
        kill_after(restore(), whole, draw(seed, 1050));
        // It has its name only when it is whole.
        if !output.exists() {
            restore().run().expect(0);
        }
        assert!(fs::read(&output).unwrap() == stored.bytes);
    }
}
