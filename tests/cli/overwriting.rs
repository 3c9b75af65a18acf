//! What exists is never overwritten, unless that was asked for, and then whole or not at all.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::files_below;
use crate::stored::Stored;

#[test]
fn a_file_that_exists_is_kept_byte_for_byte() {
    let stored = Stored::new(100_000, "-k 10 -m 5", 5);
    let output = stored.place.output();
    for old in [&b""[..], b"precious"] {
        fs::write(&output, old).unwrap();
        let run = stored.restore().run().expect(2);
        run.is_one_line_of_error().err_has("--force").err_has("restored");
        assert_eq!(fs::read(&output).unwrap(), old);
        assert_eq!(files_below(&stored.place.join("out")), ["restored"]);
    }
}

#[test]
fn a_link_that_exists_is_kept_and_so_is_what_it_points_to() {
    let stored = Stored::new(100_000, "-k 10 -m 5", 5);
    let precious = stored.place.file("precious", b"precious");
    for target in [&precious, &stored.place.join("nothing")] {
        symlink(target, stored.place.output()).unwrap();
        stored.restore().run().expect(2);
        assert_eq!(fs::read_link(stored.place.output()).unwrap(), *target);
        assert!(!stored.place.join("nothing").exists());
        // Nobody means to replace a link, or a device.
        stored.restore().arg("--force").run().expect(2).err_has("not a regular file");
        assert_eq!(fs::read_link(stored.place.output()).unwrap(), *target);
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        fs::remove_file(stored.place.output()).unwrap();
    }
    assert!(!stored.place.join("nothing").exists());
}

/// A second name of the old file shows that it was replaced and never written into.
#[test]
fn force_replaces_the_file_at_once() {
    let stored = Stored::new(100_000, "-k 10 -m 5", 5);
    let output = stored.place.output();
    fs::write(&output, b"old").unwrap();
    fs::hard_link(&output, stored.place.join("second-name")).unwrap();
    stored.restore().arg("--force").run().expect(0);
    assert!(fs::read(&output).unwrap() == stored.bytes);
    assert_eq!(fs::read(stored.place.join("second-name")).unwrap(), b"old");
    assert_eq!(files_below(&stored.place.join("out")), ["restored"]);
}

#[test]
fn a_forced_restore_that_fails_keeps_the_old_file() {
    let stored = Stored::new(100_000, "-k 10 -m 5", 5);
    let output = stored.place.output();
    fs::write(&output, b"old").unwrap();
    let keeps = |code| {
        stored.restore().arg("--force").run().expect(code);
        assert_eq!(fs::read(&output).unwrap(), b"old");
        assert_eq!(files_below(&stored.place.join("out")), ["restored"]);
    };
    // Found out while it reads, and found out before.
    stored.flip(0..6);
    keeps(5);
    stored.lose(0..6);
    keeps(5);
    stored.stores.iter().for_each(|store| fs::remove_dir_all(store).unwrap());
    keeps(10);
}

#[test]
fn the_source_may_be_restored_over_itself() {
    let stored = Stored::new(100_000, "-k 10 -m 5", 5);
    fs::write(&stored.source, b"ruined").unwrap();
    stored.on("restore --force").arg("-o").arg(&stored.source).run().expect(0);
    assert!(fs::read(&stored.source).unwrap() == stored.bytes);
}

#[test]
fn a_bare_file_name_is_restored_into_the_current_directory() {
    let stored = Stored::new(100_000, "-k 10 -m 5", 5);
    stored.on("restore -o restored").within(&stored.place.join("out")).run().expect(0);
    assert!(fs::read(stored.place.output()).unwrap() == stored.bytes);
    assert_eq!(files_below(&stored.place.join("out")), ["restored"]);
}
