//! Keys, tokens, passphrases and what is backed up: nowhere but where they belong, whatever is done and whatever goes
//! wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use rustix::process::Signal;
use tanner::crypto::{
    DeviceKey, Encryption, Epochs, FileKey, Identities, IdentityFile, Passphrase, ReadKey, Recipients,
};
use tanner::{BackupId, Geometry};
use tanner_kernels::Profile;
use tanner_transports::net::{DeleteToken, Identity};
use tanner_transports::{Disk, Registry, S3Keys};

use crate::harness::{Run, Tanner, files_below};
use crate::keys::User;
use crate::s3::s3_server::{self, BUCKET, KEY, KEY_ID};
use crate::scan::Scanner;
use crate::serve::{Node, Serving};
use crate::signals::interrupt;
use crate::tap::Tap;

#[path = "../common/meddled.rs"]
mod meddled;

use meddled::{Call, Meddled};

/// A user with every kind of secret that there is, and three kinds of stores.
struct World {
    user: User,
    client: Node,
    recipient: String,
    stores: Vec<String>,
    secrets: BTreeMap<String, Vec<u8>>,
    /// Where which secret belongs.
    homes: BTreeMap<PathBuf, BTreeSet<String>>,
    said: Vec<(String, Vec<u8>)>,
    taps: [Tap; 2],
    serving: Serving,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let user = User::new();
        let recipient = user.run("key new").out.trim().to_owned();
        let [server, client] = ["server", "client"].map(|name| Node::new(&user.0, name));
        let token = user.tanner("key token -o").arg(user.0.join("token")).run().expect(0).out;
        let clients =
            format!("[client.laptop]\npin = \"{}\"\ndelete_token = \"{}\"\n", client.pin, token.trim());
        let clients = user.0.file("clients.toml", clients.as_bytes());
        let serve = server.tanner("serve --listen tcp://127.0.0.1:0 --root").arg(user.0.join("served"));
        let serving = Serving::start(verbose(serve.words("--clients").arg(clients)), 1);
        let (address, pin) = serving.url()["tcp://".len()..].split_once('#').unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let s3 = runtime.block_on(s3_server::serve(&user.0.join("bucket")));
        let taps = [address.parse().unwrap(), s3].map(Tap::new);
        let stores = vec![
            user.0.join("disk").display().to_string(),
            format!("tcp://{}#{pin}", taps[0].address),
            format!("s3://{BUCKET}/some?endpoint=http://{}&region=eu-1", taps[1].address),
        ];
        let (secrets, homes, said) = Default::default();
        let mut world =
            Self { user, client, recipient, stores, secrets, homes, said, taps, serving, runtime };
        let identity = world.user.config("identity.txt");
        let text = fs::read_to_string(&identity).unwrap();
        world.learn("identity", &identity, bech32::decode(text.lines().last().unwrap()).unwrap().1);
        let device = world.user.config("device.pem");
        world.learn("device's key", &device, private_key(&device));
        for (name, node) in [("server's key", &server), ("client's key", &world.client.clone())] {
            world.learn(name, &node.key, private_key(&node.key));
        }
        let token = world.user.0.join("token");
        let text = fs::read_to_string(&token).unwrap();
        world.learn("delete token", &token, bech32::decode(text.trim()).unwrap().1);
        for (name, file, text) in [
            ("passphrase", "passphrase", "thirty-two bytes that nobody says".to_owned()),
            ("another passphrase", "another", "correct horse battery staple, no?".to_owned()),
        ] {
            let path = world.secret(file, &text);
            world.learn(name, &path, text.into_bytes());
        }
        let credentials = world.secret("credentials", &credentials(KEY));
        world.learn("bucket's key", &credentials, KEY.as_bytes().to_vec());
        let canary = *blake3::hash(b"what is backed up").as_bytes();
        let bytes: Vec<u8> =
            (0_u64..).flat_map(|at| [at.to_le_bytes().as_slice(), &canary].concat()).take(BYTES).collect();
        let source = world.user.0.file(SOURCE, &bytes);
        world.learn("content", &source, canary.to_vec());
        world
    }

    /// A secret, and a file that it belongs in.
    fn learn(&mut self, name: &str, home: &Path, secret: Vec<u8>) {
        self.secrets.insert(name.into(), secret);
        self.homes.entry(home.to_owned()).or_default().insert(name.into());
    }

    /// A file for its owner alone.
    fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.user.0.file(name, text.as_bytes());
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn tanner(&self, words: &str) -> Tanner {
        let path = |name: &str| self.user.0.join(name).display().to_string();
        let run = verbose(self.user.tanner(words)).env("TANNER_NODE_KEY", self.client.key.to_str().unwrap());
        let run =
            run.env("AWS_SHARED_CREDENTIALS_FILE", &path("credentials")).without_env("AWS_ACCESS_KEY_ID");
        run.env("TANNER_JOURNAL", &path("journals")).env("TANNER_STATE", &path("measured.json"))
    }

    /// Runs, and keeps what it says.
    #[track_caller]
    fn hear(&mut self, run: Tanner) -> Run {
        let run = run.run();
        self.said.push((format!("{run:?}"), run.out.clone().into_bytes()));
        self.said.push((format!("{run:?}"), run.err.clone().into_bytes()));
        run
    }

    fn back_up(&self, words: &str) -> Tanner {
        let run =
            self.tanner("backup -k 4 -m 2 --explain").words(words).words("--recipient").arg(&self.recipient);
        let run = run.words("--passphrase-file").arg(self.user.0.join("passphrase"));
        run.arg(self.user.0.join(SOURCE)).stores("--to", &self.stores)
    }

    fn restore(&self, id: &str, words: &str) -> Tanner {
        let run = self.tanner("restore -f").words(words).arg(id).stores("--from", &self.stores);
        run.arg("-o").arg(self.user.0.output())
    }

    /// A restore by somebody who has no identity.
    fn nobody(&self, id: &str) -> Tanner {
        let device = self.user.run("key device").out;
        let restore = self.restore(id, &format!("--trust {device}"));
        restore.env("XDG_CONFIG_HOME", self.user.0.join("nobody").to_str().unwrap())
    }

    /// The keys of a backup, which its reader may have in a file.
    #[track_caller]
    fn learn_keys(&mut self, name: &str, id: &str) -> PathBuf {
        let path = self.user.0.join(&format!("{name}.key"));
        let export = self.tanner("key export").arg(id).stores("--from", &self.stores).arg("-o").arg(&path);
        self.hear(export).expect(0);
        let text = fs::read_to_string(&path).unwrap();
        let bytes = bech32::decode(text.lines().last().unwrap()).unwrap().1;
        let (backup, file_key) = (&bytes[1..17], &bytes[17..49]);
        self.learn(name, &path, file_key.to_vec());
        for purpose in ["tanner data 1", "tanner private 1"] {
            let mut key = vec![0; 32];
            let from = Salt::new(HKDF_SHA256, backup).extract(file_key);
            from.expand(&[purpose.as_bytes()], HKDF_SHA256).and_then(|bytes| bytes.fill(&mut key)).unwrap();
            self.secrets.insert(format!("{name}, {purpose}"), key);
        }
        path
    }
}

