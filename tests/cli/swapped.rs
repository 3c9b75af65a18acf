//! Stores that show one thing for another: another block, another backup, another signer, another time. What comes back
//! is what was backed up, or nothing.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Place, files_below};
use crate::keys::User;
use crate::stored::content;

/// Several backups in the same stores, all of one shape and size.
struct World {
    user: User,
    bytes: Vec<u8>,
    /// The one to restore.
    ours: String,
    /// The same user's, of another file.
    another: String,
    /// The same user's, of the same file.
    again: String,
    /// Somebody else's, whom the user does not know, of the same file and for the same reader.
    theirs: String,
    /// The same user's, of the same file, but for everybody.
    plain: String,
    stores: Vec<PathBuf>,
}

impl World {
    fn new() -> Self {
        let (user, stranger) = (User::new(), User::new());
        let recipient = user.run("key new").out;
        let (stores, bytes) = (user.0.stores(5), content(100_000, 1));
        let (source, other) = (user.0.file("source", &bytes), user.0.file("other", &content(100_000, 2)));
        let back_up = |user: &User, source: &Path, words: &str| {
            let run = user.tanner("backup -k 3 -m 2").words(words).arg(source).stores("--to", &stores);
            run.run().expect(0).out.trim().to_owned()
        };
        let [ours, again] = ["", ""].map(|words| back_up(&user, &source, words));
        let another = back_up(&user, &other, "");
        let theirs = back_up(&stranger, &source, &format!("--recipient {}", recipient.trim()));
        let plain = back_up(&user, &source, "--no-encrypt");
        Self { user, bytes, ours, another, again, theirs, plain, stores }
    }

    fn manifest(&self, id: &str) -> Vec<u8> {
        fs::read(self.stores[0].join(id).join("manifest")).unwrap()
    }

    fn block(&self, id: &str, block: usize) -> Vec<u8> {
        let mut places = self.stores.iter().map(|store| store.join(id).join(block.to_string()));
        fs::read(places.find(|place| place.exists()).unwrap()).unwrap()
    }
}

/// What stores show, until the next case.
struct Shown<'a> {
    world: &'a World,
    place: Place,
}

impl Shown<'_> {
    fn stores(&self) -> Vec<PathBuf> {
        self.place.stores(5)
    }

    /// Shows this for the manifest of our backup, in the first so many stores.
    fn manifest(&self, stores: usize, bytes: &[u8]) {
        for store in &self.stores()[..stores] {
            fs::write(store.join(&self.world.ours).join("manifest"), bytes).unwrap();
        }
    }

    /// Shows this for a block of our backup.
    fn block(&self, block: usize, bytes: &[u8]) {
        let places =
            self.stores().into_iter().map(|store| store.join(&self.world.ours).join(block.to_string()));
        places.filter(|place| place.exists()).for_each(|place| fs::write(place, bytes).unwrap());
    }

    /// Shows the blocks of another backup for all of ours.
    fn blocks_of(&self, id: &str) {
        (0..5).for_each(|block| self.block(block, &self.world.block(id, block)));
    }

    /// Shows one whole backup for another.
    fn whole(&self, shown: &str, for_id: &str) {
        for store in self.stores() {
            fs::remove_dir_all(store.join(for_id)).unwrap();
            fs::rename(store.join(shown), store.join(for_id)).unwrap();
        }
    }

    /// What this machine remembers of our backup.
    fn remembered(&self, generation: u64, digest: &[u8]) {
        let digest = blake3::hash(digest);
        let entry = format!("{{\"generation\":{generation},\"blake3\":\"{digest}\"}}");
        fs::write(
            self.world.user.config("seen.json"),
            format!("{{\"backup\":{{\"{}\":{entry}}}}}", self.world.ours),
        )
        .unwrap();
    }
}

/// What stores show, how the restore of our backup is to end, and with which words.
type Case = (&'static str, fn(&Shown), i32, &'static str);

