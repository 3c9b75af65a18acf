//! The format stays what it is: vectors of every block's hash, whole stored backups that must restore for
//! ever, and a decoder in another language, written from `format.md` alone, that restores them too.
//!
//! After a deliberate change of the format (new version, new document), `TANNER_BLESS=1` writes the files anew.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tanner::{
    Backup, BackupId, Error, Even, Found, Geometry, IoMode, Progress, Resources, RestoreTo, Shape, Stop,
    Store, restore,
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
    BackupId::from_bytes(blake3::hash(name.as_bytes()).as_bytes()[..16].try_into().unwrap())
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
    let file = tempfile::Builder::new()
        .prefix("golden")
        .rand_bytes(0)
        .tempfile_in(tempfile::tempdir().unwrap().keep())
        .unwrap();
    std::fs::write(file.path(), source(bytes)).unwrap();
    file.as_file().set_times(std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH)).unwrap();
    let backup = Backup {
        source: file.path(),
        io: IoMode::Auto,
        shape: Shape::Profile(profile),
        stores,
        policy: &Even,
        quorum: 1,
        survive: &[],
        id,
        created: 1_800_000_000,
    };
    let resources = Arc::new(Resources::new(2, 256 << 20).unwrap());
    let report = backup.run(&resources, &Stop::default(), &Arc::new(Progress::default())).await.unwrap();
    assert!(report.is_complete());
    let _ = std::fs::remove_dir(file.path().parent().unwrap());
    report.manifest
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
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/restore.py");
    let mut reference = Command::new("python3");
    reference.arg(script).arg(id.to_string()).arg("-o").arg(&output);
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

/// The proof that the document suffices: whoever has it needs nothing else of ours to restore.
#[test]
fn the_reference_decoder_restores_what_tanner_stored() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/restore.py");
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "CI has python3");
        println!("skipped: no python3 on this machine");
        return;
    }
    for (name, _, bytes, losses) in backups() {
        for lost in losses {
            let copy = without(name, id(name), &lost);
            let output = copy.path().join("restored");
            let id = id(name).to_string();
            let run = Command::new("python3")
                .arg(&script)
                .arg(id)
                .arg(copy.path())
                .arg("-o")
                .arg(&output)
                .output()
                .unwrap();
            let words = String::from_utf8_lossy(&run.stderr);
            assert!(run.status.success(), "{name} without {lost:?}: {words}");
            assert!(std::fs::read(&output).unwrap() == source(bytes), "{name} without {lost:?}");
        }
    }
}
