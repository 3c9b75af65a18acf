//! Exit codes 130 and 143, and what a run that was killed leaves behind.

use std::fs;

use rustix::process::Signal;

use crate::harness::{Place, Run, Running, Tanner, files_below, nothing_is_left_in, tanner};
use crate::json::{objects, summary};
use crate::stored::back_up;

const BYTES: u64 = 96 << 20;
const SIGNALS: [(Signal, i32); 2] = [(Signal::INT, 130), (Signal::TERM, 143)];

#[test]
fn a_backup_that_is_interrupted_leaves_nothing() {
    for (signal, code) in SIGNALS {
        for io in ["mmap", "pread"] {
            let place = Place::new();
            let (source, stores) = (place.sparse("source", BYTES), place.stores(3));
            let words = format!("-k 4 -m 2 --threads 1 --memory 64MiB --io {io}");
            let run = interrupt(signal, || back_up(&source, &words, &stores)).expect(code);
            run.out_has(&format!("\"exit_code\":{code}"));
            // Earlier attempts may have finished; the one that was interrupted left nothing.
            let ids: usize = stores.iter().map(|store| fs::read_dir(store).unwrap().count() - 1).sum();
            assert_eq!(ids % stores.len(), 0);
            if ids == 0 {
                nothing_is_left_in(&stores);
            }
            for store in &stores {
                assert_eq!(files_below(&store.join(".tanner-stage")), [""; 0]);
            }
        }
    }
}

#[test]
fn a_restore_that_is_interrupted_keeps_what_it_read_and_the_old_file() {
    let place = Place::new();
    let (source, stores) = (place.sparse("source", BYTES), place.stores(3));
    let id = back_up(&source, "-k 4 -m 2", &stores).run().expect(0).out.trim().to_owned();
    let restore = |flag: &str| {
        let restore = tanner("restore").arg(&id).stores("--from", &stores).words("--threads 1 -o");
        restore.arg(place.output()).words(flag)
    };
    for (signal, code) in SIGNALS {
        let begin = || {
            let _ = fs::remove_file(place.output());
            restore("")
        };
        interrupt(signal, begin).expect(code).out_has("to go on with it add --resume");
        let left = files_below(&place.join("out"));
        assert!(left.len() == 1 && left[0].starts_with(".tanner-restore-"), "{left:?}");
        restore("--resume").run().expect(0);
        assert_eq!(files_below(&place.join("out")), ["restored"]);
    }
    // With blocks to decode, the longer part of the work.
    fs::remove_dir_all(&stores[0]).unwrap();
    let begin = || {
        fs::write(place.output(), b"old").unwrap();
        restore("--force")
    };
    interrupt(Signal::TERM, begin).expect(143);
    assert_eq!(fs::read(place.output()).unwrap(), b"old");
    restore("--force --resume").run().expect(0);
    assert_eq!(files_below(&place.join("out")), ["restored"]);
    assert_eq!(fs::metadata(place.output()).unwrap().len(), BYTES);
}

#[test]
fn verify_can_be_interrupted() {
    let place = Place::new();
    let (source, stores) = (place.sparse("source", BYTES), place.stores(3));
    let id = back_up(&source, "-k 4 -m 2", &stores).run().expect(0).out.trim().to_owned();
    for (signal, code) in SIGNALS {
        interrupt(signal, || tanner("verify").arg(&id).stores("--from", &stores)).expect(code);
    }
}

/// Power cuts and `kill -9` give nobody a chance to tidy up: the next backup does.
#[test]
fn a_backup_that_is_killed_is_invisible_and_swept_by_the_next() {
    let place = Place::new();
    let (source, stores) = (place.sparse("source", BYTES), place.stores(3));
    let run = interrupt(Signal::KILL, || back_up(&source, "-k 4 -m 2 --threads 1 --memory 64MiB", &stores));
    assert_eq!(run.code, -9, "{run:#?}");
    let ls = |lines: usize| {
        let ls = tanner("ls").stores("", &stores).run().expect(0);
        assert_eq!(ls.out.lines().count(), lines, "{ls:#?}");
    };
    let finished = fs::read_dir(&stores[0]).unwrap().count() - 1;
    ls(1 + finished);
    let small = place.file("small", b"abc");
    back_up(&small, "-k 4 -m 2", &stores).run().expect(0);
    ls(2 + finished);
    for store in &stores {
        assert_eq!(files_below(&store.join(".tanner-stage")), [""; 0]);
    }
}

/// The sweep knows the living by their locks.
#[test]
fn a_backup_under_way_is_not_swept_by_another() {
    for _ in 0..ATTEMPTS_MAX {
        let place = Place::new();
        let (source, stores) = (place.sparse("source", BYTES), place.stores(3));
        let Some(slow) = back_up(&source, "-k 4 -m 2", &stores).run_until_bytes_are_done() else { continue };
        slow.hold();
        let staged =
            stores.iter().map(|store| files_below(&store.join(".tanner-stage")).len()).sum::<usize>();
        let other = back_up(&place.file("small", b"abc"), "-k 4 -m 2", &stores).run();
        slow.go_on();
        other.expect(0);
        let json = objects(&slow.finish().expect(0));
        let id = summary(&json)["id"].as_str().unwrap().to_owned();
        tanner("verify").arg(id).stores("--from", &stores).run().expect(0);
        if staged == 6 {
            return;
        }
    }
    panic!("the first backup was never caught while all of its blocks were staged");
}

/// Runs until bytes are done and then sends the signal. A run that was faster is tried again.
#[track_caller]
pub(crate) fn interrupt(signal: Signal, begin: impl Fn() -> Tanner) -> Run {
    for _ in 0..ATTEMPTS_MAX {
        let run = begin().run_until_bytes_are_done().map(|running: Running| {
            running.signal(signal);
            running.finish()
        });
        if let Some(run) = run.filter(|run| run.code != 0) {
            return run;
        }
        eprintln!("the run was over before the signal came; again");
    }
    panic!("{ATTEMPTS_MAX} runs were over before the signal came or did not heed it");
}

const ATTEMPTS_MAX: usize = 10;
