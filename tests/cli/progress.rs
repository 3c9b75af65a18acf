//! What a run says while it goes on, and to readers who left.

use std::fs;
use std::io::{Read, pipe};
use std::process::Stdio;

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

/// `kill -USR1` ends a program that does not heed it.
#[test]
fn a_signal_shows_how_far_any_command_is() {
    let stored = Stored::new(1_000_000, "-k 4 -m 2", 3);
    let shown = |run: Tanner, words: &str| {
        let log = stored.place.join("log");
        let until_it_is_there =
            format!("kill -USR1 $PPID; until grep -q 'running for' {}; do sleep 0.01; done", log.display());
        let mut run = run.words(words).arg("--hook-success").arg(until_it_is_there);
        run.0.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        assert!(run.0.status().unwrap().success());
        let log = fs::read_to_string(log).unwrap();
        log.lines().find(|line| line.contains("running for")).unwrap().to_owned()
    };
    for words in ["--quiet", "--progress none", "--progress bar", ""] {
        let line = shown(stored.on("verify"), words);
        assert!(line.starts_with("verify: ") && line.contains(" (100 %), "), "{line}");
    }
    stored.lose([0]);
    for (command, run) in [
        ("restore", stored.restore()),
        ("repair", stored.on("repair")),
        ("backup", back_up(&stored.source, "", &stored.stores)),
    ] {
        let line = shown(run, "");
        assert!(line.starts_with(&format!("{command}: ")) && line.contains(" (100 %), "), "{line}");
    }
    let line = shown(tanner("version"), "");
    assert!(line.starts_with("version: running for "), "{line}");
}

#[test]
fn a_signal_shows_a_status_object_where_objects_are_asked_for() {
    let stored = Stored::new(1_000_000, "-k 4 -m 2", 3);
    for _ in 0..10 {
        let run = stored
            .on("verify --json --progress none --hook-success")
            .arg("kill -USR1 $PPID; sleep 0.5")
            .run();
        let json = objects(&run.expect(0));
        if let Some(status) = json.iter().find(|object| object["message_type"] == "status") {
            assert_eq!(status["bytes_done"], status["bytes_total"]);
            return;
        }
    }
    panic!("no status after ten signals");
}

/// What a run writes to a terminal of this kind.
fn on_a_terminal(mut run: Tanner, term: &str) -> String {
    let pty = nix::pty::openpty(None, None).unwrap();
    run = run.env("TERM", term);
    let mut child = run.0.stdout(Stdio::null()).stderr(pty.slave).spawn().unwrap();
    // It has a copy of the terminal's end.
    drop(run);
    let mut seen = Vec::new();
    // On Linux the last reader of a terminal that is gone is told so by an error.
    let _ = fs::File::from(pty.master).read_to_end(&mut seen);
    child.wait().unwrap();
    String::from_utf8_lossy(&seen).into_owned()
}

#[test]
fn a_bar_is_drawn_on_a_terminal_and_only_where_it_can_be() {
    let place = Place::new();
    let (source, stores) = (place.sparse("source", 256 << 20), place.stores(3));
    let run = || back_up(&source, "-k 4 -m 2 --threads 1 --progress-interval 10ms", &stores);
    let bar = on_a_terminal(run(), "xterm");
    assert!(bar.contains("\u{1b}[") && bar.contains(" left"), "{bar:?}");
    let dumb = on_a_terminal(run(), "dumb");
    assert!(!dumb.contains('\u{1b}') && dumb.contains(" %), "), "{dumb:?}");
    let plain = on_a_terminal(run().words("--progress plain"), "xterm");
    assert!(!plain.contains('\u{1b}') && plain.contains(" %), "), "{plain:?}");
    for colourless in [run().env("NO_COLOR", "1"), run().words("--color never")] {
        let bar = on_a_terminal(colourless, "xterm");
        assert!(bar.contains(" left") && !is_coloured(&bar), "{bar:?}");
    }
}

#[test]
fn errors_are_red_on_a_terminal_and_nowhere_else_unless_asked_for() {
    let failing = || tanner("show 0123 --from x");
    assert!(is_coloured(&on_a_terminal(failing(), "xterm")));
    for plain in [failing().env("NO_COLOR", "1"), failing().words("--color never")] {
        assert_eq!(on_a_terminal(plain, "xterm").matches('\u{1b}').count(), 0);
    }
    assert_eq!(on_a_terminal(failing(), "dumb").matches('\u{1b}').count(), 0);
    assert!(!is_coloured(&failing().run().expect(2).err));
    assert!(is_coloured(&failing().words("--color always").run().expect(2).err));
    // Wrong usage, which is said before any argument is known.
    for (words, coloured) in
        [("--color always", true), ("--color=always", true), ("--color never", false), ("", false)]
    {
        let run = tanner("frobnicate").words(words).run().expect(2);
        assert_eq!(is_coloured(&run.err), coloured, "{words}: {run:?}");
    }
}

/// Whether any letter has a colour or is bold.
fn is_coloured(text: &str) -> bool {
    text.split("\u{1b}[").skip(1).any(|code| {
        let end = code.find(|c: char| !c.is_ascii_digit() && c != ';');
        end.is_some_and(|end| code[end..].starts_with('m') && !["", "0"].contains(&&code[..end]))
    })
}
