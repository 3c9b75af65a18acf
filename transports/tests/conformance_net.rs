//! The contract, kept by a block server over real connections.

mod common;

use std::sync::Arc;

use tanner_transports::{Transport, conformance_tests};

use self::common::Served;

conformance_tests!(tcp, {
    let server = Served::new(&["tcp"]).await;
    move || Arc::new(server.open()) as Arc<dyn Transport>
});

conformance_tests!(quic, {
    let server = Served::new(&["quic"]).await;
    move || Arc::new(server.open()) as Arc<dyn Transport>
});
