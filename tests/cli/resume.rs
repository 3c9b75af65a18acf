//! Backups that were cut off: they are gone on with, or taken back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Place, Run, Running, Tanner, files_below, nothing_is_left_in, tanner};
use crate::json::{objects, summary};
use crate::signals::interrupt;
use crate::stored::content;

/// Enough for some checkpoints at the rate that is allowed.
const BYTES: usize = 24 << 20;

/// A source, stores, and a directory for journals.
pub(crate) struct Unfinished {
    pub(crate) place: Place,
    pub(crate) source: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) stores: Vec<PathBuf>,
}

impl Unfinished {
    pub(crate) fn new(bytes: usize) -> Self {
        let place = Place::new();
        let bytes = content(bytes, 5);
        let (source, stores) = (place.file("source", &bytes), place.stores(3));
        Self { source, bytes, stores, place }
    }

    pub(crate) fn journals(&self) -> PathBuf {
        self.place.join("journals")
    }

    pub(crate) fn tanner(&self, words: &str) -> Tanner {
        tanner(words).env("TANNER_JOURNAL", self.journals().to_str().unwrap())
    }

    pub(crate) fn back_up(&self, words: &str) -> Tanner {
        self.tanner("backup -k 4 -m 2").words(words).arg(&self.source).stores("--to", &self.stores)
    }

    /// A backup that lasts for about a second, and writes down ten times how far it is.
    pub(crate) fn slow(&self) -> Tanner {
        self.back_up("--checkpoint 50ms --limit 40MB")
    }

    /// What a backup left that was cut off.
    fn cut_off(&self, signal: Signal) -> Run {
        // Attempts that were too fast are not what is left.
        interrupt(signal, || {
            self.stores.iter().for_each(|store| _ = fs::remove_dir_all(store));
            self.slow()
        })
    }

    pub(crate) fn unfinished(&self) -> Vec<String> {
        let mut files = files_below(&self.journals());
        files.retain(|file| !file.ends_with(".tags"));
        files
    }

    #[track_caller]
    pub(crate) fn restores(&self, id: &str) {
        let output = self.place.output();
        tanner("restore -f").arg(id).stores("--from", &self.stores).arg("-o").arg(&output).run().expect(0);
        assert!(fs::read(output).unwrap() == self.bytes);
    }

    /// Only whole backups are in the stores, and no journal.
    #[track_caller]
    pub(crate) fn is_tidy(&self, ids: &[&str]) {
        assert_eq!(files_below(&self.journals()), [""; 0]);
        for (number, store) in self.stores.iter().enumerate() {
            let blocks = |id: &&str| {
                [format!("{id}/{number}"), format!("{id}/{}", number + 3), format!("{id}/manifest")]
            };
            let mut expected: Vec<String> = ids.iter().flat_map(blocks).collect();
            expected.sort();
            assert_eq!(files_below(store), expected, "{}", store.display());
        }
    }

    #[track_caller]
    fn sweeps(&self, code: i32) -> Run {
        self.tanner("sweep").run().expect(code)
    }
}

#[track_caller]
fn numbers(run: &Run) -> (u64, u64, u64, String) {
    let json = objects(run);
    let number = |name: &str| summary(&json)[name].as_u64().unwrap();
    let id = summary(&json)["id"].as_str().unwrap().to_owned();
    (number("sent_bytes"), number("resumed_bytes"), number("stored_bytes"), id)
}

/// Hours of sending would be for nothing.
#[test]
fn a_backup_that_was_stopped_goes_on_and_sends_nothing_twice() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let unfinished = Unfinished::new(BYTES);
        let stopped = unfinished.cut_off(signal).expect(code);
        stopped.out_has("--resume").out_has("tanner sweep");
        let id = unfinished.unfinished().pop().unwrap();
        stopped.out_has(&id);
        tanner("ls").stores("", &unfinished.stores).run().expect(0).out_has("ID");
        // Tags are of chunks, which do not fit into less.
        let less = unfinished.back_up("--resume --memory 25MiB").run().expect(2);
        less.is_one_line_of_error().err_has("--memory");
        let run = unfinished.back_up("--json --resume --memory 26MiB").run().expect(0);
        let (sent, resumed, stored, resumed_id) = numbers(&run);
        assert!(resumed > 0 && sent > 0 && sent + resumed == stored, "{sent} {resumed} {stored}");
        assert_eq!(resumed_id, id);
        unfinished.restores(&id);
        unfinished.is_tidy(&[&id]);
    }
}

