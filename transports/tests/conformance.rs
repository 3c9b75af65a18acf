//! Every transport of this crate keeps the contract.

use std::sync::Arc;

use tanner_transports::{Disk, DiskIo, Memory, Transport, conformance_tests, ring};

conformance_tests!(memory, {
    let store = Memory::new();
    move || Arc::new(store.clone()) as Arc<dyn Transport>
});

conformance_tests!(disk_ring, {
    let io = if ring::refusal().is_none() {
        DiskIo::Ring
    } else {
        eprintln!("the ring is not tried here: {}", ring::status());
        DiskIo::Auto
    };
    disk(io)
});

conformance_tests!(disk_positioned, disk(DiskIo::Positioned));

fn disk(io: DiskIo) -> impl Fn() -> Arc<dyn Transport> {
    let place = tempfile::tempdir().expect("a temporary directory");
    move || {
        // The root is not there yet: the first put makes it.
        let disk = Disk::open(place.path().join("not/yet")).expect("a path");
        Arc::new(disk.with_io(io).expect("a way to read and write"))
    }
}
