//! Lanes that are streams of one QUIC connection.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::{ClientConfig, Connection, Endpoint, TransportConfig, VarInt};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::lane::Lane;
use super::lease::{Lease, Patience};
use super::tcp::NAME;
use super::tls::speaks_alpn;
use super::url::Address;

/// The connection to one server, made when it is first needed and whenever it was lost.
pub(super) struct QuicLanes {
    address: Address,
    config: ClientConfig,
    patience: Patience,
    current: Mutex<Option<Connection>>,
}

impl QuicLanes {
    pub(super) fn new(address: Address, config: Arc<rustls::ClientConfig>, patience: Patience) -> Self {
        let crypto = QuicClientConfig::try_from(config).expect("the provider has the cipher of QUIC");
        let mut config = ClientConfig::new(Arc::new(crypto));
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(0_u8.into())
            .max_concurrent_uni_streams(0_u8.into())
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
            .receive_window(VarInt::from_u32(WINDOW_BYTES))
            .send_window(SEND_WINDOW_BYTES.into())
            .datagram_receive_buffer_size(None)
            .keep_alive_interval(Some(patience.stall / 4))
            .max_idle_timeout(patience.stall.try_into().ok());
        config.transport_config(Arc::new(transport));
        Self { address, config, patience, current: Mutex::new(None) }
    }

    /// A new stream. The first one of a connection is given to `greeted`.
    pub(super) async fn lease<'a>(
        &self,
        greeted: impl FnOnce(Lease) -> BoxFuture<'a, io::Result<()>> + Send,
    ) -> io::Result<Lease> {
        // Whoever waits for another's attempt waits no longer than for an own one.
        let mut current = timeout(self.patience.connect, self.current.lock()).await?;
        if let Some(connection) = current.as_ref().filter(|connection| connection.close_reason().is_none()) {
            let connection = connection.clone();
            drop(current);
            return self.stream(&connection).await;
        }
        let connect = async {
            let connection = self.connect().await?;
            match greeted(self.stream(&connection).await?).await {
                Ok(()) => Ok(connection),
                // The connection knows better than its stream why it ended.
                Err(error) => Err(connection.close_reason().map_or(error, io::Error::from)),
            }
        };
        let connection = timeout(self.patience.connect, connect).await??;
        *current = Some(connection.clone());
        drop(current);
        self.stream(&connection).await
    }

    async fn stream(&self, connection: &Connection) -> io::Result<Lease> {
        let (to, from) = timeout(self.patience.stall, connection.open_bi()).await??;
        let lane = Lane::new(from, to, self.patience.pace());
        Ok(Lease { lane, reused: false, home: None, _permit: None })
    }

    async fn connect(&self) -> io::Result<Connection> {
        let mut failed = io::ErrorKind::HostUnreachable.into();
        let servers = self.address.resolve().await?;
        // An address that swallows packets says nothing; the next one has to have its turn before the time is up.
        let each = self.patience.connect / u32::try_from(servers.len().max(1)).unwrap_or(u32::MAX);
        for server in servers {
            match timeout(each, self.connect_to(server)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failed = error,
                Err(late) => failed = late.into(),
            }
        }
        Err(failed)
    }

    async fn connect_to(&self, server: SocketAddr) -> io::Result<Connection> {
        let any = if server.is_ipv4() {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
        } else {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
        };
        // Its driver lives as long as the connection.
        let endpoint = Endpoint::client(any)?;
        let connecting =
            endpoint.connect_with(self.config.clone(), server, NAME).map_err(io::Error::other)?;
        let connection = connecting.await?;
        let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        if !speaks_alpn(data.and_then(|data| data.protocol).as_deref()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "something else than tanner serve answers",
            ));
        }
        Ok(connection)
    }
}

/// Bytes of one stream that came and were not read yet.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// The same of all streams: as much as all that a server allows at a time may have, or blocks that are read in step
/// would wait for each other. Who reads from all as they come never has more than a few pieces of each in memory.
const WINDOW_BYTES: u32 = 256 * STREAM_WINDOW_BYTES;
/// Bytes sent and not confirmed.
const SEND_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
