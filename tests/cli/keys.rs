//! Keys as users meet them: files, what is in them, and who may read what.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tanner::crypto::{DeviceKey, Encryption, Passphrase, Recipients};
use tanner::{BackupId, Manifest};

use crate::harness::{Place, Run, Tanner, tanner};
use crate::stored::Stored;

/// A user with a home of their own.
pub(crate) struct User(pub(crate) Place);

impl User {
    pub(crate) fn new() -> Self {
        Self(Place::new())
    }

    pub(crate) fn tanner(&self, words: &str) -> Tanner {
        let home = self.0.path().to_str().unwrap();
        let run = tanner(words).env("XDG_CONFIG_HOME", home).env("XDG_STATE_HOME", home);
        run.without_env("TANNER_IDENTITY_FILE").without_env("TANNER_DEVICE_KEY")
    }

    #[track_caller]
    pub(crate) fn run(&self, words: &str) -> Run {
        self.tanner(words).run().expect(0)
    }

    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.0.join("tanner").join(name)
    }

    /// A secret of one line.
    fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.file(name, text.as_bytes());
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_identity_is_made_once_for_its_owner_alone_and_never_shown() {
    let user = User::new();
    user.run("key recipients").err_has("nobody yet");
    let made = user.run("key new");
    made.err_has("keep a copy").err_has("identity.txt");
    let recipient = made.out.trim();
    assert!(recipient.starts_with("age1") && !made.err.contains("SECRET"), "{made:?}");
    let path = user.config("identity.txt");
    assert_eq!((mode(&path), mode(&user.config("device.pem"))), (0o600, 0o600));
    let text = fs::read_to_string(&path).unwrap();
    let device = user.run("key device").out;
    assert!(text.contains(&format!("# device: {device}")), "{text}");
    user.tanner("key new").run().expect(2).is_one_line_of_error().err_has("ever replaced");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    assert_eq!(user.run("key recipients").out, made.out);
    assert_eq!(user.tanner("key recipients").arg(&path).run().expect(0).out, made.out);
    let inspected = user.tanner("key inspect").arg(&path).run().expect(0);
    inspected.out_has(recipient).out_has(device.trim()).out_has("identity");
    assert!(!inspected.out.contains("SECRET"), "{inspected:?}");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    user.tanner("key recipients").run().expect(2).is_one_line_of_error().err_has("chmod 600");
}

#[test]
fn an_identity_behind_a_passphrase_still_says_for_whom_to_encrypt() {
    let user = User::new();
    let passphrase = user.secret("passphrase", "two words\n");
    let made = user.tanner("key new --passphrase-file").arg(&passphrase).run().expect(0);
    made.err_has("recipients.txt");
    let path = user.config("identity.txt");
    assert!(fs::read(&path).unwrap().starts_with(b"age-encryption.org/v1\n"));
    assert_eq!(user.run("key recipients").out, made.out);
    user.tanner("key inspect")
        .arg(&path)
        .run()
        .expect(12)
        .is_one_line_of_error()
        .err_has("--passphrase-file");
    let wrong = user.secret("wrong", "other words\n");
    user.tanner("key inspect --passphrase-file")
        .arg(wrong)
        .arg(&path)
        .run()
        .expect(12)
        .is_one_line_of_error();
    let command = format!("cat {}", passphrase.display());
    let inspect = user.tanner("key inspect").arg(&path).env("TANNER_PASSPHRASE_COMMAND", &command);
    inspect.run().expect(0).out_has(made.out.trim());
    // Another identity does not change for whom this user's backups are.
    let other = user.0.join("other.age");
    user.tanner("key new --passphrase-file").arg(&passphrase).arg("--file").arg(&other).run().expect(0);
    assert_eq!(user.run("key recipients").out, made.out);
}

