//! The exit codes one by one, and the commands that can give them. Sources that change (7) are in [`crate::changing`].

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::harness::{Place, files_below, nothing_is_left_in, tanner};
use crate::serve::Node;
use crate::signals::interrupt;
use crate::stored::{Stored, back_up};

#[test]
fn help_lists_every_exit_code() {
    let help = tanner("--help").run().expect(0);
    let (_, codes) = help.out.split_once("Exit codes:").expect("a list of exit codes");
    for code in [0, 1, 2, 3, 4, 5, 6, 7, 10, 12, 130, 143] {
        let named = codes.split(|c: char| !c.is_ascii_digit()).any(|word| word == code.to_string());
        assert!(named, "{code} is not in {codes}");
    }
    assert_eq!(help.err, "");
    for command in
        ["backup", "restore", "ls", "show", "verify", "repair", "sweep", "plan", "serve", "schema", "bench"]
    {
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

#[test]
fn what_this_machine_refuses_is_exit_code_1_whichever_command_meets_it() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let place = &stored.place;
    let state = place.join("state");
    fs::create_dir_all(state.join("tanner")).unwrap();
    fs::write(state.join("tanner/seen.json"), b"nonsense").unwrap();
    for command in ["show", "verify", "repair", "restore -o out/x", "key export --output out/x"] {
        let run =
            stored.on(command).env("XDG_STATE_HOME", state.to_str().unwrap()).within(place.path()).run();
        run.expect(1).is_one_line_of_error().err_has("seen.json");
    }
    let below = stored.source.join("below-a-file");
    for words in ["key token --output", "key new --file", "bench net --rounds 1 --size 64KiB --report"] {
        tanner(words).arg(&below).run().expect(1).is_one_line_of_error().err_has("below-a-file");
    }
    let (node, pin) = (Node::new(place, "node"), "a".repeat(64));
    let serve = |root: &Path| {
        node.tanner("serve --listen tcp://127.0.0.1:0 --root").arg(root).words("--allow").arg(&pin)
    };
    serve(&below).run().expect(1).is_one_line_of_error().err_has("below-a-file");
    for address in ["256.0.0.1:1", "nowhere.invalid:1", "70000", "-"] {
        let run = serve(&place.join("root")).words("--http").arg(address).run().expect(1);
        run.is_one_line_of_error().err_has(&format!("http://{address}"));
    }
    assert_eq!(files_below(&place.join("out")), [""; 0]);
}

#[test]
fn wrong_usage_is_exit_code_2_of_every_command() {
    let place = Place::new();
    let file = place.file("a.bin", b"abc");
    for words in [
        "",
        "plan 1TB -k 0",
        "plan --survive 1",
        "backup a.bin",
        "backup a.bin --to a --to a",
        "restore xyz --from a -o out/b",
        "ls",
        "show xyz --from a",
        "verify xyz --from a",
        "repair xyz --from a",
        "sweep xyz",
        "certify",
        "certify --check 1 --file nowhere.csv",
        "serve --root out",
        "undelete",
        "key",
        "key inspect a.bin",
        "store add",
        "store add a/b a",
        "bench codec --size 0 --rounds 1",
        "bench --show a.bin",
        "schema please",
        "version please",
        "verify xyz --from a --color sometimes",
        "verify xyz --from a --hook-time soon",
    ] {
        let run = tanner(words).within(place.path()).env("TANNER_CONFIG", "/proc/nowhere").run().expect(2);
        assert!(run.out.is_empty() && !run.err.is_empty(), "{words}: {run:#?}");
    }
    assert_eq!(files_below(place.path()), ["a.bin", "out/"], "{}", file.display());
}

#[test]
fn what_is_done_but_below_target_is_exit_code_3() {
    let stored = Stored::new(100_000, "-k 4 -m 2", 3);
    let dead = stored.source.join("below-a-file");
    let stores = [&stored.stores[0], &stored.stores[1], &dead];
    back_up(&stored.source, "-k 4 -m 2", &stores).run().expect(3).err_has("below target");
    stored.lose([1]);
    stored.on("repair").arg("--to").arg(&dead).run().expect(3).err_has("below-a-file");
    // It can be restored all the same.
    stored.restores();
}

#[test]
fn damage_that_is_only_seen_is_exit_code_4_whoever_sees_it() {
    let stored = Stored::new(100_000, "-k 4 -m 2", 3);
    stored.lose([1]);
    for command in ["verify", "repair --dry-run", "repair --dry-run --quick"] {
        stored.on(command).run().expect(4);
    }
    fs::write(stored.manifest(1), b"damaged").unwrap();
    tanner("ls").stores("", &stored.stores).run().expect(4).out_has(&stored.id);
    for command in ["verify", "repair --dry-run"] {
        stored.on(command).run().expect(4);
    }
    stored.on("repair").run().expect(0);
    stored.on("verify").run().expect(0);
}

#[test]
fn what_nobody_can_restore_is_exit_code_5_whoever_tries() {
    let stored = Stored::new(100_000, "-k 4 -m 2", 3);
    let out = || ["restore -o out/x", "restore --force -o out/x"];
    stored.lose(0..3);
    for command in ["verify", "repair", "repair --dry-run", "repair --quick"].into_iter().chain(out()) {
        stored.on(command).within(stored.place.path()).run().expect(5);
    }
    (0..3).for_each(|store| fs::write(stored.manifest(store), b"damaged").unwrap());
    for command in ["show", "verify", "repair", "key export --output out/x"].into_iter().chain(out()) {
        stored.on(command).within(stored.place.path()).run().expect(5).err_has("manifest");
    }
    assert_eq!(files_below(&stored.place.join("out")), [""; 0]);
}

#[test]
fn stores_that_cannot_take_enough_are_exit_code_6_and_keep_nothing() {
    let place = Place::new();
    let (source, stores) = (place.file("a.bin", &[7; 100_000]), place.stores(2));
    let none = place.join("a.bin/below-a-file");
    back_up(&source, "-k 4 -m 2", &[&none]).run().expect(6).is_one_line_of_error();
    back_up(&source, "-k 4 -m 2 --quorum 3", &[&stores[0], &stores[1], &none]).run().expect(6);
    back_up(&source, "-k 4 -m 2 --quorum 3", &stores).run().expect(6).err_has("--quorum");
    back_up(&source, "-k 4 -m 1 --survive", &stores).arg("1 store").run().expect(6).is_one_line_of_error();
    let full = back_up(&source, "-k 4 -m 2 --fact", &stores).arg(&stores[0]).arg("capacity=1KB");
    full.words("--fact").arg(&stores[1]).arg("capacity=1KB").run().expect(6).err_has("room");
    nothing_is_left_in(&stores);
}

#[test]
fn what_does_not_exist_is_exit_code_10_whoever_looks_for_it() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let nowhere = stored.place.join("nowhere");
    let of_none = |words: &str| tanner(words).arg("0".repeat(32)).within(stored.place.path());
    for command in ["show", "verify", "repair", "restore -o out/x", "key export --output out/x"] {
        of_none(command).stores("--from", &stored.stores).run().expect(10).err_has(&"0".repeat(32));
    }
    of_none("sweep --journal").arg(&nowhere).run().expect(2);
    of_none("sweep --journal out").run().expect(10).is_one_line_of_error();
    tanner("undelete --root").arg(&nowhere).run().expect(10).is_one_line_of_error();
    tanner("undelete x --root").arg(stored.place.join("out")).run().expect(10).is_one_line_of_error();
    tanner("store rm attic").env("TANNER_CONFIG", nowhere.to_str().unwrap()).run().expect(10);
    tanner("bench disk --rounds 1 --size 64KiB").arg(&nowhere).run().expect(10).is_one_line_of_error();
    tanner("bench net --rounds 1 --connect 127.0.0.1:1").run().expect(10).is_one_line_of_error();
    assert_eq!(files_below(&stored.place.join("out")), [""; 0]);
    assert!(!nowhere.exists());
}

