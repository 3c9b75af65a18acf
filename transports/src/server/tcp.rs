//! Connections over TCP: each is a lane.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::accept::{self, Done, Handshakes};
use super::lane::{Service, turn_away};
use super::{Shared, Stopped};
use crate::net::{Lane, peer_pin, speaks_alpn};

pub(super) async fn accept(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shared: Arc<Shared>,
    stopped: Stopped,
) {
    let tls = TlsAcceptor::from(tls);
    let next = || async {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => return Some(socket),
                // Out of descriptors, perhaps: some connection will end.
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    };
    let most = shared.limits.handshakes;
    let let_in = |socket, _: &mut Handshakes| Some(socket);
    let serve = |socket, done| connection(socket, tls.clone(), shared.clone(), stopped.clone(), done);
    let mut connections = accept::accept(most, stopped.clone(), next, let_in, serve).await;
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(socket: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>, stopped: Stopped, done: Done) {
    let _ = socket.set_nodelay(true);
    let handshake = timeout(shared.limits.handshake_time, tls.accept(socket).into_fallible());
    let stream = match handshake.await {
        Ok(Ok(stream)) => stream,
        Ok(Err((_, socket))) => return linger(socket).await,
        Err(_) => return,
    };
    let session = stream.get_ref().1;
    let client = peer_pin(session.peer_certificates()).and_then(|pin| shared.clients.get(pin));
    let spoken = speaks_alpn(session.alpn_protocol());
    let Some(client) = client.filter(|_| spoken) else { return };

    let (from, to) = split(stream);
    let lane = Lane::new(from, to, shared.limits.pace());
    let permits = (client.tcp.clone().try_acquire_owned(), shared.tcp.clone().try_acquire_owned());
    let (Ok(_own), Ok(_all)) = permits else {
        return turn_away(lane, &client, "this client has too many connections, or all clients together")
            .await;
    };
    // Whoever is turned away counts as a handshake to the end: there is no permit that would bound them.
    done.set();
    let greeted = Arc::new(AtomicBool::new(false));
    Service { shared, client, greeted, lanes: 1, lane }.run(stopped).await;
}

/// Reads on for a moment, so that what was said last is not lost to a reset.
async fn linger(mut socket: TcpStream) {
    let _ = socket.shutdown().await;
    let drain = async {
        let mut bytes = [0; 1024];
        while matches!(socket.read(&mut bytes).await, Ok(1..)) {}
    };
    let _ = timeout(LINGER_TIME, drain).await;
}

/// For a client to read why it was turned away.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(1);
/// Between two tries to accept when the system has no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
