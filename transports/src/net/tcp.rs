//! Lanes that are TLS connections of their own, kept for the next request.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::split;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::lane::Lane;
use super::lease::{Lease, Patience};
use super::tls::speaks_alpn;
use super::url::Address;

/// The lanes to one server.
pub(super) struct TcpLanes {
    address: Address,
    tls: TlsConnector,
    patience: Patience,
    idle: Idle,
    open: Arc<Semaphore>,
}

impl TcpLanes {
    pub(super) fn new(address: Address, config: Arc<ClientConfig>, patience: Patience) -> Self {
        let open = Arc::new(Semaphore::new(LANES_MAX));
        Self { address, tls: config.into(), patience, idle: Idle::default(), open }
    }

    /// A lane, of those that wait for one if possible; the second value is whether it is to be greeted.
    pub(super) async fn lease(&self) -> io::Result<(Lease, bool)> {
        let permit = timeout(self.patience.stall, self.open.clone().acquire_owned()).await;
        let busy = || io::Error::new(io::ErrorKind::TimedOut, format!("all {LANES_MAX} lanes are in use"));
        let permit = permit.map_err(|_| busy())?.map_err(io::Error::other)?;
        let (idle, home) = (self.idle.take(), Some(self.idle.clone()));
        let (reused, lane) = (idle.is_some(), idle);
        let lane = match lane {
            Some(lane) => lane,
            None => timeout(self.patience.connect, self.connect()).await??,
        };
        Ok((Lease { lane, reused, home, _permit: Some(permit) }, !reused))
    }

    async fn connect(&self) -> io::Result<Lane> {
        let servers = self.address.resolve().await?;
        let socket = TcpStream::connect(&servers[..]).await?;
        socket.set_nodelay(true)?;
        let stream = self.tls.connect(server_name(), socket).await?;
        if !speaks_alpn(stream.get_ref().1.alpn_protocol()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "something else than tanner serve answers",
            ));
        }
        let (from, to) = split(stream);
        Ok(Lane::new(from, to, self.patience.pace()))
    }
}

/// Lanes that nobody uses, the most recent one last.
#[derive(Clone, Default)]
pub(super) struct Idle(Arc<Mutex<VecDeque<(Lane, Instant)>>>);

impl Idle {
    pub(super) fn keep(&self, lane: Lane, since: Instant) {
        let mut lanes = self.lock();
        lanes.push_back((lane, since));
        if lanes.len() > IDLE_LANES_MAX {
            lanes.pop_front();
        }
    }

    /// The lane used last, if its server has not closed it or said something unasked.
    fn take(&self) -> Option<Lane> {
        loop {
            let (mut lane, since) = self.lock().pop_back()?;
            if since.elapsed() < IDLE_TIME_MAX && lane.reader.header().now_or_never().is_none() {
                return Some(lane);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Lane, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not sent, and not looked at: a server is known by its key.
fn server_name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a name of a host")
}

/// What rustls and quinn are given where they want the name of a host.
pub(super) const NAME: &str = "tanner";
/// Lanes to one server at a time: one for each block of a wide backup. Each takes about 100 KiB, and 1 MiB while a
/// piece is on its way.
const LANES_MAX: usize = 256;
/// Lanes to one server that wait for the next request, about 50 KiB each.
const IDLE_LANES_MAX: usize = 16;
/// Less than what servers allow, so that a request seldom meets a lane that is just being closed.
const IDLE_TIME_MAX: Duration = Duration::from_secs(45);
