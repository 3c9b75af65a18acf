//! What only a store in a directory can get wrong: links, left-overs, modes, files that change under a reader.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tanner_transports::{Disk, KEPT_TIME, Kept, ObjectName, Put, Result, Transport, TransportError};
use tempfile::TempDir;

/// A store with the object `id/0` of three bytes, and its directory.
async fn store() -> (TempDir, PathBuf, Disk) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let root = place.path().join("store");
    let disk = Disk::open(&root).expect("a path");
    put(&disk, "id/0", b"abc").await.expect("stored");
    (place, root, disk)
}

fn name(name: &str) -> ObjectName {
    ObjectName::new(name).expect("a valid name")
}

async fn begin(disk: &Disk, object: &str, bytes: &'static [u8]) -> Result<Box<dyn Put>> {
    let mut put = disk.put(&name(object), None).await?;
    put.write(Bytes::from_static(bytes)).await?;
    Ok(put)
}

async fn put(disk: &Disk, object: &str, bytes: &'static [u8]) -> Result<()> {
    begin(disk, object, bytes).await?.commit().await
}

async fn list(disk: &Disk, prefix: &str) -> Result<Vec<String>> {
    let mut names: Vec<_> = disk.list(prefix).await?.map_ok(|name| name.to_string()).try_collect().await?;
    names.sort();
    Ok(names)
}

fn staged(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(".tanner-stage")).expect("a stage");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
}

#[track_caller]
fn assert_corrupt<T>(result: Result<T>) {
    let error = result.map(drop).expect_err("what was planted is used");
    assert!(matches!(error, TransportError::Corrupt { .. }), "{error:?}");
}

