//! Calls of the system that fail below a store in a directory: nothing is acknowledged that is not durable, and nothing
//! is left that was not acknowledged.
#![expect(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

#[path = "common/filter.rs"]
mod filter;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use futures_util::TryStreamExt;
use rustix::io::Errno;
use tanner_transports::{Disk, DiskIo, ObjectName, Result, Transport, TransportError, ring};

/// Runs `work` where this call fails, but for the ring's calls, which are none of these.
fn where_fails<T: Send>(call: i64, errno: Errno, work: impl AsyncFnOnce() -> T + Send) -> T {
    filter::where_fails(call, errno, || block_on(work()))
}

/// On threads of its own.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn name(name: &str) -> ObjectName {
    ObjectName::new(name).unwrap()
}

async fn put(disk: &Disk, object: &str, length: Option<u64>) -> Result<()> {
    let mut put = disk.put(&name(object), length).await?;
    put.write(Bytes::from_static(b"abc")).await?;
    put.commit().await
}

/// A store in use, with the object `id/0`.
fn store(root: &Path, io: DiskIo) -> Disk {
    let disk = Disk::open(root).unwrap().with_io(io).unwrap();
    block_on(put(&disk, "id/0", None)).unwrap();
    disk
}

/// The ways to disks that there are here.
fn ways() -> Vec<DiskIo> {
    match ring::refusal() {
        None => vec![DiskIo::Ring, DiskIo::Positioned],
        Some(why) => {
            eprintln!("skipped: the ring, {why}");
            vec![DiskIo::Positioned]
        }
    }
}

async fn assert_only_the_first_is_there(disk: &Disk, root: &Path) {
    let names: Vec<_> = disk.list("").await.unwrap().try_collect().await.unwrap();
    assert_eq!(names, [name("id/0")]);
    assert_eq!(fs::read_dir(root.join(".tanner-stage")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(root.join("id")).unwrap().count(), 1);
}

#[test]
fn a_put_that_cannot_be_made_durable_is_refused_and_leaves_nothing() {
    for io in ways() {
        // The ring writes and syncs files without these calls: with it, the directory's is the one that fails.
        let through_calls: &[i64] = if io == DiskIo::Positioned { &[libc::SYS_pwrite64] } else { &[] };
        for call in [&[libc::SYS_renameat2, libc::SYS_fsync], through_calls].concat() {
            for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT] {
                let place = tempfile::tempdir().unwrap();
                let disk = store(place.path(), io);
                let error = where_fails(call, errno, async || put(&disk, "id/1", None).await).unwrap_err();
                let is_full = matches!(error, TransportError::Full { .. });
                assert_eq!(is_full, errno != Errno::IO, "{io:?}, call {call}: {error:?}");
                assert!(!error.is_retryable(), "{error:?}");
                block_on(async {
                    assert_only_the_first_is_there(&disk, place.path()).await;
                    put(&disk, "id/1", None).await.unwrap();
                });
            }
        }
    }
}

/// Its name may come back with the power.
#[test]
fn a_delete_that_cannot_be_made_durable_is_an_error_and_can_be_repeated() {
    let place = tempfile::tempdir().unwrap();
    let disk = store(place.path(), DiskIo::Auto);
    block_on(put(&disk, "id/1", None)).unwrap();
    let delete = async || disk.delete(&name("id/1")).await;
    for _ in 0..2 {
        let error = where_fails(libc::SYS_fsync, Errno::IO, delete).unwrap_err();
        assert!(matches!(error, TransportError::Other { .. }), "{error:?}");
    }
    block_on(delete()).unwrap();
}

#[test]
fn a_disk_without_room_says_so_before_the_bytes_and_one_that_cannot_tell_takes_them() {
    for io in ways() {
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            let place = tempfile::tempdir().unwrap();
            let disk = store(place.path(), io);
            let begin = async || disk.put(&name("id/1"), Some(3)).await.map(drop);
            let error = where_fails(libc::SYS_fallocate, errno, begin).unwrap_err();
            assert!(matches!(error, TransportError::Full { .. }), "{error:?}");
            block_on(assert_only_the_first_is_there(&disk, place.path()));
        }
        let place = tempfile::tempdir().unwrap();
        let disk = store(place.path(), io);
        let whole = async || put(&disk, "id/1", Some(3)).await;
        where_fails(libc::SYS_fallocate, Errno::OPNOTSUPP, whole).unwrap();
        assert_eq!(fs::read(place.path().join("id/1")).unwrap(), b"abc");
    }
}

#[test]
fn a_read_that_fails_is_an_error_and_not_a_short_answer() {
    let place = tempfile::tempdir().unwrap();
    let disk = store(place.path(), DiskIo::Positioned);
    let read = async || disk.get_ranges(&name("id/0"), std::slice::from_ref(&(0..3))).await;
    let error = where_fails(libc::SYS_pread64, Errno::IO, read).unwrap_err();
    assert!(matches!(error, TransportError::Other { .. }), "{error:?}");
    assert_eq!(block_on(read()).unwrap(), ["abc"]);
}
