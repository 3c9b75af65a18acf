//! Programs that are killed, on either side: what they had kept is gone on with by another one, and is exact.
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod common;
#[path = "common/s3_server.rs"]
mod s3_server;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tanner_transports::net::{Identity, Remote};
use tanner_transports::server::{Area, Client, Clients, Limits, Server};
use tanner_transports::{
    Disk, Kept, ObjectName, Patience, Put, Result, S3, S3Keys, Transport, TransportError,
};
use tempfile::TempDir;

use self::common::patience;

/// Bytes of the object.
const LENGTH: usize = 40 << 20;
/// Bytes of one write, and of what is written between two keeps.
const PIECE: usize = 100_000;
const STRIDE: usize = 3_000_000;

fn name() -> ObjectName {
    ObjectName::new("id/7").unwrap()
}

fn bytes(range: std::ops::Range<usize>) -> Bytes {
    range.map(|i| (i % 251) as u8).collect()
}

/// What this file starts as programs of their own; nothing by itself.
#[test]
#[ignore = "the other tests start it"]
fn a_program_to_be_killed() {
    let Ok(task) = std::env::var(TASK) else { return };
    let words: Vec<_> = task.split(' ').collect();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        match words[..] {
            ["write", url, identity, kept] => write(url, identity, kept).await,
            ["serve", listen, place] => serve(listen, Path::new(place)).await,
            _ => panic!("{task}"),
        }
    });
}

/// Writes and keeps, says what is kept, and never ends.
async fn write(url: &str, identity: &str, kept: &str) {
    let (mut put, begin) = match kept.split_once(':') {
        None => (open(url, identity).put(&name(), Some(LENGTH as u64)).await.unwrap(), 0),
        Some((bytes, token)) => {
            let kept = Kept { bytes: bytes.parse().unwrap(), token: token.to_owned().into() };
            (resumed(&*open(url, identity), &kept).await.unwrap(), kept.bytes as usize)
        }
    };
    for from in (begin..LENGTH - PIECE).step_by(PIECE) {
        put.write(bytes(from..from + PIECE)).await.unwrap();
        if (from / PIECE).is_multiple_of(STRIDE / PIECE) {
            let Kept { bytes, token } = put.keep().await.unwrap().unwrap();
            println!("\nkept {bytes}:{}", str::from_utf8(&token).unwrap());
            std::io::stdout().flush().unwrap();
        }
    }
    std::future::pending::<()>().await;
}

/// Serves what is below a place, and says where.
async fn serve(listen: &str, place: &Path) {
    let load = |file: &str| Identity::load(&place.join(file)).unwrap();
    let (limits, client) = (Limits::default(), load("client.pem"));
    let store: Arc<dyn Transport> = Arc::new(Disk::open(place.join("store")).unwrap());
    let mut clients = Clients::default();
    clients.allow(client.pin(), Client::new(Arc::new(Area::new(store, Some(QUOTA))), &limits));
    let server = Server::bind(&[listen], Arc::new(load("server.pem")), clients, limits).await.unwrap();
    println!("\nserves {}", server.urls()[0]);
    std::io::stdout().flush().unwrap();
    server.run(std::future::pending()).await;
}

fn open(url: &str, identity: &str) -> Arc<dyn Transport> {
    match url.split_once(':').unwrap().0 {
        "file" => Arc::new(Disk::from_url(url).unwrap()),
        "s3" => {
            let keys = S3Keys::Key { id: s3_server::KEY_ID.into(), secret: s3_server::KEY.into() };
            Arc::new(S3::open(url, &keys, Patience::default()).unwrap())
        }
        _ => {
            let identity = Identity::load(Path::new(identity)).unwrap();
            Arc::new(Remote::open(url, &identity, patience()).unwrap())
        }
    }
}