/// A cron job may always say so.
#[test]
fn resuming_what_is_not_there_is_a_plain_backup() {
    let unfinished = Unfinished::new(100_000);
    for resume in ["--resume", "--resume --journal none"] {
        let run = unfinished.back_up(resume).run().expect(0);
        unfinished.restores(run.out.trim());
    }
    assert_eq!(unfinished.unfinished(), [""; 0]);
}

#[test]
fn a_backup_that_is_killed_sends_again_what_came_after_its_last_checkpoint_and_no_more() {
    let unfinished = Unfinished::new(BYTES);
    unfinished.cut_off(Signal::KILL);
    let id = unfinished.unfinished().pop().unwrap();
    // One store lost what it kept.
    for staged in fs::read_dir(unfinished.stores[1].join(".tanner-stage")).unwrap() {
        fs::remove_file(staged.unwrap().path()).unwrap();
    }
    let run = unfinished.back_up("--json --resume").run().expect(0);
    let (sent, resumed, stored, _) = numbers(&run);
    assert_eq!(sent + resumed, stored);
    unfinished.restores(&id);
    unfinished.is_tidy(&[&id]);
}

/// The old half and the new half of a file are no file that ever was.
#[test]
fn a_source_that_changed_since_is_not_gone_on_with() {
    let unfinished = Unfinished::new(BYTES);
    unfinished.cut_off(Signal::INT);
    let id = unfinished.unfinished().pop().unwrap();
    let modified = fs::metadata(&unfinished.source).unwrap().modified().unwrap();
    let mut changed = unfinished.bytes.clone();
    changed[1000] ^= 1;
    // Written in place, so that it is the same file.
    let write = |bytes: &[u8]| fs::write(&unfinished.source, bytes).unwrap();
    let refused = || {
        let run = unfinished.back_up("--resume").run().expect(7);
        run.is_one_line_of_error().err_has(&format!("tanner sweep {id}"));
        assert_eq!(unfinished.unfinished(), [id.as_str()]);
    };
    write(&changed);
    refused();
    write(&changed[1..]);
    refused();
    write(&changed);
    File::options().write(true).open(&unfinished.source).unwrap().set_modified(modified).unwrap();
    // Only its bytes tell now.
    refused();
    write(&unfinished.bytes);
    File::options().write(true).open(&unfinished.source).unwrap().set_modified(modified).unwrap();
    unfinished.back_up("--resume").run().expect(0);
    unfinished.restores(&id);
    unfinished.is_tidy(&[&id]);
}

#[test]
fn a_backup_is_not_gone_on_with_in_other_stores_or_in_another_shape() {
    let unfinished = Unfinished::new(BYTES);
    unfinished.cut_off(Signal::INT);
    let id = unfinished.unfinished().pop().unwrap();
    let refused = |run: Tanner, what: &str| {
        run.run().expect(2).is_one_line_of_error().err_has(what).err_has(&format!("tanner sweep {id}"));
    };
    let more = unfinished.tanner("backup -k 4 -m 3 --resume").arg(&unfinished.source);
    refused(more.stores("--to", &unfinished.stores), "4+2");
    refused(unfinished.back_up("--resume").words("--to").arg(unfinished.place.join("more")), "more");
    refused(unfinished.back_up("--resume").words("--survive").arg("1 store"), "1 store");
    // The order of stores means nothing.
    let mut stores = unfinished.stores.clone();
    stores.rotate_left(1);
    let run = unfinished.tanner("backup -k 4 -m 2 --resume").arg(&unfinished.source).stores("--to", &stores);
    run.run().expect(0);
    unfinished.restores(&id);
    unfinished.is_tidy(&[&id]);
}

/// Two runs would write into the same blocks.
#[test]
fn a_backup_under_way_is_neither_gone_on_with_nor_taken_back() {
    let unfinished = Unfinished::new(BYTES);
    let slow: Running = unfinished.slow().run_until_bytes_are_done().unwrap();
    slow.hold();
    let running = unfinished.unfinished();
    if let [id] = running.as_slice() {
        unfinished
            .back_up("--resume")
            .run()
            .expect(1)
            .is_one_line_of_error()
            .err_has(id)
            .err_has("another run");
        unfinished.sweeps(0).out_has("another run is making it");
    }
    slow.go_on();
    let (.., id) = numbers(&slow.finish().expect(0));
    unfinished.restores(&id);
    unfinished.is_tidy(&[&id]);
}

