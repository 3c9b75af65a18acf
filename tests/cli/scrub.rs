//! Scrubs: everything is read in its turn, what is wrong is found, and mended if so wished.

use std::fs;
use std::path::PathBuf;

use crate::harness::{Place, Tanner, files_below, tanner};
use crate::json::{objects, summary};
use crate::kills::{Replay, draw, kill_after, seeds};
use crate::stored::{Stored, back_up, content};

/// Stores with several backups.
struct Care {
    place: Place,
    stores: Vec<PathBuf>,
    ids: Vec<String>,
}

impl Care {
    fn new(backups: &[&str], stores: usize) -> Self {
        let place = Place::new();
        let stores = place.stores(stores);
        let one = |(seed, words): (usize, &&str)| {
            let source = place.file(&format!("{seed}.bin"), &content(60_000 + seed, seed as u64 + 1));
            back_up(&source, words, &stores).run().expect(0).out.trim().to_owned()
        };
        let ids = backups.iter().enumerate().map(one).collect();
        Self { place, stores, ids }
    }

    fn cursor(&self) -> PathBuf {
        self.place.join("state/scrub.json")
    }

    fn scrub(&self, words: &str) -> Tanner {
        let scrub = tanner("scrub").words(words).stores("--from", &self.stores);
        scrub.env("TANNER_SCRUB_CURSOR", self.cursor().to_str().unwrap())
    }

    fn file(&self, backup: usize, store: usize, name: &str) -> PathBuf {
        self.stores[store].join(&self.ids[backup]).join(name)
    }

