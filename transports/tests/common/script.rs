//! A block server that does what a script says, over real TLS and QUIC.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use tanner_transports::net::Pin;
use tanner_transports::wire::{Answer, Header, Kind, VERSION, Welcome};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::tls::server_tls;

/// What the server does once it has read a request.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes one at a time, again and again.
    Drip(Vec<u8>),
    /// Sends these bytes again and again, as fast as they are taken.
    Endless(Vec<u8>),
    /// Reads one more frame.
    Read,
    /// Does nothing for so many milliseconds.
    Pause(u64),
    /// Says nothing more, and keeps the lane.
    Stall,
    /// Closes the lane.
    Close,
}

/// What the server does, from the greeting on.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) hello: Vec<Step>,
    /// For the first request, the second, and so on from the start.
    pub(crate) requests: Vec<Vec<Step>>,
}

impl Script {
    pub(crate) fn answering(steps: Vec<Step>) -> Self {
        Self { hello: vec![Step::Send(frame(&welcome()))], requests: vec![steps] }
    }
}

pub(crate) fn welcome() -> Answer {
    Answer::Welcome(Welcome {
        version: VERSION,
        durable: true,
        complete: true,
        append_only: false,
        lanes: 100,
        keep: true,
        delete_token: false,
        object_bytes_max: None,
    })
}

pub(crate) fn frame(answer: &Answer) -> Vec<u8> {
    let mut out = BytesMut::new();
    answer.encode(&mut out);
    out.to_vec()
}

/// Starts the server; its URL.
pub(crate) async fn play(scheme: &str, script: Script) -> String {
    let (identity, config) = server_tls();
    let address = play_as(scheme, script, config).await;
    format!("{scheme}://{address}#{}", identity.pin())
}

/// Starts the server with a TLS of its own; where it listens.
pub(crate) async fn play_as(scheme: &str, script: Script, config: rustls::ServerConfig) -> SocketAddr {
    let (script, requests) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
    if scheme == "tcp" {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tls, script, requests) = (tls.clone(), script.clone(), requests.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(socket).await else { return };
                    let (from, to) = tokio::io::split(stream);
                    lane(from, to, script, requests).await;
                });
            }
        });
        return address;
    }
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(config).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_addr().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let (script, requests) = (script.clone(), requests.clone());
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else { return };
                while let Ok((to, from)) = connection.accept_bi().await {
                    tokio::spawn(lane(from, to, script.clone(), requests.clone()));
                }
            });
        }
    });
    address
}

async fn lane(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    script: Arc<Script>,
    requests: Arc<AtomicUsize>,
) {
    while let Some(kind) = read_frame(&mut from).await {
        let steps = if kind == Kind::Hello {
            &script.hello
        } else {
            let number = requests.fetch_add(1, Ordering::Relaxed);
            &script.requests[number % script.requests.len()]
        };
        for step in steps {
            if perform(step, &mut from, &mut to).await.is_none() {
                let _ = to.shutdown().await;
                return;
            }
        }
    }
}

/// `None` when the lane is to be closed, or was.
async fn perform(
    step: &Step,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> Option<()> {
    match step {
        Step::Send(bytes) => {
            to.write_all(bytes).await.ok()?;
            to.flush().await.ok()
        }
        Step::Drip(bytes) => {
            for byte in bytes.iter().cycle() {
                to.write_all(&[*byte]).await.ok()?;
                to.flush().await.ok()?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            None
        }
        Step::Endless(bytes) => loop {
            to.write_all(bytes).await.ok()?;
        },
        Step::Read => read_frame(from).await.map(drop),
        Step::Pause(ms) => {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
            Some(())
        }
        Step::Stall => std::future::pending().await,
        Step::Close => None,
    }
}

pub(crate) async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> Option<Kind> {
    let mut header = [0; Header::BYTES];
    from.read_exact(&mut header).await.ok()?;
    let header = Header::decode(header).unwrap();
    let mut payload = vec![0; header.length];
    from.read_exact(&mut payload).await.ok()?;
    Some(header.kind)
}

pub(crate) fn with_pin(url: &str, pin: Pin) -> String {
    format!("{}#{pin}", url.split_once('#').unwrap().0)
}
