//! Back up, look, lose, damage, restore.

use std::fs;

use crate::harness::{files_below, tanner};
use crate::json::{array, objects, summary};
use crate::stored::{Stored, back_up};

const MIB: usize = 1 << 20;

#[test]
fn a_backup_prints_its_id_alone_and_can_be_listed_shown_verified_and_restored() {
    let stored = Stored::new(3 * MIB + 77, "--data 10 --parity 5", 5);
    let run = back_up(&stored.source, "--data 10 --parity 5", &stored.stores).run().expect(0);
    assert!(run.out.ends_with('\n') && run.out.trim_end().len() == 32, "{run:#?}");
    assert!(run.out.trim_end().bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
    run.err_has("source.bin")
        .err_has("10+5")
        .err_has("any 1 of 5 stores may be lost")
        .err_has("any 5 blocks");

    let ls = tanner("ls").stores("", &stored.stores).run().expect(0);
    ls.out_has(&stored.id).out_has(run.out.trim_end()).out_has("source.bin").out_has("10+5");
    assert_eq!(ls.out.lines().count(), 3, "a header and each backup once: {ls:#?}");
    let show = stored.on("show").run().expect(0);
    show.out_has(&stored.id).out_has("source.bin").out_has(&(3 * MIB + 77).to_string()).out_has("store4");
    stored.on("verify").run().expect(0).out_has("15 of 15 blocks good");
    stored.restores().err_has("10 blocks").err_has("none had to be computed");
}

#[test]
fn any_five_blocks_of_ten_plus_five_may_be_lost_and_none_more() {
    let stored = Stored::new(2 * MIB + 4097, "--data 10 --parity 5", 5);
    for lost in [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10, 11, 12, 13, 14],
        [0, 3, 9, 12, 14],
        [1, 2, 10, 11, 13],
        [0, 2, 4, 6, 8],
        [9, 11, 12, 13, 14],
    ] {
        stored.without(&lost, || _ = stored.restores());
    }
    for lost in [[0, 1, 2, 3, 4, 5], [9, 10, 11, 12, 13, 14], [0, 2, 4, 8, 10, 12]] {
        stored.without(&lost, || {
            stored.does_not_restore().err_has("1 more").err_has(&format!("block {} is missing", lost[0]));
            stored.on("verify").run().expect(5);
        });
    }
    stored.without(&[0, 1, 2, 3, 4, 5, 6, 7], || {
        stored.does_not_restore().err_has("3 more");
    });
    stored.restores();
}

#[test]
fn a_bit_flipped_in_each_of_five_blocks_is_found_named_and_repaired_in_the_restored_file() {
    let stored = Stored::new(2 * MIB + 1, "--data 10 --parity 5", 5);
    let flipped = [0, 2, 4, 7, 9];
    stored.flip(flipped);
    for run in [stored.on("verify").run().expect(4), stored.restores()] {
        flipped.iter().for_each(|block| _ = run.err_has(&format!("block {block} in ")));
    }
    let json = objects(&stored.on("verify --json").run().expect(4));
    assert_eq!(array(summary(&json), "blocks_damaged"), flipped);
    let json = objects(&stored.restore().arg("--json").run().expect(0));
    assert_eq!(array(summary(&json), "blocks_damaged"), flipped);
    fs::remove_file(stored.place.output()).unwrap();

    stored.flip([1]);
    stored.on("verify").run().expect(5).out_has("NOT RESTORABLE");
    stored.does_not_restore().err_has("1 more").err_has("block 1 in ");
}

