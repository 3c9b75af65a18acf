//! Servers on loopback for tests: real TLS, real disks, a directory of their own.
#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod flood;
pub(crate) mod gate;
pub(crate) mod script;
pub(crate) mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use tanner_transports::net::{Identity, Patience, Pin, Remote};
use tanner_transports::server::{Area, Client, Clients, Limits, Server};
use tanner_transports::{Disk, ObjectName, Result, Transport, TransportError};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A server that runs until it is dropped, and one client that it knows.
pub(crate) struct Served {
    pub(crate) place: TempDir,
    pub(crate) client: Arc<Identity>,
    pub(crate) urls: Vec<String>,
    task: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn new(schemes: &[&str]) -> Self {
        Self::with(schemes, Limits::default(), None, false).await
    }

    pub(crate) async fn with(
        schemes: &[&str],
        limits: Limits,
        quota: Option<u64>,
        append_only: bool,
    ) -> Self {
        let disk = |path: PathBuf| Arc::new(Disk::open(path).expect("a path"));
        Self::over(disk, schemes, limits, quota, append_only).await
    }

    /// With the store that is made of a directory.
    pub(crate) async fn over<T: Transport + 'static>(
        store: impl FnOnce(PathBuf) -> Arc<T>,
        schemes: &[&str],
        limits: Limits,
        quota: Option<u64>,
        append_only: bool,
    ) -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let store = store(place.path().join("store"));
        let (own, client) = (Arc::new(Identity::generate()), Arc::new(Identity::generate()));
        let known = Client::new(Arc::new(Area::new(store, quota)), &limits);
        let known = if append_only { known.append_only() } else { known };
        let mut clients = Clients::default();
        clients.allow(client.pin(), known);
        let listen: Vec<_> = schemes.iter().map(|scheme| format!("{scheme}://127.0.0.1:0")).collect();
        let server = Server::bind(&listen, own, clients, limits).await.expect("loopback can be listened on");
        let urls = server.urls();
        let task = tokio::spawn(server.run(std::future::pending()));
        Self { place, client, urls, task }
    }

    /// The store, as its client opens it.
    pub(crate) fn open(&self) -> Remote {
        Remote::open(&self.urls[0], &self.client, patience()).expect("a URL")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server that knows one client, of which the test has the key in its hand, and its URLs. It runs as long as the test.
pub(crate) async fn knowing(client: Pin, schemes: &[&str], limits: Limits) -> (TempDir, Vec<String>) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let store: Arc<dyn Transport> = Arc::new(Disk::open(place.path()).expect("a path"));
    let mut clients = Clients::default();
    clients.allow(client, Client::new(Arc::new(Area::new(store, None)), &limits));
    let listen: Vec<_> = schemes.iter().map(|scheme| format!("{scheme}://127.0.0.1:0")).collect();
    let server = Server::bind(&listen, Arc::new(Identity::generate()), clients, limits);
    let server = server.await.expect("loopback can be listened on");
    let urls = server.urls();
    tokio::spawn(server.run(std::future::pending()));
    (place, urls)
}

pub(crate) fn name(name: &str) -> ObjectName {
    ObjectName::new(name).expect("a name")
}

pub(crate) async fn put(store: &dyn Transport, object: &str, bytes: usize) -> Result<()> {
    let mut put = store.put(&name(object), Some(bytes as u64)).await?;
    put.write(vec![7; bytes].into()).await?;
    put.commit().await
}

/// A good client stores and reads.
pub(crate) async fn works(store: &dyn Transport, object: &str) {
    put(store, object, 300_000).await.expect("a good client stores");
    let pieces = store.get(&name(object), 0..300_000).await.expect("a good client reads");
    let pieces: Vec<_> = pieces.try_collect().await.expect("all of it");
    assert!(pieces.concat() == vec![7; 300_000]);
}

/// An error with its cause.
pub(crate) fn words(error: &TransportError) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

/// Short, so that a test of what never comes is over soon.
pub(crate) fn patience() -> Patience {
    let second = Duration::from_secs(1);
    Patience { connect: 5 * second, stall: 5 * second, ..Patience::default() }
}
