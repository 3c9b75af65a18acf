//! Exit code 2: what was asked for cannot be meant, and nothing was touched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::harness::{Place, files_below, nothing_is_left_in, tanner};
use crate::stored::{Stored, back_up, content};

#[test]
fn arguments_that_are_none_are_usage_errors() {
    for words in [
        "",
        "frobnicate",
        "backup",
        "ls",
        "show",
        "restore 0123 --from x",
        "backup x --to y --io carrier-pigeon",
        "backup x --to y --data -1",
        "backup x --to y --parity 1.5",
        "backup x --to y --memory lots",
        "backup x --to y --threads many",
        "backup x --to y --progress sometimes",
        "backup x --to y --progress-interval 0s",
        "backup x --to y --progress-interval soon",
    ] {
        let run = tanner(words).run().expect(2);
        assert!(run.out.is_empty() && !run.err.is_empty(), "{words}: {run:#?}");
    }
}

#[test]
fn shapes_that_are_none_are_refused_before_anything_is_written() {
    let place = Place::new();
    let (source, stores) = (place.file("a", b"abc"), place.stores(3));
    for shape in [
        "-k 0 -m 5",
        "-k 10 -m 0",
        "-k 4000 -m 97",
        "-k 1 -m 4096",
        "-k 18446744073709551615 -m 1",
        "-k 18446744073709551615 -m 18446744073709551615",
    ] {
        back_up(&source, shape, &stores).run().expect(2).is_one_line_of_error().err_has("blocks");
    }
    nothing_is_left_in(&stores);
}

#[test]
fn stores_that_cannot_be_meant_are_refused() {
    let place = Place::new();
    let (source, stores) = (place.file("a", b"abc"), place.stores(2));
    let refused = |urls: &[&str], words: &str| {
        back_up(&source, "", urls).within(place.path()).run().expect(2).is_one_line_of_error().err_has(words);
        assert_eq!(files_below(place.path()), ["a", "out/"]);
    };
    refused(&[], "--to");
    refused(&["gopher://host/x"], "gopher");
    refused(&["s4://bucket/x"], "s4");
    refused(&["file://elsewhere/x"], "file://elsewhere/x");
    refused(&["store0", "store0"], "twice");
    refused(&["store0", "store1", "./store0/"], "twice");
    refused(&["store0", &format!("file://{}", stores[0].display())], "twice");
    let id = "0123456789abcdef0123456789abcdef";
    for command in ["show", "verify", "restore -o out/x"] {
        tanner(command).arg(id).within(place.path()).run().expect(2).is_one_line_of_error().err_has("--from");
        tanner(command).arg(id).words("--from store0 --from store0").within(place.path()).run().expect(2);
        tanner(command).arg(id).words("--from gopher:x").within(place.path()).run().expect(2);
    }
}

/// Full redundancy on one disk under two names would be a lie.
#[test]
fn one_place_under_two_spellings_is_not_taken_for_two() {
    let place = Place::new();
    let source = place.file("a", &content(10_000, 1));
    fs::create_dir(place.join("disk")).unwrap();
    symlink(place.join("disk"), place.join("link")).unwrap();
    for other in ["link", "out/../disk"] {
        let run = back_up(&source, "-k 1 -m 1", &["disk", other]).within(place.path()).run();
        run.expect(2).is_one_line_of_error().err_has("twice");
    }
}

#[test]
fn ids_that_are_none_are_refused() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let (short, long) = (&stored.id[1..], format!("{}0", stored.id));
    for id in ["", "..", ".", "../store0", "xyz", short, &long, &format!("{short}g"), &format!("{short}é")] {
        for command in ["restore -o out/x", "show", "verify"] {
            let run =
                tanner(command).arg(id).stores("--from", &stored.stores).within(stored.place.path()).run();
            run.expect(2).is_one_line_of_error().err_has("id");
        }
    }
}

#[test]
fn memory_that_cannot_do_is_refused_both_ways() {
    let stored = Stored::new(2_000_000, "-k 10 -m 5", 5);
    let stores = [stored.place.join("fresh")];
    for memory in ["--memory 0", "--memory 1MiB", "--memory 16MiB"] {
        let run = back_up(&stored.source, memory, &stores).run().expect(2);
        run.is_one_line_of_error().err_has("--memory");
        nothing_is_left_in(&stores);
    }
    stored.lose([0, 1]);
    let run = stored.restore().words("--memory 1MiB").run().expect(2);
    run.err_has("--memory");
    assert_eq!(files_below(&stored.place.join("out")), [""; 0]);
    stored.restores();
}

/// The message of the refusal says what is enough.
#[test]
fn the_memory_that_the_refusal_names_is_enough() {
    let stored = Stored::new(2_000_000, "-k 24 -m 26", 5);
    let run = back_up(&stored.source, "-k 24 -m 26 --memory 1MiB", &stored.stores).run().expect(2);
    let needed = run.err.split("at least ").nth(1).unwrap().trim().to_owned();
    back_up(&stored.source, "-k 24 -m 26", &stored.stores).arg("--memory").arg(&needed).run().expect(0);
}

#[test]
fn sources_that_are_no_files_are_refused_and_never_waited_for() {
    let place = Place::new();
    let stores = place.stores(3);
    let fifo = place.join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    symlink(&fifo, place.join("link")).unwrap();
    for source in [&fifo, &place.join("link"), Path::new("/dev/zero")] {
        back_up(source, "", &stores).run().expect(2).is_one_line_of_error().err_has("not a regular file");
    }
    nothing_is_left_in(&stores);
}

#[test]
fn levels_that_this_machine_does_not_have_are_refused() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let foreign = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    let stores = [stored.place.join("fresh")];
    for level in ["nonsense", "AVX", foreign] {
        let run = back_up(&stored.source, "", &stores).env("TANNER_SIMD", level).run().expect(2);
        run.is_one_line_of_error().err_has(level);
        nothing_is_left_in(&stores);
        stored.restore().env("TANNER_SIMD", level).run().expect(2).is_one_line_of_error();
        assert!(!stored.place.output().exists());
    }
}
