//! The page, the measures and the state of health, over HTTP. Whoever reaches the port can read them.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::page::page;
use super::{Board, SAMPLE_TIME};
use crate::monitor::metrics;

/// A place to listen on, which serves once it is [run](Self::run).
#[derive(Debug)]
pub(crate) struct Http {
    listener: TcpListener,
}

impl Http {
    /// Takes `ADDRESS:PORT`, or a port of this machine's own address, which others do not reach.
    pub(crate) async fn bind(place: &str) -> io::Result<Self> {
        let listener = match place.parse::<u16>() {
            Ok(port) => TcpListener::bind(("127.0.0.1", port)).await?,
            Err(_) => TcpListener::bind(place).await?,
        };
        Ok(Self { listener })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped.
    pub(crate) async fn run(self, board: Arc<Board>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (mut connections, mut samples) = (JoinSet::new(), interval(SAMPLE_TIME));
        loop {
            let came = async {
                let permit = room.clone().acquire_owned().await.ok()?;
                Some((self.listener.accept().await, permit))
            };
            let came = tokio::select! {
                _ = samples.tick() => {
                    board.sample();
                    continue;
                }
                Some(_) = connections.join_next() => continue,
                came = came => came,
            };
            match came {
                Some((Ok((socket, _)), permit)) => {
                    let board = board.clone();
                    connections.spawn(async move {
                        serve(TokioIo::new(socket), board).await;
                        drop(permit);
                    });
                }
                // Out of descriptors, most likely.
                _ => sleep(PAUSE).await,
            }
        }
    }
}

async fn serve(socket: TokioIo<tokio::net::TcpStream>, board: Arc<Board>) {
    let service = service_fn(move |request| {
        let board = board.clone();
        async move { Ok::<_, Infallible>(answer(&board, &request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(HEADER_BYTES_MAX);
    // What goes wrong with a connection is its peer's business.
    let _ = timeout(CONNECTION_TIME, http.keep_alive(false).serve_connection(socket, service)).await;
}

async fn answer(board: &Arc<Board>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "wanted GET or HEAD");
        refused.headers_mut().insert(ALLOW, "GET, HEAD".parse().expect("the value is fixed"));
        return refused;
    }
    match request.uri().path() {
        "/" => {
            let seen = board.look().await;
            response(StatusCode::OK, "text/html; charset=utf-8", page(board, &seen))
        }
        "/metrics" => response(StatusCode::OK, metrics::CONTENT_TYPE, board.metrics().await.exposition()),
        "/healthz" => match board.trouble().await {
            None => text(StatusCode::OK, "ok"),
            Some(trouble) => text(StatusCode::SERVICE_UNAVAILABLE, &trouble),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /, /metrics and /healthz"),
    }
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind)
        .header(CACHE_CONTROL, "no-store")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        );
    response.body(Full::new(body.into())).expect("all headers are fixed")
}

/// Connections at a time, about 64 KiB each; more wait.
const CONNECTIONS_MAX: usize = 32;
/// Of what a peer asks.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// For what a peer asks to be there.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// For all of a connection, with a first look through the stores.
const CONNECTION_TIME: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);
