//! The format stays what it is: vectors of every block's hash, whole stored backups that must restore for
//! ever, and a decoder in another language, written from `format.md` alone, that restores them too.
//!
//! After a deliberate change of the format (new version, new document), `TANNER_BLESS=1` writes the files anew.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tanner::crypto::{
    DeviceKey, Encryption, Epoch, EpochName, Epochs, Identities, IdentityFile, Passphrase, ReadKey,
};
use tanner::{
    Backup, BackupId, Error, Even, Found, Geometry, IoMode, Progress, Resources, RestoreTo, SealedManifest,
    Shape, Stop, Store, Stream, restore,
};
use tanner_kernels::{Construction, Profile};
use tanner_transports::{Disk, Memory, Transport};

const Q11: Construction = Construction::Shift { modulus: 11 };
const PLAIN: Construction = Construction::Shift { modulus: 0 };
const D31: Construction = Construction::Coupled { n1: 8, period: 32, depth: 31, seed: 1 };
const D15: Construction = Construction::Coupled { n1: 8, period: 32, depth: 15, seed: 1 };
const SMALL: Construction = Construction::Coupled { n1: 4, period: 5, depth: 9, seed: u64::MAX };
const RFC: Construction = Construction::Rfc5170 { n1: 7, group: 16, seed: 1 };
const RFC_SMALL: Construction = Construction::Rfc5170 { n1: 5, group: 3, seed: 2_147_483_646 };

/// Byte i is ((i mod 251) + (i div 251)) mod 256.
fn source(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| ((i % 251 + i / 251) % 256) as u8).collect()
}

fn id(name: &str) -> BackupId {
    let mut bytes: [u8; 16] = blake3::hash(name.as_bytes()).as_bytes()[..16].try_into().unwrap();
    // With the first bit it would be that of a signed backup.
    bytes[0] &= 0x7f;
    BackupId::from_bytes(bytes)
}

/// Stores a source of `bytes` bytes and returns what was recorded.
async fn store(
    profile: Profile,
    bytes: usize,
    id: BackupId,
    transport: Arc<dyn Transport>,
) -> tanner::Manifest {
    store_on(profile, bytes, id, vec![Store::new(transport)]).await
}

async fn store_on(profile: Profile, bytes: usize, id: BackupId, stores: Vec<Store>) -> tanner::Manifest {
    store_bytes(profile, &source(bytes), id, stores).await
}

async fn store_bytes(profile: Profile, bytes: &[u8], id: BackupId, stores: Vec<Store>) -> tanner::Manifest {
    let file = tempfile::Builder::new()
        .prefix("golden")
        .rand_bytes(0)
        .tempfile_in(tempfile::tempdir().unwrap().keep())
        .unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file.as_file().set_times(std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH)).unwrap();
    let backup = Backup {
        source: file.path(),
        io: IoMode::Auto,
        shape: Shape::Profile(profile),
        stores,
        policy: &Even,
        quorum: 1,
        survive: &[],
        encryption: None,
        id,
        created: 1_800_000_000,
    };
    let resources = Arc::new(Resources::new(2, 256 << 20).unwrap());
    let report = backup.run(&resources, &Stop::default(), &Arc::new(Progress::default())).await.unwrap();
    assert!(report.is_complete());
    let _ = std::fs::remove_dir(file.path().parent().unwrap());
    report.manifest
}

/// Stores a stream of `bytes` bytes.
async fn store_stream(
    profile: Profile,
    bytes: usize,
    id: BackupId,
    transport: Arc<dyn Transport>,
) -> tanner::Manifest {
    let (from, mut into) = std::io::pipe().unwrap();
    let writer = std::thread::spawn(move || into.write_all(&source(bytes)).unwrap());
    let backup = Backup {
        source: Path::new("stream"),
        io: IoMode::Auto,
        shape: Shape::Profile(profile),
        stores: vec![Store::new(transport)],
        policy: &Even,
        quorum: 1,
        survive: &[],
        encryption: None,
        id,
        created: 1_800_000_000,
    };
    let resources = Arc::new(Resources::new(2, 256 << 20).unwrap());
    let (stream, stop) = (Stream::new("stream".into(), from.into()), Stop::default());
    let report = backup.run_stream(stream, &resources, &stop, &Arc::new(Progress::default())).await.unwrap();
    writer.join().unwrap();
    assert!(report.is_complete());
    report.manifest
}