/// A restore reads no more parity than it needs, so it names the damage that it met; verify names all of it.
#[test]
fn bits_flipped_in_data_and_parity_blocks_are_found() {
    let stored = Stored::new(2 * MIB + 1, "--data 10 --parity 5", 5);
    let flipped = [1, 8, 10, 11, 14];
    stored.flip(flipped);
    let json = objects(&stored.on("verify --json").run().expect(4));
    assert_eq!(array(summary(&json), "blocks_damaged"), flipped);
    stored.restores().err_has("block 1 in ").err_has("block 8 in ");
    let json = objects(&stored.restore().arg("--json").run().expect(0));
    let named = array(summary(&json), "blocks_damaged");
    assert!(named.starts_with(&[1, 8]) && named.is_sorted(), "{named:?}");
    assert!(named.iter().all(|block| flipped.contains(block)), "{named:?}");
}

#[test]
fn any_twenty_five_blocks_of_twenty_four_plus_twenty_six_may_be_lost() {
    let stored = Stored::new(3 * MIB + 5, "--data 24 --parity 26", 5);
    let spread: Vec<usize> = (0..25).map(|i| i * 2).collect();
    let data_first: Vec<usize> = (0..25).collect();
    let parity_only: Vec<usize> = (25..50).collect();
    for lost in [&spread, &data_first, &parity_only] {
        stored.without(lost, || _ = stored.restores());
    }
    stored.without(&(0..27).collect::<Vec<_>>(), || {
        stored.does_not_restore().err_has("2 more");
        stored.on("verify").run().expect(5);
    });
    stored.flip((0..25).map(|i| i * 2 + 1));
    stored.on("verify").run().expect(4).out_has("25 of 50 blocks good");
    stored.restores();
}

#[test]
fn a_whole_store_may_vanish() {
    for gone in 0..5 {
        let stored = Stored::new(MIB + 3, "--data 10 --parity 5", 5);
        fs::remove_dir_all(&stored.stores[gone]).unwrap();
        stored.restores().err_has(&format!("store{gone}"));
        stored.on("show").run().expect(0);
        stored.on("verify").run().expect(4).err_has(&format!("store{gone}"));
        assert!(!stored.stores[gone].exists(), "reading must not make stores");
    }
}

#[test]
fn a_vanished_store_does_not_hide_the_backups_of_the_others_from_ls() {
    let stored = Stored::new(MIB, "--data 10 --parity 5", 5);
    fs::remove_dir_all(&stored.stores[0]).unwrap();
    let ls = tanner("ls").stores("", &stored.stores).run();
    assert_ne!(ls.code, 0, "a dead store must not look healthy: {ls:#?}");
    ls.out_has(&stored.id).err_has("store0");
}

#[test]
fn one_good_manifest_is_enough() {
    let stored = Stored::new(MIB + 3, "--data 10 --parity 5", 5);
    let whole = fs::read(stored.manifest(0)).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    fs::write(stored.manifest(0), flipped).unwrap();
    fs::write(stored.manifest(1), &whole[..whole.len() - 1]).unwrap();
    fs::write(stored.manifest(2), b"").unwrap();
    fs::remove_file(stored.manifest(3)).unwrap();
    let run = stored.restores();
    let verify = stored.on("verify").run().expect(4);
    for store in 0..4 {
        run.err_has(&format!("store{store}"));
        verify.err_has(&format!("store{store}"));
    }
    stored.on("show").run().expect(0);

    fs::write(stored.manifest(4), vec![0xff; 1 << 20]).unwrap();
    stored.does_not_restore().err_has("manifest");
    stored.on("verify").run().expect(5);
    (0..5).filter(|&store| store != 3).for_each(|store| fs::remove_file(stored.manifest(store)).unwrap());
    stored.restore().run().expect(10).err_has(&stored.id);
}

#[test]
fn a_backup_leaves_only_its_blocks_and_manifests_in_the_stores() {
    let stored = Stored::new(MIB, "--data 4 --parity 2", 3);
    for (store, directory) in stored.stores.iter().enumerate() {
        let mut names = ["manifest".to_owned(), store.to_string(), (store + 3).to_string()];
        names.sort();
        let names: Vec<String> = names.iter().map(|name| format!("{}/{name}", stored.id)).collect();
        assert_eq!(files_below(directory), names);
    }
}
