//! Stores in which somebody else put things.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::harness::{Place, tanner};
use crate::json::{objects, summary};
use crate::stored::{Stored, back_up, content};

const OTHER_ID: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn foreign_files_do_not_disturb_ls_verify_and_restore() {
    let stored = Stored::new(300_000, "-k 10 -m 5", 3);
    let store = &stored.stores[0];
    for name in [
        "..0",
        "...",
        "lost+found",
        "UPPER",
        &OTHER_ID[1..],
        &OTHER_ID.to_uppercase(),
        "a b",
        "é\n\u{1b}[31m",
    ] {
        fs::create_dir(store.join(name)).unwrap();
        fs::write(store.join(name).join("manifest"), b"not a manifest").unwrap();
    }
    fs::create_dir(store.join(OsStr::from_bytes(b"\xff\xfe"))).unwrap();
    fs::write(store.join("manifest"), b"not a manifest").unwrap();
    fs::write(store.join(OTHER_ID), b"a file called like a backup").unwrap();
    let mine = store.join(&stored.id);
    for name in ["00", "03", "+3", "3 ", "15", "99999999999999999999", "manifest~", ".3", "-1", "3.tmp"] {
        fs::write(mine.join(name), b"foreign").unwrap();
    }
    fs::write(mine.join(OsStr::from_bytes(b"\xff")), b"foreign").unwrap();
    let ls = tanner("ls").stores("", &stored.stores).run().expect(0);
    assert_eq!(ls.out.lines().count(), 2, "{ls:#?}");
    ls.out_has(&stored.id);
    stored.on("verify").run().expect(0).out_has("15 of 15");
    stored.restores();
}

/// A link in a store may point to any file of the machine that restores.
#[test]
fn links_in_a_store_are_never_followed() {
    let stored = Stored::new(300_000, "-k 10 -m 5", 3);
    for block in [1, 11] {
        let path = stored.block(block);
        let moved = stored.place.join(&format!("moved{block}"));
        fs::rename(&path, &moved).unwrap();
        symlink(&moved, &path).unwrap();
    }
    stored.on("verify").run().expect(4).err_has("block 1").err_has("block 11");
    stored.restores().err_has("block 1");

    let real = stored.place.join("real");
    fs::rename(stored.stores[2].join(&stored.id), &real).unwrap();
    symlink(&real, stored.stores[2].join(&stored.id)).unwrap();
    symlink(&real, stored.stores[0].join(OTHER_ID)).unwrap();
    stored.does_not_restore().err_has("store2");
    let ls = tanner("ls").arg(&stored.stores[0]).run().expect(0);
    assert!(!ls.out.contains(OTHER_ID), "{ls:#?}");
}

/// Whoever can write to a store could otherwise have files read, or written, that only the user of tanner can reach.
#[test]
fn nothing_outside_of_a_store_is_opened_whatever_links_are_planted_in_it() {
    let stored = Stored::new(300_000, "-k 4 -m 6", 5);
    let (store, outside) = (&stored.stores[0], stored.place.join("outside"));
    fs::create_dir(&outside).unwrap();
    let secret = outside.join("0");
    ["0", "manifest", "secret"].iter().for_each(|name| fs::write(outside.join(name), b"a secret").unwrap());
    let long = "a".repeat(255);
    for name in [
        OTHER_ID,
        ".tanner-trash",
        ".clients",
        "id",
        "a",
        "é",
        "a b",
        "A",
        "%2e%2e",
        "\u{1b}[2J",
        "\\..",
        &long,
    ] {
        symlink(&outside, store.join(name)).unwrap();
    }
    let _ = fs::remove_dir_all(store.join(".tanner-stage"));
    symlink(&outside, store.join(".tanner-stage")).unwrap();
    for name in ["manifest", "0", "1", "2", "3", "9", "99", "00"] {
        let path = store.join(&stored.id).join(name);
        let _ = fs::remove_file(&path);
        symlink(&secret, path).unwrap();
    }
    let events = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
    let all = WatchFlags::ALL_EVENTS;
    add_watch(&events, &outside, all).unwrap();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut seen = || Reader::new(&events, &mut buffer).next().map(|event| format!("{event:?}")).ok();

    tanner("ls").stores("", &stored.stores).run();
    for command in ["show", "verify", "repair"] {
        stored.on(command).run();
        assert_eq!(seen(), None, "{command}");
    }
    stored.restores();
    for id in [OTHER_ID, &stored.id] {
        tanner("restore --force").arg(id).arg("--from").arg(store).arg("-o").arg(stored.place.output()).run();
        tanner("verify").arg(id).arg("--from").arg(store).run();
    }
    back_up(&stored.source, "-k 2 -m 3", &stored.stores).run();
    back_up(&stored.source, "-k 2 -m 3", &[store]).run();
    assert_eq!(seen(), None);
    // Whoever did would have been seen.
    assert_eq!(fs::read(&secret).unwrap(), b"a secret");
    assert!(seen().is_some());
}

