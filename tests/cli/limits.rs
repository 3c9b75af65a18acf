//! Limits: of a store, of all together, by the time of day, and of memory, at once. Times are only ever held to be at least
//! what the limits ask for.

use std::time::{Duration, Instant};

use crate::harness::{Place, Run, Tanner, tanner};
use crate::json::{objects, summary};
use crate::stored::{Stored, back_up, content};

/// Whether a run took as long as it takes to carry so many bytes, less what may go at once.
#[track_caller]
fn takes(run: Tanner, bytes: u64, rate: u64) -> Run {
    let began = Instant::now();
    let run = run.run().expect(0);
    let at_once = rate * 60 / 1_000 + 64 * 1024;
    let least = Duration::from_secs_f64((bytes - at_once) as f64 / rate as f64);
    assert!(began.elapsed() >= least, "{:?} where {least:?} is the least\n{run:?}", began.elapsed());
    run
}

/// Whoever shares a line with a backup would have none of it left.
#[test]
fn all_commands_keep_to_one_limit_for_all_stores_together() {
    let place = Place::new();
    let (bytes, stores) = (content(800_000, 1), place.stores(3));
    let source = place.file("a.bin", &bytes);
    let run = takes(back_up(&source, "-k 4 -m 2 --limit 2MB", &stores), 1_200_000, 2_000_000);
    let stored = Stored { place, source, bytes, stores, id: run.out.trim().to_owned() };
    takes(stored.restore().words("--limit 2MB/s"), 800_000, 2_000_000);
    takes(stored.on("verify").env("TANNER_LIMIT", "2M"), 1_200_000, 2_000_000);
    std::fs::remove_file(stored.place.output()).unwrap();
    stored.lose([0]);
    takes(stored.on("repair").arg("--limit").arg("00:00,2MB 12:00,2MB"), 1_400_000, 2_000_000);
    stored.restores();
}

#[test]
fn limits_of_stores_of_all_of_them_and_of_memory_hold_at_once() {
    let place = Place::new();
    let (bytes, stores) = (content(800_000, 2), place.stores(3));
    let (source, config) = (place.file("a.bin", &bytes), place.join("stores.toml"));
    let run = |words: &str| tanner(words).env("TANNER_CONFIG", config.to_str().unwrap());
    std::fs::create_dir(&stores[0]).unwrap();
    run("store add slow").arg(&stores[0]).arg("--limit").arg("00:00,500kB 12:00,500kB").run().expect(0);
    run("store ls").run().expect(0).out_has("limit=00:00,500kB 12:00,500kB");
    let backup = || {
        let run = run("backup --json -k 4 -m 2 --memory 96MiB --limit 2MB").arg(&source);
        run.words("--to store:slow").stores("--to", &stores[1..])
    };
    // Each has two of the six blocks: the slow one sets the pace.
    let json = objects(&takes(backup(), 400_000, 500_000));
    let summary = summary(&json);
    assert!(summary["peak_memory_bytes"].as_u64().unwrap() <= 96 << 20, "{summary}");
    // What is said now is more than what is written down; then the limit of all sets the pace.
    let fact = backup().words("--fact store:slow limit=off");
    takes(fact, 1_200_000, 2_000_000);
    // Where it is not called by its name it is the same store.
    let id = summary["id"].as_str().unwrap();
    let restore = run("restore -f").arg(id).stores("--from", &stores).arg("-o").arg(place.output());
    takes(restore, 400_000, 500_000);
}

#[test]
fn a_limit_that_is_none_is_refused() {
    let place = Place::new();
    let (source, stores) = (place.file("a.bin", b"abc"), place.stores(2));
    for wrong in ["0", "fast", "-1", "25:00,5M", "5M 6M"] {
        let run = back_up(&source, "-k 1 -m 1", &stores).arg(format!("--limit={wrong}")).run().expect(2);
        run.err_has("--limit").err_has("a rate is bytes a second such as 5M");
    }
}
