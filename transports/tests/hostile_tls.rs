//! Peers that are not who they say, or do not speak the protocol: neither side talks to them, over TCP and over QUIC.
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use tanner_transports::net::{Identity, Pin, Remote, shown_pin};
use tanner_transports::server::Limits;
use tanner_transports::wire::{Answer, Request, VERSION};
use tanner_transports::{Transport, TransportError};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, join};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::common::script::Step::Send;
use self::common::script::{Script, frame, play, play_as, read_frame, with_pin};
use self::common::tls::{ALPN, TLS12, TLS13, client_tls, parts, provider, server_tls_of};
use self::common::{Served, knowing, name, patience, put, words, works};

const NETS: [&str; 2] = ["tcp", "quic"];

/// Whether anything at all is answered to a greeting.
async fn is_answered(url: &str, config: ClientConfig) -> bool {
    let (scheme, address) = url.split_once('#').unwrap().0.split_once("://").unwrap();
    if scheme == "tcp" {
        let socket = TcpStream::connect(address).await.unwrap();
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
        let Ok(stream) = tls.connect(ServerName::try_from("x").unwrap(), socket).await else { return false };
        return is_greeted(stream).await;
    }
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, address.parse().unwrap(), "x").unwrap();
    let Ok(connection) = connecting.await else { return false };
    let Ok((to, from)) = connection.open_bi().await else { return false };
    is_greeted(join(from, to)).await
}