#[test]
fn no_secret_is_said_shown_sent_or_left_anywhere() {
    let watch = Watch::start();
    let mut world = World::new();

    // What succeeds.
    let id = world.hear(world.back_up("")).expect(0).out.trim().to_owned();
    let read_key = world.learn_keys("file key", &id);
    let stores = world.stores.clone();
    for words in ["", "--json --progress json --progress-interval 20ms"] {
        for command in ["verify", "show"] {
            let run = world.tanner(command).words(words).arg(&id).stores("--from", &stores);
            world.hear(run).expect(0);
        }
        world.hear(world.tanner("ls").words(words).stores("", &stores)).expect(0);
        world.hear(world.restore(&id, words)).expect(0);
        for file in ["tanner/identity.txt", "tanner/device.pem", "file key.key"] {
            world.hear(world.tanner("key inspect").words(words).arg(world.user.0.join(file))).expect(0);
        }
        for command in ["key node", "key device", "key recipients", "version --verbose", "store ls", "sweep"]
        {
            world.hear(world.tanner(command).words(words)).expect(0);
        }
    }
    let command = format!("sleep 0.3; cat {}", world.user.0.join("passphrase").display());
    let by_passphrase = world.nobody(&id).env("TANNER_PASSPHRASE_COMMAND", &command);
    world.hear(by_passphrase).expect(0);
    world.hear(world.nobody(&id).arg("--read-key").arg(&read_key)).expect(0);
    let served = world.user.0.join("served/.clients/laptop").join(&id);
    let mut damaged = fs::read_dir(&served).unwrap().map(|entry| entry.unwrap().path());
    let damaged = damaged.find(|path| !path.ends_with("manifest")).unwrap();
    fs::write(damaged, "damage").unwrap();
    let repair = world.tanner("repair").arg(&id).stores("--from", &stores);
    let token = world.user.0.join("token").display().to_string();
    world.hear(repair.env("TANNER_DELETE_TOKEN_FILE", &token)).expect(0);

    fails(&mut world, &id);
    panics(&mut world);

    // What is killed, and gone on with.
    let killed = interrupt(Signal::KILL, || world.back_up("--limit 1MB --checkpoint 50ms"));
    world.said.push(("killed".into(), [killed.out, killed.err].concat().into_bytes()));
    let journals = files_below(&world.user.0.join("journals"));
    let journal = world.user.0.join("journals").join(&journals[0]);
    assert_eq!(fs::metadata(&journal).unwrap().permissions().mode() & 0o777, 0o600);
    let left = contents(world.user.0.path());
    let resumed = world.hear(world.back_up("--resume")).expect(0).out.trim().to_owned();
    assert_eq!(journals, [resumed.clone(), format!("{resumed}.tags")]);
    world.learn_keys("file key of the killed", &resumed);
    assert_eq!(files_below(&world.user.0.join("journals")), [""; 0]);

    let scanner = Scanner::new(&world.secrets);
    assert!(world.secrets.len() >= 8, "{:?}", world.secrets.keys());
    world.said.push(("the server".into(), world.serving.end()));
    let heard = world.taps.iter().flat_map(Tap::heard).map(|heard| ("the network".to_owned(), heard));
    world.said.extend(heard);
    let shown = watch.stop();
    assert!(shown.iter().any(|shown| shown.starts_with(b"sleep\0")), "children are looked at, too");
    world.said.extend(shown.into_iter().map(|shown| (format!("shown: {}", shown.escape_ascii()), shown)));
    for (what, bytes) in &world.said {
        assert_eq!(scanner.find(bytes), [""; 0].into(), "{what}");
    }
    // The journal has the key to go on with, and nothing else; each other secret is at home, and is found there.
    let mut homes = world.homes.clone();
    assert!(homes.insert(world.user.0.output(), ["content".into()].into()).is_none());
    let owned = |found: BTreeSet<&str>| found.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    let found = scanner.find_below(world.user.0.path()).into_iter().map(|(path, found)| (path, owned(found)));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), homes);
    homes.retain(|path, _| left.contains_key(path));
    homes.insert(journal, ["file key of the killed".into()].into());
    let found = left.into_iter().map(|(path, bytes)| (path, owned(scanner.find(&bytes))));
    assert_eq!(found.filter(|(_, found)| !found.is_empty()).collect::<BTreeMap<_, _>>(), homes);

    // What a backup is called is its readers' business, too.
    let name = Scanner::new(&BTreeMap::from([("name".into(), SOURCE.into())]));
    for place in ["disk", "served", "bucket"] {
        assert_eq!(name.find_below(&world.user.0.join(place)), BTreeMap::new());
    }
    assert!(world.taps.iter().flat_map(Tap::heard).all(|heard| name.find(&heard).is_empty()));
    world.runtime.shutdown_background();
}

