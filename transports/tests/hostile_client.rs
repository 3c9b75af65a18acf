//! Clients that are not who they say, or take more than their share: a server keeps them out or cuts them off, and
//! a good client beside them goes on.
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use tanner_transports::net::{Identity, Remote, shown_pin};
use tanner_transports::server::{Area, Client, Clients, Limits, Server};
use tanner_transports::wire::{Request, VERSION};
use tanner_transports::{Disk, ObjectName, Result, Transport, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use self::common::script::{Script, play, read_frame, with_pin};
use self::common::tls::{ALPN, TLS13, client_tls, parts, provider, server_tls};
use self::common::{Served, patience};

fn name(name: &str) -> ObjectName {
    ObjectName::new(name).unwrap()
}

async fn put(store: &dyn Transport, object: &str, bytes: usize) -> Result<()> {
    let mut put = store.put(&name(object), Some(bytes as u64)).await?;
    put.write(vec![7; bytes].into()).await?;
    put.commit().await
}

async fn works(store: &dyn Transport, object: &str) {
    put(store, object, 300_000).await.expect("a good client stores");
    let pieces = store.get(&name(object), 0..300_000).await.expect("a good client reads");
    assert_eq!(pieces.try_collect::<Vec<_>>().await.unwrap().concat(), vec![7; 300_000]);
}

fn words(error: &TransportError) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

fn address(url: &str) -> &str {
    url.split_once("://").unwrap().1.split_once('#').unwrap().0
}

async fn connect(url: &str, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address(url)).await?;
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
    tls.connect(ServerName::try_from("x").unwrap(), socket).await
}

/// Whether anything at all is answered to a greeting.
async fn is_answered(url: &str, config: ClientConfig) -> bool {
    let Ok(mut stream) = connect(url, config).await else { return false };
    let _ = stream.write_all(&encoded(&Request::Hello { version: VERSION })).await;
    read_frame(&mut stream).await.is_some()
}

fn encoded(request: &Request) -> Bytes {
    let mut out = BytesMut::new();
    request.encode(&mut out);
    out.freeze()
}

