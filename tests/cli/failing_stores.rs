//! Exit codes 3 and 6: stores that fail while a backup is made.

use std::fs;
use std::process::Command;

use crate::harness::{Place, Tanner, files_below, nothing_is_left_in, tanner};
use crate::json::{objects, summary};
use crate::stored::{Stored, back_up, content};

/// Modes mean nothing to root, so what cannot be written is what cannot exist: a place below a file.
fn with_dead_stores(place: &Place, alive: usize, dead: usize) -> Vec<std::path::PathBuf> {
    let file = place.file("not-a-directory", b"");
    let mut stores = place.stores(alive);
    stores.extend((0..dead).map(|store| file.join(format!("dead{store}"))));
    stores
}

/// Its blocks go to the others, so no redundancy is lost but that of the manifest.
#[test]
fn a_store_that_fails_costs_neither_the_backup_nor_a_block() {
    let place = Place::new();
    let (bytes, stores) = (content(1 << 20, 1), with_dead_stores(&place, 4, 1));
    let source = place.file("a.bin", &bytes);
    let run = back_up(&source, "-k 10 -m 5", &stores).run().expect(3);
    run.err_has("dead0").err_has("below target").err_has("3 blocks went to other stores");
    let id = run.out.trim().to_owned();
    let blocks = |store: &std::path::PathBuf| files_below(&store.join(&id)).len() - 1;
    assert_eq!(stores[..4].iter().map(blocks).collect::<Vec<_>>(), [4, 4, 4, 3]);
    let restore = |from: &[std::path::PathBuf]| {
        tanner("restore -f").arg(&id).stores("--from", from).arg("-o").arg(place.output()).run()
    };
    for lost in 0..4 {
        let mut left = stores[..4].to_vec();
        left.remove(lost);
        restore(&left).expect(0);
        assert!(fs::read(place.output()).unwrap() == bytes, "without {lost}");
    }
    restore(&stores[..2]).expect(5);
}

/// A store of a thousandth of the speed would make the backup last a thousand times as long.
#[test]
fn a_store_that_is_too_slow_loses_its_blocks_and_not_the_backup() {
    let place = Place::new();
    let (bytes, stores) = (content(64 << 20, 1), place.stores(5));
    let source = place.file("a.bin", &bytes);
    let backup = tanner("backup --json -k 10 -m 5").arg(&source).stores("--to", &stores[..4]);
    let run = backup.words(&format!("--to limit:rate=50k+{}", stores[4].display())).run().expect(0);
    let json = objects(&run);
    let slow = summary(&json)["slow_stores"].as_array().unwrap();
    assert_eq!(slow.len(), 1, "{slow:?}");
    assert!(slow[0].as_str().unwrap().ends_with(stores[4].to_str().unwrap()));
    assert_eq!(summary(&json)["blocks_moved"], 3);
    assert_eq!(summary(&json)["stores_survivable"], 1);
    let id = summary(&json)["id"].as_str().unwrap();
    let out = place.output();
    tanner("restore").arg(id).stores("--from", &stores[1..4]).arg("-o").arg(&out).run().expect(0);
    assert!(fs::read(out).unwrap() == bytes);
}

/// Elsewhere its blocks would be lost together with others: waiting is what was asked for.
#[test]
fn a_slow_store_keeps_its_blocks_where_the_promise_rests_on_it() {
    let place = Place::new();
    let (bytes, stores) = (content(2 << 20, 1), place.stores(3));
    let source = place.file("a.bin", &bytes);
    let backup = tanner("backup --json -k 2 -m 1").arg(&source).stores("--to", &stores[..2]);
    let run = backup.words(&format!("--to limit:rate=700k+{}", stores[2].display())).run().expect(0);
    let json = objects(&run);
    assert_eq!(summary(&json)["slow_stores"].as_array().unwrap().len(), 0);
    assert_eq!(summary(&json)["stores_survivable"], 1);
}

/// A stream that ends early and well, in the middle of whatever its reader puts together.
#[test]
fn a_store_that_cuts_every_answer_short_costs_its_blocks_and_not_the_restore() {
    let place = Place::new();
    let (bytes, stores) = (content(3_000_000, 1), place.stores(3));
    let source = place.file("a.bin", &bytes);
    let id = back_up(&source, "-k 4 -m 3", &stores).run().expect(0).out;
    for seed in 0..5 {
        let cut = format!("fault:seed={seed},truncate=1+{}", stores[0].display());
        let output = place.output();
        let run = tanner(&format!("restore {} --from {cut} -f -o", id.trim())).arg(&output);
        run.words("--from").arg(&stores[1]).words("--from").arg(&stores[2]).run().expect(0);
        assert!(fs::read(output).unwrap() == bytes, "{seed}");
    }
}

