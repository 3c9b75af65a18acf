//! What the network transports make of loopback, beside what is below them:
//! `cargo run --release --example loopback -p tanner-transports -- [MIB] [STREAMS]`.
//!
//! Sends MIB MiB (512) in STREAMS streams (4) to a server in this process that throws them away: over TCP as it is, over
//! TCP with TLS 1.3, as puts to a block server over both of its nets, over a bare QUIC connection, and as multipart
//! uploads through `object_store` and through the S3 transport. All take turns; what is printed is the median of the
//! rounds, and the median of each one's ratio to what it is built on in the same round. Both ends share this machine's
//! cores, so the figures are of one machine talking to itself.
#![allow(clippy::unwrap_used, reason = "what fails here ends the program")]

#[path = "../tests/common/s3_server.rs"]
mod s3_server;
#[path = "../tests/common/sink.rs"]
mod sink;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::TryFutureExt as _;
use futures_util::future::{join_all, ready, try_join_all};
use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use sink::Sink;
use tanner_transports::net::{Identity, Patience, Remote};
use tanner_transports::server::{Area, Client, Clients, Limits, Server};
use tanner_transports::{ObjectName, S3, S3Keys, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The ways, and which one each is compared with.
const WAYS: [(&str, usize); 7] = [
    ("TCP", 0),
    ("TCP, TLS 1.3", 0),
    ("tanner, tcp:", 1),
    ("QUIC, quinn", 3),
    ("tanner, quic:", 3),
    ("S3, object_store", 5),
    ("tanner, s3:", 5),
];

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("[MIB] [STREAMS]"));
    let (mib, streams) = (args.next().unwrap_or(512), args.next().unwrap_or(4));
    let rig = Rig::new(mib / streams, streams).await;
    let mut seconds = vec![Vec::new(); WAYS.len()];
    for round in 0..ROUNDS {
        for turn in 0..WAYS.len() {
            let way = (turn + round) % WAYS.len();
            let began = Instant::now();
            rig.send(way, round).await;
            seconds[way].push(began.elapsed().as_secs_f64());
        }
    }
    println!("{:<18}{:>8}   of", "", "GB/s");
    for (way, (name, base)) in WAYS.iter().enumerate() {
        let rate = (rig.bytes() as f64) / median(seconds[way].clone()) / 1e9;
        let ratios = seconds[*base].iter().zip(&seconds[way]).map(|(base, own)| base / own).collect();
        println!("{name:<18}{rate:>8.2}   {:.2} × {}", median(ratios), WAYS[*base].0);
    }
}

/// Servers that throw away what they are sent, and what to reach them with.
struct Rig {
    pieces: usize,
    streams: usize,
    plain: SocketAddr,
    tls: (SocketAddr, tokio_rustls::TlsConnector),
    quic: (SocketAddr, quinn::Endpoint),
    remotes: [Remote; 2],
    bucket: (Arc<dyn ObjectStore>, S3),
    _root: tempfile::TempDir,
}

impl Rig {
    async fn new(pieces: usize, streams: usize) -> Self {
        let (server, client) = tls_configs();
        let acceptor = tokio_rustls::TlsAcceptor::from(server.clone());
        let root = tempfile::tempdir().unwrap();
        let address = s3_server::serve(root.path()).await;
        let (key_id, key) = (s3_server::KEY_ID.to_owned(), s3_server::KEY.to_owned());
        let url = format!("s3://{}?endpoint=http://{address}&region=eu-1", s3_server::BUCKET);
        let s3 = S3::open(&url, &S3Keys::Key { id: key_id.clone(), secret: key.clone() }, Default::default());
        let store = AmazonS3Builder::new()
            .with_endpoint(format!("http://{address}"))
            .with_allow_http(true)
            .with_bucket_name(s3_server::BUCKET)
            .with_region("eu-1")
            .with_access_key_id(key_id)
            .with_secret_access_key(key)
            .build();
        let quic = quic(server, client.clone());
        Self {
            pieces,
            streams,
            plain: drain(|socket| ready(Some(socket))).await,
            tls: (
                drain(move |socket| acceptor.accept(socket).map_ok(Some).unwrap_or_else(|_| None)).await,
                client.into(),
            ),
            quic,
            remotes: remotes().await,
            bucket: (Arc::new(store.unwrap()), s3.unwrap()),
            _root: root,
        }
    }

    fn bytes(&self) -> usize {
        self.pieces * self.streams * PIECE_BYTES
    }