async fn is_greeted(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> bool {
    let mut hello = BytesMut::new();
    Request::Hello { version: VERSION }.encode(&mut hello);
    let _ = stream.write_all(&hello).await;
    let _ = stream.flush().await;
    timeout(Duration::from_secs(20), read_frame(&mut stream)).await.expect("an answer, or the end").is_some()
}

/// What a peer may show in place of what it should.
struct Keys {
    good: CertifiedKey,
    /// Of somebody else.
    other: CertifiedKey,
    /// A certificate is public; what counts is the key.
    copied: CertifiedKey,
    garbage: CertifiedKey,
    /// Of the good key: a pin names a key, and certificates of it come and go.
    expired: CertifiedKey,
}

impl Keys {
    fn new() -> (Identity, Self) {
        let (identity, chain, key) = parts();
        let certified = |chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'static>| {
            let key = provider().key_provider.load_private_key(key.clone_key()).unwrap();
            CertifiedKey::new(chain, key)
        };
        let (_, other_chain, other_key) = parts();
        let garbage = vec![CertificateDer::from(vec![0x30; 300])];
        let PrivateKeyDer::Pkcs8(pkcs8) = &key else { panic!("another format") };
        let own = rcgen::KeyPair::try_from(pkcs8).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let expired = vec![params.self_signed(&own).unwrap().der().clone()];
        let keys = Self {
            good: certified(chain.clone(), &key),
            other: certified(other_chain, &other_key),
            copied: certified(chain, &other_key),
            garbage: certified(garbage, &key),
            expired: certified(expired, &key),
        };
        (identity, keys)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_of_a_known_key_who_speaks_the_protocol_is_answered() {
    let (client, keys) = Keys::new();
    let (_place, urls) = knowing(client.pin(), &NETS, Limits::default()).await;
    let good = || Some(keys.good.clone());
    for url in &urls {
        let alpn: &[&[u8]] = &[ALPN];
        assert!(is_answered(url, client_tls(TLS13, alpn, good())).await, "{url}: the good one");
        assert!(
            is_answered(url, client_tls(TLS13, alpn, Some(keys.expired.clone()))).await,
            "{url}: expired"
        );
        for (what, alpn, key) in [
            ("no certificate", alpn, None),
            ("a key that is not known", alpn, Some(&keys.other)),
            ("a copied certificate", alpn, Some(&keys.copied)),
            ("garbage for a certificate", alpn, Some(&keys.garbage)),
            ("no protocol", &[], Some(&keys.good)),
            ("another protocol", &[b"h2"], Some(&keys.good)),
        ] {
            assert!(!is_answered(url, client_tls(TLS13, alpn, key.cloned())).await, "{url}: {what}");
        }
        works(&Remote::open(url, &client, patience()).unwrap(), &url[..4].replace(':', "-")).await;
    }
    // QUIC has no other version to offer.
    assert!(!is_answered(&urls[0], client_tls(TLS12, &[ALPN], good())).await, "TLS 1.2");
}

/// Whether a client that expects `pin` asks this server anything.
async fn is_asked(scheme: &str, config: rustls::ServerConfig, pin: Pin) -> bool {
    let script = Script::answering(vec![Send(frame(&Answer::Meta(5)))]);
    let address = play_as(scheme, script, config).await;
    let store =
        Remote::open(&format!("{scheme}://{address}#{pin}"), &Identity::generate(), patience()).unwrap();
    store.stat(&name("id/7")).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_prove_its_key_or_speaks_something_else_is_asked_nothing() {
    let (server, keys) = Keys::new();
    let pin = server.pin();
    for net in NETS {
        let alpn: &[&[u8]] = &[ALPN];
        assert!(
            is_asked(net, server_tls_of(TLS13, alpn, keys.good.clone()), pin).await,
            "{net}: the good one"
        );
        for (what, alpn, key) in [
            ("another key", alpn, &keys.other),
            ("a copied certificate", alpn, &keys.copied),
            ("garbage for a certificate", alpn, &keys.garbage),
            ("no protocol", &[], &keys.good),
            ("another protocol", &[b"h2"], &keys.good),
        ] {
            assert!(!is_asked(net, server_tls_of(TLS13, alpn, key.clone()), pin).await, "{net}: {what}");
        }
    }
    assert!(!is_asked("tcp", server_tls_of(TLS12, &[ALPN], keys.good.clone()), pin).await, "TLS 1.2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_is_named_with_both_pins() {
    let served = Served::new(&NETS).await;
    let impostor = Identity::generate().pin();
    for url in &served.urls {
        let wrong = with_pin(url, impostor);
        let store = Remote::open(&wrong, &served.client, patience()).unwrap();
        let error = put(&store, "id/7", 5).await.unwrap_err();
        let right = url.split_once('#').unwrap().1;
        let words = words(&error);
        assert!(matches!(error, TransportError::Refused { .. }), "{error:?}");
        assert!(words.contains(right) && words.contains(&impostor.to_string()), "{words}");
        // Whoever has no pin yet is shown the right one.
        let unpinned = url.split_once('#').unwrap().0;
        assert_eq!(shown_pin(unpinned, &served.client, patience()).await.unwrap().to_string(), right);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_without_the_protocol_is_corrupt_and_nobody_is_unreachable() {
    let (server, keys) = Keys::new();
    let config = server_tls_of(TLS13, &[], keys.good.clone());
    let address = play_as("tcp", Script::answering(vec![]), config).await;
    let ask = async |url: &str| {
        let store = Remote::open(url, &Identity::generate(), patience()).unwrap();
        put(&store, "id/7", 5).await.unwrap_err()
    };
    let error = ask(&format!("tcp://{address}#{}", server.pin())).await;
    assert!(matches!(error, TransportError::Corrupt { .. }), "{error:?}");
    let url = play("tcp", Script::answering(vec![])).await;
    let error = ask(&format!("tcp://127.0.0.1:1#{}", url.split_once('#').unwrap().1)).await;
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_known_is_told_which_pin_to_allow() {
    let served = Served::new(&NETS).await;
    let stranger = Identity::generate();
    for url in &served.urls {
        let store = Remote::open(url, &stranger, patience()).unwrap();
        let error = put(&store, "id/7", 5).await.unwrap_err();
        let words = words(&error);
        assert!(matches!(error, TransportError::Refused { .. }), "{error:?}");
        assert!(words.contains(&stranger.pin().to_string()), "{words}");
    }
    works(&served.open(), "id/8").await;
}
