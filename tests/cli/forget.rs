//! Forgetting: what goes is gone, what stays can be restored, and nothing is seen that is neither.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deletes::{Kept, token};
use crate::harness::{Place, Tanner, files_below, nothing_is_left_in, tanner};
use crate::json::{objects, summary};
use crate::kills::{Replay, draw, kill_after, seeds};
use crate::resume::Unfinished;
use crate::stored::{Stored, back_up, content};

/// The ids of the backups that are listed.
fn listed(stores: &[impl AsRef<std::ffi::OsStr>]) -> Vec<String> {
    let list = tanner("ls").stores("", stores).run().expect(0);
    list.out.lines().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

impl Stored {
    fn forget(&self, words: &str) -> Tanner {
        tanner("forget").words(words).stores("--from", &self.stores)
    }

    /// Another backup of the same file to the same stores.
    fn again(&self, words: &str) -> String {
        back_up(&self.source, words, &self.stores).run().expect(0).out.trim().to_owned()
    }
}

#[test]
fn a_backup_that_is_forgotten_is_gone_and_the_others_stay() {
    let stored = Stored::new(100_000, "-k 4 -m 2", 3);
    let other = stored.again("-k 4 -m 2 --no-encrypt");
    let before = files_below(&stored.stores[0]);
    stored.forget("-n").arg(&other).run().expect(0).out_has("would be forgotten: 9 objects");
    assert_eq!(files_below(&stored.stores[0]), before);
    stored.forget("").arg(&other).run().expect(0).out_has(&other).err_has("1 backup forgotten");
    assert_eq!(listed(&stored.stores), [stored.id.as_str()]);
    stored.stores.iter().for_each(|store| assert!(!store.join(&other).exists()));
    stored.restores();
    stored.forget("").arg(&other).run().expect(10).is_one_line_of_error();
    // Whoever says its id means even the last one, and one that nobody could restore.
    stored.lose(0..6);
    stored.forget("").arg(&stored.id).run().expect(0);
    nothing_is_left_in(&stored.stores);
}

#[test]
fn rules_keep_what_they_say_of_each_source_and_say_why() {
    let place = Place::new();
    let stores = place.stores(3);
    let (a, b) = (place.file("a.db", &content(50_000, 1)), place.file("b.db", &content(50_000, 2)));
    let mut ids = Vec::new();
    for (source, words) in [(&a, ""), (&b, ""), (&a, "--no-encrypt"), (&a, ""), (&a, "")] {
        ids.push(back_up(source, "-k 4 -m 2", &stores).words(words).run().expect(0).out.trim().to_owned());
        // Which is the newest is told by the second.
        std::thread::sleep(Duration::from_millis(1100));
    }
    let forget = |words: &str| tanner("forget").words(words).stores("--from", &stores);
    let json = objects(&forget("--json --dry-run --keep-last 1 --keep-daily 1").run().expect(0));
    let what = |id: &str| json.iter().find(|event| event["id"] == id).unwrap()["what"].clone();
    // A plain backup of the same name may be anybody's: it does not count among those that are signed.
    let expected = ["would_forget", "kept", "kept", "would_forget", "kept"];
    assert_eq!(ids.iter().map(|id| what(id)).collect::<Vec<Value>>(), expected);
    assert_eq!((&summary(&json)["kept"], &summary(&json)["forgotten"]), (&3.into(), &2.into()));
    let kept = json.iter().find(|event| event["id"] == ids[4].as_str()).unwrap();
    let why = kept["why"].as_array().unwrap();
    assert!(why.contains(&"last 1".into()) && why.len() == 3, "{kept}");
    assert_eq!(listed(&stores).len(), 5);

    // One that cannot be restored is not the last one, and no rule deletes it.
    for (block, store) in stores.iter().enumerate() {
        fs::remove_file(store.join(&ids[4]).join(block.to_string())).unwrap();
    }
    let run = forget("--keep-last 1 --name a.db").run().expect(0);
    run.out_has("it cannot be restored from these stores").err_has("1 backup forgotten, 3 kept");
    let mut left = listed(&stores);
    left.sort();
    let mut expected: Vec<&str> = [1, 2, 3, 4].map(|n: usize| ids[n].as_str()).to_vec();
    expected.sort_unstable();
    assert_eq!(left, expected);
    assert_eq!(files_below(&stores[0]).iter().filter(|name| name.starts_with(&ids[0])).count(), 0);
}

/// A store that is away for an hour would cost all that it has blocks of.
#[test]
fn rules_delete_nothing_while_a_store_cannot_be_read() {
    let stored = Stored::new(50_000, "-k 4 -m 2", 3);
    stored.again("-k 4 -m 2");
    let away = stored.place.join("away");
    fs::rename(&stored.stores[1], &away).unwrap();
    stored.forget("--keep-last 1").run().expect(10).is_one_line_of_error().err_has("store1");
    stored.forget("").arg(&stored.id).run().expect(10).is_one_line_of_error();
    fs::rename(&away, &stored.stores[1]).unwrap();
    assert_eq!(listed(&stored.stores).len(), 2);
    stored.restores();
}

#[test]
fn without_a_key_rules_say_so_and_ids_do() {
    let stored = Stored::new(50_000, "-k 4 -m 2", 3);
    let nowhere = stored.place.join("nowhere");
    let nobody = |run: Tanner| {
        run.without_env("TANNER_IDENTITY_FILE").env("XDG_CONFIG_HOME", nowhere.to_str().unwrap())
    };
    let run = nobody(stored.forget("--keep-last 1")).run().expect(12);
    run.err_has("by their ids they can be forgotten");
    stored.restores();
    nobody(stored.forget("")).arg(&stored.id).run().expect(0);
    nothing_is_left_in(&stored.stores);
}

#[test]
fn rules_or_ids_are_needed_and_not_both() {
    for words in ["--from a", "--from a --name b", "0 --keep-last 1 --from a", "--keep-last 1 x --from a"] {
        tanner("forget").words(words).run().expect(2);
    }
    tanner("forget --keep-last 1").run().expect(2).err_has("--from");
    tanner("forget nonsense --from a").run().expect(2).is_one_line_of_error();
}

#[test]
fn a_client_that_may_only_add_is_told_what_it_needs_and_loses_nothing() {
    let secrets = Place::new();
    let (path, hash) = token(&secrets, "token");
    let kept = Kept::new(&format!("delete_token = \"{hash}\""));
    let serving = kept.serve("");
    let stores = [kept.place.join("disk").to_str().unwrap().to_owned(), serving.url().to_owned()];
    let source = kept.place.file("a.bin", &content(100_000, 1));
    let backup = kept.client.tanner("backup -k 4 -m 2").arg(&source).stores("--to", &stores);
    let id = backup.run().expect(0).out.trim().to_owned();
    let journals = kept.place.join("journals");
    let with = |run: Tanner| run.env("TANNER_JOURNAL", journals.to_str().unwrap());
    let forget = || with(kept.client.tanner("forget").arg(&id).stores("--from", &stores));
    for _ in 0..2 {
        forget().run().expect(3).out_has("something is left").out_has("tanner key token");
        // The manifest of the server says that it is there, and so it is.
        assert_eq!(kept.objects().len(), 1);
        let restore = kept.client.tanner("restore").arg(&id).stores("--from", &stores);
        restore.words("--force -o").arg(kept.place.output()).run().expect(0);
    }
    let sweep = with(kept.client.tanner("sweep")).env("TANNER_DELETE_TOKEN_FILE", path.to_str().unwrap());
    sweep.run().expect(0).out_has("taken back");
    assert!(kept.objects().is_empty() && files_below(&journals).is_empty());
    nothing_is_left_in(&[kept.place.join("disk")]);
}

#[test]
fn what_is_being_made_is_not_forgotten() {
    let unfinished = Unfinished::new(24 << 20);
    let run = unfinished.slow().run_until_bytes_are_done().expect("it takes a second");
    run.hold();
    let id = unfinished.unfinished().pop().unwrap();
    // Nothing may be in the stores yet, and what is in the journal counts.
    fs::create_dir_all(unfinished.stores[0].join(&id)).unwrap();
    fs::write(unfinished.stores[0].join(&id).join("0"), b"x").unwrap();
    unfinished.stores.iter().for_each(|store| _ = fs::create_dir_all(store));
    let forget = || unfinished.tanner("forget").arg(&id).stores("--from", &unfinished.stores).run().expect(1);
    forget().err_has("by another run");
    run.signal(rustix::process::Signal::KILL);
    run.go_on();
    run.finish();
    forget().err_has(&format!("tanner sweep {id}"));
}

/// Whenever a run is cut off: what is listed can be restored, and the next run ends it.
#[test]
fn a_forget_that_is_cut_off_leaves_no_backup_that_only_looks_like_one() {
    for calls in 0..9 {
        let stored = Stored::new(50_000, "-k 4 -m 2", 3);
        let dying = format!("fault:dies={calls}+{}", stored.stores[1].display());
        let [first, _, last] = &stored.stores[..] else { panic!() };
        let stores = [first.to_str().unwrap(), &dying, last.to_str().unwrap()];
        let code = tanner("forget").arg(&stored.id).stores("--from", &stores).run().code;
        if !listed(&stored.stores).is_empty() {
            stored.restores();
        }
        let left: usize = stored.stores.iter().map(|store| files_below(store).len()).sum();
        assert_eq!(code == 0, left == 0, "after {calls} calls {left} objects and exit code {code}");
        if left > 0 {
            stored.forget("").arg(&stored.id).run().expect(0);
        }
        nothing_is_left_in(&stored.stores);
    }
}

#[test]
fn a_forget_that_is_killed_is_ended_by_a_sweep() {
    let slow = |stored: &Stored| {
        let stores: Vec<String> =
            stored.stores.iter().map(|store| format!("fault:delay=30ms+{}", store.display())).collect();
        let run = tanner("forget").arg(&stored.id).stores("--from", &stores);
        run.env("TANNER_JOURNAL", stored.place.join("journals").to_str().unwrap())
    };
    let first = Stored::new(20_000, "-k 4 -m 2", 3);
    let began = Instant::now();
    slow(&first).run().expect(0);
    let whole = began.elapsed();
    for seed in seeds() {
        let _replay = Replay("a_forget_that_is_killed", seed);
        let stored = Stored::new(20_000, "-k 4 -m 2", 3);
        kill_after(slow(&stored), whole, draw(seed, 1050));
        if !listed(&stored.stores).is_empty() {
            stored.restores();
        }
        let journals = stored.place.join("journals");
        let sweep = tanner("sweep").env("TANNER_JOURNAL", journals.to_str().unwrap()).run().expect(0);
        if sweep.out.contains("taken back") {
            nothing_is_left_in(&stored.stores);
        } else if !listed(&stored.stores).is_empty() {
            // It was killed before it began.
            stored.restores();
        }
        assert_eq!(files_below(&journals), [""; 0]);
    }
}