    async fn send(&self, way: usize, round: usize) {
        let name = |stream: usize| ObjectName::new(format!("{way}-{round}/{stream}")).unwrap();
        match way {
            0 => {
                join_all((0..self.streams).map(async |_| {
                    self.fill(TcpStream::connect(self.plain).await.unwrap()).await;
                }))
                .await;
            }
            1 => {
                join_all((0..self.streams).map(async |_| {
                    let socket = TcpStream::connect(self.tls.0).await.unwrap();
                    let host = ServerName::try_from("tanner").unwrap();
                    self.fill(self.tls.1.connect(host, socket).await.unwrap()).await;
                }))
                .await;
            }
            3 => {
                let connection = self.quic.1.connect(self.quic.0, "tanner").unwrap().await.unwrap();
                join_all((0..self.streams).map(async |_| {
                    let (to, from) = connection.open_bi().await.unwrap();
                    self.fill(tokio::io::join(from, to)).await;
                }))
                .await;
            }
            5 => {
                try_join_all((0..self.streams).map(async |stream| {
                    let path = object_store::path::Path::from(name(stream).as_str());
                    let mut upload = WriteMultipart::new_with_chunk_size(
                        self.bucket.0.put_multipart(&path).await?,
                        PART_BYTES,
                    );
                    for _ in 0..self.pieces {
                        upload.wait_for_capacity(2).await?;
                        upload.put(PIECE);
                    }
                    upload.finish().await.map(drop)
                }))
                .await
                .unwrap();
            }
            _ => {
                let store: &dyn Transport = match way {
                    2 => &self.remotes[0],
                    4 => &self.remotes[1],
                    _ => &self.bucket.1,
                };
                join_all((0..self.streams).map(async |stream| {
                    let length = (self.pieces * PIECE_BYTES) as u64;
                    let mut put = store.put(&name(stream), Some(length)).await.unwrap();
                    for _ in 0..self.pieces {
                        put.write(PIECE).await.unwrap();
                    }
                    put.commit().await.unwrap();
                }))
                .await;
            }
        }
        // A bucket grows no larger than one round.
        if way >= 5 {
            for stream in 0..self.streams {
                self.bucket.1.delete(&name(stream)).await.unwrap();
            }
        }
    }

    /// Writes all pieces of a stream, and waits until the other end says that it has them.
    async fn fill(&self, mut socket: impl AsyncRead + AsyncWrite + Unpin) {
        for _ in 0..self.pieces {
            socket.write_all(&PIECE).await.unwrap();
        }
        socket.shutdown().await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), 1);
    }
}

/// Listens, and reads whatever comes to its end.
async fn drain<S, F>(accept: impl Fn(TcpStream) -> F + Clone + Send + 'static) -> SocketAddr
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Option<S>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let accept = accept.clone();
            tokio::spawn(async move {
                if let Some(socket) = accept(socket).await {
                    empty(socket).await;
                }
            });
        }
    });
    address
}

async fn empty(mut socket: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = vec![0; 256 * 1024];
    while socket.read(&mut buffer).await.unwrap() > 0 {}
    socket.write_u8(1).await.unwrap();
    socket.shutdown().await.unwrap();
}

fn tls_configs() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let own = rcgen::generate_simple_self_signed(["tanner".to_owned()]).unwrap();
    let certificate = own.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = [&rustls::version::TLS13];
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// A bare QUIC server and a client, as quinn sets them up.
fn quic(
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
) -> (SocketAddr, quinn::Endpoint) {
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(server).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_addr().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let connection = incoming.await.unwrap();
            tokio::spawn(async move {
                while let Ok((to, from)) = connection.accept_bi().await {
                    tokio::spawn(empty(tokio::io::join(from, to)));
                }
            });
        }
    });
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(client).unwrap();
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    (address, endpoint)
}

/// A block server over both nets, in front of a store that keeps nothing.
async fn remotes() -> [Remote; 2] {
    let (own, client) = (Arc::new(Identity::generate()), Identity::generate());
    let limits = Limits::default();
    let mut clients = Clients::default();
    clients.allow(client.pin(), Client::new(Arc::new(Area::new(Arc::new(Sink), None)), &limits));
    let server = Server::bind(&["tcp://127.0.0.1:0", "quic://127.0.0.1:0"], own, clients, limits);
    let server = server.await.unwrap();
    let urls = server.urls();
    tokio::spawn(server.run(std::future::pending()));
    [0, 1].map(|net| Remote::open(&urls[net], &client, Patience::default()).unwrap())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

static BYTES: [u8; PIECE_BYTES] = [0x5a; PIECE_BYTES];
const PIECE: Bytes = Bytes::from_static(&BYTES);
const PIECE_BYTES: usize = 1 << 20;
const PART_BYTES: usize = 8 << 20;
const ROUNDS: usize = 5;
