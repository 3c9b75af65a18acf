//! The exit codes that need no failing store, no signal and no race.

use std::fs;

use crate::harness::{Place, files_below, nothing_is_left_in, tanner};
use crate::stored::{Stored, back_up};

#[test]
fn help_lists_every_exit_code() {
    let help = tanner("--help").run().expect(0);
    let (_, codes) = help.out.split_once("Exit codes:").expect("a list of exit codes");
    for code in [0, 1, 2, 3, 4, 5, 6, 7, 10, 130, 143] {
        let named = codes.split(|c: char| !c.is_ascii_digit()).any(|word| word == code.to_string());
        assert!(named, "{code} is not in {codes}");
    }
    assert_eq!(help.err, "");
    for command in ["backup", "restore", "ls", "show", "verify", "repair", "bench"] {
        help.out_has(command);
        tanner(command).arg("--help").run().expect(0).out_has("Usage:");
    }
}

#[test]
fn version_is_printed() {
    let run = tanner("--version").run().expect(0);
    assert_eq!(run.out, format!("tanner {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_source_that_cannot_be_read_is_exit_code_1() {
    let place = Place::new();
    let stores = place.stores(3);
    let run = back_up(&place.join("no-such-file"), "", &stores).run().expect(1);
    run.is_one_line_of_error().err_has("no-such-file");
    let file = place.file("file", b"abc");
    back_up(&file.join("below"), "", &stores).run().expect(1).is_one_line_of_error();
    nothing_is_left_in(&stores);
}

#[test]
fn an_output_that_cannot_be_written_is_exit_code_1() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let missing = stored.place.join("out/no/such/directory");
    let file = stored.source.join("below-a-file");
    for output in [&missing, &file, &stored.place.join("out")] {
        let run = stored.on("restore --force").arg("-o").arg(output).run().expect(1);
        run.is_one_line_of_error().err_has(&output.display().to_string());
    }
    assert_eq!(files_below(&stored.place.join("out")), [""; 0]);
    assert!(fs::read(&stored.source).unwrap() == stored.bytes);
}

#[test]
fn damage_is_exit_code_4_and_changes_nothing() {
    let stored = Stored::new(100_000, "-k 10 -m 5", 5);
    stored.flip([2]);
    stored.lose([11]);
    let before: Vec<_> = stored.stores.iter().map(|store| files_below(store)).collect();
    let damaged = fs::read(stored.block(2)).unwrap();
    stored.on("verify").run().expect(4).err_has("block 2 in ").err_has("block 11 is missing");
    stored.restores();
    let after: Vec<_> = stored.stores.iter().map(|store| files_below(store)).collect();
    assert_eq!(before, after);
    assert_eq!(damaged, fs::read(stored.block(2)).unwrap());
}

#[test]
fn a_store_or_a_backup_that_does_not_exist_is_exit_code_10() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let nowhere = stored.place.join("nowhere");
    let other = if stored.id.starts_with('0') { "1" } else { "0" }.to_owned() + &stored.id[1..];
    tanner("ls").arg(&nowhere).run().expect(10).err_has("nowhere");
    for command in ["show", "verify", "restore -o out/x"] {
        let run =
            tanner(command).arg(&stored.id).arg("--from").arg(&nowhere).within(stored.place.path()).run();
        run.expect(10).err_has("nowhere");
        let run = tanner(command).arg(&other).stores("--from", &stored.stores).within(stored.place.path());
        run.run().expect(10).err_has(&other);
    }
    assert!(!nowhere.exists());
    assert_eq!(files_below(&stored.place.join("out")), [""; 0]);
}

#[test]
fn a_store_without_backups_lists_nothing_and_is_fine() {
    let place = Place::new();
    let run = tanner("ls").arg(place.join("out")).run().expect(0);
    assert_eq!(run.out.lines().count(), 1, "the header: {run:#?}");
    assert_eq!(files_below(&place.join("out")), [""; 0]);
}
