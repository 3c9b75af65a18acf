//! Parity beside a file: what gets damaged of the file comes back in its place, and nothing else ever changes in it.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::harness::{Place, Tanner, files_below, tanner};
use crate::json::{array, objects, summary};
use crate::stored::{Stored, back_up, content};

/// A protected file.
struct Protected {
    place: Place,
    file: PathBuf,
    bytes: Vec<u8>,
}

impl Protected {
    #[track_caller]
    fn new(bytes: usize, words: &str) -> Self {
        let (place, bytes) = (Place::new(), content(bytes, 1));
        let file = place.file("big file%.img", &bytes);
        let protected = Self { place, file, bytes };
        protected.on("protect").words(words).run().expect(0);
        protected.is_as_it_was();
        protected
    }

    fn on(&self, words: &str) -> Tanner {
        let (command, flags) = words.split_at(words.find(" -").unwrap_or(words.len()));
        tanner(command).arg(&self.file).words(flags)
    }

    #[track_caller]
    fn is_as_it_was(&self) {
        assert!(fs::read(&self.file).unwrap() == self.bytes, "other bytes in the file");
    }

    /// The directory beside the file, or a path below it.
    fn beside(&self, path: &str) -> PathBuf {
        self.place.join("big file%.img.tanner").join(path)
    }

    fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(self.beside("")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.len() == 32).collect()
    }

    /// A file of the protection.
    fn object(&self, name: &str) -> PathBuf {
        self.beside(&self.ids()[0]).join(name)
    }

    fn flip(&self, path: &PathBuf, at: u64) {
        decays(path, |file| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        });
    }

    fn cut(&self, bytes: u64) {
        decays(&self.file, |file| file.set_len(bytes).unwrap());
    }
}

/// A file whose time stays what it was.
fn decays(path: &PathBuf, spoil: impl FnOnce(&fs::File)) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    spoil(&file);
    file.set_times(fs::FileTimes::new().set_modified(modified)).unwrap();
}

#[test]
fn what_is_damaged_comes_back_in_its_place_and_no_byte_else_changes() {
    let protected = Protected::new(3_000_001, "-k 20 -m 6");
    let block = 3_000_001 / 20;
    let good = fs::read(protected.object("22")).unwrap();
    let run = protected.on("verify --json").run().expect(0);
    assert_eq!(summary(&objects(&run))["blocks_survivable"], 6);
    // In the middle of three data blocks, at the end of the file, and in the parity.
    for at in [0, 2 * block + 7, 9 * block + 1] {
        protected.flip(&protected.file, at);
    }
    protected.cut(3_000_000);
    protected.flip(&protected.object("22"), 1000);
    fs::remove_file(protected.object("25")).unwrap();
    let run = protected.on("verify --json").run().expect(4);
    let found = array(summary(&objects(&run)), "blocks_damaged").len();
    assert_eq!(found, 6, "{run:#?}");
    let other = protected.place.output();
    protected.on("restore -o").arg(&other).run().expect(0);
    assert!(fs::read(&other).unwrap() == protected.bytes);
    protected.on("repair --dry-run").run().expect(4);
    protected.on("repair").run().expect(0);
    protected.is_as_it_was();
    assert!(fs::read(protected.object("22")).unwrap() == good, "another parity block");
    protected.on("verify").run().expect(0);
}

#[test]
fn files_of_every_size_are_protected_even_from_their_loss() {
    for bytes in [0, 1, 1000, 70_001, 5_000_000] {
        let protected = Protected::new(bytes, "-k 3 -m 3");
        protected.on("verify").run().expect(0);
        fs::remove_file(&protected.file).unwrap();
        if bytes > 0 {
            protected.on("verify").run().expect(4);
        }
        protected.on("repair").run().expect(0);
        if bytes > 0 {
            protected.is_as_it_was();
        }
    }
    // As it is for whoever names no shape.
    let protected = Protected::new(1_000_000, "");
    (0..30).for_each(|block| protected.flip(&protected.file, block * 33_001));
    protected.on("repair").run().expect(0);
    protected.is_as_it_was();
}