#[test]
fn a_backup_that_no_key_opens_is_exit_code_12_and_can_be_checked_and_repaired() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let other = stored.place.join("other.txt");
    tanner("key new --file").arg(&other).run().expect(0);
    let with_other = |command: &str| {
        stored
            .on(command)
            .env("TANNER_IDENTITY_FILE", other.to_str().unwrap())
            .within(stored.place.path())
            .run()
    };
    for command in ["restore -o out/x", "key export --output out/x"] {
        with_other(command).expect(12).is_one_line_of_error();
    }
    stored.lose([0]);
    for (command, code) in [("show", 0), ("verify", 4), ("repair", 0), ("verify", 0)] {
        with_other(command).expect(code);
    }
    assert_eq!(files_below(&stored.place.join("out")), [""; 0]);
}

#[test]
fn a_repair_that_is_interrupted_is_exit_code_130_or_143_and_changes_nothing() {
    let place = Place::new();
    let (source, stores) = (place.sparse("source", 96 << 20), place.stores(3));
    let id = back_up(&source, "-k 4 -m 2", &stores).run().expect(0).out.trim().to_owned();
    fs::remove_file(stores[0].join(&id).join("0")).unwrap();
    let files = || stores.iter().map(|store| files_below(store)).collect::<Vec<_>>();
    let before = files();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        interrupt(signal, || tanner("repair").arg(&id).stores("--from", &stores).words("--threads 1"))
            .expect(code);
        assert_eq!(files(), before);
    }
}
