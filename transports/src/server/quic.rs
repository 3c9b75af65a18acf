//! Connections over QUIC: each of their streams is a lane.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{Connection, Endpoint, Incoming, ServerConfig, TransportConfig, VarInt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::accept::{self, Done, Handshakes};
use super::lane::{Service, turn_away};
use super::limits::{
    QUIC_FIRST_BYTES, QUIC_INCOMING_BYTES, QUIC_INCOMING_MAX, QUIC_RECEIVE_BYTES, QUIC_RETRY_HANDSHAKES,
    QUIC_SEND_BYTES, QUIC_STREAM_BYTES,
};
use super::{Client, Limits, Shared, Stopped, until_stopped};
use crate::net::{Lane, pin_of_peer, speaks_alpn};

/// A socket with the limits of QUIC itself, all far below what quinn allows by itself.
pub(super) fn endpoint(
    address: SocketAddr,
    tls: Arc<rustls::ServerConfig>,
    limits: &Limits,
) -> io::Result<Endpoint> {
    let crypto = QuicServerConfig::try_from(tls).expect("the provider has the cipher of QUIC");
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.lanes_per_connection.into())
        .max_concurrent_uni_streams(0_u8.into())
        .stream_receive_window(window(QUIC_STREAM_BYTES))
        .receive_window(window(QUIC_FIRST_BYTES))
        .send_window(QUIC_SEND_BYTES as u64)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(limits.idle_time.try_into().ok());
    config
        .transport_config(Arc::new(transport))
        .max_incoming(QUIC_INCOMING_MAX)
        .incoming_buffer_size((QUIC_INCOMING_BYTES / QUIC_INCOMING_MAX) as u64)
        .incoming_buffer_size_total(QUIC_INCOMING_BYTES as u64);
    Endpoint::server(config, address)
}

pub(super) async fn accept(endpoint: Endpoint, shared: Arc<Shared>, stopped: Stopped) {
    let let_in = |incoming: Incoming, handshakes: &mut Handshakes| {
        let known = incoming.remote_address_validated() || !incoming.may_retry();
        if known || handshakes.count() < QUIC_RETRY_HANDSHAKES {
            return Some(incoming);
        }
        // Costs the server nothing, and whoever forged the address never answers.
        let _ = incoming.retry();
        None
    };
    let most = shared.limits.handshakes;
    let serve = |incoming, done| connection(incoming, shared.clone(), stopped.clone(), done);
    let mut connections = accept::accept(most, stopped.clone(), || endpoint.accept(), let_in, serve).await;
    endpoint.set_server_config(None);
    while connections.join_next().await.is_some() {}
    endpoint.close(CLOSED, b"the server stops");
    let _ = timeout(CLOSE_TIME, endpoint.wait_idle()).await;
}

async fn connection(incoming: Incoming, shared: Arc<Shared>, mut stopped: Stopped, done: Done) {
    let Ok(connecting) = incoming.accept() else { return };
    let Ok(Ok(connection)) = timeout(shared.limits.handshake_time, connecting).await else { return };
    let client = pin_of_peer(&connection).and_then(|pin| shared.clients.get(pin));
    let Some(client) = client.filter(|_| speaks(&connection)) else { return };

    let permits = (client.quic.clone().try_acquire_owned(), shared.quic.clone().try_acquire_owned());
    let (Ok(_own), Ok(_all)) = permits else { return refuse(&connection, &client, &shared).await };
    // Not before: whoever is turned away is bounded as a handshake, and takes no more than one.
    done.set();
    connection.set_receive_window(window(QUIC_RECEIVE_BYTES));
    let greeted = Arc::new(AtomicBool::new(false));
    let mut lanes = JoinSet::new();
    loop {
        tokio::select! {
            () = until_stopped(&mut stopped) => break,
            Some(_) = lanes.join_next() => {}
            () = sleep(shared.limits.idle_time), if lanes.is_empty() => break,
            stream = connection.accept_bi() => {
                let Ok((to, from)) = stream else { break };
                let lane = Lane::new(from, to, shared.limits.pace());
                let (shared, client) = (shared.clone(), client.clone());
                let (greeted, most) = (greeted.clone(), shared.limits.lanes_per_connection);
                let service = Service { shared, client, greeted, lanes: most, lane };
                lanes.spawn(service.run_once(stopped.clone()));
            }
        }
    }
    // Also when the client is gone: a commit is not left half-way.
    while lanes.join_next().await.is_some() {}
    if connection.close_reason().is_none() {
        // Closing throws away what is not confirmed yet.
        let _ = timeout(CLOSE_TIME, connection.closed()).await;
        connection.close(CLOSED, b"nothing was asked");
    }
}

async fn refuse(connection: &Connection, client: &Client, shared: &Shared) {
    let Ok(Ok((to, from))) = timeout(shared.limits.handshake_time, connection.accept_bi()).await else {
        return;
    };
    let lane = Lane::new(from, to, shared.limits.pace());
    turn_away(lane, client, "this client has too many connections, or all clients together").await;
    let _ = timeout(CLOSE_TIME, connection.closed()).await;
}

fn window(bytes: usize) -> VarInt {
    VarInt::try_from(bytes as u64).expect("a window is a few MiB")
}

fn speaks(connection: &Connection) -> bool {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    speaks_alpn(data.and_then(|data| data.protocol).as_deref())
}

/// For the last answers to arrive.
const CLOSE_TIME: Duration = Duration::from_millis(500);
const CLOSED: VarInt = VarInt::from_u32(0);
