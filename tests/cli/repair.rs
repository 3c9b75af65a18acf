//! Repair: what is lost comes back as it was, where it was; what is good is never touched.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::harness::{Place, files_below, tanner};
use crate::json::{array, objects, summary};
use crate::signals::interrupt;
use crate::stored::{Stored, back_up};

const MIB: usize = 1 << 20;

/// All that lies in the stores.
fn contents(stores: &[PathBuf]) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = stores.iter().flat_map(|store| files_below(store).into_iter().map(|file| store.join(file)));
    files.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The same, whichever store it is in.
fn objects_in(stores: &[PathBuf]) -> Vec<(PathBuf, Vec<u8>)> {
    let name = |path: &PathBuf| PathBuf::from(path.file_name().unwrap());
    let mut objects: Vec<_> =
        contents(stores).into_iter().map(|(path, bytes)| (name(&path), bytes)).collect();
    objects.sort();
    objects
}

impl Stored {
    /// Spoils the backup, repairs it, and holds every byte in the stores against what was there before.
    #[track_caller]
    fn is_mended(&self, words: &str, spoil: impl FnOnce()) {
        let before = objects_in(&self.stores);
        spoil();
        self.on("repair").words(words).run().expect(0);
        assert!(objects_in(&self.stores) == before, "the stores hold something else after the repair");
        self.on("verify").run().expect(0);
    }

    fn cut(&self, block: usize) {
        let bytes = fs::read(self.block(block)).unwrap();
        fs::write(self.block(block), &bytes[..bytes.len() / 2]).unwrap();
    }
}

#[test]
fn lost_damaged_and_cut_blocks_come_back_as_they_were() {
    for (shape, k, n) in [("-k 10 -m 5", 10, 15), ("-k 24 -m 26", 24, 50)] {
        let stored = Stored::new(3 * MIB + 77, shape, 5);
        for words in ["", "--quick"] {
            stored.is_mended(words, || stored.lose([0]));
            stored.is_mended(words, || stored.lose([k, n - 1]));
            stored.is_mended(words, || stored.cut(k));
        }
        stored.is_mended("", || stored.flip([0]));
        stored.is_mended("", || {
            stored.flip([1, k + 1]);
            stored.cut(2);
            stored.lose([k - 1]);
        });
    }
}

#[test]
fn small_files_are_repaired() {
    for (bytes, shape, k) in [(1, "-k 10 -m 5", 10), (5_000, "-k 3 -m 7", 3), (70_001, "-k 12 -m 12", 12)] {
        let stored = Stored::new(bytes, shape, 3);
        stored.is_mended("", || stored.lose([0, k]));
        stored.is_mended("--quick", || stored.lose([k + 1]));
    }
    // Blocks without bytes are always known, and missed by nobody.
    let empty = Stored::new(0, "-k 4 -m 2", 3);
    empty.lose([0, 4]);
    empty.on("repair").run().expect(0).err_has("nothing to repair");
}

#[test]
fn as_many_blocks_as_may_be_lost_come_back() {
    let stored = Stored::new(2 * MIB + 1, "-k 24 -m 26", 5);
    stored.is_mended("", || stored.lose((0..25).map(|block| block * 2)));
    stored.is_mended("", || stored.lose(25..50));
    stored.is_mended("", || stored.flip(0..25));
}

#[test]
fn what_needs_no_repair_is_not_touched() {
    let stored = Stored::new(MIB, "-k 10 -m 5", 5);
    let before = contents(&stored.stores);
    for words in ["", "--quick", "--dry-run"] {
        stored.on("repair").words(words).run().expect(0).err_has("nothing to repair");
        assert!(contents(&stored.stores) == before);
    }
}

#[test]
fn a_store_that_vanished_is_filled_again() {
    let stored = Stored::new(MIB + 3, "-k 10 -m 5", 5);
    let before = contents(&stored.stores);
    for store in [0, 4] {
        stored.is_mended("", || fs::remove_dir_all(&stored.stores[store]).unwrap());
        assert!(contents(&stored.stores) == before, "something is in another place");
    }
    let json = objects(&stored.on("verify --json").run().expect(0));
    assert_eq!(summary(&json)["stores_survivable"], 1);
}

#[test]
fn manifests_come_back_whether_lost_or_damaged() {
    let stored = Stored::new(MIB, "-k 10 -m 5", 5);
    stored.is_mended("", || {
        fs::remove_file(stored.manifest(0)).unwrap();
        fs::write(stored.manifest(1), b"").unwrap();
        let mut bytes = fs::read(stored.manifest(2)).unwrap();
        bytes[100] ^= 4;
        fs::write(stored.manifest(2), bytes).unwrap();
    });
    stored.is_mended("--quick", || fs::remove_file(stored.manifest(4)).unwrap());
}