/// Whatever is wrong with a secret, the words that say so do not repeat it.
fn fails(world: &mut World, id: &str) {
    let identity = fs::read_to_string(world.user.config("identity.txt")).unwrap();
    let read_key = fs::read_to_string(world.user.0.join("file key.key")).unwrap();
    let device = fs::read_to_string(world.user.config("device.pem")).unwrap();
    let node = fs::read_to_string(&world.client.key).unwrap();
    let token = fs::read_to_string(world.user.0.join("token")).unwrap();
    let passphrase = fs::read_to_string(world.user.0.join("passphrase")).unwrap();
    let wrong = |flag: &'static str, secret: &'static str, text: String| (flag, secret, text);
    let texts = [
        wrong("--identity", "identity", identity.replace("AGE-", "ARE-")),
        wrong("--identity", "identity", format!("{identity}x\n")),
        wrong("--read-key", "file key", format!("{read_key}x\n")),
        wrong("--read-key", "identity", identity.clone()),
        wrong("--passphrase-file", "passphrase", format!("{passphrase}\nx\n")),
        wrong("TANNER_DEVICE_KEY", "device's key", device.replace("PRIVATE", "PUBLIC")),
        wrong("TANNER_NODE_KEY", "client's key", node.replace("CERTIFICATE", "PUBLIC KEY")),
        wrong("AWS_SHARED_CREDENTIALS_FILE", "bucket's key", credentials(KEY).replace("default", "x")),
        wrong("AWS_SHARED_CREDENTIALS_FILE", "bucket's key", credentials(&format!("{KEY}x"))),
        // Open to everybody.
        wrong("--identity", "identity", identity.clone()),
        wrong("--read-key", "file key", read_key),
        wrong("--passphrase-file", "passphrase", passphrase),
        wrong("TANNER_DEVICE_KEY", "device's key", device),
        wrong("TANNER_NODE_KEY", "client's key", node),
        wrong("AWS_SHARED_CREDENTIALS_FILE", "bucket's key", credentials(KEY)),
    ];
    for (number, (flag, secret, text)) in texts.into_iter().enumerate() {
        let path = world.secret(&format!("wrong{number}"), &text);
        world.homes.entry(path.clone()).or_default().insert(secret.into());
        if number >= 9 {
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }
        let restore = world.restore(id, "");
        let restore = match flag.strip_prefix("--") {
            Some(_) => restore.arg(flag).arg(&path),
            None => restore.env(flag, path.to_str().unwrap()),
        };
        let run = world.hear(restore);
        let of_store = ["TANNER_NODE_KEY", "AWS_SHARED_CREDENTIALS_FILE"].contains(&flag);
        // One store of three may fail; but why is said.
        let is_named = run.err.contains(&format!("wrong{number}")) || number == 8;
        assert!(run.code != 0 && is_named || of_store && run.code == 0, "{flag} {number}: {run:#?}");
        assert!(number < 9 || run.err.contains("chmod 600"), "{flag} {number}: {run:#?}");
    }
    let token_file = world.secret("wrong token", &format!("{token}x"));
    world.homes.entry(token_file.clone()).or_default().insert("delete token".into());
    let repair = world.tanner("repair -n").arg(id).stores("--from", &world.stores);
    world.hear(repair.env("TANNER_DELETE_TOKEN_FILE", token_file.to_str().unwrap()));
    let another = world.nobody(id).arg("--passphrase-file").arg(world.user.0.join("another"));
    world.hear(another).expect(12);
    let mixed_up = world.user.config("identity.txt");
    world.hear(world.back_up("").arg("--recipients-file").arg(mixed_up)).expect(2);
    world.hear(world.restore(&id.replace('8', "9"), "").words("--to nowhere")).expect(2);
    world.hear(world.restore(&"f".repeat(32), "")).expect(10);
}