const CASES: [Case; 25] = [
    (
        "two blocks swapped",
        |s| [(0, 1), (1, 0)].iter().for_each(|&(a, b)| s.block(a, &s.world.block(&s.world.ours, b))),
        0,
        "",
    ),
    (
        "three blocks in turn",
        |s| (0..3).for_each(|b| s.block(b, &s.world.block(&s.world.ours, (b + 1) % 3))),
        5,
        "",
    ),
    ("parity for data", |s| (0..3).for_each(|b| s.block(b, &s.world.block(&s.world.ours, 4))), 5, ""),
    ("a block of another backup", |s| s.block(0, &s.world.block(&s.world.another, 0)), 0, ""),
    ("the blocks of another backup", |s| s.blocks_of(&s.world.another), 5, ""),
    ("the blocks of another attempt", |s| s.blocks_of(&s.world.again), 5, ""),
    ("the blocks of a stranger", |s| s.blocks_of(&s.world.theirs), 5, ""),
    ("the blocks of a plain backup", |s| s.blocks_of(&s.world.plain), 5, ""),
    (
        "blocks that go on",
        |s| (0..3).for_each(|b| s.block(b, &[s.world.block(&s.world.ours, b), vec![0]].concat())),
        5,
        "",
    ),
    (
        "blocks that end early",
        |s| (0..3).for_each(|b| s.block(b, &s.world.block(&s.world.ours, b)[1..])),
        5,
        "",
    ),
    ("empty blocks", |s| (0..3).for_each(|b| s.block(b, b"")), 5, ""),
    ("another's manifest", |s| s.manifest(5, &s.world.manifest(&s.world.another)), 5, "belongs to backup"),
    ("that of another attempt", |s| s.manifest(5, &s.world.manifest(&s.world.again)), 5, "belongs to backup"),
    ("a stranger's manifest", |s| s.manifest(5, &s.world.manifest(&s.world.theirs)), 5, "belongs to backup"),
    ("a plain manifest", |s| s.manifest(5, &s.world.manifest(&s.world.plain)), 5, "belongs to backup"),
    ("a plain manifest with our id", |s| s.manifest(5, &renamed(s.world)), 5, "is not signed"),
    ("another's manifest in most stores", |s| s.manifest(4, &s.world.manifest(&s.world.another)), 0, ""),
    (
        "our manifest with another's signature",
        |s| s.manifest(5, &joined(s.world, &s.world.ours, &s.world.another)),
        5,
        "forged",
    ),
    (
        "another's manifest with our signature",
        |s| s.manifest(5, &joined(s.world, &s.world.another, &s.world.ours)),
        5,
        "forged",
    ),
    (
        "our manifest with a stranger's signature",
        |s| s.manifest(5, &joined(s.world, &s.world.ours, &s.world.theirs)),
        5,
        "forged",
    ),
    ("another backup whole", |s| s.whole(&s.world.another, &s.world.ours), 5, "belongs to backup"),
    ("another attempt whole", |s| s.whole(&s.world.again, &s.world.ours), 5, "belongs to backup"),
    ("a stranger's backup whole", |s| s.whole(&s.world.theirs, &s.world.ours), 5, "belongs to backup"),
    ("what was newest once", |s| s.remembered(2, b"the second"), 5, "and 2 was seen before"),
    (
        "another manifest of the same generation",
        |s| s.remembered(1, b"another first"),
        5,
        "two different manifests",
    ),
];

/// The plain manifest, under our id.
fn renamed(world: &World) -> Vec<u8> {
    let bytes =
        |id: &str| (0..16).map(|i| u8::from_str_radix(&id[2 * i..][..2], 16).unwrap()).collect::<Vec<u8>>();
    let (mut manifest, from, to) = (world.manifest(&world.plain), bytes(&world.plain), bytes(&world.ours));
    let at = manifest.windows(16).position(|window| window == from).unwrap();
    manifest[at..at + 16].copy_from_slice(&to);
    let sealed = manifest.len() - 32;
    let seal = blake3::hash(&manifest[..sealed]);
    manifest[sealed..].copy_from_slice(seal.as_bytes());
    manifest
}