/// A sealed manifest of the same name with other content may be somebody's truth.
#[test]
fn a_manifest_that_only_differs_is_left_alone() {
    let stored = Stored::new(MIB, "-k 10 -m 5 --no-encrypt", 5);
    let mut bytes = fs::read(stored.manifest(0)).unwrap();
    let hash = *blake3::hash(&fs::read(stored.block(0)).unwrap()).as_bytes();
    let at = bytes.windows(32).position(|window| window == hash).unwrap();
    bytes[at] ^= 1;
    let end = bytes.len() - 32;
    let seal = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(seal.as_bytes());
    fs::write(stored.manifest(0), &bytes).unwrap();
    stored.on("repair").run().expect(3).err_has("left as it is");
    assert!(fs::read(stored.manifest(0)).unwrap() == bytes);
}

#[test]
fn too_much_lost_is_exit_code_5_and_changes_nothing() {
    let stored = Stored::new(MIB, "-k 10 -m 5", 5);
    stored.lose(0..5);
    stored.flip([7]);
    fs::remove_file(stored.manifest(1)).unwrap();
    let before = contents(&stored.stores);
    stored.on("repair").run().expect(5).err_has("1 more").err_has("block 7 in ");
    stored.on("repair --dry-run").run().expect(5);
    stored.lose([9]);
    stored.on("repair --quick").run().expect(5);
    assert_eq!(contents(&stored.stores).len(), before.len() - 1);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let stored = Stored::new(MIB, "-k 10 -m 5", 5);
    stored.on("repair --dry-run").run().expect(0).err_has("nothing to repair");
    stored.lose([3]);
    stored.flip([11]);
    fs::remove_file(stored.manifest(2)).unwrap();
    let before = contents(&stored.stores);
    let run = stored.on("repair --dry-run").run().expect(4);
    run.err_has("block 3 would be rebuilt in ").err_has("block 11 would be rebuilt in ").err_has("store2");
    assert!(contents(&stored.stores) == before);
    let quick = stored.on("repair --quick --dry-run").run().expect(4);
    quick.err_has("to be read; to check every block, too, takes").err_has("would be trusted");
    let json = objects(&stored.on("repair --dry-run --json").run().expect(4));
    assert_eq!(array(summary(&json), "blocks_rebuilt"), [3, 11]);
    assert!(contents(&stored.stores) == before);
}

/// What was trusted and wrong is seen in what was rebuilt from it, and then found and repaired, too.
#[test]
fn a_quick_repair_from_a_damaged_block_ends_right_all_the_same() {
    for shape in ["-k 10 -m 5", "-k 24 -m 26"] {
        let stored = Stored::new(2 * MIB, shape, 5);
        let before: Vec<Vec<u8>> = (0..12).map(|block| fs::read(stored.block(block)).unwrap()).collect();
        stored.lose([2]);
        stored.flip([5]);
        let json = objects(&stored.on("repair --quick --json").run().expect(0));
        assert_eq!(array(summary(&json), "blocks_rebuilt"), [2, 5]);
        assert_eq!(summary(&json)["verified"], true);
        stored.on("verify").run().expect(0);
        before
            .iter()
            .enumerate()
            .for_each(|(b, bytes)| assert!(fs::read(stored.block(b)).unwrap() == *bytes));
    }
}

#[test]
fn rebuilt_blocks_go_where_they_are_told_to() {
    let stored = Stored::new(MIB, "-k 10 -m 5", 5);
    let new = stored.place.join("new");
    let lost = fs::read(stored.block(3)).unwrap();
    stored.lose([3]);
    stored.flip([6]);
    stored.on("repair").arg("--to").arg(&new).run().expect(0);
    let names = ["3", "6", "manifest"].map(|name| format!("{}/{name}", stored.id));
    assert_eq!(files_below(&new), names);
    assert!(fs::read(new.join(&names[0])).unwrap() == lost);
    assert!(!stored.stores[1].join(&stored.id).join("6").exists(), "a damaged copy is of no use any more");
    let all = [stored.stores.clone(), vec![new]].concat();
    tanner("verify").arg(&stored.id).stores("--from", &all).run().expect(0);
}

#[test]
fn a_damaged_copy_of_a_block_that_is_good_elsewhere_is_replaced() {
    let stored = Stored::new(MIB, "-k 4 -m 2", 3);
    fs::create_dir_all(stored.place.join("mirror").join(&stored.id)).unwrap();
    let copy = stored.place.join("mirror").join(&stored.id).join("1");
    let good = fs::read(stored.block(1)).unwrap();
    let all = [stored.stores.clone(), vec![stored.place.join("mirror")]].concat();
    fs::write(&copy, &good[1..]).unwrap();
    fs::copy(stored.manifest(0), copy.with_file_name("manifest")).unwrap();
    tanner("repair").arg(&stored.id).stores("--from", &all).run().expect(0);
    assert!(fs::read(&copy).unwrap() == good);
}