#[test]
fn too_much_damage_is_exit_code_5_and_changes_nothing() {
    let protected = Protected::new(1_000_000, "-k 10 -m 3");
    (0..4).for_each(|block| protected.flip(&protected.file, 110_000 * block));
    let damaged = fs::read(&protected.file).unwrap();
    for command in ["verify", "repair"] {
        protected.on(command).run().expect(5);
    }
    assert!(fs::read(&protected.file).unwrap() == damaged);
}

#[test]
fn either_copy_of_the_manifest_is_enough() {
    let protected = Protected::new(500_000, "-k 10 -m 3");
    let copy = protected.beside("copy").join(&protected.ids()[0]).join("manifest");
    for path in [protected.object("manifest"), copy] {
        let manifest = fs::read(&path).unwrap();
        for spoil in
            [|path: &PathBuf| fs::remove_file(path).unwrap(), |path: &PathBuf| fs::write(path, b"?").unwrap()]
        {
            spoil(&path);
            protected.flip(&protected.file, 5);
            protected.on("repair").run().expect(0);
            protected.is_as_it_was();
            assert!(fs::read(&path).unwrap() == manifest, "{}", path.display());
        }
    }
}

#[test]
fn a_file_is_protected_once_unless_it_is_to_be_anew() {
    let protected = Protected::new(500_000, "-k 10 -m 3");
    let id = protected.ids();
    protected.on("protect").run().expect(2).err_has("--force");
    fs::write(&protected.file, content(600_000, 2)).unwrap();
    protected.on("verify").run().expect(5).err_has("is longer than it was when it was protected");
    protected.on("protect --force -k 10 -m 4").run().expect(0);
    assert!(protected.ids() != id && protected.ids().len() == 1, "{:?}", protected.ids());
    let left = files_below(&protected.beside(""));
    // Parity, and the manifest twice.
    assert_eq!(left.iter().filter(|path| !path.contains("stage")).count(), 4 + 2, "{left:?}");
    protected.on("verify").run().expect(0);
}

/// The parity moves with its file, and is worth nothing without a path that is written down in it.
#[test]
fn file_and_parity_may_be_moved() {
    let protected = Protected::new(500_000, "-k 10 -m 3");
    let moved = protected.place.join("moved.img");
    fs::rename(&protected.file, &moved).unwrap();
    fs::rename(protected.beside(""), protected.place.join("moved.img.tanner")).unwrap();
    protected.flip(&moved, 77);
    tanner("repair moved.img").within(protected.place.path()).run().expect(0);
    assert!(fs::read(&moved).unwrap() == protected.bytes);
}

#[test]
fn what_is_not_protected_says_so() {
    let place = Place::new();
    place.file("plain.img", b"bytes");
    let run = |words: &str| tanner(words).within(place.path()).run();
    run("verify plain.img").expect(10).err_has("`tanner protect` makes parity beside it");
    run("verify nowhere.img").expect(2);
    run("protect nowhere.img").expect(1);
    run("protect .").expect(2);
    assert_eq!(files_below(place.path()), ["out/", "plain.img"]);
}

#[test]
fn a_protected_file_is_a_store_for_whoever_goes_over_stores() {
    let protected = Protected::new(500_000, "-k 10 -m 3");
    protected.flip(&protected.file, 77);
    let url = format!("beside:{}", protected.file.display());
    tanner("ls").arg(&url).run().expect(0).out_has("10+3 shift");
    let scrub = |words: &str| tanner("scrub --all").arg("--from").arg(&url).words(words);
    scrub("").run().expect(4);
    scrub("--repair").run().expect(0);
    protected.is_as_it_was();
    // Nothing that is done to the backup takes bytes out of the file.
    tanner("forget").arg(&protected.ids()[0]).arg("--from").arg(&url).run().expect(0);
    protected.is_as_it_was();
    assert_eq!(protected.ids(), [""; 0]);
    protected.on("verify").run().expect(10);
    protected.on("protect").run().expect(0);
}