/// A server needs a moment to see that a client is gone.
async fn resumed(store: &dyn Transport, kept: &Kept) -> Result<Box<dyn Put>> {
    for _ in 0..500 {
        match store.resume(&name(), Some(LENGTH as u64), kept).await {
            Err(TransportError::Busy { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            result => return result,
        }
    }
    panic!("somebody else has it for ever");
}

/// A program of its own, killed when it is dropped.
struct Program {
    child: Child,
    says: BufReader<std::process::ChildStdout>,
}

impl Program {
    fn start(task: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_program_to_be_killed", "--ignored", "--nocapture"])
            .env(TASK, task)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Self { child, says }
    }

    /// What stands behind `word` in the next line that begins with it.
    fn says(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.says.read_line(&mut line).unwrap() > 0, "it ended before it said {word:?}");
            if let Some(rest) = line.trim().strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills one writer after the other, each a little later, and finishes what they began.
async fn killed_again_and_again(url: &str, identity: &str, mut between: impl FnMut()) {
    let (mut last, mut kept) = ("none".to_owned(), 0);
    for times in [1, 2, 5, 3] {
        let mut writer = Program::start(&format!("write {url} {identity} {last}"));
        for _ in 0..times {
            last = writer.says("kept");
        }
        drop(writer);
        let bytes = last.split_once(':').unwrap().0.parse::<usize>().unwrap();
        assert!(bytes >= kept, "{bytes} bytes are kept after {kept}");
        kept = bytes;
        between();
    }
    assert!(kept > 0);
    let store = open(url, identity);
    assert!(matches!(store.stat(&name()).await, Err(TransportError::Missing { .. })));
    let (bytes_kept, token) = last.split_once(':').unwrap();
    let kept = Kept { bytes: bytes_kept.parse().unwrap(), token: token.to_owned().into() };
    let mut put = resumed(&*store, &kept).await.unwrap();
    put.write(bytes(kept.bytes as usize..LENGTH)).await.unwrap();
    put.commit().await.unwrap();
    let found = store.get(&name(), 0..LENGTH as u64).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert!(found.concat() == bytes(0..LENGTH), "{url}: other bytes");
    let gone = store.resume(&name(), Some(LENGTH as u64), &kept).await.map(drop);
    assert!(matches!(gone, Err(TransportError::Missing { .. })), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_program_kept_on_a_disk_is_gone_on_with() {
    let place = tempfile::tempdir().unwrap();
    let disk = Disk::open(place.path().join("store")).unwrap();
    killed_again_and_again(disk.url(), "none", || {}).await;
    let stage = place.path().join("store/.tanner-stage");
    assert_eq!(std::fs::read_dir(stage).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_program_kept_in_a_bucket_is_gone_on_with() {
    let root = tempfile::tempdir().unwrap();
    let address = s3_server::serve(root.path()).await;
    let url = format!("s3://{}/a/prefix?endpoint=http://{address}&region=eu-1", s3_server::BUCKET);
    killed_again_and_again(&url, "none", || {}).await;
}

/// A place for a server and its client.
fn identities() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for file in ["server.pem", "client.pem"] {
        Identity::generate().save(&place.path().join(file)).unwrap();
    }
    place
}

async fn server_and_client_killed(scheme: &str) {
    let place = identities();
    let serve = |listen: &str| {
        let mut server = Program::start(&format!("serve {listen} {}", place.path().display()));
        (server.says("serves"), server)
    };
    let (url, mut server) = serve(&format!("{scheme}://127.0.0.1:0"));
    let identity = place.path().join("client.pem").display().to_string();
    let listen = url.split_once('#').unwrap().0.to_owned();
    killed_again_and_again(&url, &identity, || {
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        server = serve(&listen).1;
    })
    .await;
    drop(server);
    assert_eq!(std::fs::read_dir(place.path().join("store/.tanner-stage")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_killed_programs_kept_over_tcp_is_gone_on_with() {
    server_and_client_killed("tcp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_killed_programs_kept_over_quic_is_gone_on_with() {
    server_and_client_killed("quic").await;
}

/// Or a client that is killed and begins anew would have more room each time.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_has_its_room_also_after_the_server_was_killed() {
    let place = identities();
    let serve = || Program::start(&format!("serve tcp://127.0.0.1:0 {}", place.path().display()));
    let identity = place.path().join("client.pem").display().to_string();
    let mut server = serve();
    let mut writer = Program::start(&format!("write {} {identity} none", server.says("serves")));
    let kept = writer.says("kept");
    drop((writer, server));

    let mut server = serve();
    let store = open(&server.says("serves"), &identity);
    let other = ObjectName::new("id/8").unwrap();
    let rest = QUOTA - LENGTH as u64;
    let full = store.put(&other, Some(rest + 1)).await.map(drop);
    assert!(matches!(full, Err(TransportError::Full { .. })), "{full:?}");
    store.put(&other, Some(rest)).await.unwrap().abandon().await.unwrap();
    let (bytes, token) = kept.split_once(':').unwrap();
    let kept = Kept { bytes: bytes.parse().unwrap(), token: token.to_owned().into() };
    resumed(&*store, &kept).await.unwrap().abandon().await.unwrap();
    store.put(&other, Some(QUOTA)).await.unwrap().abandon().await.unwrap();
}

/// Tells a program what to do.
const TASK: &str = "TANNER_TEST_TASK";
const QUOTA: u64 = LENGTH as u64 + (1 << 20);