#[test]
fn a_directory_called_like_a_backup_and_full_of_links_is_no_backup() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let fake = stored.stores[0].join(OTHER_ID);
    fs::create_dir(&fake).unwrap();
    symlink(stored.manifest(0), fake.join("manifest")).unwrap();
    symlink("/etc/passwd", fake.join("0")).unwrap();
    let ls = tanner("ls").stores("", &stored.stores).run().expect(0);
    assert!(!ls.out.contains(OTHER_ID) && ls.out.contains(&stored.id), "{ls:#?}");
    let run =
        tanner("restore").arg(OTHER_ID).stores("--from", &stored.stores).arg("-o").arg(stored.place.output());
    assert_ne!(run.run().code, 0);
    assert!(!stored.place.output().exists());
    stored.restores();
}

#[test]
fn pipes_and_directories_in_the_place_of_blocks_are_damage_and_never_waited_for() {
    let stored = Stored::new(300_000, "-k 10 -m 5", 3);
    for (block, kind) in [(0, "fifo"), (1, "directory"), (12, "fifo")] {
        let path = stored.block(block);
        fs::remove_file(&path).unwrap();
        match kind {
            "fifo" => mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap(),
            _ => fs::create_dir(&path).unwrap(),
        }
    }
    fs::remove_file(stored.manifest(1)).unwrap();
    mknodat(CWD, stored.manifest(1), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let run = stored.on("verify").run().expect(4);
    run.err_has("block 0").err_has("block 1 ").err_has("block 12").err_has("store1");
    stored.restores();
    tanner("ls").stores("", &stored.stores).run();
}

/// A manifest is copied under another id: whoever restores that id must not get this file.
#[test]
fn a_backup_that_was_copied_under_another_id_is_refused() {
    let stored = Stored::new(1000, "-k 2 -m 1", 1);
    let fake = stored.stores[0].join(OTHER_ID);
    fs::create_dir(&fake).unwrap();
    for name in ["manifest", "0", "1", "2"] {
        fs::copy(stored.stores[0].join(&stored.id).join(name), fake.join(name)).unwrap();
    }
    let ls = tanner("ls").stores("", &stored.stores).run().expect(4);
    ls.out_has(&stored.id).err_has(OTHER_ID);
    let run =
        tanner("restore").arg(OTHER_ID).stores("--from", &stored.stores).arg("-o").arg(stored.place.output());
    run.run().expect(5);
    stored.restores();
}

/// File names are bytes that a stranger chose.
#[test]
fn names_with_control_characters_do_not_reach_the_terminal() {
    let bad = "evil\u{1b}]0;title\u{7}\u{1b}[2J\nid  name";
    let place = Place::new();
    let stores = place.stores(3);
    let stored = Stored::within(place, bad, content(1000, 1), "-k 2 -m 1", stores);
    let backup = back_up(&stored.source, "-k 2 -m 1", &stored.stores).run().expect(0);
    let ls = tanner("ls").stores("", &stored.stores).run().expect(0);
    let show = stored.on("show").run().expect(0);
    let restore = stored.restores();
    for run in [&backup, &ls, &show, &restore] {
        let control = |c: char| c.is_control() && c != '\n';
        assert!(!run.out.contains(control) && !run.err.contains(control), "{run:#?}");
    }
    assert_eq!(ls.out.lines().count(), 3, "{ls:#?}");
    let json = objects(&stored.on("show --json").run().expect(0));
    assert_eq!(summary(&json)["name"], bad);
}

/// Names that are not text, and names at the limit of file systems.
#[test]
fn files_of_any_name_can_be_backed_up() {
    for name in [&b"\xff\xfe\x00"[..2], &[b'x'; 255], b"-rf", b" ", b"--to"] {
        let place = Place::new();
        let (path, stores) = (place.path().join(OsStr::from_bytes(name)), place.stores(3));
        fs::write(&path, b"abc").unwrap();
        let run = back_up(&path, "-k 2 -m 1", &stores).run().expect(0);
        let out = place.output();
        tanner("restore").arg(run.out.trim()).stores("--from", &stores).arg("-o").arg(&out).run().expect(0);
        assert_eq!(fs::read(out).unwrap(), b"abc");
    }
}