    fn flip(&self, backup: usize, store: usize, name: &str, at: usize) {
        let path = self.file(backup, store, name);
        let mut bytes = fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    /// All objects with their bytes.
    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files =
            |store: &PathBuf| files_below(store).into_iter().map(|file| store.join(file)).collect::<Vec<_>>();
        let files = self.stores.iter().flat_map(files).filter(|path| path.is_file());
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

fn number(json: &[serde_json::Value], name: &str) -> u64 {
    summary(json)[name].as_u64().unwrap()
}

#[test]
fn a_scrub_reads_everything_once_and_then_what_is_due() {
    let care = Care::new(&["-k 4 -m 2", "-k 10 -m 5 --no-encrypt"], 3);
    // Without any key.
    let scrub = |words: &str| {
        let run = care.scrub("--json").words(words).env("TANNER_IDENTITY_FILE", "/nowhere");
        objects(&run.run().expect(0))
    };
    let json = scrub("--sample 1%");
    assert_eq!((number(&json, "blocks"), number(&json, "blocks_read")), (21, 1));
    let json = scrub("");
    assert_eq!((number(&json, "blocks_read"), number(&json, "backups_sound")), (20, 2));
    assert!(summary(&json)["oldest"].is_string());
    assert_eq!(number(&scrub(""), "blocks_read"), 0, "all was read a moment ago");
    assert_eq!(number(&scrub("--max-age 0s"), "blocks_read"), 21);
    assert_eq!(number(&scrub("--all"), "blocks_read"), 21);
    // A cursor that was lost costs a reading, and no more.
    fs::write(care.cursor(), "nonsense").unwrap();
    assert_eq!(number(&scrub(""), "blocks_read"), 21);
    let words = care.scrub("").run().expect(0);
    words.out_has("2 backups: 2 without fault").err_has("0 of 21 blocks read");
}

#[test]
fn a_scrub_finds_what_is_wrong_and_changes_nothing() {
    let care = Care::new(&["-k 4 -m 2", "-k 4 -m 2"], 3);
    care.flip(0, 1, "4", 500);
    care.flip(1, 2, "manifest", 900);
    fs::remove_file(care.file(1, 0, "3")).unwrap();
    let before = care.contents();
    for _ in 0..2 {
        let run = care.scrub("").run().expect(4);
        run.err_has("block 4 in ").err_has("hash is wrong").err_has("block 3 is missing");
        run.err_has("manifest in").out_has("0 without fault");
    }
    assert!(care.contents() == before);
    // Too much of one is lost: the other is repaired all the same.
    (0..3).for_each(|store| care.flip(0, store, &store.to_string(), 7));
    let json = objects(&care.scrub("--json --repair --all").run().expect(5));
    assert_eq!(summary(&json)["backups_lost"][0], care.ids[0].as_str());
    assert_eq!(summary(&json)["backups_repaired"][0], care.ids[1].as_str());
}

/// A machine whose disks are not mounted has no backups to see, and is not well.
#[test]
fn a_scrub_that_finds_no_store_is_no_success() {
    let care = Care::new(&["-k 4 -m 2"], 3);
    care.stores.iter().for_each(|store| fs::rename(store, store.with_extension("away")).unwrap());
    for words in ["", "--repair"] {
        let code = care.scrub(words).run().code;
        assert!(code != 0, "{words}");
    }
    care.scrub("--repair").run().expect(10);
    assert!(care.stores.iter().all(|store| !store.exists()));
}

/// What was survived is survived again, or every scrub says that it is not: by a key, or by what is demanded. Disks that two
/// hosts share must not come before the hosts.
#[test]
fn a_scrub_that_repairs_keeps_what_was_survived_or_goes_on_saying_so() {
    let place = Place::new();
    let (source, stores) = (place.file("a.bin", &content(60_000, 1)), place.stores(4));
    let labelled = |mut run: Tanner, count: usize| {
        for (store, labels) in
            stores[..count].iter().zip([&["host=a", "disk=1"][..], &["host=b"], &["host=c"], &["host=d"]])
        {
            for label in labels {
                run = run.arg("--fact").arg(store).arg(label);
            }
        }
        run
    };
    let survive = |run: Tanner| run.arg("--survive").arg("1 host");
    labelled(survive(back_up(&source, "-k 8 -m 6", &stores)), 4).run().expect(0);
    let scrub = |count: usize| {
        labelled(tanner("scrub --repair --cursor none").stores("--from", &stores[..count]), count)
    };
    let without_a_key = |run: Tanner| survive(run).env("TANNER_IDENTITY_FILE", "/nowhere").run();
    // 14 blocks on three hosts are 5, 5 and 4, and the loss of five leaves 9.
    without_a_key(scrub(3)).expect(0).err_has("rebuilt in");
    scrub(3).run().expect(0);
    // On two hosts it cannot be kept, and is said each time.
    for _ in 0..2 {
        scrub(2).run().expect(3).err_has("below target");
        without_a_key(scrub(2)).expect(3).err_has("the loss of any 1 host");
    }
}

#[test]
fn a_scrub_that_repairs_leaves_everything_as_it_was_stored() {
    let care = Care::new(&["-k 4 -m 2", "-k 10 -m 5 --no-encrypt", "-k 24 -m 26"], 5);
    let before = care.contents();
    care.flip(0, 1, "1", 500);
    care.flip(1, 2, "12", 3);
    fs::remove_dir_all(&care.stores[3]).unwrap();
    // Of a manifest every byte counts, those too that say what it is.
    (0..16).for_each(|at| care.flip(2, 0, "manifest", at));
    let json =
        objects(&care.scrub("--json --repair").env("TANNER_IDENTITY_FILE", "/nowhere").run().expect(0));
    assert_eq!(summary(&json)["backups_repaired"].as_array().unwrap().len(), 3);
    assert_eq!(number(&json, "blocks_rebuilt"), 16);
    assert!(care.contents() == before, "the stores hold something else");
    let json = objects(&care.scrub("--json").run().expect(0));
    // What was rebuilt was never read.
    assert_eq!(number(&json, "blocks_read"), 16);
}

#[test]
fn what_a_dead_store_had_goes_to_another_one() {
    let care = Care::new(&["-k 4 -m 2"], 3);
    fs::remove_dir_all(&care.stores[2]).unwrap();
    fs::write(&care.stores[2], b"not a directory").unwrap();
    care.scrub("").run().expect(4).err_has("store2");
    let new = care.place.join("new");
    care.scrub("--repair")
        .arg("--to")
        .arg(&new)
        .run()
        .expect(3)
        .err_has("store2")
        .err_has("block 2 rebuilt in ");
    assert_eq!(files_below(&new.join(&care.ids[0])), ["2", "5", "manifest"]);
    // Whoever names the new one instead has nothing to mend.
    let stores = [care.stores[0].clone(), care.stores[1].clone(), new];
    let all = tanner("scrub --cursor none").stores("--from", &stores).run().expect(0);
    all.out_has("1 backup: 1 without fault");
}

/// Two jobs with other stores each: neither is to spread over those of the other.
#[test]
fn a_store_that_a_backup_was_never_in_is_not_damage() {
    let care = Care::new(&["-k 4 -m 2"], 3);
    let other = care.place.join("other");
    let source = care.place.file("b", b"b");
    back_up(&source, "-k 1 -m 1", &[&other]).run().expect(0);
    let before = files_below(&other);
    care.scrub("--repair").arg("--from").arg(&other).run().expect(0).out_has("2 backups: 2 without fault");
    assert_eq!(files_below(&other), before);
}

#[test]
fn a_scrub_that_is_stopped_goes_on_where_it_was() {
    let care = Care::new(&["-k 10 -m 5", "-k 10 -m 5"], 3);
    // The first eight blocks take half a second.
    let slow = care.scrub("--limit 100KB").run_until_bytes_are_done().expect("it takes two seconds");
    std::thread::sleep(std::time::Duration::from_millis(900));
    slow.signal(rustix::process::Signal::INT);
    slow.finish().expect(130);
    let json = objects(&care.scrub("--json").run().expect(0));
    assert!(number(&json, "blocks_read") < 30, "{}", summary(&json));
}

/// Killed whenever it may be, a repair loses nothing, and the next one ends it.
#[test]
fn a_scrub_that_is_killed_while_it_repairs_loses_nothing() {
    let spoiled = || {
        let care = Care::new(&["-k 4 -m 2", "-k 4 -m 2 --no-encrypt"], 3);
        let before = care.contents();
        for backup in 0..2 {
            care.flip(backup, 0, "0", 100);
            fs::remove_file(care.file(backup, 1, "4")).unwrap();
            care.flip(backup, 2, "manifest", 50);
            care.flip(backup, 1, "manifest", 6);
        }
        (care, before)
    };
    let slow = |care: &Care| {
        let stores: Vec<String> =
            care.stores.iter().map(|store| format!("fault:delay=10ms+{}", store.display())).collect();
        tanner("scrub --repair --cursor none").stores("--from", &stores)
    };
    let (first, _) = spoiled();
    let began = std::time::Instant::now();
    slow(&first).run().expect(0);
    let whole = began.elapsed();
    for seed in seeds() {
        let _replay = Replay("a_scrub_that_is_killed", seed);
        let (care, before) = spoiled();
        kill_after(slow(&care), whole, draw(seed, 1050));
        for id in &care.ids {
            let restore = tanner("restore -f").arg(id).stores("--from", &care.stores);
            restore.arg("-o").arg(care.place.output()).run().expect(0);
        }
        care.scrub("--repair").run().expect(0);
        // What a killed run had staged is swept by its store, and seen by nobody.
        let staged = |path: &PathBuf| path.to_str().unwrap().contains("/.tanner-stage/");
        let after: Vec<_> = care.contents().into_iter().filter(|(path, _)| !staged(path)).collect();
        assert!(after == before, "the stores hold something else");
    }
}

/// A store that dies at any step of a repair takes nothing along that was there before.
#[test]
fn a_repair_whose_store_dies_at_any_step_loses_nothing() {
    for calls in (0..40).step_by(4) {
        let care = Care::new(&["-k 4 -m 2"], 3);
        let before = care.contents();
        care.flip(0, 1, "1", 100);
        fs::remove_file(care.file(0, 1, "4")).unwrap();
        care.flip(0, 1, "manifest", 50);
        let dying = format!("fault:dies={calls}+{}", care.stores[1].display());
        let stores = [care.stores[0].to_str().unwrap(), &dying, care.stores[2].to_str().unwrap()];
        let code = tanner("scrub --repair --cursor none").stores("--from", &stores).run().code;
        assert!([0, 3].contains(&code), "{code} after {calls} calls");
        let restore = tanner("restore").arg(&care.ids[0]).stores("--from", &care.stores);
        restore.arg("-o").arg(care.place.output()).run().expect(0);
        // What went to other stores meanwhile stays there.
        let again = care.scrub("--repair").run();
        assert!(again.code == 0 || again.code == 3 && again.err.contains("below target"), "{again:#?}");
        if code == 0 {
            assert!(care.contents() == before, "the stores hold something else");
        }
    }
}

/// Ten thousand bits turn over in as many blocks as may be lost and in all manifests but one of each, and some objects go
/// as a whole: each time everything that is wrong is found, and everything comes back as it was.
#[test]
fn whatever_rots_within_the_limit_is_found_and_comes_back_as_it_was() {
    let shapes = [(4, 2, ""), (10, 5, "--no-encrypt"), (20, 20, "")];
    let words = shapes.map(|(k, m, words)| format!("-k {k} -m {m} {words}"));
    let care = Care::new(&words.each_ref().map(String::as_str), 5);
    let before = care.contents();
    let mut seed = 0;
    let mut next = |of: usize| {
        seed += 1;
        draw(seed, of as u64) as usize
    };
    for _ in 0..BIT_FLIPS / BIT_FLIPS_AT_ONCE {
        let (mut spoiled, mut manifests, mut blocks) = (Vec::new(), 0, 0);
        for (backup, (k, m, _)) in shapes.into_iter().enumerate() {
            let (first, good) = (next(k + m), next(5));
            // Blocks are coded for the loss of any of them, of which these are neighbours or far apart.
            let step = if (k + m) % 7 == 0 { 1 } else { [1, 7][next(2)] };
            let lost = if m == 20 { m - 1 } else { m };
            let of_blocks = (0..lost).map(|n| (first + n * step) % (k + m)).map(|b| (b % 5, b.to_string()));
            let of_manifests =
                (0..5).filter(|&store| store != good).map(|store| (store, "manifest".to_owned()));
            blocks += lost;
            manifests += 4;
            spoiled
                .extend(of_blocks.chain(of_manifests).map(|(store, name)| care.file(backup, store, &name)));
        }
        let mut contents: Vec<Vec<u8>> = spoiled.iter().map(|path| fs::read(path).unwrap()).collect();
        // One in each, and the others anywhere; what is turned over twice is turned over elsewhere.
        let mut flipped = std::collections::BTreeSet::new();
        while flipped.len() < BIT_FLIPS_AT_ONCE {
            let of = if flipped.len() < spoiled.len() { flipped.len() } else { next(spoiled.len()) };
            let bit = (of, next(contents[of].len() * 8));
            if flipped.insert(bit) {
                contents[of][bit.1 / 8] ^= 1 << (bit.1 % 8);
            }
        }
        spoiled.iter().zip(&contents).for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        fs::remove_file(&spoiled[next(spoiled.len())]).unwrap();
        let json = objects(&care.scrub("--json --repair --all").run().expect(0));
        let found = (number(&json, "blocks_damaged"), number(&json, "manifests_damaged"));
        assert_eq!(found, (blocks as u64, manifests), "{}", summary(&json));
        assert!(care.contents() == before, "the stores hold something else");
    }
}

const BIT_FLIPS: usize = 10_000;
const BIT_FLIPS_AT_ONCE: usize = 500;

/// "All is well" means something else for each.
#[test]
fn verify_reads_as_much_as_it_is_told_to() {
    let stored = Stored::new(100_000, "-k 10 -m 5", 5);
    let read = |words: &str, code: i32| {
        let json = objects(&stored.on("verify --json").words(words).run().expect(code));
        (summary(&json)["blocks_read"].as_u64().unwrap(), summary(&json)["bytes_read"].as_u64().unwrap())
    };
    assert_eq!(read("--quick", 0), (0, 0));
    assert_eq!(read("--sample 20%", 0).0, 3);
    assert_eq!(read("--sample 0.01%", 0).0, 1);
    assert!(read("", 0) > (14, 100_000));
    stored.flip([3]);
    assert_eq!(read("--quick", 0), (0, 0), "it does not read");
    assert_eq!(read("--sample 100%", 4).0, 15);
    stored.cut_short(7);
    stored.lose([8]);
    let run = stored.on("verify --quick").run().expect(4);
    run.err_has("block 7 in ").err_has("block 8 is missing").err_has("may be damaged");
    for wrong in ["0", "101%", "-5%", "x"] {
        stored.on("verify --sample").arg(wrong).run().expect(2);
    }
    stored.on("verify --sample 5% --quick").run().expect(2);
}

impl Stored {
    fn cut_short(&self, block: usize) {
        let bytes = fs::read(self.block(block)).unwrap();
        fs::write(self.block(block), &bytes[1..]).unwrap();
    }
}