#[test]
fn the_promise_after_a_failure_is_one_that_is_kept() {
    let place = Place::new();
    let (bytes, stores) = (content(100_000, 1), with_dead_stores(&place, 6, 1));
    let source = place.file("a.bin", &bytes);
    let run = back_up(&source, "-k 4 -m 3", &stores).run().expect(3);
    run.err_has("any 2 of 7 stores may be lost").err_has("any 3 blocks may be lost");
    let stored = Stored { place, source, bytes, stores, id: run.out.trim().to_owned() };
    for (one, other) in (0..6).flat_map(|one| (0..one).map(move |other| (one, other))) {
        stored.without(&[one, other], || _ = stored.restores());
    }
}

#[test]
fn a_file_system_that_takes_no_files_is_a_failed_store() {
    let place = Place::new();
    let source = place.file("a.bin", &content(50_000, 1));
    for dead in ["/proc/tanner-test", "/sys/tanner-test", "/dev/null/tanner-test", "/dev/full"] {
        let mut stores = place.stores(4);
        stores.push(dead.into());
        let run = back_up(&source, "-k 10 -m 5", &stores).run().expect(3);
        run.err_has(dead).err_has("below target");
    }
}

/// A real full disk, where this machine lets us mount a small one.
#[test]
fn a_disk_that_is_full_is_a_failed_store() {
    let place = Place::new();
    let mut stores = place.stores(4);
    let full = place.join("full");
    fs::create_dir(&full).unwrap();
    // Room for bytes, as far as one can see, but not for files: what has no room for bytes is not given any.
    let mount = format!("mount -t tmpfs -o size=64m,nr_inodes=3 tmpfs {}", full.display());
    let namespace = ["--user", "--map-root-user", "--mount", "sh", "-c"];
    if !Command::new("unshare").args(namespace).arg(&mount).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine does not let us mount a small disk");
        return;
    }
    stores.push(full);
    let source = place.file("a.bin", &content(1 << 20, 1));
    let mut run = Command::new("unshare");
    run.args(namespace).arg(format!("{mount} && exec \"$@\"")).arg("sh");
    let backup = back_up(&source, "-k 10 -m 5", &stores).0;
    run.envs(backup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run.arg(backup.get_program()).args(backup.get_args());
    let run = Tanner(run).run().expect(3);
    run.err_has("full").err_has("no room");
    let out = place.output();
    let id = run.out.trim();
    tanner("restore").arg(id).stores("--from", &stores[..4]).arg("-o").arg(&out).run().expect(0);
    assert!(fs::read(out).unwrap() == content(1 << 20, 1));
}

#[test]
fn too_many_failed_stores_leave_nothing_in_the_good_ones() {
    for (alive, dead, quorum) in [(3, 2, "--quorum 4"), (1, 4, "--quorum 2"), (0, 3, "")] {
        let place = Place::new();
        let (source, stores) =
            (place.file("a.bin", &content(1 << 20, 1)), with_dead_stores(&place, alive, dead));
        let run = back_up(&source, &format!("-k 10 -m 5 {quorum}"), &stores).run().expect(6);
        run.is_one_line_of_error().err_has("nothing is kept").err_has("dead");
        nothing_is_left_in(&stores[..alive]);
        assert_eq!(fs::read(place.join("not-a-directory")).unwrap(), b"");
    }
}

#[test]
fn a_quorum_that_cannot_be_is_refused_before_anything_is_written() {
    let place = Place::new();
    let (source, stores) = (place.file("a.bin", &content(1 << 20, 1)), place.stores(3));
    back_up(&source, "--quorum 4", &stores).run().expect(6).is_one_line_of_error().err_has("--quorum");
    assert!(stores.iter().all(|store| !store.exists()));
}

/// What was there before a failed backup stays.
#[test]
fn a_failed_backup_does_not_touch_the_backups_beside_it() {
    let stored = Stored::new(100_000, "-k 10 -m 5", 3);
    let before: Vec<_> = stored.stores.iter().map(|store| files_below(store)).collect();
    let dead: Vec<_> = (0..6).map(|store| stored.source.join(store.to_string())).collect();
    let stores: Vec<_> = stored.stores.iter().chain(&dead).collect();
    back_up(&stored.source, "-k 10 -m 5 --quorum 4", &stores).run().expect(6);
    let after: Vec<_> = stored.stores.iter().map(|store| files_below(store)).collect();
    assert_eq!(before, after);
    stored.restores();
}