/// A program that panics with keys in its memory says where it was, and no more.
fn panics(world: &mut World) {
    let (alone, source) = (world.user.0.join("alone"), world.user.0.join(SOURCE));
    let stored = world.tanner("backup --journal none").arg(&source).stores("--to", &[&alone]);
    let id = world.hear(stored).expect(0).out.trim().to_owned();
    let store = format!("panics:{}", alone.display());
    let restore = world.tanner("restore -f").arg(id).stores("--from", &[&store]);
    let restore = restore.arg("-o").arg(world.user.0.output());
    let backup = world.tanner("backup").arg(source).stores("--to", &[&store]);
    for run in [backup, restore] {
        let args: Vec<&str> = run.0.get_args().map(|arg| arg.to_str().unwrap()).collect();
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "secrets::a_program_with_a_store_that_panics", "--ignored", "--nocapture"]);
        for (name, value) in run.0.get_envs() {
            match value {
                Some(value) => program.env(name, value),
                None => program.env_remove(name),
            };
        }
        // What it leaves is not what is looked for here.
        program.env("TANNER_JOURNAL", "none");
        let output = program.env("ARGS_OF_THE_PROGRAM", args.join("\n")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("panicked at") && said.contains("stack backtrace"), "{said}");
        world.said.push((format!("{args:?}"), output.stdout));
        world.said.push((format!("{args:?}"), output.stderr));
    }
}