#[tokio::test]
async fn a_link_planted_as_a_backup_is_not_followed_out_of_the_store() {
    let (place, root, disk) = store().await;
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("0"), "secret").unwrap();
    symlink(&outside, root.join("evil")).unwrap();

    assert_corrupt(disk.get(&name("evil/0"), 0..6).await);
    assert_corrupt(disk.stat(&name("evil/0")).await);
    assert_corrupt(disk.delete(&name("evil/0")).await);
    assert_corrupt(put(&disk, "evil/1", b"x").await);
    assert_corrupt(list(&disk, "evil").await);
    assert_eq!(list(&disk, "").await.unwrap(), ["id/0"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[tokio::test]
async fn a_link_planted_while_a_put_runs_does_not_lead_it_out_of_the_store() {
    let (place, root, disk) = store().await;
    let running = begin(&disk, "evil/1", b"x").await.unwrap();
    symlink(place.path(), root.join("evil")).unwrap();
    assert_corrupt(running.commit().await);
    assert!(!place.path().join("1").exists());
    assert_eq!(staged(&root), [""; 0]);
}

#[tokio::test]
async fn a_link_planted_as_a_block_is_neither_read_nor_written_through() {
    let (place, root, disk) = store().await;
    let outside = place.path().join("outside");
    fs::write(&outside, "secret").unwrap();
    symlink(&outside, root.join("id/1")).unwrap();
    symlink(place.path().join("new"), root.join("id/2")).unwrap();

    for object in ["id/1", "id/2"] {
        assert_corrupt(disk.get(&name(object), 0..6).await);
        assert_corrupt(disk.get_ranges(&name(object), &[0..6, 0..1]).await);
        assert_corrupt(disk.stat(&name(object)).await);
        assert_corrupt(put(&disk, object, b"x").await);
    }
    assert_eq!(list(&disk, "id").await.unwrap(), ["id/0"]);
    disk.delete(&name("id/1")).await.unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"secret");
    assert!(!place.path().join("new").exists());
    put(&disk, "id/1", b"good").await.unwrap();
}

#[tokio::test]
async fn a_link_planted_as_the_stage_is_not_filled() {
    let place = tempfile::tempdir().unwrap();
    let (root, outside) = (place.path().join("store"), place.path().join("outside"));
    fs::create_dir_all(&root).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    symlink(&outside, root.join(".tanner-stage")).unwrap();
    assert_corrupt(put(&Disk::open(&root).unwrap(), "id/0", b"x").await);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[tokio::test]
async fn a_root_that_the_user_linked_elsewhere_works() {
    let (place, root, _) = store().await;
    let link = place.path().join("link");
    symlink(&root, &link).unwrap();
    let disk = Disk::open(&link).unwrap();
    put(&disk, "id/1", b"x").await.unwrap();
    assert_eq!(list(&disk, "").await.unwrap(), ["id/0", "id/1"]);
    assert!(root.join("id/1").is_file());
}

#[tokio::test]
async fn a_directory_where_a_block_should_be_is_corrupt_and_not_a_hang() {
    let (_place, root, disk) = store().await;
    fs::create_dir(root.join("id/1")).unwrap();
    assert_corrupt(disk.get(&name("id/1"), 0..0).await);
    assert_corrupt(disk.stat(&name("id/1")).await);
    assert_corrupt(put(&disk, "id/1", b"x").await);
    assert_corrupt(disk.delete(&name("id/1")).await);
    assert_eq!(list(&disk, "id").await.unwrap(), ["id/0"]);
}

#[tokio::test]
async fn foreign_files_in_a_store_are_left_alone_and_not_listed() {
    let (_place, root, disk) = store().await;
    for dir in ["lost+found", "id/sub", ".git"] {
        fs::create_dir(root.join(dir)).unwrap();
        fs::write(root.join(dir).join("0"), "x").unwrap();
    }
    let long = format!("id/{}", "a".repeat(200));
    for file in
        ["README", "id/.hidden", "id/Upper", "id/a b", "id/a\nb", "id/\u{202e}a", "id/..\\x", "id/c:x", &long]
    {
        fs::write(root.join(file), "x").unwrap();
    }
    assert_eq!(list(&disk, "").await.unwrap(), ["id/0"]);
    assert_eq!(list(&disk, "id").await.unwrap(), ["id/0"]);
    disk.delete(&name("id/0")).await.unwrap();
    assert!(root.join("id/Upper").exists());
}

#[tokio::test]
async fn a_dead_writers_file_is_swept_and_a_living_ones_is_not() {
    let (_place, root, disk) = store().await;
    let living = begin(&disk, "id/1", b"living").await.unwrap();
    let kept = staged(&root);
    fs::write(root.join(".tanner-stage/0123456789abcdef"), "dead").unwrap();

    let other = Disk::open(&root).unwrap();
    list(&other, "").await.unwrap();
    assert_eq!(staged(&root).len(), 2, "a reader changes nothing");
    put(&other, "id/2", b"x").await.unwrap();
    assert_eq!(staged(&root), kept);
    living.commit().await.unwrap();
    assert_eq!(fs::read(root.join("id/1")).unwrap(), b"living");
    assert_eq!(staged(&root), [""; 0]);
}

async fn keep(disk: &Disk, object: &str, bytes: &'static [u8]) -> Kept {
    let mut put = begin(disk, object, bytes).await.expect("begun");
    put.keep().await.expect("kept").expect("a disk keeps")
}

#[tokio::test]
async fn what_was_kept_is_swept_a_week_after_it_was_written_and_not_before() {
    let (_place, root, disk) = store().await;
    let kept = keep(&disk, "id/1", b"kept").await;
    let [file] = &staged(&root)[..] else { panic!("one staged file") };
    let path = root.join(".tanner-stage").join(file);
    let written_before = |age: Duration| {
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - age).unwrap();
    };
    let sweep = async |object| put(&Disk::open(&root).unwrap(), object, b"x").await.unwrap();
    let hour = Duration::from_secs(3600);
    written_before(KEPT_TIME - hour);
    sweep("id/2").await;
    assert!(path.exists(), "swept too early");

    written_before(KEPT_TIME + hour);
    let resumed = disk.resume(&name("id/1"), None, &kept).await.unwrap();
    sweep("id/3").await;
    assert!(path.exists(), "swept while it is written");
    drop(resumed);
    sweep("id/4").await;
    assert_eq!(staged(&root), [""; 0]);
    let gone = disk.resume(&name("id/1"), None, &kept).await.map(drop);
    assert!(matches!(gone, Err(TransportError::Missing { .. })), "{gone:?}");
}

/// Nor is what was kept and cut short by a broken disk made whole again with nothing.
#[tokio::test]
async fn a_link_planted_as_what_was_kept_is_not_written_through() {
    let (place, root, disk) = store().await;
    let kept = keep(&disk, "id/1", b"kept").await;
    let [file] = &staged(&root)[..] else { panic!("one staged file") };
    let path = root.join(".tanner-stage").join(file);
    let resume = async || disk.resume(&name("id/1"), None, &kept).await.map(drop);
    fs::write(&path, "kep").unwrap();
    assert!(matches!(resume().await, Err(TransportError::Missing { .. })));
    fs::remove_file(&path).unwrap();
    let outside = place.path().join("outside");
    fs::write(&outside, "precious").unwrap();
    symlink(&outside, &path).unwrap();
    assert_corrupt(resume().await);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_corrupt(resume().await);
    assert_eq!(fs::read(&outside).unwrap(), b"precious");
}

#[tokio::test]
async fn what_was_kept_takes_no_part_of_the_object_that_is_there_already() {
    let (_place, root, disk) = store().await;
    let mut late = begin(&disk, "id/0", b"late").await.unwrap();
    late.keep().await.unwrap().unwrap();
    let error = late.commit().await.unwrap_err();
    assert!(matches!(error, TransportError::Exists { .. }), "{error:?}");
    assert_eq!(staged(&root), [""; 0]);
    assert_eq!(fs::read(root.join("id/0")).unwrap(), b"abc");
}

#[tokio::test]
async fn no_put_leaves_a_staged_file_however_it_ends() {
    let (_place, root, disk) = store().await;
    begin(&disk, "id/1", b"x").await.unwrap().abandon().await.unwrap();
    assert_eq!(staged(&root), [""; 0]);

    put(&disk, "id/0", b"x").await.unwrap_err();
    let late = begin(&disk, "id/2", b"x").await.unwrap();
    put(&disk, "id/2", b"y").await.unwrap();
    late.commit().await.unwrap_err();
    assert_eq!(staged(&root), [""; 0]);

    drop(begin(&disk, "id/3", b"x").await.unwrap());
    for _ in 0..500 {
        if staged(&root).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a dropped put left {:?}", staged(&root));
}

#[test]
fn a_put_that_outlives_its_runtime_leaves_nothing() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let first = runtime();
    let (_place, root, disk) = first.block_on(store());
    let orphan = first.block_on(begin(&disk, "id/1", b"x")).unwrap();
    drop(first);
    drop(orphan);
    assert_eq!(staged(&root), [""; 0]);

    // Dropped by the runtime itself, while that shuts down.
    let second = runtime();
    let held = second.block_on(begin(&disk, "id/2", b"x")).unwrap();
    second.spawn(async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    drop(second);
    assert_eq!(staged(&root), [""; 0]);
}

#[tokio::test]
async fn a_store_that_does_not_exist_is_told_from_an_empty_one() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("not there");
    let disk = Disk::open(&root).unwrap();
    let errors = [
        list(&disk, "").await.unwrap_err(),
        list(&disk, "id").await.unwrap_err(),
        disk.stat(&name("id/0")).await.unwrap_err(),
        disk.get(&name("id/0"), 0..1).await.map(drop).unwrap_err(),
        disk.delete(&name("id/0")).await.unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("/not%20there does not exist"), "{error}");
        assert!(matches!(error, TransportError::Missing { at } if at.name.is_none()));
    }
    assert!(!root.exists(), "only a put makes the store");
}

