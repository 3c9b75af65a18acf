//! Clients that take what they can get, bounded in number and rate: what a server has to bear.
#![allow(dead_code, reason = "each user takes some of it")]
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use tanner_transports::net::{Identity, Patience, Remote};
use tanner_transports::wire::{Header, Kind, Request, VERSION};
use tanner_transports::{ObjectName, Transport, TransportError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls::{ALPN, TLS13, client_tls, provider};

/// The server that is flooded, and a key that it knows.
#[derive(Clone)]
pub(crate) struct Place {
    tcp: SocketAddr,
    quic: SocketAddr,
    store: Remote,
    known: CertifiedKey,
    unknown: CertifiedKey,
}

impl Place {
    /// `urls` are that of TCP and that of QUIC.
    pub(crate) fn new(
        urls: &[String],
        identity: &Identity,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        let address = |url: &String| {
            url.split_once("://").unwrap().1.split_once('#').unwrap().0.parse::<SocketAddr>().unwrap()
        };
        let (_, other_chain, other_key) = super::tls::parts();
        Self {
            tcp: address(&urls[0]),
            quic: address(&urls[1]),
            store: Remote::open(&urls[0], identity, Patience::default()).unwrap(),
            known: CertifiedKey::from_der(chain, key, &provider()).unwrap(),
            unknown: CertifiedKey::from_der(other_chain, other_key, &provider()).unwrap(),
        }
    }

    /// A connection that was greeted, by whoever has this key.
    async fn lane(&self, key: CertifiedKey) -> Option<TlsStream<TcpStream>> {
        let tls = TlsConnector::from(Arc::new(client_tls(TLS13, &[ALPN], Some(key))));
        // Who does not read needs no room for what comes.
        let socket = TcpSocket::new_v4().ok()?;
        socket.set_recv_buffer_size(RECEIVE_BYTES).ok()?;
        let socket = socket.connect(self.tcp).await.ok()?;
        let mut stream = tls.connect(ServerName::try_from("x").unwrap(), socket).await.ok()?;
        stream.write_all(&encoded(&Request::Hello { version: VERSION })).await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    }

    /// Puts there what slow readers read.
    pub(crate) async fn prepare(&self) {
        let mut put = self.store.put(&large(), Some(LARGE_BYTES)).await.unwrap();
        for _ in 0..LARGE_BYTES >> 20 {
            put.write(vec![7; 1 << 20].into()).await.unwrap();
        }
        match put.commit().await {
            Ok(()) | Err(TransportError::Exists { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A way to flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    Silent,
    Halfway,
    Strangers,
    Connections,
    QuicConnections,
    DeafReaders,
    SlowPuts,
    QuicHandshakes,
    Packets,
}

impl Flood {
    pub(crate) const ALL: [Self; 9] = [
        Self::Silent,
        Self::Halfway,
        Self::Strangers,
        Self::Connections,
        Self::QuicConnections,
        Self::DeafReaders,
        Self::SlowPuts,
        Self::QuicHandshakes,
        Self::Packets,
    ];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Silent => "2000 TCP connections that say nothing",
            Self::Halfway => "1000 TLS handshakes that stop half-way",
            Self::Strangers => "100 handshakes/s of unknown keys",
            Self::Connections => "600 connections of one known client",
            Self::QuicConnections => "40 QUIC connections of it, 256 streams each",
            Self::DeafReaders => "400 blocks asked for and not read",
            Self::SlowPuts => "400 puts of a byte a second",
            Self::QuicHandshakes => "100 QUIC handshakes/s that stop",
            Self::Packets => "5000 packets/s of garbage to QUIC",
        }
    }

    /// Begins; dropping what is returned ends it.
    pub(crate) fn start(self, place: &Place) -> JoinSet<()> {
        match self {
            Self::Silent => each(2000, place, |place: Place| async move {
                let Ok(mut socket) = TcpStream::connect(place.tcp).await else { return };
                until_closed(&mut socket).await;
            }),
            Self::Halfway => each(1000, place, |place: Place| async move {
                let hello = client_hello();
                let Ok(mut socket) = TcpStream::connect(place.tcp).await else { return };
                let _ = socket.write_all(&hello[..hello.len() / 2]).await;
                until_closed(&mut socket).await;
            }),
            Self::Strangers => steadily(100, place, |place: Place| async move {
                let key = place.unknown.clone();
                if let Some(mut stream) = place.lane(key).await {
                    until_closed(&mut stream).await;
                }
            }),
            Self::Connections => each(600, place, |place: Place| async move {
                if let Some(mut stream) = place.lane(place.known.clone()).await {
                    until_closed(&mut stream).await;
                }
            }),
            Self::QuicConnections => each(40, place, |place: Place| async move {
                let endpoint = quinn::Endpoint::client(ANY).unwrap();
                let config = quic_config(Some(place.known.clone()));
                let Ok(connection) = endpoint.connect_with(config, place.quic, "x").unwrap().await else {
                    return;
                };
                let mut streams = Vec::new();
                while let Ok(Ok((mut to, from))) = timeout(PAUSE / 10, connection.open_bi()).await {
                    // The first half of a header.
                    let _ = to.write_all(&[9, 5]).await;
                    streams.push((to, from));
                }
                connection.closed().await;
            }),
            Self::DeafReaders => each(400, place, |place: Place| async move {
                let Some(mut stream) = place.lane(place.known.clone()).await else { return };
                let _ =
                    stream.write_all(&encoded(&Request::Get { name: large(), range: 0..LARGE_BYTES })).await;
                let _ = stream.flush().await;
                sleep(DEAF_TIME).await;
            }),
            Self::SlowPuts => each(400, place, |place: Place| async move {
                let Some(mut stream) = place.lane(place.known.clone()).await else { return };
                let name =
                    ObjectName::new(format!("slow/{}", stream.get_ref().0.local_addr().unwrap().port()));
                let put = encoded(&Request::Put { name: name.unwrap(), length: None });
                let header = Header { kind: Kind::Data, length: Kind::Data.bytes_max() }.encode();
                let _ = stream.write_all(&[&put[..], &header].concat()).await;
                while stream.write_all(&[0]).await.is_ok() && stream.flush().await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
            }),
            Self::QuicHandshakes => steadily(100, place, |place: Place| async move {
                // What a client says first, said to nobody and then to the server, which waits for the rest of it.
                let (nobody, socket) =
                    (UdpSocket::bind(ANY).await.unwrap(), UdpSocket::bind(ANY).await.unwrap());
                let endpoint = quinn::Endpoint::client(ANY).unwrap();
                let address = nobody.local_addr().unwrap();
                let _connecting = endpoint.connect_with(quic_config(None), address, "x").unwrap();
                let mut packet = [0; 2000];
                while let Ok(Ok(count)) = timeout(PAUSE / 50, nobody.recv(&mut packet)).await {
                    let _ = socket.send_to(&packet[..count], place.quic).await;
                }
            }),
            Self::Packets => steadily(100, place, |place: Place| async move {
                let socket = UdpSocket::bind(ANY).await.unwrap();
                for length in (20..1220).step_by(24) {
                    let mut packet = vec![0x5a; length];
                    packet[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
                    let _ = socket.send_to(&packet, place.quic).await;
                }
            }),
        }
    }
}

/// So many at a time, each again and again.
fn each<F>(count: usize, place: &Place, one: impl Fn(Place) -> F + Copy + Send + 'static) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let again = move |place: Place| async move {
        loop {
            one(place.clone()).await;
            sleep(PAUSE).await;
        }
    };
    (0..count).map(|_| again(place.clone())).collect()
}

/// So many a second, each once.
fn steadily<F>(a_second: u32, place: &Place, one: impl Fn(Place) -> F + Send + 'static) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let place = place.clone();
    let driver = async move {
        let (mut running, mut ticks) = (JoinSet::new(), interval(Duration::from_secs(1) / a_second));
        loop {
            ticks.tick().await;
            while running.len() >= AT_A_TIME_MAX {
                running.join_next().await;
            }
            running.spawn(one(place.clone()));
            while running.try_join_next().is_some() {}
        }
    };
    JoinSet::from_iter([driver])
}

async fn until_closed(socket: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = [0; 1024];
    while matches!(socket.read(&mut bytes).await, Ok(1..)) {}
}

/// The first message of a handshake.
fn client_hello() -> Vec<u8> {
    let config = Arc::new(client_tls(TLS13, &[ALPN], None));
    let mut connection = rustls::ClientConnection::new(config, ServerName::try_from("x").unwrap()).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

fn quic_config(key: Option<CertifiedKey>) -> quinn::ClientConfig {
    let crypto = client_tls(TLS13, &[ALPN], key);
    quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(crypto).unwrap()))
}

fn encoded(request: &Request) -> Bytes {
    let mut out = BytesMut::new();
    request.encode(&mut out);
    out.freeze()
}

fn large() -> ObjectName {
    ObjectName::new("large/0").unwrap()
}

const LARGE_BYTES: u64 = 64 << 20;
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const RECEIVE_BYTES: u32 = 16 * 1024;
/// Between two tries of one attacker.
const PAUSE: Duration = Duration::from_secs(2);
/// Shorter than a server waits for a reader: then the next block is asked for.
const DEAF_TIME: Duration = Duration::from_secs(20);
/// Attackers under way of those that come steadily.
const AT_A_TIME_MAX: usize = 500;
