//! The block server: lets clients that it knows keep objects in its store, over TCP and QUIC.
//!
//! Whoever is not known by the pin of a key gets as far as the handshake. Whoever is known gets lanes, memory and
//! room up to [`Limits`] and its quota, and an end to every wait; a connection that panics ends alone.

mod accept;
mod area;
mod clients;
mod lane;
mod limits;
mod put;
mod quic;
mod taken_back;
mod tcp;
mod traffic;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, lookup_host};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use area::Area;
pub use clients::{Client, Clients};
pub use limits::Limits;
pub use traffic::Traffic;

use crate::net::{Identity, Pin, server_config};

/// A server that listens already, and serves once it is [run](Self::run).
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    identity: Arc<Identity>,
    listeners: Vec<Listener>,
}

impl Server {
    /// Takes these places to listen on: `tcp://ADDRESS:PORT` or `quic://ADDRESS:PORT`, port 0 for any.
    ///
    /// # Errors
    /// When one of them cannot be had, named in the error.
    pub async fn bind(
        listen: &[impl AsRef<str>],
        identity: Arc<Identity>,
        clients: Clients,
        limits: Limits,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(clients, limits));
        let known = shared.clone();
        let tls = server_config(&identity, move |pin| known.clients.get(pin).is_some());
        let mut listeners = Vec::new();
        for place in listen {
            let place = place.as_ref();
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{place}: {error}"));
            listeners.push(Listener::bind(place, &tls, &shared.limits).await.map_err(named)?);
        }
        Ok(Self { shared, identity, listeners })
    }

    /// Where it listens, with the pin that clients need: `tcp://ADDRESS:PORT#PIN`.
    pub fn urls(&self) -> Vec<String> {
        let pin = self.identity.pin();
        let url = |(scheme, address): (&str, SocketAddr)| format!("{scheme}://{address}#{pin}");
        self.listeners.iter().map(|listener| url(listener.place())).collect()
    }

    /// The pin of the server's key.
    pub fn pin(&self) -> Pin {
        self.identity.pin()
    }

    /// What goes through it, to be looked at while it runs.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.shared.traffic.clone()
    }

    /// Serves until `stop` ends, then lets the requests under way end within [`Limits::stop_time`].
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for listener in self.listeners {
            let (shared, stopped) = (self.shared.clone(), stopped.clone());
            match listener {
                Listener::Tcp(listener, tls) => tasks.spawn(tcp::accept(listener, tls, shared, stopped)),
                Listener::Quic(endpoint) => tasks.spawn(quic::accept(endpoint, shared, stopped)),
            };
        }
        let trashes = self.shared.clients.areas().into_iter().filter(|area| area.has_trash());
        let mut purging: JoinSet<_> = trashes.map(Area::purge_on).collect();
        stop.await;
        purging.shutdown().await;
        let _ = stopping.send(true);
        let end = async { while tasks.join_next().await.is_some() {} };
        if timeout(self.shared.limits.stop_time, end).await.is_err() {
            tasks.shutdown().await;
        }
    }
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    clients: Clients,
    limits: Limits,
    /// Bytes of objects between a socket and the store.
    inflight: Arc<Semaphore>,
    tcp: Arc<Semaphore>,
    quic: Arc<Semaphore>,
    traffic: Arc<Traffic>,
}

impl Shared {
    fn new(clients: Clients, limits: Limits) -> Self {
        let semaphore = |most| Arc::new(Semaphore::new(most));
        let inflight = semaphore(limits.inflight_bytes);
        let (tcp, quic) = (semaphore(limits.tcp_connections), semaphore(limits.quic_connections));
        Self { clients, limits, inflight, tcp, quic, traffic: Arc::default() }
    }
}

/// Becomes true once, when the server is to end.
type Stopped = watch::Receiver<bool>;

async fn until_stopped(stopped: &mut Stopped) {
    // An error means that the server itself is gone.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener, Arc<rustls::ServerConfig>),
    Quic(quinn::Endpoint),
}

impl Listener {
    async fn bind(place: &str, tls: &Arc<rustls::ServerConfig>, limits: &Limits) -> io::Result<Self> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "wanted tcp://ADDRESS:PORT or quic://…");
        let (scheme, address) = place.split_once("://").ok_or_else(invalid)?;
        match scheme {
            "tcp" => Ok(Self::Tcp(TcpListener::bind(address).await?, tls.clone())),
            "quic" => {
                let unknown = || io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
                let address = lookup_host(address).await?.next().ok_or_else(unknown)?;
                Ok(Self::Quic(quic::endpoint(address, tls.clone(), limits)?))
            }
            _ => Err(invalid()),
        }
    }

    fn place(&self) -> (&'static str, SocketAddr) {
        let (scheme, address) = match self {
            Self::Tcp(listener, _) => ("tcp", listener.local_addr()),
            Self::Quic(endpoint) => ("quic", endpoint.local_addr()),
        };
        (scheme, address.expect("a bound socket has an address"))
    }
}