/// All of one manifest but its signer and signature, and those of another.
fn joined(world: &World, content: &str, signature: &str) -> Vec<u8> {
    let (content, signature) = (world.manifest(content), world.manifest(signature));
    [&content[..content.len() - 96], &signature[signature.len() - 96..]].concat()
}

#[test]
fn what_stores_swap_roll_back_replay_or_mix_is_never_restored() {
    let world = World::new();
    for (case, show, code, words) in CASES {
        let shown = Shown { world: &world, place: Place::new() };
        for (from, to) in world.stores.iter().zip(shown.stores()) {
            for file in files_below(from) {
                fs::create_dir_all(to.join(&file).parent().unwrap()).unwrap();
                fs::copy(from.join(&file), to.join(&file)).unwrap();
            }
        }
        let _ = fs::remove_file(world.user.config("seen.json"));
        show(&shown);
        let restore = world.user.tanner("restore").arg(&world.ours).stores("--from", &shown.stores());
        let run = restore.arg("-o").arg(shown.place.output()).run();
        assert!(run.code == code && run.err.contains(words), "{case}: {run:#?}");
        match code {
            0 => assert!(fs::read(shown.place.output()).unwrap() == world.bytes, "{case}"),
            _ => assert_eq!(files_below(&shown.place.join("out")), [""; 0], "{case}"),
        }
    }
}

#[test]
fn the_key_of_one_backup_opens_no_other_and_strangers_are_not_believed() {
    let world = World::new();
    let key = world.user.0.join("read.key");
    let export = world.user.tanner("key export").arg(&world.again).stores("--from", &world.stores);
    export.arg("-o").arg(&key).run().expect(0);
    let nobody = User::new();
    let restore = |id: &str, words: &str| {
        let restore = nobody.tanner("restore").words(words).arg("--read-key").arg(&key).arg(id);
        restore.stores("--from", &world.stores).arg("-o").arg(nobody.0.output()).run()
    };
    let device = world.user.run("key device").out;
    for id in [&world.ours, &world.another] {
        restore(id, &format!("--trust {device}")).expect(12).is_one_line_of_error();
    }
    let theirs = world.user.tanner("restore").arg(&world.theirs).stores("--from", &world.stores);
    theirs.arg("-o").arg(nobody.0.output()).run().expect(12).err_has("--trust");
    assert_eq!(files_below(&nobody.0.join("out")), [""; 0]);
    restore(&world.again, "").expect(0);
    assert!(fs::read(nobody.0.output()).unwrap() == world.bytes);
}

/// Whoever has a file could otherwise find out who backed it up.
#[test]
fn the_same_file_twice_has_nothing_in_common() {
    let world = World::new();
    assert_ne!(world.ours, world.again);
    let files = |id: &str| {
        let files = world.stores.iter().flat_map(|store| {
            let of_backup = store.join(id);
            files_below(&of_backup).into_iter().map(move |file| fs::read(of_backup.join(file)).unwrap())
        });
        files.collect::<Vec<_>>()
    };
    let (ours, again, plain) = (files(&world.ours), files(&world.again), files(&world.plain));
    assert_eq!(ours.len(), 10);
    let known: HashSet<&[u8]> = runs(&ours).collect();
    let in_common = |files: &[Vec<u8>]| runs(files).filter(|run| known.contains(run)).count();
    assert_eq!((in_common(&again), in_common(&plain)), (0, 0));
    assert!(in_common(&ours) > 100_000, "what is the same is found");
}

/// All runs of bytes but zeros: some parity ends in as many of them as the code is deep, whatever the file.
fn runs(files: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    let runs = files.iter().flat_map(|file| file.windows(RUN_BYTES));
    runs.filter(|run| run.iter().any(|&byte| byte != 0))
}

const RUN_BYTES: usize = 64;
