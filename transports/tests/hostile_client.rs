//! Clients that are not who they say, or take more than their share: a server keeps them out or cuts them off, and
//! a good client beside them goes on.
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use tanner_transports::net::{Identity, Remote};
use tanner_transports::server::{Area, Client, Clients, Limits, Server};
use tanner_transports::wire::{Kind, Request, VERSION};
use tanner_transports::{Disk, Kept, Transport, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use self::common::script::read_frame;
use self::common::tls::{ALPN, TLS13, client_tls, parts, provider};
use self::common::{Served, knowing, name, patience, put, words, works};

fn address(url: &str) -> &str {
    url.split_once("://").unwrap().1.split_once('#').unwrap().0
}

async fn connect(url: &str, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address(url)).await?;
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
    tls.connect(ServerName::try_from("x").unwrap(), socket).await
}

fn encoded(request: &Request) -> Bytes {
    let mut out = BytesMut::new();
    request.encode(&mut out);
    out.freeze()
}

/// A server that knows one client, of which the test has the key in its hand.
async fn known(limits: Limits) -> (tempfile::TempDir, String, Identity, impl Fn() -> CertifiedKey) {
    let (client, chain, key) = parts();
    let (place, mut urls) = knowing(client.pin(), &["tcp"], limits).await;
    let certified = move || CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider()).unwrap();
    (place, urls.remove(0), client, certified)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_thief_of_an_append_only_key_destroys_nothing() {
    let served = Served::with(&["tcp"], Limits::default(), None, true).await;
    let store = served.open();
    works(&store, "id/7").await;
    put(&store, "id/manifest", 9).await.unwrap();
    let error = store.delete(&name("id/7")).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error:?}");
    let error = put(&store, "id/7", 9).await.unwrap_err();
    assert!(matches!(error, TransportError::Exists { .. }), "{error:?}");
    assert_eq!(store.stat(&name("id/7")).await.unwrap().length, 300_000);
    assert_eq!(store.list("").await.unwrap().try_collect::<Vec<_>>().await.unwrap().len(), 2);
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

/// Nor does any token lead out of the store.
#[tokio::test(flavor = "multi_thread")]
async fn puts_are_kept_and_gone_on_with_in_their_place_only() {
    let (_place, url, client, key) = known(Limits::default()).await;
    let store = Remote::open(&url, &client, patience()).unwrap();
    put(&store, "id/8", 1000).await.unwrap();
    let begin = Request::Put { name: name("id/7"), length: None };
    let resume = |token: &'static str| {
        let kept = Kept { bytes: 0, token: token.into() };
        Request::Resume { name: name("id/7"), length: None, kept }
    };
    let stat = Request::Stat { name: name("id/8") };
    let tokens = ["", "../id/8", "id/8", "/etc/passwd", "kept-0-0", "kept-\0", "."].map(resume);
    let refused: Vec<_> = tokens.into_iter().chain([stat.clone()]).collect();
    let errors = [vec![Kind::Error; refused.len() - 1], vec![Kind::Meta]].concat();
    let cases = [
        // Each of these is one more request on a lane that goes on,
        (refused, errors),
        (
            vec![begin.clone(), Request::Keep, Request::Abandon, stat],
            vec![Kind::Ok, Kind::Kept, Kind::Ok, Kind::Meta],
        ),
        // and these break the protocol.
        (vec![Request::Keep], vec![Kind::Error]),
        (vec![begin.clone(), resume("x")], vec![Kind::Ok, Kind::Error]),
        (
            vec![begin, Request::Keep, Request::Keep, Request::Hello { version: VERSION }],
            vec![Kind::Ok, Kind::Kept, Kind::Kept, Kind::Error],
        ),
    ];
    for (requests, wanted) in cases {
        let mut stream = connect(&url, client_tls(TLS13, &[ALPN], Some(key()))).await.unwrap();
        stream.write_all(&encoded(&Request::Hello { version: VERSION })).await.unwrap();
        assert_eq!(read_frame(&mut stream).await, Some(Kind::Welcome));
        for request in &requests {
            stream.write_all(&encoded(request)).await.unwrap();
        }
        for wanted in wanted {
            assert_eq!(read_frame(&mut stream).await, Some(wanted), "{requests:?}");
        }
    }
    works(&store, "id/7").await;
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