#[test]
fn a_dead_store_is_exit_code_3_and_its_blocks_go_elsewhere() {
    let stored = Stored::new(MIB, "-k 10 -m 5", 5);
    fs::remove_dir_all(&stored.stores[4]).unwrap();
    fs::write(&stored.stores[4], b"not a directory").unwrap();
    let run = stored.on("repair").run().expect(3);
    run.err_has("store4").err_has("block 4 rebuilt in ").out_has("15 of 15 blocks good");
    stored.restores();
    assert_eq!(fs::read(&stored.stores[4]).unwrap(), b"not a directory");
}

#[test]
fn a_block_that_no_store_takes_is_named() {
    let stored = Stored::new(MIB, "-k 4 -m 2", 3);
    stored.lose([1]);
    let dead = stored.source.join("below-a-file");
    let run = stored.on("repair").arg("--to").arg(&dead).run().expect(3);
    run.err_has("FAILED file://").err_has("below-a-file").err_has("FAILED block 1: no store takes it");
    let json = objects(&stored.on("repair --json").arg("--to").arg(&dead).run().expect(3));
    assert_eq!(array(summary(&json), "blocks_unplaced"), [1]);
}

#[test]
fn a_backup_that_does_not_exist_is_exit_code_10() {
    let stored = Stored::new(1000, "-k 2 -m 1", 3);
    let other = stored.id.chars().rev().collect::<String>();
    tanner("repair").arg(other).stores("--from", &stored.stores).run().expect(10);
    tanner("repair").arg(&stored.id).run().expect(2).err_has("--from");
}

#[test]
fn the_summary_says_what_was_done_and_read() {
    let stored = Stored::new(4 * MIB, "-k 24 -m 26", 5);
    stored.lose([7, 30]);
    let json = objects(&stored.on("repair --json").run().expect(0));
    let done = summary(&json);
    assert_eq!((&done["command"], &done["id"]), (&"repair".into(), &stored.id.as_str().into()));
    assert_eq!(array(done, "blocks_found_damaged"), [7, 30]);
    assert_eq!(array(done, "blocks_rebuilt"), [7, 30]);
    assert_eq!(array(done, "blocks_damaged"), [0; 0]);
    assert_eq!((&done["blocks_good"], &done["dry_run"]), (&50.into(), &false.into()));
    assert_eq!((&done["verified"], &done["bytes_read"]), (&true.into(), &done["bytes_read_full"]));
    let rebuilt: Vec<_> = json.iter().filter(|object| object["event"] == "rebuilt").collect();
    assert_eq!((rebuilt.len(), &rebuilt[0]["block"]), (2, &7.into()));

    stored.lose([7]);
    let json = objects(&stored.on("repair --quick --json").run().expect(0));
    let quick = summary(&json);
    assert_eq!(quick["verified"], false);
    let (read, full) = (quick["bytes_read"].as_u64().unwrap(), quick["bytes_read_full"].as_u64().unwrap());
    assert!(read < 5 * MIB as u64 && 2 * full > 5 * read, "{read} of {full}");
}

#[test]
fn a_repair_that_is_interrupted_leaves_nothing_and_keeps_what_there_was() {
    let place = Place::new();
    let (source, stores) = (place.sparse("source", 96 << 20), place.stores(3));
    let id = back_up(&source, "-k 4 -m 2", &stores).run().expect(0).out.trim().to_owned();
    let block = stores[1].join(&id).join("1");
    let repair = |words: &str| {
        let mut bytes = fs::read(&block).unwrap();
        bytes[5000] = 1;
        fs::write(&block, bytes).unwrap();
        fs::remove_file(stores[0].join(&id).join("0")).unwrap_or_default();
        tanner("repair").arg(&id).stores("--from", &stores).words("--threads 1").words(words)
    };
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for words in ["", "--quick"] {
            interrupt(signal, || repair(words)).expect(code);
            assert!(!stores[0].join(&id).join("0").exists());
            assert_eq!(fs::read(&block).unwrap()[5000], 1);
            for store in &stores {
                assert_eq!(files_below(&store.join(".tanner-stage")), [""; 0]);
            }
        }
    }
    tanner("repair").arg(&id).stores("--from", &stores).run().expect(0);
    tanner("verify").arg(&id).stores("--from", &stores).run().expect(0);
}