/// One passphrase for the identity, another for a backup: the one that is named must not be held against the other.
#[test]
fn a_backup_behind_a_passphrase_of_its_own_opens_beside_an_identity_behind_another() {
    let (user, stored) = (User::new(), Stored::new(1000, "-k 2 -m 1 --no-encrypt", 1));
    let (of_identity, of_backup) = (user.secret("one", "two words\n"), user.secret("two", "other words\n"));
    user.tanner("key new --passphrase-file").arg(of_identity).run().expect(0);
    let mut recipients = Recipients::default();
    recipients.set_passphrase(Passphrase::read(&of_backup).unwrap());
    let device = DeviceKey::load(&user.config("device.pem")).unwrap();
    let plain = Manifest::from_bytes(&fs::read(stored.manifest(0)).unwrap()).unwrap();
    let id = signed(&plain, &Encryption::begin(device, &recipients).unwrap(), 1, &stored.stores[0]);
    let export = user.tanner("key export").arg(id.to_string()).arg("--from").arg(&stored.stores[0]);
    let export = export.arg("-o").arg(user.0.join("read.key"));
    export.arg("--passphrase-file").arg(of_backup).run().expect(0);
}

#[test]
fn a_backup_is_for_whom_it_is_said_to_be_for() {
    let (user, other) = (User::new(), User::new());
    let (own, others) = (user.run("key new").out, other.run("key new").out);
    let named = user.run(&format!("key recipients --recipient {others}"));
    assert_eq!(named.out, others);
    let file = user.0.file("recipients", format!("# both\n{own}{others}").as_bytes());
    let both = user.tanner("key recipients --recipients-file").arg(&file).run().expect(0);
    assert_eq!(both.out, format!("{own}{others}"));
    let by_env = user.tanner("key recipients").env("TANNER_RECIPIENTS_FILE", file.to_str().unwrap());
    assert_eq!(by_env.run().expect(0).out, both.out);
    fs::write(user.config("recipients.txt"), &others).unwrap();
    assert_eq!(user.run("key recipients").out, others, "the file of recipients comes before the identity");
    let none = user.run("key recipients --no-encrypt");
    assert_eq!(none.out, "");
    none.err_has("not be encrypted");
    user.tanner("key recipients --no-encrypt --recipient").arg(own.trim()).run().expect(2);
    let secret = fs::read_to_string(user.config("identity.txt")).unwrap();
    let secret = secret.lines().last().unwrap();
    let mixed_up = user.tanner("key recipients --recipient").arg(secret).run().expect(2);
    assert!(!mixed_up.err.contains(&secret[..30]), "{mixed_up:?}");
    let missing = user.tanner("key recipients --recipients-file /nonexistent").run().expect(2);
    missing.is_one_line_of_error();
}

/// The manifest of a backup as another run would have signed it, in a store.
fn signed(plain: &Manifest, encryption: &Encryption, generation: u64, store: &Path) -> BackupId {
    let id = encryption.id();
    let bytes = Manifest { id, ..plain.clone() }.to_sealed_bytes(encryption, generation);
    let directory = store.join(id.to_string());
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("manifest"), bytes).unwrap();
    id
}

