//! Every transport of this crate keeps the contract.

use std::sync::Arc;

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