#[test]
#[ignore = "a program that another test runs"]
fn a_program_with_a_store_that_panics() {
    let mut registry = Registry::lasting();
    registry.register("panics", |url| {
        let disk = Disk::open(url.split_once(':').map_or("", |(_, path)| path))?;
        let is_block = |name: &str| !name.ends_with("manifest");
        Ok(Arc::new(Meddled::new(disk, move |call, name| match call {
            Call::Get | Call::Commit if is_block(name.as_str()) => panic!("while there are keys"),
            _ => Ok(()),
        })))
    });
    let args = std::env::var("ARGS_OF_THE_PROGRAM").unwrap();
    tanner::cli::run_with(["tanner"].into_iter().chain(args.lines()).map(Into::into), registry);
}

#[test]
fn a_secret_typed_where_its_file_belongs_is_refused_and_not_repeated() {
    let user = User::new();
    user.run("key new");
    let identity = fs::read_to_string(user.config("identity.txt")).unwrap();
    let identity = identity.lines().last().unwrap();
    for words in [
        format!("restore 00 --from a -o b --identity {identity}"),
        format!("--json restore 00 --from a -o b --identity={identity}"),
        format!("backup a --to b --recipient {}", identity.to_lowercase()),
        format!("key inspect {identity}"),
        format!("show {identity} --trust {identity}"),
    ] {
        let run = user.tanner(&words).run().expect(2);
        let said = format!("{}{}", run.out, run.err);
        assert!(said.contains("is a secret") && !said.to_uppercase().contains(&identity[20..40]), "{said}");
    }
    let help =
        user.tanner("restore --help").env("TANNER_PASSPHRASE_COMMAND", "echo two words").run().expect(0);
    assert!(help.out.contains("TANNER_PASSPHRASE_COMMAND") && !help.out.contains("two words"), "{help:#?}");
}

/// Whatever is printed while a fault is looked for, in tests, panics and words of errors.
#[test]
fn nothing_that_holds_a_secret_shows_it() {
    let user = User::new();
    user.run("key new");
    let node = Node::new(&user.0, "node");
    user.tanner("key token -o").arg(user.0.join("token")).run().expect(0);
    let (identity, device) = (user.config("identity.txt"), user.config("device.pem"));
    let text = fs::read_to_string(&identity).unwrap();
    let token = fs::read_to_string(user.0.join("token")).unwrap();
    let (file_key, passphrase) = (*blake3::hash(b"file key").as_bytes(), "thirty-two bytes that nobody says");
    let secrets = BTreeMap::from([
        ("file key".into(), file_key.to_vec()),
        ("passphrase".into(), passphrase.into()),
        ("identity".into(), bech32::decode(text.lines().last().unwrap()).unwrap().1),
        ("device's key".into(), private_key(&device)),
        ("node's key".into(), private_key(&node.key)),
        ("delete token".into(), bech32::decode(token.trim()).unwrap().1),
        ("bucket's key".into(), KEY.into()),
    ]);
    let passphrase = || Passphrase::from_command(&format!("printf '{passphrase}'")).unwrap();
    let device = DeviceKey::load(&device).unwrap();
    let key = || FileKey::from_bytes(&file_key);
    let read_key = ReadKey::new(BackupId::random(), key(), device.device());
    let (mut recipients, mut identities) = (Recipients::default(), Identities::default());
    recipients.set_passphrase(passphrase());
    identities.set_passphrase(passphrase());
    identities.add_read_key(ReadKey::new(BackupId::random(), key(), device.device()));
    identities.add_file(IdentityFile::read(&identity, None).unwrap());
    let keys = S3Keys::Key { id: KEY_ID.into(), secret: KEY.into() };
    let geometry = Geometry::new(Profile::for_source(2, 1, 1000).unwrap(), 1000);
    let all: [&dyn Debug; 12] = [
        &key(),
        &key().cipher(BackupId::random(), &geometry, &Epochs::default()),
        &device,
        &passphrase(),
        &recipients,
        &IdentityFile::read(&identity, None).unwrap(),
        &identities,
        &read_key,
        &Encryption::begin(DeviceKey::load(&user.config("device.pem")).unwrap(), &recipients).unwrap(),
        &Identity::load(&node.key).unwrap(),
        &DeleteToken::load(&user.0.join("token")).unwrap(),
        &keys,
    ];
    let scanner = Scanner::new(&secrets);
    for secret in all {
        let shown = format!("{secret:?} {secret:#?}");
        assert_eq!(scanner.find(shown.as_bytes()), [""; 0].into(), "{shown}");
    }
}

