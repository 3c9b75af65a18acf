//! Objects beyond 4 GiB in a directory: made sparse behind the store's back, so that they cost no room and no time.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use futures_util::TryStreamExt;
use tanner_transports::{Disk, ObjectName, Transport, TransportError};

const GIB: u64 = 1 << 30;
const LENGTH: u64 = 5 * GIB;

#[tokio::test]
async fn no_offset_of_a_large_block_is_cut_to_32_bits() {
    let place = tempfile::tempdir().unwrap();
    let (disk, name) = (Disk::open(place.path()).unwrap(), ObjectName::new("id/7").unwrap());
    fs::create_dir(place.path().join("id")).unwrap();
    let file = File::create(place.path().join("id/7")).unwrap();
    file.set_len(LENGTH).unwrap();
    let marks = [0, 2 * GIB - 4, 2 * GIB, 4 * GIB - 4, 4 * GIB, LENGTH - 8];
    for mark in marks {
        file.write_all_at(&(mark as u32).to_le_bytes(), mark).unwrap();
        file.write_all_at(&[(mark >> 32) as u8 + 1], mark + 3).unwrap();
    }
    assert!(file.metadata().unwrap().blocks() * 512 < GIB, "sparse, or this test takes too much room");

    let marked = |mark: u64| {
        let mut bytes = (mark as u32).to_le_bytes();
        bytes[3] = (mark >> 32) as u8 + 1;
        bytes
    };
    assert_eq!(disk.stat(&name).await.unwrap().length, LENGTH);
    let ranges = marks.map(|mark| mark..mark + 4);
    for (mark, found) in marks.into_iter().zip(disk.get_ranges(&name, &ranges).await.unwrap()) {
        assert_eq!(found, marked(mark)[..], "at {mark}");
    }
    // A stream over the border of 4 GiB, and one to the end.
    for (range, mark) in
        [(4 * GIB - GIB / 64..4 * GIB + 4, 4 * GIB), (LENGTH - (5 << 20)..LENGTH - 4, LENGTH - 8)]
    {
        let pieces: Vec<_> = disk.get(&name, range.clone()).await.unwrap().try_collect().await.unwrap();
        let found = pieces.concat();
        assert_eq!(found.len() as u64, range.end - range.start);
        assert_eq!(found[found.len() - 4..], marked(mark));
    }
    let zeros = vec![0; 4 << 20];
    let proof = disk.prove(&name, LENGTH - GIB / 2..LENGTH - GIB / 2 + (4 << 20), &[7; 32]).await.unwrap();
    assert_eq!(proof, blake3_of(&zeros));
    for range in [LENGTH - 1..LENGTH + 1, LENGTH + 4 * GIB..LENGTH + 4 * GIB] {
        let result = disk.get(&name, range).await.map(drop);
        assert!(matches!(result, Err(TransportError::OutOfRange { length: LENGTH, .. })), "{result:?}");
    }
    disk.delete(&name).await.unwrap();
}

fn blake3_of(bytes: &[u8]) -> tanner_transports::Hash {
    blake3::keyed_hash(&[7; 32], bytes)
}
