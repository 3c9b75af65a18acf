//! What a run says while it goes on, and to readers who left.

use std::io::pipe;

use crate::harness::{Place, Tanner, tanner};
use crate::json::objects;
use crate::stored::{Stored, back_up};

#[test]
fn quiet_leaves_the_result_and_nothing_else() {
    let stored = Stored::new(500_000, "-k 10 -m 5", 5);
    let run = back_up(&stored.source, "--quiet --progress-interval 1ms", &stored.stores).run().expect(0);
    assert_eq!((run.out.len(), run.err.as_str()), (33, ""), "{run:#?}");
    stored.flip([1]);
    let run = stored.restore().arg("--quiet").run().expect(0);
    assert_eq!((run.out.as_str(), run.err.as_str()), ("", ""));
    stored.lose(0..6);
    let run = stored.on("restore -q").arg("-o").arg(stored.place.join("out/other")).run().expect(5);
    assert!(run.err.lines().last().unwrap().starts_with("tanner: "), "errors are still told: {run:#?}");
    let run = tanner("ls -q").stores("", &stored.stores).run().expect(0);
    run.out_has(&stored.id);
}

#[test]
fn plain_progress_is_lines_and_none_is_none() {
    let place = Place::new();
    let (source, stores) = (place.sparse("source", 96 << 20), place.stores(3));
    let run = |words: &str| back_up(&source, "-k 4 -m 2", &stores).words(words).run().expect(0);
    let plain = run("--progress plain --progress-interval 10ms");
    let lines = plain.err.lines().filter(|line| line.contains(" %), ")).count();
    assert!(lines > 0, "{plain:#?}");
    assert!(!plain.err.contains('\r') && !plain.err.contains('\u{1b}'), "{plain:#?}");
    assert_eq!(plain.out.len(), 33);
    let none = run("--progress none --progress-interval 1ms");
    assert!(!none.err.contains(" %), "), "{none:#?}");
    // Not a terminal: lines, but only now and then.
    let auto = run("");
    assert!(auto.err.lines().filter(|line| line.contains(" %), ")).count() < 5, "{auto:#?}");
    let bar = run("--progress bar");
    assert!(!bar.err.contains('\u{1b}'), "no bar where no terminal is: {bar:#?}");

    let json = objects(&run("--json --progress-interval 1ms"));
    let status: Vec<_> = json.iter().filter(|object| object["message_type"] == "status").collect();
    assert!(!status.is_empty());
    let done: Vec<u64> = status.iter().map(|status| status["bytes_done"].as_u64().unwrap()).collect();
    assert!(done.is_sorted() && done.iter().all(|&done| done <= 96 << 20), "{done:?}");
    let json = objects(&run("--json --progress none"));
    assert!(json.iter().all(|object| object["message_type"] != "status"));
}

#[test]
fn the_environment_sets_progress_and_flags_win() {
    let stored = Stored::new(30_000_000, "-k 10 -m 5", 3);
    let run = |words: &str| {
        let run = back_up(&stored.source, words, &stored.stores).env("TANNER_PROGRESS", "plain");
        run.env("TANNER_PROGRESS_INTERVAL", "1ms").run().expect(0)
    };
    run("").err_has(" %), ");
    assert!(!run("--progress none").err.contains(" %), "));
}

#[test]
fn readers_who_left_are_no_failure() {
    let stored = Stored::new(500_000, "-k 10 -m 5", 5);
    for json in ["", "--json"] {
        gone(tanner("ls").stores("", &stored.stores).words(json), true);
        gone(stored.on("show").words(json), true);
        gone(stored.on("verify").words(json), true);
        gone(back_up(&stored.source, json, &stored.stores), true);
        gone(stored.restore().arg("--force").words(json), true);
    }
    gone(tanner("--help"), true);
    gone(tanner("--version"), true);
    // Nobody listens at all.
    gone(back_up(&stored.source, "--progress plain --progress-interval 1ms", &stored.stores), false);
}

/// Runs to success with a standard output, or both outputs, that nobody reads.
#[track_caller]
fn gone(mut run: Tanner, errors_are_read: bool) {
    let closed = || {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        writer
    };
    run.0.stdout(closed());
    if errors_are_read {
        let output = run.0.output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !err.contains("panicked"), "{:?}: {err}", output.status);
    } else {
        assert!(run.0.stderr(closed()).status().unwrap().success());
    }
}