#[test]
fn the_key_of_one_backup_is_given_to_nobody_but_its_readers_and_only_of_what_they_trust() {
    let (user, stranger, stored) = (User::new(), User::new(), Stored::new(1000, "-k 2 -m 1 --no-encrypt", 1));
    let recipient = user.run("key new").out;
    stranger.run("key new");
    let mut recipients = Recipients::default();
    recipients.add(recipient.trim()).unwrap();
    let plain = Manifest::from_bytes(&fs::read(stored.manifest(0)).unwrap()).unwrap();
    let encryption =
        |device: &Path| Encryption::begin(DeviceKey::load(device).unwrap(), &recipients).unwrap();
    let (store, own) = (&stored.stores[0], encryption(&user.config("device.pem")));
    let id = signed(&plain, &own, 1, store);
    let export = |user: &User, id: BackupId, output: &str| {
        let export = user.tanner("key export").arg(id.to_string()).arg("--from").arg(store);
        export.arg("-o").arg(user.0.join(output))
    };
    export(&user, id, "read.key").run().expect(0).err_has("and no other");
    let key = user.0.join("read.key");
    assert_eq!(mode(&key), 0o600);
    export(&user, id, "read.key").run().expect(2).err_has("ever replaced");
    let inspected = user.tanner("key inspect").arg(&key).run().expect(0);
    inspected.out_has(&id.to_string());
    assert!(!inspected.out.contains("tanner-read1"), "{inspected:?}");
    // A read key is handed on as well as an identity, and says itself whom to trust.
    let handed_on = stranger.0.join("handed-on.key");
    fs::copy(&key, &handed_on).unwrap();
    export(&stranger, id, "again.key").arg("--read-key").arg(&handed_on).run().expect(0);
    assert_eq!(fs::read(stranger.0.join("again.key")).unwrap(), fs::read(&key).unwrap());

    let run = export(&stranger, id, "none.key").run().expect(12);
    run.is_one_line_of_error().err_has("--trust tanner-device1");
    let device = user.run("key device").out;
    let run = export(&stranger, id, "none.key").arg("--trust").arg(device.trim()).run().expect(12);
    run.is_one_line_of_error().err_has("--identity");
    fs::write(stranger.config("devices"), format!("# a friend\n{device}")).unwrap();
    let identity = user.config("identity.txt");
    export(&stranger, id, "by-identity.key").arg("--identity").arg(identity).run().expect(0);
    // Somebody else's backup for us: nobody here knows who made it.
    let foreign = signed(&plain, &encryption(&stranger.config("device.pem")), 1, store);
    export(&user, foreign, "none.key").run().expect(12).err_has("whom nothing here trusts");
    assert!(!user.0.join("none.key").exists() && !stranger.0.join("none.key").exists());
    export(&user, plain.id, "none.key").run().expect(2).err_has("not encrypted");
    export(&user, BackupId::random(), "none.key").run().expect(10).is_one_line_of_error();
}

#[test]
fn a_store_that_hides_the_newest_manifest_or_forges_one_is_found_out() {
    let (user, stored) = (User::new(), Stored::new(1000, "-k 2 -m 1 --no-encrypt", 1));
    let mut recipients = Recipients::default();
    recipients.add(user.run("key new").out.trim()).unwrap();
    let device = DeviceKey::load(&user.config("device.pem")).unwrap();
    let encryption = Encryption::begin(device, &recipients).unwrap();
    let plain = Manifest::from_bytes(&fs::read(stored.manifest(0)).unwrap()).unwrap();
    let store = &stored.stores[0];
    let export = |output: &str| {
        let export = user.tanner("key export").arg(encryption.id().to_string()).arg("--from").arg(store);
        export.arg("-o").arg(user.0.join(output)).run()
    };
    signed(&plain, &encryption, 2, store);
    export("newest").expect(0);
    signed(&plain, &encryption, 1, store);
    export("older").expect(5).is_one_line_of_error().err_has("generation 1, and 2 was seen before");
    signed(&plain, &encryption, 2, store);
    export("another").expect(5).is_one_line_of_error().err_has("two different manifests");
    let id = signed(&plain, &encryption, 3, store);
    export("newer").expect(0);
    let path = store.join(id.to_string()).join("manifest");
    let mut bytes = fs::read(&path).unwrap();
    bytes[60] ^= 1;
    fs::write(&path, bytes).unwrap();
    export("forged").expect(5).err_has("damaged or forged");
    fs::write(&path, Manifest { id, ..plain }.to_bytes()).unwrap();
    export("downgraded").expect(5).err_has("that of a signed backup");
    fs::write(user.config("seen.json"), "{").unwrap();
    export("forgetful").expect(1).err_has("seen.json");
    let written: Vec<bool> = ["older", "another", "forged", "downgraded", "forgetful"]
        .map(|name| user.0.join(name).exists())
        .into();
    assert_eq!(written, [false; 5]);
}