/// Streams of several rows: the layout of each is part of the format.
fn streams() -> Vec<(Profile, usize)> {
    let profile = |k, m, c, r| Profile::new(k, m, c, 64, r).unwrap();
    let mut cases = Vec::new();
    for bytes in [12_289, 24_576, 30_000, 300_000] {
        cases.push((profile(6, 5, PLAIN, 32), bytes));
    }
    cases.push((profile(2, 2, Q11, 65_536), (2 << 20) + 1));
    cases.push((profile(12, 12, D31, 256), 700_000));
    cases.push((profile(6, 5, RFC_SMALL, 48), 50_000));
    cases
}

fn profiles() -> Vec<(Profile, usize)> {
    let mut cases = Vec::new();
    let profile = |k, m, c, u, r| Profile::new(k, m, c, u, r).unwrap();
    for bytes in [0, 1, 69, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1] {
        let unit = if bytes > 100_000 { 64 } else { 1 };
        for (k, m, construction) in [(10, 5, Q11), (3, 2, PLAIN), (12, 12, D31), (24, 26, D15), (1, 1, PLAIN)]
        {
            cases.push((profile(k, m, construction, unit, 1024), bytes));
        }
    }
    for unit in [1, 2, 4, 8, 16, 32, 64] {
        cases.push((profile(6, 5, SMALL, unit, 48), 6 * 200 * usize::from(unit) - 3));
        cases.push((profile(5, 3, PLAIN, unit, 32), 5 * 100 * usize::from(unit) + 1));
    }
    for unit in [1, 64] {
        cases.push((profile(6, 5, RFC_SMALL, unit, 48), 6 * 200 * usize::from(unit) - 3));
    }
    for bytes in [0, 69, 40_000, 24 * 64 * 20_000] {
        cases.push((profile(24, 26, RFC, if bytes > 100_000 { 64 } else { 4 }, 1024), bytes));
    }
    cases.push((profile(1000, 200, D15, 1, 1024), 30_000));
    cases.push((profile(1, 300, D15, 64, 1024), 100_000));
    cases.push((profile(10, 4, Q11, 64, 65_536), 10 * 64 * 20_000));
    cases
}

