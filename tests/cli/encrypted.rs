//! Backups as they are by default: encrypted for whoever has an identity, and signed.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Run, files_below};
use crate::keys::User;

/// A source whose text is found wherever it lies open.
fn source(bytes: usize) -> Vec<u8> {
    let text = b"nobody but its owner reads this. ";
    text.iter().copied().cycle().take(bytes).collect()
}

struct Backed {
    user: User,
    stores: Vec<PathBuf>,
    source: Vec<u8>,
    id: String,
    run: Run,
}

impl Backed {
    fn new(bytes: usize, words: &str) -> Self {
        let user = User::new();
        let (stores, source) = (user.0.stores(5), source(bytes));
        let file = user.0.file("named by its owner", &source);
        let run = user.tanner("backup -k 3 -m 2").words(words).arg(file).stores("--to", &stores);
        let run = run.run().expect(0);
        let id = run.out.trim().to_owned();
        Self { user, stores, source, id, run }
    }

    fn restore(&self, user: &User, words: &str) -> Run {
        let output = self.user.0.output();
        let restore = user.tanner("restore --force").words(words).arg(&self.id).arg("-o").arg(output);
        restore.stores("--from", &self.stores).run()
    }

    #[track_caller]
    fn is_restored(&self) {
        assert!(fs::read(self.user.0.output()).unwrap() == self.source);
        fs::remove_file(self.user.0.output()).unwrap();
    }

    #[track_caller]
    fn nothing_is_restored(&self) {
        assert_eq!(files_below(&self.user.0.join("out")), [""; 0]);
    }

    fn manifests(&self) -> Vec<PathBuf> {
        self.stores.iter().map(|store| store.join(&self.id).join("manifest")).collect()
    }

    fn json(&self, command: &str) -> Value {
        let run = self.user.tanner(command).words("--json").arg(&self.id).stores("--from", &self.stores);
        serde_json::from_str(run.run().expect(0).out.lines().last().unwrap()).unwrap()
    }
}

/// Whoever never heard of keys is told of the one that was made, once, and stores learn nothing.
#[test]
fn a_first_backup_makes_an_identity_and_no_store_learns_name_or_content() {
    let backed = Backed::new(300_000, "");
    backed.run.err_has("keep a copy").err_has("identity.txt");
    let again = backed.user.tanner("backup").arg(backed.user.0.join("named by its owner"));
    let again = again.stores("--to", &backed.stores).run().expect(0);
    assert!(!again.err.contains("identity"), "{again:#?}");
    for store in &backed.stores {
        for file in files_below(store) {
            let bytes = fs::read(store.join(&file)).unwrap();
            for open in [b"nobody but its".as_slice(), b"named by its owner"] {
                assert!(!bytes.windows(open.len()).any(|window| window == open), "{file}");
            }
        }
    }
    backed.restore(&backed.user, "").expect(0);
    backed.is_restored();
}

/// Sizes at which frames, chunks and blocks end anywhere, with blocks lost: what is decoded is decrypted, too.
#[test]
fn lost_blocks_are_computed_and_decrypted_whatever_the_size() {
    for bytes in [0, 1, 15, 17, 4_097, 1_000_003, 7_000_001] {
        let backed = Backed::new(bytes, "");
        for store in [0, 3] {
            let blocks = fs::read_dir(backed.stores[store].join(&backed.id)).unwrap().map(Result::unwrap);
            blocks
                .filter(|file| file.file_name() != "manifest")
                .for_each(|file| fs::remove_file(file.path()).unwrap());
        }
        backed.restore(&backed.user, "").expect(0);
        backed.is_restored();
        let repair = backed.user.tanner("repair").arg(&backed.id).stores("--from", &backed.stores);
        repair.run().expect(0);
        assert_eq!(backed.json("verify")["blocks_good"], 5);
        backed.restore(&backed.user, "").expect(0);
        backed.is_restored();
    }
}

#[test]
fn without_the_identity_or_with_another_nothing_is_restored_and_the_exit_code_says_why() {
    let backed = Backed::new(100_000, "");
    let stranger = User::new();
    backed.restore(&stranger, "").expect(12).is_one_line_of_error();
    stranger.run("key new");
    let device = backed.user.run("key device").out;
    backed.restore(&stranger, "").expect(12).is_one_line_of_error().err_has("--trust");
    backed.restore(&stranger, &format!("--trust {device}")).expect(12).is_one_line_of_error();
    backed.nothing_is_restored();
    // The identity names the device: it is all that another machine needs.
    let identity = backed.user.config("identity.txt");
    backed.restore(&stranger, &format!("--identity {}", identity.display())).expect(0);
    backed.is_restored();
}

