//! A ring that stops working in the middle of a put: positioned calls take over, unless the ring was asked for.

use std::path::Path;

use super::tests::{FILE_BYTES, Faults, Faulty, kernel, pattern, put};
use super::{Driver, Ended};
use crate::{Disk, ObjectName, Transport, TransportError};

/// Ten writes, then the sync.
const SYNC: u64 = 10;

/// Drivers whose thread panics, and whose ring fails, at this operation. None, and a word, without a ring.
fn drivers_that_end_at(at: u64) -> impl Iterator<Item = Driver> {
    let panicking = Faults { panic: Some(at), ..Faults::default() };
    let broken = Faults { broken: Some(at), ..Faults::default() };
    [panicking, broken].into_iter().filter_map(|faults| Some(Faulty::driver(*kernel()?, faults, 1).0))
}

fn disk(place: &Path, driver: Driver, or_positioned: bool) -> Disk {
    Disk::open(place).unwrap().with_driver(driver, or_positioned)
}

#[track_caller]
fn assert_ended(error: &TransportError) {
    assert!(
        matches!(error, TransportError::Other { source, .. } if Ended::of(source).is_some()),
        "{error:?}"
    );
}

async fn assert_whole(disk: &Disk, name: &ObjectName) {
    let read = disk.get_ranges(name, &[0..FILE_BYTES as u64, 7..8]).await.unwrap();
    assert!(read[0] == pattern(FILE_BYTES) && read[1] == [7][..]);
}

async fn assert_nothing_is_left(disk: &Disk, place: &Path, name: &ObjectName) {
    assert!(matches!(disk.stat(name).await, Err(TransportError::Missing { .. })));
    assert_eq!(std::fs::read_dir(place.join(".tanner-stage")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_put_goes_on_without_the_ring_when_that_ends_and_is_never_acknowledged_by_mistake() {
    for at in 0..SYNC + 2 {
        for driver in drivers_that_end_at(at) {
            let (place, name) = (tempfile::tempdir().unwrap(), ObjectName::new("id/0").unwrap());
            let disk = disk(place.path(), driver, true);
            let result = put(&disk, &name).await;
            if at == SYNC {
                // Whether it was done nobody knows, and a second sync would not tell.
                assert_ended(&result.unwrap_err());
                assert_nothing_is_left(&disk, place.path(), &name).await;
                put(&disk, &name).await.unwrap();
            } else {
                result.unwrap();
            }
            assert_whole(&disk, &name).await;
        }
    }
}

#[tokio::test]
async fn a_ring_that_was_asked_for_and_ends_fails_what_follows_and_leaves_nothing() {
    for at in 0..=SYNC {
        for driver in drivers_that_end_at(at) {
            let (place, name) = (tempfile::tempdir().unwrap(), ObjectName::new("id/0").unwrap());
            let disk = disk(place.path(), driver, false);
            for _ in 0..2 {
                assert_ended(&put(&disk, &name).await.unwrap_err());
                assert_nothing_is_left(&disk, place.path(), &name).await;
            }
        }
    }
}

#[tokio::test]
async fn a_ring_that_has_ended_says_so_to_whoever_would_use_it() {
    for driver in drivers_that_end_at(0) {
        assert!(!driver.has_ended());
        let file = std::sync::Arc::new(tempfile::tempfile().unwrap());
        driver.sync(&file).await.unwrap_err();
        assert!(driver.has_ended());
    }
}