#[tokio::test]
async fn a_store_that_vanishes_is_not_made_again_in_its_place() {
    let (_place, root, disk) = store().await;
    fs::rename(&root, root.with_extension("unmounted")).unwrap();
    let error = put(&disk, "id/1", b"x").await.unwrap_err();
    assert!(matches!(error, TransportError::Missing { at } if at.name.is_none()));
    assert!(!root.exists());
}

#[tokio::test]
async fn a_block_is_not_executable_and_an_empty_backup_leaves_no_directory() {
    let (_place, root, disk) = store().await;
    let mode = fs::metadata(root.join("id/0")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7111, 0, "{mode:o}");
    disk.delete(&name("id/0")).await.unwrap();
    assert!(!root.join("id").exists());
}

#[tokio::test]
async fn a_block_cut_short_during_a_restore_is_an_error() {
    let (_place, root, disk) = store().await;
    fs::write(root.join("id/1"), vec![7; 3 << 20]).unwrap();
    let mut pieces = disk.get(&name("id/1"), 100..3 << 20).await.unwrap();
    let mut got = pieces.try_next().await.unwrap().unwrap().len() as u64;
    fs::File::options().write(true).open(root.join("id/1")).unwrap().set_len(1_000_000).unwrap();
    let error = loop {
        match pieces.try_next().await {
            Ok(piece) => got += piece.expect("an error, not an end").len() as u64,
            Err(error) => break error,
        }
    };
    assert!(got < 1_000_000);
    let expected = ((3 << 20) - 100, 1_000_000 - 100);
    assert!(
        matches!(error, TransportError::Truncated { wanted, got, .. } if (wanted, got) == expected),
        "{error:?}"
    );
    assert!(pieces.try_next().await.unwrap().is_none());
}