/// Its data blocks would be taken for bytes of the file, and the file's would be put where no program reads them.
#[test]
fn a_protected_file_keeps_to_itself() {
    let protected = Protected::new(500_000, "-k 10 -m 3");
    let url = format!("beside:{}", protected.file.display());
    let other = protected.place.file("other", &content(400_000, 3));
    back_up(&other, "-k 4 -m 2", &[&url]).run().expect(6).err_has("and nothing else");
    let stored = Stored::new(300_000, "-k 4 -m 2", 2);
    stored.lose([1]);
    let with = |run: Tanner| run.arg("--to").arg(&url).run().expect(2).err_has("without other stores").code;
    with(stored.on("repair"));
    with(tanner("evacuate").arg(&stored.stores[0]));
    with(tanner("scrub --repair --from").arg(&stored.stores[0]));
    protected.on("repair --to elsewhere").within(protected.place.path()).run().expect(2);
    protected.is_as_it_was();
    assert_eq!(protected.ids().len(), 1);
    protected.on("verify").run().expect(0);
}

/// Whoever wrote to the file meant it.
#[test]
fn what_was_changed_on_purpose_is_not_undone() {
    let protected = Protected::new(500_000, "-k 10 -m 3");
    let file = fs::File::options().write(true).open(&protected.file).unwrap();
    file.write_all_at(b"changed", 1000).unwrap();
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    file.set_times(fs::FileTimes::new().set_modified(later)).unwrap();
    let changed = fs::read(&protected.file).unwrap();
    let url = format!("beside:{}", protected.file.display());
    protected.on("repair").run().expect(3).err_has("was written to after it was protected");
    tanner("scrub --repair --from").arg(&url).run().expect(3);
    assert!(fs::read(&protected.file).unwrap() == changed);
    // Of what protected it before nothing is ever taken for its own, even if a run was killed that protected it anew.
    let old = protected.ids()[0].clone();
    let kept = protected.beside("../old");
    let copied = |from: PathBuf, to: PathBuf| {
        fs::create_dir_all(&to).unwrap();
        fs::read_dir(from).unwrap().for_each(|entry| {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        });
    };
    copied(protected.beside(&old), kept.clone());
    protected.on("protect --force -k 10 -m 3").run().expect(0);
    copied(kept, protected.beside(&old));
    tanner("scrub --repair --all --from").arg(&url).run().expect(5);
    assert!(fs::read(&protected.file).unwrap() == changed);
    protected.on("protect").run().expect(2).err_has("protected already");
    assert_eq!(protected.ids().len(), 1);
    tanner("scrub --all --from").arg(&url).run().expect(0);
}

#[test]
fn links_lead_to_what_protects_their_file_and_its_readers_stay_the_same() {
    let place = Place::new();
    let secret = place.file("secret", &content(200_000, 4));
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let link = place.join("out/link");
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    tanner("protect -k 3 -m 3").arg(&link).run().expect(0);
    assert_eq!(mode(&place.join("secret.tanner")), 0o700);
    assert!(!place.join("out/link.tanner").exists());
    tanner("verify").arg(&secret).run().expect(0);
    fs::remove_file(&secret).unwrap();
    tanner("repair").arg(&secret).run().expect(0);
    assert_eq!(mode(&secret), 0o600);
}

/// Wherever a repair is killed, no block is worse than it was.
#[test]
fn a_repair_that_is_killed_loses_nothing() {
    let protected = Protected::new(30_000_000, "-k 10 -m 4");
    for round in 0..24 {
        (0..4).for_each(|block| protected.flip(&protected.file, 3_000_000 * block + 1_000_000));
        let mut repair =
            protected.on("repair").0.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(5 * round));
        repair.kill().unwrap();
        repair.wait().unwrap();
        protected.on("repair").run().expect(0);
        protected.is_as_it_was();
    }
}

/// What a killed run left has no manifest, and is in nobody's way.
#[test]
fn a_run_that_is_killed_is_swept_by_the_next() {
    let protected = Protected::new(500_000, "-k 10 -m 3");
    fs::remove_file(protected.object("manifest")).unwrap();
    fs::remove_dir_all(protected.beside("copy")).unwrap();
    protected.on("verify").run().expect(10);
    let id = protected.ids();
    protected.on("protect -k 10 -m 3").run().expect(0);
    assert!(protected.ids() != id && protected.ids().len() == 1);
    protected.on("verify").run().expect(0);
}