/// A core file would be a copy of every key that is in memory.
#[test]
fn no_run_leaves_a_core_file_unless_its_user_says_so() {
    let user = User::new();
    user.run("key new");
    let source = user.0.sparse("source", 64 << 20);
    let limits = |allow: &str| {
        let run = user.tanner("backup --limit 8MB").arg(&source).stores("--to", &user.0.stores(2));
        let run = run.env("TANNER_ALLOW_DUMP", allow).within(user.0.path());
        let running = run.run_until_bytes_are_done().unwrap();
        let limits = fs::read_to_string(format!("/proc/{}/limits", running.id())).unwrap();
        running.signal(Signal::ABORT);
        let run = running.finish();
        assert_eq!(run.code, -6, "{run:#?}");
        limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned()
    };
    let fields = |line: &str| line.split_whitespace().skip(4).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(fields(&limits(""))[..2], ["0", "0"]);
    assert!(!files_below(user.0.path()).iter().any(|file| file.starts_with("core")));
    let own = fs::read_to_string("/proc/self/limits").unwrap();
    let own = own.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(fields(&limits("1")), fields(own));
}

/// What the system shows of the programs that this one starts, and of those that they start.
struct Watch {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<Vec<u8>>>,
}

impl Watch {
    fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = thread::spawn(move || {
            let mut shown = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                children(id()).for_each(|child| look(child, &mut shown));
                thread::sleep(Duration::from_millis(10));
            }
            shown
        });
        Self { is_over, thread }
    }

    fn stop(self) -> BTreeSet<Vec<u8>> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn look(process: u32, shown: &mut BTreeSet<Vec<u8>>) {
    // Of an environment the system tells nobody but root.
    let file = |name: &&str| fs::read(format!("/proc/{process}/{name}")).ok();
    shown.extend(["cmdline", "environ"].iter().filter_map(file));
    children(process).for_each(|child| look(child, shown));
}

fn children(process: u32) -> impl Iterator<Item = u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let texts = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    texts
        .collect::<String>()
        .split_whitespace()
        .map(|child| child.parse().unwrap())
        .collect::<Vec<_>>()
        .into_iter()
}

/// As talkative as it can be.
fn verbose(run: Tanner) -> Tanner {
    run.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full").env("TANNER_PROGRESS_INTERVAL", "20ms")
}

/// All files below a directory.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = files_below(directory).into_iter().map(|file| directory.join(file));
    files.filter(|file| file.is_file()).map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
}

/// The 32 bytes of the key in a PEM file.
fn private_key(path: &Path) -> Vec<u8> {
    let blocks = pem::parse_many(fs::read(path).unwrap()).unwrap();
    let key = blocks.into_iter().find(|block| block.tag() == "PRIVATE KEY").unwrap().into_contents();
    // An octet string in both kinds of keys: of P-256 after a version, of Ed25519 at the end.
    let at = key.windows(5).position(|window| window == [2, 1, 1, 4, 32]).map_or(key.len() - 32, |at| at + 5);
    key[at..at + 32].to_vec()
}

fn credentials(secret: &str) -> String {
    format!("[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {secret}\n")
}

const SOURCE: &str = "a name that no store learns";
const BYTES: usize = 1 << 20;
