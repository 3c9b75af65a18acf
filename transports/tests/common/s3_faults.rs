//! A server that fails as it is told to, in front of a real one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tanner_transports::{Patience, S3, S3Keys};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) const SECRET: &str = "a-secret-that-is-never-printed";

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What becomes of a request.
pub(crate) enum Act {
    /// What the server does with it.
    Pass,
    /// This, and the server never hears of it.
    Say(Response<Body>),
    /// Nothing at all.
    Hang,
    /// The server does it, and its answer is lost with the connection.
    DoAndCut,
    /// The server does it, and nobody says so.
    DoAndHang,
    /// The server does it; then its files are meddled with.
    DoAnd(fn(&Path)),
    /// The server answers, and this becomes of the answer.
    Change(fn(Response<Bytes>) -> Response<Body>),
}

/// What a request is, in words: `PUT object`, `PUT part 2`, `POST uploads`, `POST complete`, `DELETE upload`, `GET
/// list`, `GET object`, `HEAD object`; and which of these it is, from 0.
pub(crate) type Plan = dyn Fn(&str, usize) -> Act + Send + Sync;

pub(crate) struct Rig {
    pub(crate) root: TempDir,
    pub(crate) url: String,
    seen: Arc<Mutex<HashMap<String, usize>>>,
}

impl Rig {
    pub(crate) async fn new(plan: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(root.path().join("bucket")).expect("a bucket");
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).expect("a root"));
        service.set_auth(SimpleAuth::from_single("KEYID", SECRET));
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let server = Arc::new(Server {
            service: service.build(),
            root: root.path().to_owned(),
            plan: Box::new(plan),
            seen: seen.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("s3://bucket?endpoint=http://{}", listener.local_addr().expect("it is bound"));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    let answer = service_fn(move |request| server.clone().answer(request));
                    let http = auto::Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(socket), answer).await;
                });
            }
        });
        Self { root, url, seen }
    }

    pub(crate) fn store(&self) -> S3 {
        self.store_at(&self.url, SECRET)
    }

    pub(crate) fn store_at(&self, url: &str, secret: &str) -> S3 {
        let keys = S3Keys::Key { id: "KEYID".into(), secret: secret.into() };
        S3::open(url, &keys, PATIENCE).expect("a URL and keys")
    }

    /// How many requests of this kind there were.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.seen.lock().unwrap().get(kind).copied().unwrap_or_default()
    }

    /// Everything in the bucket, and everything of uploads that are not over.
    pub(crate) fn files(&self) -> Vec<String> {
        let names = |dir: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(dir).expect("a directory");
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let mut files: Vec<_> = names(&self.root.path().join("bucket/id").clone())
            .into_iter()
            .chain(names(self.root.path()).into_iter().filter(|name| name.contains("upload")))
            .collect();
        files.sort();
        files
    }
}

struct Server {
    service: S3Service,
    root: PathBuf,
    plan: Box<Plan>,
    seen: Arc<Mutex<HashMap<String, usize>>>,
}

impl Server {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
        let kind = kind(&request);
        let count = {
            let mut seen = self.seen.lock().unwrap();
            let count = seen.entry(kind.clone()).or_insert(0);
            *count += 1;
            *count - 1
        };
        let act = (self.plan)(&kind, count);
        match act {
            Act::Say(answer) => return Ok(answer),
            Act::Hang => return std::future::pending().await,
            _ => {}
        }
        let done = self.service.call(request.map(s3s::Body::from)).await;
        let done = done.map_err(|error| std::io::Error::other(format!("{error:?}")))?;
        match act {
            Act::DoAndCut => Err(std::io::Error::other("cut")),
            Act::DoAndHang => std::future::pending().await,
            Act::Change(change) => {
                let (parts, body) = done.into_parts();
                let bytes = BodyExt::collect(body).await.map_err(std::io::Error::other)?.to_bytes();
                Ok(change(Response::from_parts(parts, bytes)))
            }
            Act::DoAnd(meddle) => {
                let (parts, body) = done.into_parts();
                let bytes = BodyExt::collect(body).await.map_err(std::io::Error::other)?.to_bytes();
                meddle(&self.root);
                Ok(Response::from_parts(parts, full(bytes)))
            }
            _ => Ok(done.map(|body| body.map_err(std::io::Error::other).boxed_unsync())),
        }
    }
}

fn kind(request: &Request<Incoming>) -> String {
    let query = request.uri().query().unwrap_or_default();
    let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let what = match (value("partNumber"), value("uploadId"), value("list-type"), value("uploads")) {
        (Some(part), ..) => format!("part {part}"),
        (_, Some(_), ..) if request.method() == "POST" => "complete".to_owned(),
        (_, Some(_), ..) => "upload".to_owned(),
        (_, _, Some(_), _) => "list".to_owned(),
        (.., Some(_)) => "uploads".to_owned(),
        _ => "object".to_owned(),
    };
    format!("{} {what}", request.method())
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer with an error code.
pub(crate) fn refusal(status: u16, code: &str) -> Response<Body> {
    say(status, format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>"))
}

pub(crate) fn say(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    let mut answer = Response::new(full(body));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

/// The same piece again and again, with a pause before each.
pub(crate) fn endless(status: u16, piece: &'static [u8], pause: Duration) -> Response<Body> {
    let frames = stream::repeat(()).then(move |()| async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(Bytes::from_static(piece)))
    });
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

/// These bytes, and then the connection breaks or nothing more comes.
pub(crate) fn cut(bytes: Bytes, hang: bool) -> Body {
    let end = async move {
        if hang {
            std::future::pending::<()>().await;
        }
        Err(std::io::Error::other("cut"))
    };
    StreamBody::new(stream::iter([Ok(Frame::data(bytes))]).chain(stream::once(end))).boxed_unsync()
}

pub(crate) const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(2),
    tries: 3,
    pause: Duration::from_millis(5),
    total: Duration::from_secs(10),
};
