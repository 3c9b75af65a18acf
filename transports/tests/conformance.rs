//! Every transport of this crate keeps the contract.

mod common;

use std::sync::Arc;

use self::common::Served;

use tanner_transports::{Disk, Memory, Transport, conformance_tests};

conformance_tests!(memory, {
    let store = Memory::new();
    move || Arc::new(store.clone()) as Arc<dyn Transport>
});

conformance_tests!(disk, {
    let place = tempfile::tempdir().expect("a temporary directory");
    // The root is not there yet: the first put makes it.
    move || Arc::new(Disk::open(place.path().join("not/yet")).expect("a path")) as Arc<dyn Transport>
});

conformance_tests!(tcp, {
    let server = Served::new(&["tcp"]).await;
    move || Arc::new(server.open()) as Arc<dyn Transport>
});

conformance_tests!(quic, {
    let server = Served::new(&["quic"]).await;
    move || Arc::new(server.open()) as Arc<dyn Transport>
});