/// A file system of one mebibyte, unmounted when dropped. `None`, and a word, where this cannot be had.
struct TinyDisk(TempDir);

impl TinyDisk {
    fn mount() -> Option<Self> {
        let place = tempfile::tempdir().expect("a temporary directory");
        let run =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(place.path()).output();
        if run.is_ok_and(|run| run.status.success()) {
            return Some(Self(place));
        }
        eprintln!("skipped: no right to mount a tmpfs");
        None
    }

    fn remount_read_only(&self) {
        let run =
            Command::new("mount").args(["-o", "remount,ro"]).arg(self.0.path()).status().expect("mount");
        assert!(run.success());
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_says_so_keeps_what_it_has_and_goes_on_when_there_is_room() {
    let Some(tiny) = TinyDisk::mount() else { return };
    let disk = Disk::open(tiny.0.path()).unwrap();
    put(&disk, "id/0", &[1; 600_000]).await.unwrap();

    let early = disk.put(&name("id/1"), Some(600_000)).await.map(drop).unwrap_err();
    assert!(matches!(early, TransportError::Full { .. }), "{early:?}");

    let mut late = disk.put(&name("id/1"), None).await.unwrap();
    let error = late.write(Bytes::from_static(&[2; 600_000])).await.unwrap_err();
    assert!(matches!(error, TransportError::Full { .. }), "{error:?}");
    late.write(Bytes::from_static(b"x")).await.unwrap_err();
    late.commit().await.unwrap_err();
    assert_eq!(staged(tiny.0.path()), [""; 0]);
    assert_eq!(list(&disk, "").await.unwrap(), ["id/0"]);

    disk.delete(&name("id/0")).await.unwrap();
    put(&disk, "id/1", &[2; 600_000]).await.unwrap();
}

#[tokio::test]
async fn a_read_only_disk_refuses_puts_and_still_restores() {
    let Some(tiny) = TinyDisk::mount() else { return };
    put(&Disk::open(tiny.0.path()).unwrap(), "id/0", b"abc").await.unwrap();
    tiny.remount_read_only();
    let disk = Disk::open(tiny.0.path()).unwrap();
    for result in [put(&disk, "id/1", b"x").await, disk.delete(&name("id/0")).await] {
        assert!(matches!(result, Err(TransportError::Refused { .. })), "{result:?}");
    }
    assert_eq!(disk.get_ranges(&name("id/0"), &[0..3, 1..2]).await.unwrap(), ["abc", "b"]);
}

#[tokio::test]
async fn a_directory_without_permission_refuses_puts() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root ignores modes");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o555)).unwrap();
    for root in [place.path().to_owned(), place.path().join("below")] {
        let result = put(&Disk::open(root).unwrap(), "id/0", b"x").await;
        assert!(matches!(result, Err(TransportError::Refused { .. })), "{result:?}");
    }
}