fn describe(profile: &Profile, bytes: usize) -> String {
    let parameters = match profile.construction() {
        Construction::Shift { modulus } => format!("q={modulus}"),
        Construction::Coupled { n1, period, depth, seed } => {
            format!("N1={n1} P={period} D={depth} seed={seed}")
        }
        Construction::Rfc5170 { n1, group, seed } => format!("N1={n1} G={group} seed={seed}"),
    };
    let (code, k, m) = (profile.code_name(), profile.data(), profile.parity());
    format!("{code} k={k} m={m} {parameters} u={} R={} size={bytes}", profile.unit(), profile.frame_steps())
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn blessing() -> bool {
    std::env::var_os("TANNER_BLESS").is_some()
}

/// If a hash here changes, backups that people have stored cannot be repaired or restored any more.
#[tokio::test(flavor = "multi_thread")]
async fn every_block_of_every_vector_is_what_it_always_was() {
    let mut text = String::new();
    for (profile, bytes) in profiles() {
        let manifest = store(profile, bytes, id("vectors"), Arc::new(Memory::new())).await;
        write!(text, "{}:", describe(&profile, bytes)).unwrap();
        manifest.hashes.iter().for_each(|hash| write!(text, " {hash}").unwrap());
        text.push('\n');
        assert_eq!(manifest.source_hash, blake3::hash(&source(bytes)), "{}", describe(&profile, bytes));
    }
    for (profile, bytes) in streams() {
        let manifest = store_stream(profile, bytes, id("vectors"), Arc::new(Memory::new())).await;
        let rows = manifest.geometry.row_steps().unwrap();
        write!(text, "{} c={rows}:", describe(&profile, bytes)).unwrap();
        manifest.hashes.iter().for_each(|hash| write!(text, " {hash}").unwrap());
        text.push('\n');
        assert_eq!(manifest.source_hash, blake3::hash(&source(bytes)), "{}", describe(&profile, bytes));
    }
    let path = golden().join("vectors.txt");
    if blessing() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap();
    for (got, wanted) in text.lines().zip(expected.lines()) {
        assert!(got == wanted, "changed: {}", wanted.split(':').next().unwrap());
    }
    assert_eq!(text.lines().count(), expected.lines().count());
}

/// Name, profile, size, and the losses that each whole backup must survive; several need elimination.
fn backups() -> Vec<(&'static str, Profile, usize, Vec<Vec<usize>>)> {
    let profile = |k, m, c, u, r| Profile::new(k, m, c, u, r).unwrap();
    vec![
        (
            "shift",
            profile(10, 4, Q11, 1, 1024),
            4097,
            vec![vec![], vec![0, 1, 2, 3], vec![0, 4, 9, 11], vec![7, 10, 12, 13]],
        ),
        ("shift-frames", profile(6, 5, PLAIN, 8, 32), 6000, vec![vec![1, 2, 3, 4, 5], vec![0, 5, 6, 8, 10]]),
        (
            "coupled",
            profile(12, 12, D31, 4, 1024),
            20_000,
            vec![(0..11).collect(), (1..12).collect(), vec![0, 2, 4, 6, 8, 10, 13, 15, 17, 19, 21]],
        ),
        (
            "coupled-frames",
            profile(12, 12, D31, 8, 256),
            40_000,
            vec![(0..11).collect(), vec![0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16]],
        ),
        (
            "rfc5170",
            profile(10, 6, RFC, 4, 1024),
            20_000,
            vec![(0..4).collect(), vec![2, 9, 10, 12], vec![0, 5, 11, 15]],
        ),
        ("rfc5170-frames", profile(4, 5, RFC_SMALL, 8, 48), 5000, vec![(0..3).collect(), vec![1, 3, 6]]),
        ("empty", profile(2, 2, PLAIN, 1, 1024), 0, vec![vec![0, 1]]),
    ]
}

/// A directory with the golden backup but for some blocks.
fn without(name: &str, id: BackupId, lost: &[usize]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let (from, to) = (golden().join(name).join(id.to_string()), copy.path().join(id.to_string()));
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if !lost.iter().any(|block| entry.file_name() == *block.to_string()) {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    copy
}

async fn restore_from(directory: &Path, id: BackupId) -> Result<Vec<u8>, Error> {
    restore_from_all(vec![Store::new(Arc::new(Disk::open(directory).unwrap()))], id).await
}

async fn restore_from_all(stores: Vec<Store>, id: BackupId) -> Result<Vec<u8>, Error> {
    let output = tempfile::tempdir().unwrap();
    let path = output.path().join("restored");
    let found = Found::open(stores, id).await?;
    let resources = Arc::new(Resources::new(2, 256 << 20).unwrap());
    let to = RestoreTo { path: path.clone(), replace: false, resume: false };
    restore(found, to, &resources, &Stop::default(), &Arc::new(Progress::default())).await?;
    Ok(std::fs::read(path).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_backups_of_every_version_restore() {
    for (name, profile, bytes, losses) in backups() {
        let (id, stored) = (id(name), golden().join(name));
        if blessing() {
            let _ = std::fs::remove_dir_all(&stored);
            store(profile, bytes, id, Arc::new(Disk::open(&stored).unwrap())).await;
            let _ = std::fs::remove_dir(stored.join(".tanner-stage"));
        }
        for lost in losses {
            let restored = restore_from(without(name, id, &lost).path(), id).await.unwrap();
            assert!(restored == source(bytes), "{name} without {lost:?}");
        }
        // Today's writer still writes the same bytes, so today's blocks can stand in for stored ones.
        let fresh = tempfile::tempdir().unwrap();
        let manifest = store(profile, bytes, id, Arc::new(Disk::open(fresh.path()).unwrap())).await;
        let objects = (0..profile.blocks()).map(|block| block.to_string()).chain(["manifest".into()]);
        for object in objects {
            let read = |root: &Path| std::fs::read(root.join(id.to_string()).join(&object)).unwrap();
            assert!(read(fresh.path()) == read(&stored), "{name}: object {object} changed");
        }
        assert_eq!(manifest.geometry, Geometry::new(profile, bytes as u64));
    }
}

/// A backup on three stores, whose manifest says which block went where and what the stores share.
fn stores_below(root: &Path) -> Vec<Store> {
    let labels = [&[("disk", "ä"), ("host", "a")][..], &[("disk", "b")], &[]];
    let store = |(number, labels): (usize, &&[(&str, &str)])| {
        let mut store = Store::new(Arc::new(Disk::open(root.join(number.to_string())).unwrap()));
        let labels = labels.iter().map(|&(label, value)| (label.to_owned(), value.to_owned()));
        store.facts.labels = labels.collect();
        store
    };
    labels.iter().enumerate().map(store).collect()
}

/// Whoever reads the record of where blocks were put must read it like this for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_records_places_stays_what_it_is() {
    let (id, golden) = (id("placed"), golden().join("placed"));
    let (profile, bytes) = (Profile::new(3, 3, PLAIN, 8, 32).unwrap(), 3000);
    if blessing() {
        let _ = std::fs::remove_dir_all(&golden);
        store_on(profile, bytes, id, stores_below(&golden)).await;
        (0..3).for_each(|store| _ = std::fs::remove_dir(golden.join(format!("{store}/.tanner-stage"))));
    }
    for lost in 0..3 {
        let mut left = stores_below(&golden);
        left.remove(lost);
        assert!(restore_from_all(left, id).await.unwrap() == source(bytes), "without store {lost}");
    }
    let fresh = tempfile::tempdir().unwrap();
    let manifest = store_on(profile, bytes, id, stores_below(fresh.path())).await;
    assert_eq!(manifest.places.unwrap().of, [0, 1, 2, 0, 1, 2]);
    let output = fresh.path().join("restored");
    let mut reference = reference(id);
    reference.arg("-o").arg(&output);
    for store in (0..3).map(|store| store.to_string()) {
        let read =
            |root: &Path| std::fs::read(root.join(&store).join(id.to_string()).join("manifest")).unwrap();
        assert!(read(fresh.path()) == read(&golden), "the manifest changed");
        reference.arg(golden.join(store));
    }
    match reference.output() {
        Err(_) => assert!(std::env::var_os("CI").is_none(), "CI has python3"),
        Ok(run) => {
            assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
            assert!(std::fs::read(&output).unwrap() == source(bytes));
        }
    }
}

/// A stream of two rows and a part of one, whose manifest says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_stays_what_it_is() {
    let (name, bytes) = ("striped", 30_000);
    let (id, golden) = (id(name), golden().join(name));
    let profile = Profile::new(6, 5, PLAIN, 64, 32).unwrap();
    if blessing() {
        let _ = std::fs::remove_dir_all(&golden);
        store_stream(profile, bytes, id, Arc::new(Disk::open(&golden).unwrap())).await;
        let _ = std::fs::remove_dir(golden.join(".tanner-stage"));
    }
    let fresh = tempfile::tempdir().unwrap();
    let manifest = store_stream(profile, bytes, id, Arc::new(Disk::open(fresh.path()).unwrap())).await;
    assert_eq!(manifest.geometry, Geometry::striped(profile, 32, bytes as u64));
    let objects = (0..profile.blocks()).map(|block| block.to_string()).chain(["manifest".into()]);
    for object in objects {
        let read = |root: &Path| std::fs::read(root.join(id.to_string()).join(&object)).unwrap();
        assert!(read(fresh.path()) == read(&golden), "object {object} changed");
    }
    for lost in [vec![], vec![1, 2, 3, 4, 5], vec![0, 5, 6, 8, 10]] {
        let copy = without(name, id, &lost);
        assert!(restore_from(copy.path(), id).await.unwrap() == source(bytes), "without {lost:?}");
        let output = copy.path().join("restored");
        match reference(id).arg(copy.path()).arg("-o").arg(&output).output() {
            Err(_) => assert!(std::env::var_os("CI").is_none(), "CI has python3"),
            Ok(run) => {
                assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
                assert!(std::fs::read(&output).unwrap() == source(bytes), "without {lost:?}");
            }
        }
    }
}

/// The decoder in another language, about to restore a backup.
fn reference(id: BackupId) -> Command {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/restore.py")).arg(id.to_string());
    // Early writers took any id for a plain backup.
    command.args(id.is_certified().then_some("--no-encrypt"));
    command
}

/// The proof that the document suffices: whoever has it needs nothing else of ours to restore.
#[test]
fn the_reference_decoder_restores_what_tanner_stored() {
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI has python3");
        println!("skipped: no python3 on this machine");
        return;
    }
    for (name, _, bytes, losses) in backups() {
        for lost in losses {
            let copy = without(name, id(name), &lost);
            let output = copy.path().join("restored");
            let run = reference(id(name)).arg(copy.path()).arg("-o").arg(&output).output().unwrap();
            let words = String::from_utf8_lossy(&run.stderr);
            assert!(run.status.success(), "{name} without {lost:?}: {words}");
            assert!(std::fs::read(&output).unwrap() == source(bytes), "{name} without {lost:?}");
        }
    }
}

/// A copy of a key for its owner alone: a repository does not keep modes.
fn private_copy(place: &Path, key: &str) -> PathBuf {
    let copy = place.join(key);
    std::fs::copy(golden().join("keys").join(key), &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
    copy
}

/// A backup that is encrypted for the identity in `keys`, and for the passphrase there if it has one epoch: that takes
/// its time.
async fn bless_encrypted(name: &str, epochs: Epochs, profile: Profile, bytes: usize) {
    let (stored, own) = (golden().join(name), tempfile::tempdir().unwrap());
    let _ = std::fs::remove_dir_all(&stored);
    let device = DeviceKey::load(&private_copy(own.path(), "device.pem")).unwrap();
    let identity = IdentityFile::read(&private_copy(own.path(), "identity.txt"), None).unwrap();
    let mut recipients = identity.recipients();
    if epochs == Epochs::default() {
        recipients.set_passphrase(Passphrase::read(&private_copy(own.path(), "passphrase.txt")).unwrap());
    }
    let encryption = Encryption::begin(device, &recipients).unwrap();
    let mut encrypted = source(bytes);
    encryption.cipher(&Geometry::new(profile, bytes as u64), &epochs).apply(0, &mut encrypted);
    let store = Store::new(Arc::new(Disk::open(&stored).unwrap()));
    let mut manifest = store_bytes(profile, &encrypted, encryption.id(), vec![store]).await;
    (manifest.source_hash, manifest.epochs) = (blake3::hash(&source(bytes)), epochs);
    let bytes = manifest.to_sealed_bytes(&encryption, 1);
    std::fs::write(stored.join(encryption.id().to_string()).join("manifest"), bytes).unwrap();
    let _ = std::fs::remove_dir(stored.join(".tanner-stage"));
}

/// Whoever has the identity, the passphrase or the key of an encrypted backup must be able to read it for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_backup_opens_for_ever_and_the_reference_decoder_restores_it() {
    opens_for_ever("encrypted", &Epochs::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_backup_that_was_cut_off_opens_for_ever_and_the_reference_decoder_restores_it() {
    let mut epochs = Epochs::default();
    assert!(epochs.begin(Epoch { first_step: 33, name: EpochName(*b"epoch 33") }));
    assert!(epochs.begin(Epoch { first_step: 101, name: EpochName(*b"epoch101") }));
    opens_for_ever("epochs", &epochs).await;
}

async fn opens_for_ever(name: &str, epochs: &Epochs) {
    let (profile, bytes) = (Profile::new(6, 5, PLAIN, 8, 32).unwrap(), 6000);
    if blessing() {
        bless_encrypted(name, epochs.clone(), profile, bytes).await;
    }
    let (place, stored) = (tempfile::tempdir().unwrap(), golden().join(name));
    let [identity, device, passphrase] =
        ["identity.txt", "device.pem", "passphrase.txt"].map(|key| private_copy(place.path(), key));
    let names = std::fs::read_dir(&stored).unwrap().map(|entry| entry.unwrap().file_name());
    let [id] = names.map(|name| name.to_str().unwrap().parse::<BackupId>().unwrap()).collect::<Vec<_>>()[..]
    else {
        panic!("one backup");
    };
    let sealed = std::fs::read(stored.join(id.to_string()).join("manifest")).unwrap();
    let sealed = SealedManifest::from_bytes_of(id, &sealed).unwrap();
    assert_eq!(sealed.signer(), Some(DeviceKey::load(&device).unwrap().device()));
    assert_eq!(sealed.generation(), Some(1));
    let mut by_identity = Identities::default();
    by_identity.add_file(IdentityFile::read(&identity, None).unwrap());
    let mut by_passphrase = Identities::default();
    by_passphrase.set_passphrase(Passphrase::read(&passphrase).unwrap());
    let key = by_identity.file_key(id, sealed.wrapped()).unwrap();
    let has_passphrase = epochs == &Epochs::default();
    if has_passphrase {
        assert_eq!(key.expose(), by_passphrase.file_key(id, sealed.wrapped()).unwrap().expose());
    }
    let manifest = sealed.open(&key).unwrap();
    assert_eq!((manifest.source_hash, manifest.created), (blake3::hash(&source(bytes)), 1_800_000_000));
    // Today's cipher and code still make the same blocks.
    let mut encrypted = source(bytes);
    key.cipher(id, &manifest.geometry, &manifest.epochs).apply(0, &mut encrypted);
    assert_eq!(&manifest.epochs, epochs);
    let again = store_bytes(profile, &encrypted, id, vec![Store::new(Arc::new(Memory::new()))]).await;
    assert_eq!((&again.hashes, again.geometry), (&manifest.hashes, manifest.geometry));

    let modules = Command::new("python3").args(["-c", "import cryptography, pyrage"]).output();
    if !modules.is_ok_and(|run| run.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "CI has python3 with cryptography and pyrage");
        println!("skipped: no python3 with cryptography and pyrage on this machine");
        return;
    }
    let read_key = place.path().join("read.key");
    ReadKey::new(id, key, sealed.signer().unwrap()).create(&read_key).unwrap();
    let lost: Vec<usize> = vec![0, 5, 6, 8, 10];
    let copy = place.path().join("store").join(id.to_string());
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(stored.join(id.to_string())).unwrap().map(Result::unwrap) {
        if !lost.iter().any(|block| entry.file_name() == *block.to_string()) {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let output = place.path().join("restored");
    let restore = |arguments: &[&std::ffi::OsStr]| {
        let _ = std::fs::remove_file(&output);
        let mut command = reference(id);
        let run =
            command.arg(place.path().join("store")).arg("-o").arg(&output).args(arguments).output().unwrap();
        (run.status.code(), std::fs::read(&output).ok(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let mut keys = vec![("--identity", &identity), ("--read-key", &read_key)];
    keys.extend(has_passphrase.then_some(("--passphrase-file", &passphrase)));
    for (flag, key) in keys {
        let (code, restored, words) = restore(&[flag.as_ref(), key.as_os_str()]);
        assert!(code == Some(0) && restored == Some(source(bytes)), "{flag}: {words}");
    }
    assert_eq!(restore(&[]).0, Some(1), "without a key");
    let mut forged = sealed.as_bytes().to_vec();
    forged[100] ^= 1;
    std::fs::write(copy.join("manifest"), forged).unwrap();
    let (code, restored, words) = restore(&["--identity".as_ref(), identity.as_os_str()]);
    assert!(code == Some(1) && restored.is_none() && words.contains("signature"), "{words}");
}