/// A server that knows one client, of which the test has the key in its hand.
async fn known(limits: Limits) -> (tempfile::TempDir, String, Identity, impl Fn() -> CertifiedKey) {
    let place = tempfile::tempdir().unwrap();
    let (client, chain, key) = parts();
    let store: Arc<dyn Transport> = Arc::new(Disk::open(place.path()).unwrap());
    let mut clients = Clients::default();
    clients.allow(client.pin(), Client::new(Arc::new(Area::new(store, None)), &limits));
    let own = Arc::new(Identity::generate());
    let server = Server::bind(&["tcp://127.0.0.1:0"], own, clients, limits).await.unwrap();
    let url = server.urls().remove(0);
    tokio::spawn(server.run(std::future::pending()));
    let certified = move || CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider()).unwrap();
    (place, url, client, certified)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_of_a_known_key_who_speaks_the_protocol_is_answered() {
    let (_place, url, _client, key) = known(Limits::default()).await;
    let stranger = || {
        let (_, chain, key) = parts();
        CertifiedKey::from_der(chain, key, &provider()).unwrap()
    };
    assert!(is_answered(&url, client_tls(TLS13, &[ALPN], Some(key()))).await, "the good one");
    assert!(!is_answered(&url, client_tls(TLS13, &[ALPN], None)).await, "no certificate");
    assert!(
        !is_answered(&url, client_tls(TLS13, &[ALPN], Some(stranger()))).await,
        "a key that is not known"
    );
    assert!(!is_answered(&url, client_tls(TLS13, &[], Some(key()))).await, "no protocol");
    assert!(!is_answered(&url, client_tls(TLS13, &[b"h2"], Some(key()))).await, "another protocol");
    let old = &[&rustls::version::TLS12];
    assert!(!is_answered(&url, client_tls(old, &[ALPN], Some(key()))).await, "TLS 1.2");
    // A certificate is public; what counts is the key.
    let stolen = CertifiedKey { cert: key().cert, ..stranger() };
    assert!(!is_answered(&url, client_tls(TLS13, &[ALPN], Some(stolen))).await, "a copied certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_prove_its_key_is_not_spoken_to() {
    let served = Served::new(&["tcp", "quic"]).await;
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
    // The certificate of the right server, from somebody without its key.
    let (identity, mut config) = server_tls();
    let (_, _, other) = parts();
    let other = provider().key_provider.load_private_key(other).unwrap();
    let (_, chain, _) = parts();
    let real = CertifiedKey::new(chain.clone(), other);
    config.cert_resolver = Arc::new(Fixed(Arc::new(real)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let accepted = tokio::spawn(async move { tls.accept(listener.accept().await.unwrap().0).await.is_ok() });
    let pin = shown_by(&chain[0]).await;
    let store = Remote::open(&format!("tcp://{place}#{pin}"), &identity, patience()).unwrap();
    assert!(put(&store, "id/7", 5).await.is_err());
    assert!(!accepted.await.unwrap(), "the handshake was finished");
}

/// The pin of a certificate, as a client sees it: by showing it in a handshake.
async fn shown_by(certificate: &CertificateDer<'static>) -> String {
    let key = rustls::server::ParsedCertificate::try_from(certificate).unwrap().subject_public_key_info();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_known_is_told_which_pin_to_allow() {
    let served = Served::new(&["tcp", "quic"]).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_thief_of_an_append_only_key_destroys_nothing() {
    let served = Served::with(&["tcp"], Limits::default(), None, true).await;
    let store = served.open();
    works(&store, "id/7").await;
    let error = store.delete(&name("id/7")).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error:?}");
    let error = put(&store, "id/7", 9).await.unwrap_err();
    assert!(matches!(error, TransportError::Exists { .. }), "{error:?}");
    assert_eq!(store.stat(&name("id/7")).await.unwrap().length, 300_000);
    assert_eq!(store.list("").await.unwrap().try_collect::<Vec<_>>().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_counts_what_is_there_and_what_is_on_its_way() {
    let served = Served::with(&["tcp"], Limits::default(), Some(1000), false).await;
    let disk = Disk::open(served.place.path().join("store")).unwrap();
    put(&disk, "old/0", 300).await.unwrap();
    let store = served.open();
    let full = |result: Result<()>| matches!(result, Err(TransportError::Full { .. }));
    put(&store, "id/0", 500).await.unwrap();
    assert!(full(put(&store, "id/1", 201).await), "declared");
    let mut running = store.put(&name("id/1"), Some(200)).await.unwrap();
    assert!(full(put(&store, "id/2", 1).await), "beside a put under way");
    running.write(vec![0; 200].into()).await.unwrap();
    running.abandon().await.unwrap();
    let mut undeclared = store.put(&name("id/1"), None).await.unwrap();
    let mut result = undeclared.write(vec![0; 201].into()).await;
    if result.is_ok() {
        result = undeclared.commit().await;
    }
    assert!(full(result), "undeclared");
    // An object that is there costs its room once, and gives it back once.
    assert!(matches!(put(&store, "id/0", 100).await, Err(TransportError::Exists { .. })));
    for _ in 0..3 {
        store.delete(&name("id/0")).await.unwrap();
    }
    assert!(full(put(&store, "id/3", 701).await));
    put(&store, "id/3", 700).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_who_connect_and_say_nothing_keep_nobody_out() {
    let limits = Limits { handshakes: 16, handshake_time: Duration::from_secs(60), ..Limits::default() };
    let served = Served::with(&["tcp"], limits, None, false).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address(&served.urls[0])).await.unwrap());
    }
    works(&served.open(), "id/7").await;
    // All but the last few were hung up on.
    let mut alive = 0;
    for socket in &mut silent {
        let read = tokio::time::timeout(Duration::from_millis(5), socket.read(&mut [0])).await;
        alive += usize::from(read.is_err());
    }
    assert!(alive <= 16, "{alive} handshakes are still waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_drips_idles_or_does_not_read_is_cut_and_a_good_client_goes_on() {
    let ms = Duration::from_millis;
    let limits = Limits { idle_time: ms(3000), progress_time: ms(2000), ..Limits::default() };
    let (_place, url, client, key) = known(limits).await;
    let store = Remote::open(&url, &client, patience()).unwrap();
    put(&store, "id/large", 64 << 20).await.unwrap();
    let greeted = async || {
        let mut stream = connect(&url, client_tls(TLS13, &[ALPN], Some(key()))).await.unwrap();
        stream.write_all(&encoded(&Request::Hello { version: VERSION })).await.unwrap();
        read_frame(&mut stream).await.expect("a welcome");
        stream
    };
    let began = Instant::now();
    let mut idle = greeted().await;
    let mut deaf = greeted().await;
    deaf.write_all(&encoded(&Request::Get { name: name("id/large"), range: 0..64 << 20 })).await.unwrap();
    let mut dripping = greeted().await;
    let request = encoded(&Request::Put { name: name("id/slow"), length: None });
    for byte in &request[..8] {
        // The last ones may meet a closed door.
        let _ = dripping.write_all(&[*byte]).await;
        let _ = dripping.flush().await;
        tokio::time::sleep(ms(300)).await;
    }
    works(&store, "id/7").await;
    for (what, stream) in [("idle", &mut idle), ("dripping", &mut dripping), ("deaf", &mut deaf)] {
        if what == "deaf" {
            tokio::time::sleep(ms(3000)).await;
        }
        let mut taken = 0;
        let mut bytes = vec![0; 1 << 20];
        let ended = tokio::time::timeout(Duration::from_secs(10), async {
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                taken += count;
            }
        });
        assert!(ended.await.is_ok(), "{what} is not cut");
        assert!(taken < 64 << 20, "{what} got it all");
    }
    assert!(began.elapsed() < Duration::from_secs(40));
    works(&store, "id/8").await;
}

/// The client is killed after every number of its frames, and in the middle of each.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dies_at_any_frame_border_leaves_nothing_that_looks_whole() {
    let (place, url, client, key) = known(Limits::default()).await;
    let frames = [
        Request::Hello { version: VERSION },
        Request::Put { name: name("id/7"), length: Some(6) },
        Request::Data("abc".into()),
        Request::Data("def".into()),
        Request::Commit,
    ];
    let store = Remote::open(&url, &client, patience()).unwrap();
    put(&store, "good/0", 1000).await.unwrap();
    for alive in 0..frames.len() {
        for part in [0, 3] {
            let mut stream = connect(&url, client_tls(TLS13, &[ALPN], Some(key()))).await.unwrap();
            for frame in &frames[..alive] {
                stream.write_all(&encoded(frame)).await.unwrap();
            }
            stream.write_all(&encoded(&frames[alive])[..part]).await.unwrap();
            stream.flush().await.unwrap();
            drop(stream);
            let missing = store.stat(&name("id/7")).await;
            assert!(matches!(missing, Err(TransportError::Missing { .. })), "{alive} + {part}: {missing:?}");
        }
    }
    for _ in 0..100 {
        if std::fs::read_dir(place.path().join(".tanner-stage")).unwrap().count() == 0 {
            return works(&store, "id/7").await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("staged files are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_with_too_many_connections_is_told_so_and_others_are_served() {
    let limits = Limits { tcp_connections_per_client: 3, ..Limits::default() };
    let served = Served::with(&["tcp"], limits, None, false).await;
    let store = served.open();
    let mut puts = Vec::new();
    for i in 0..3 {
        puts.push(store.put(&name(&format!("id/{i}")), None).await.unwrap());
    }
    let error = store.put(&name("id/3"), None).await.map(drop).unwrap_err();
    assert!(error.is_retryable() && words(&error).contains("too many connections"), "{error:?}");
    drop(puts);
    for _ in 0..100 {
        if put(&store, "id/4", 5).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the connections of puts that were dropped are still held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_finishes_the_put_that_is_under_way() {
    for scheme in ["tcp", "quic"] {
        let place = tempfile::tempdir().unwrap();
        let (client, limits) = (Identity::generate(), Limits::default());
        let store: Arc<dyn Transport> = Arc::new(Disk::open(place.path()).unwrap());
        let mut clients = Clients::default();
        clients.allow(client.pin(), Client::new(Arc::new(Area::new(store.clone(), None)), &limits));
        let listen = [format!("{scheme}://127.0.0.1:0")];
        let server = Server::bind(&listen, Arc::new(Identity::generate()), clients, limits).await.unwrap();
        let remote = Remote::open(&server.urls()[0], &client, patience()).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async { _ = stopped.await }));

        put(&remote, "id/0", 5).await.unwrap();
        let mut late = remote.put(&name("id/1"), None).await.unwrap();
        stop.send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        late.write("late".into()).await.unwrap();
        late.commit().await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), running).await.expect("the server ends").unwrap();
        assert_eq!(store.stat(&name("id/1")).await.unwrap().length, 4);
        assert!(put(&remote, "id/2", 5).await.is_err(), "nobody listens any more");
    }
}

/// A server that only speaks TLS 1.2, or another protocol, is not a block server.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_protocol_is_not_spoken_to() {
    let (identity, mut config) = server_tls();
    config.alpn_protocols.clear();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}#{}", listener.local_addr().unwrap(), identity.pin());
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = tls.accept(socket).await;
        }
    });
    let store = Remote::open(&url, &Identity::generate(), patience()).unwrap();
    let error = put(&store, "id/7", 5).await.unwrap_err();
    assert!(matches!(error, TransportError::Corrupt { .. }), "{error:?}");

    // Nobody there at all.
    let url = play("tcp", Script::answering(vec![])).await;
    let nobody = url.replace(address(&url), "127.0.0.1:1");
    let store = Remote::open(&nobody, &Identity::generate(), patience()).unwrap();
    assert!(matches!(put(&store, "id/7", 5).await, Err(TransportError::Unreachable { .. })));
}

#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl rustls::server::ResolvesServerCert for Fixed {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}