#[test]
fn what_is_unfinished_is_mentioned_and_taken_back_when_it_is_told_to() {
    let unfinished = Unfinished::new(BYTES);
    unfinished.cut_off(Signal::KILL);
    let id = unfinished.unfinished().pop().unwrap();
    let run = unfinished.back_up("").run().expect(0);
    assert_eq!(run.err.matches(&format!("backup {id} of this file is unfinished")).count(), 1, "{run:#?}");
    let before: Vec<_> = unfinished.stores.iter().map(|store| files_below(store)).collect();
    unfinished.tanner("sweep --dry-run").run().expect(0).out_has("would be taken back");
    unfinished.tanner("sweep --older-than 1h").run().expect(0).out_has("too young");
    assert_eq!(before, unfinished.stores.iter().map(|store| files_below(store)).collect::<Vec<_>>());
    let json = objects(&unfinished.tanner("sweep --json").run().expect(0));
    assert_eq!(summary(&json)["taken_back"], 1);
    assert!(json.iter().any(|object: &Value| object["event"] == "unfinished" && object["id"] == id.as_str()));
    unfinished.is_tidy(&[run.out.trim()]);
    unfinished.restores(run.out.trim());
    unfinished.tanner("sweep").arg(&id).run().expect(10).is_one_line_of_error();
}

#[test]
fn what_is_in_a_store_out_of_reach_is_taken_back_when_it_is_there_again() {
    let unfinished = Unfinished::new(BYTES);
    unfinished.cut_off(Signal::INT);
    let away = unfinished.place.join("away");
    fs::rename(&unfinished.stores[2], &away).unwrap();
    unfinished.sweeps(3).out_has("something is left");
    assert_eq!(unfinished.unfinished().len(), 1);
    nothing_is_left_in(&unfinished.stores[..2]);
    fs::rename(&away, &unfinished.stores[2]).unwrap();
    // Too much of it is gone to go on with.
    unfinished.sweeps(0);
    unfinished.is_tidy(&[]);
}

/// A machine that dies between the manifest and the end of the journal must not cost the backup.
#[test]
fn a_sweep_does_not_touch_what_has_a_manifest() {
    let unfinished = Unfinished::new(BYTES);
    let slow = unfinished.slow().run_until_bytes_are_done().unwrap();
    slow.hold();
    let journals = unfinished.unfinished();
    let old: Vec<Vec<u8>> =
        journals.iter().map(|name| fs::read(unfinished.journals().join(name)).unwrap()).collect();
    slow.go_on();
    let (.., id) = numbers(&slow.finish().expect(0));
    for (name, bytes) in journals.iter().zip(old) {
        fs::write(unfinished.journals().join(name), bytes).unwrap();
        unfinished.sweeps(0).out_has("it has a manifest, and stays");
    }
    unfinished.is_tidy(&[&id]);
    unfinished.restores(&id);
}

/// Whoever may write journals may not make others read more than is there, or delete what is not theirs.
#[test]
fn damaged_journals_are_left_and_named() {
    let unfinished = Unfinished::new(BYTES);
    unfinished.cut_off(Signal::INT);
    let id = unfinished.unfinished().pop().unwrap();
    let path = unfinished.journals().join(&id);
    let whole = fs::read(&path).unwrap();
    // The first record is its length, a checksum of 16 bytes, and what the backup is.
    let first = 4 + 16 + u32::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    for cut in [whole.len() - 1, first] {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(mentions(&unfinished, &id));
    }
    // Nothing but the begin of a first record was never relied on.
    fs::write(&path, &whole[..7]).unwrap();
    assert!(!mentions(&unfinished, &id));
    unfinished.sweeps(0);
    assert_eq!(unfinished.unfinished(), [""; 0]);
    fs::write(&path, &whole).unwrap();
    unfinished.sweeps(0).out_has("taken back");
}

fn mentions(unfinished: &Unfinished, id: &str) -> bool {
    let small: &Path = &unfinished.source;
    let run =
        unfinished.tanner("backup -k 1 -m 1").arg(small).stores("--to", &unfinished.stores).run().expect(0);
    run.err.contains(&format!("backup {id} of this file is unfinished"))
}
