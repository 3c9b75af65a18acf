//! Floods: whatever others do to a server, a good client beside them is served and memory stays within its bound.
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tanner_transports::net::{Identity, Patience, Remote};
use tanner_transports::server::{Area, Client, Clients, Limits, Server};
use tanner_transports::{Disk, Transport};

use self::common::flood::{Flood, Place};
use self::common::tls::{ALPN, TLS13, client_tls, parts, provider};
use self::common::{knowing, name, works};

#[tokio::test(flavor = "multi_thread")]
async fn a_good_client_is_served_beside_every_flood_and_memory_is_bounded() {
    let (root, limits, good) = (tempfile::tempdir().unwrap(), Limits::default(), Identity::generate());
    let (bad, chain, key) = parts();
    let mut clients = Clients::default();
    for (directory, pin) in [("good", good.pin()), ("bad", bad.pin())] {
        let store: Arc<dyn Transport> = Arc::new(Disk::open(root.path().join(directory)).unwrap());
        clients.allow(pin, Client::new(Arc::new(Area::new(store, Some(256 << 20))), &limits));
    }
    let listen = ["tcp://127.0.0.1:0", "quic://127.0.0.1:0"];
    let server = Server::bind(&listen, Arc::new(Identity::generate()), clients, limits).await.unwrap();
    let urls = server.urls();
    tokio::spawn(server.run(std::future::pending()));
    let stores = [0, 1].map(|net| Remote::open(&urls[net], &good, Patience::default()).unwrap());
    let place = Place::new(&urls, &bad, chain, key);
    place.prepare().await;
    for flood in Flood::ALL {
        let running = flood.start(&place);
        tokio::time::sleep(Duration::from_millis(500)).await;
        for (net, store) in stores.iter().enumerate() {
            println!("{} beside {}", urls[net], flood.words());
            works(store, "id/7").await;
            store.delete(&name("id/7")).await.unwrap();
        }
        drop(running);
    }
    // Of the server and of those who flood it.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < 512 * 1024, "{peak_kib} KiB");
}

/// A client that opens connections beyond its share holds no more of them than there may be handshakes.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_turned_away_are_not_kept() {
    let limits = Limits {
        handshakes: 8,
        handshake_time: Duration::from_secs(60),
        quic_connections_per_client: 1,
        ..Limits::default()
    };
    let (client, chain, key) = parts();
    let (_place, urls) = knowing(client.pin(), &["quic"], limits).await;
    let url = &urls[0];
    let good = Remote::open(url, &client, Patience::default()).unwrap();
    works(&good, "id/7").await;

    let address = url.split_once("://").unwrap().1.split_once('#').unwrap().0.parse().unwrap();
    let key = CertifiedKey::from_der(chain, key, &provider()).unwrap();
    let crypto = client_tls(TLS13, &[ALPN], Some(key));
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(crypto).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut more = Vec::new();
    for _ in 0..40 {
        // Those that say nothing wait for the word that they are too many.
        more.push(endpoint.connect_with(config.clone(), address, "x").unwrap().await.unwrap());
    }
    for _ in 0..100 {
        if more.iter().filter(|connection| connection.close_reason().is_none()).count() <= 8 {
            return works(&good, "id/8").await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("connections beyond the limit are kept");
}
