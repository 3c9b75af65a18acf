//! Stores that are given up or lost: what they had goes elsewhere, and what was survived is survived again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Tanner, files_below, nothing_is_left_in, tanner};
use crate::json::{objects, summary};
use crate::stored::{Stored, back_up};

/// `--fact STORE host=…` for each store.
fn hosts(mut run: Tanner, stores: &[PathBuf], hosts: &[&str]) -> Tanner {
    for (store, host) in stores.iter().zip(hosts) {
        run = run.arg("--fact").arg(store).arg(format!("host={host}"));
    }
    run
}

fn blocks_in(store: &Path, id: &str) -> usize {
    files_below(&store.join(id)).iter().filter(|name| *name != "manifest").count()
}

#[test]
fn a_store_that_is_given_up_is_empty_and_nothing_is_lost() {
    let stored = Stored::new(200_000, "-k 10 -m 5", 5);
    let other = back_up(&stored.source, "-k 4 -m 2 --no-encrypt", &stored.stores).run().expect(0);
    let new = stored.place.join("new");
    let evacuate = |words: &str| {
        let to = [stored.stores[1..].to_vec(), vec![new.clone()]].concat();
        tanner("evacuate").words(words).arg(&stored.stores[0]).stores("--to", &to)
    };
    let before = files_below(&stored.stores[0]);
    evacuate("-n").run().expect(0).out_has("2 backups would be moved, 5 blocks would be put elsewhere");
    assert_eq!(files_below(&stored.stores[0]), before);
    // What is damaged is rebuilt instead.
    stored.flip([5]);
    evacuate("").run().expect(0).out_has("2 backups moved, 5 blocks put elsewhere, 0 left");
    nothing_is_left_in(&stored.stores[..1]);
    assert_eq!((blocks_in(&new, &stored.id), blocks_in(&new, other.out.trim())), (3, 1));
    fs::remove_dir_all(&stored.stores[0]).unwrap();
    let stores = [stored.stores[1..].to_vec(), vec![new]].concat();
    for id in [stored.id.as_str(), other.out.trim()] {
        let verify = tanner("verify --json").arg(id).stores("--from", &stores).run().expect(0);
        assert_eq!(summary(&objects(&verify))["stores_survivable"], 1);
    }
}

#[test]
fn a_store_keeps_what_would_be_less_safe_elsewhere() {
    let stored = Stored::new(200_000, "-k 10 -m 5", 3);
    let to = &stored.stores[1..];
    let run = tanner("evacuate").arg(&stored.stores[0]).stores("--to", to).run().expect(3);
    run.err_has("the loss of any 1 store was survived").err_has("stays where it is, too");
    assert_eq!(blocks_in(&stored.stores[0], &stored.id), 5);
    stored.restores();
    tanner("evacuate").arg(&stored.stores[0]).run().expect(2).err_has("--to");
    tanner("evacuate").arg(&stored.stores[0]).stores("--to", &stored.stores).run().expect(2).err_has("--to");
}

/// By two names it looks like two, and everything would be deleted from both.
#[test]
fn a_store_is_not_given_up_for_itself() {
    let stored = Stored::new(200_000, "-k 4 -m 2", 1);
    let itself = format!("fault:seed=1+{}", stored.stores[0].display());
    let run = tanner("evacuate").arg(&stored.stores[0]).arg("--to").arg(itself).run().expect(2);
    run.err_has("are the same place");
    stored.on("verify").run().expect(0);
    stored.restores();
}

/// What the others have of it may have rotted since they got it.
#[test]
fn what_is_good_in_the_store_alone_is_not_deleted_from_it() {
    let stored = Stored::new(200_000, "-k 4 -m 2", 4);
    let (from, to) = (&stored.stores[0], &stored.stores[1..]);
    let names = files_below(&from.join(&stored.id)).into_iter().filter(|name| name != "manifest");
    for (name, other) in names.zip(&to[1..]) {
        let mut bytes = fs::read(from.join(&stored.id).join(&name)).unwrap();
        bytes[7] ^= 1;
        fs::write(other.join(&stored.id).join(name), bytes).unwrap();
    }
    tanner("evacuate").arg(from).stores("--to", to).run().expect(0);
    nothing_is_left_in(&stored.stores[..1]);
    tanner("verify").arg(&stored.id).stores("--from", to).run().expect(0);
}

/// A backup that could not put its manifest there has blocks there all the same.
#[test]
fn blocks_without_a_manifest_are_moved_too() {
    let stored = Stored::new(200_000, "-k 4 -m 2", 4);
    fs::remove_file(stored.manifest(0)).unwrap();
    let had = blocks_in(&stored.stores[0], &stored.id);
    let run = tanner("evacuate").arg(&stored.stores[0]).stores("--to", &stored.stores[1..]).run().expect(0);
    run.out_has(&format!("1 backup moved, {had} blocks put elsewhere"));
    nothing_is_left_in(&stored.stores[..1]);
}

/// Blocks of a lost host that went to the fullest of the others would make it the next one to fear.
#[test]
fn rebuilt_blocks_go_where_as_much_is_survived_as_before_or_that_is_said() {
    let place = crate::harness::Place::new();
    let (bytes, stores) = (crate::stored::content(200_000, 3), place.stores(6));
    let source = place.file("a.bin", &bytes);
    let names = ["a", "a", "b", "b", "c", "d"];
    let backup = back_up(&source, "-k 8 -m 8", &stores)
        .arg("--survive")
        .arg("1 host")
        .arg("--survive")
        .arg("2 stores");
    let id = hosts(backup, &stores, &names).run().expect(0).out.trim().to_owned();
    let stored = Stored { place, source, bytes, stores, id };
    fs::remove_dir_all(&stored.stores[5]).unwrap();
    let left = &stored.stores[..5];
    let repair = |stores: &[PathBuf]| tanner("repair").arg(&stored.id).stores("--from", stores);
    // Of four hosts two could be lost: of three that is one.
    let run = repair(left).run().expect(3);
    run.err_has("the loss of any 2 hosts was survived as the blocks were placed, and is not now");
    repair(left).arg("--survive").arg("1 host").run().expect(0);
    let blocks =
        |stores: &[PathBuf]| stores.iter().map(|store| blocks_in(store, &stored.id)).collect::<Vec<_>>();
    let now = blocks(left);
    let mut by_host = [now[0] + now[1], now[2] + now[3], now[4]];
    by_host.sort_unstable();
    assert_eq!(by_host, [5, 5, 6], "{now:?}");

    fs::remove_dir_all(&stored.stores[4]).unwrap();
    let left = &stored.stores[..4];
    repair(left).arg("--survive").arg("1 host").arg("--survive").arg("2 stores").run().expect(0);
    assert_eq!(blocks(left), [4; 4]);
    // Two of three stores that have five or six blocks each are more than can be missed.
    fs::remove_dir_all(&stored.stores[3]).unwrap();
    let left = &stored.stores[..3];
    let run = repair(left).arg("--survive").arg("1 host").arg("--survive").arg("2 stores").run().expect(3);
    run.err_has("the loss of any 2 stores").out_has("16 of 16 blocks good");
    repair(left).arg("--survive").arg("1 floor").run().expect(2).err_has("floor");
}