/// A machine that has recipients only keeps backups in good order and reads none.
#[test]
fn verify_and_repair_need_no_key() {
    let backed = Backed::new(500_000, "");
    fs::remove_file(backed.stores[1].join(&backed.id).join("1")).unwrap();
    fs::remove_file(&backed.manifests()[2]).unwrap();
    for file in ["identity.txt", "device.pem"] {
        fs::rename(backed.user.config(file), backed.user.0.join(file)).unwrap();
    }
    let run = |command: &str| backed.user.tanner(command).arg(&backed.id).stores("--from", &backed.stores);
    run("verify").run().expect(4);
    run("repair").run().expect(0);
    run("verify").run().expect(0);
    assert_eq!(fs::read(&backed.manifests()[2]).unwrap(), fs::read(&backed.manifests()[0]).unwrap());
    backed.restore(&backed.user, "").expect(12);
    fs::rename(backed.user.0.join("identity.txt"), backed.user.config("identity.txt")).unwrap();
    backed.restore(&backed.user, "").expect(0);
    backed.is_restored();
}

#[test]
fn what_only_readers_know_is_shown_to_nobody_else() {
    let backed = Backed::new(1_000, "");
    let (name, store) = ("named by its owner", &backed.stores[..1]);
    let shown = backed.json("show");
    assert_eq!((&shown["name"], &shown["encrypted"]), (&name.into(), &true.into()));
    backed.user.tanner("ls").stores("", store).run().expect(0).out_has(name);
    let stranger = User::new();
    let listed = stranger.tanner("ls").stores("", store).run().expect(0);
    listed.out_has(&backed.id).out_has("encrypted");
    let shown = stranger.tanner("show").arg(&backed.id).stores("--from", &backed.stores).run().expect(0);
    shown.out_has("not opened").out_has("3+2").out_has("may be lost");
    assert!(!listed.out.contains(name) && !shown.out.contains(name), "{listed:?} {shown:?}");
}

/// Whoever writes to all stores cannot pass off a backup of their own, signed, plain, or another of the user's.
#[test]
fn forged_plain_and_swapped_manifests_are_refused() {
    let (backed, forger) = (Backed::new(50_000, ""), Backed::new(50_000, ""));
    let plain = Backed::new(50_000, "--no-encrypt");
    plain.run.err_has("not encrypted");
    let (right, theirs) =
        (fs::read(&backed.manifests()[0]).unwrap(), fs::read(&forger.manifests()[0]).unwrap());
    let mut flipped = right.clone();
    flipped[60] ^= 1;
    let mut renamed = fs::read(&plain.manifests()[0]).unwrap();
    let id: Vec<u8> = (0..16).map(|i| u8::from_str_radix(&backed.id[2 * i..][..2], 16).unwrap()).collect();
    let theirs_id: Vec<u8> =
        (0..16).map(|i| u8::from_str_radix(&plain.id[2 * i..][..2], 16).unwrap()).collect();
    let at = renamed.windows(16).position(|window| window == theirs_id).unwrap();
    renamed[at..at + 16].copy_from_slice(&id);
    let seal = renamed.len() - 32;
    let digest = blake3::hash(&renamed[..seal]);
    renamed[seal..].copy_from_slice(digest.as_bytes());
    for (bytes, why) in [(theirs, "belongs to backup"), (flipped, "forged"), (renamed, "is not signed")] {
        backed.manifests().iter().for_each(|path| fs::write(path, &bytes).unwrap());
        backed.restore(&backed.user, "").expect(5).err_has(why);
        backed.nothing_is_restored();
        // One honest copy is enough.
        fs::write(&backed.manifests()[4], &right).unwrap();
        backed.restore(&backed.user, "").expect(0);
        backed.is_restored();
    }
    // A whole backup of somebody else's is theirs, and says so.
    let theirs = forger.restore(&backed.user, "").expect(12);
    theirs.is_one_line_of_error();
    let plain = plain.restore(&backed.user, "").expect(0);
    assert!(plain.err.contains("restored"), "{plain:?}");
}
