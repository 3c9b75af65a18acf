//! What clients may take of a server.

use std::time::Duration;

/// Bounds on everything that a peer decides. With the defaults a server stays below 512 MiB whatever its peers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Handshakes under way at a time on one listener, and connections that are being turned away, about 64 KiB each.
    /// One more ends the oldest: whoever opens connections and says nothing makes room for whoever speaks.
    pub handshakes: usize,
    /// Time for a handshake.
    pub handshake_time: Duration,
    /// TCP connections of all clients, about 96 KiB each besides the bytes in flight.
    pub tcp_connections: usize,
    /// Of these, those of one client.
    pub tcp_connections_per_client: usize,
    /// QUIC connections of all clients, each with windows of [`Limits::QUIC_CONNECTION_BYTES`].
    pub quic_connections: usize,
    /// Of these, those of one client.
    pub quic_connections_per_client: usize,
    /// Requests under way at a time on one QUIC connection, about 20 KiB each.
    pub lanes_per_connection: u16,
    /// Time without a request, or without a frame of a put, after which a lane is closed.
    pub idle_time: Duration,
    /// A peer that sends part of a frame, or takes an answer, has to move [`progress_bytes`](Self::progress_bytes)
    /// in this time.
    pub progress_time: Duration,
    /// Bytes of progress.
    pub progress_bytes: usize,
    /// Bytes of objects between the net and the store, of all clients.
    pub inflight_bytes: usize,
    /// Of these, bytes of one client.
    pub inflight_bytes_per_client: usize,
    /// A client is told this often that its answer takes longer.
    pub wait_time: Duration,
    /// Time that requests have to end when the server stops.
    pub stop_time: Duration,
}

impl Limits {
    /// Bytes of memory that one QUIC connection may take: what it was sent and what it has to send.
    pub const QUIC_CONNECTION_BYTES: usize = QUIC_RECEIVE_BYTES + QUIC_SEND_BYTES;

    const DEFAULT: Self = Self {
        handshakes: 256,
        handshake_time: Duration::from_secs(10),
        tcp_connections: 1024,
        tcp_connections_per_client: 512,
        quic_connections: 16,
        quic_connections_per_client: 8,
        lanes_per_connection: 256,
        idle_time: Duration::from_secs(120),
        progress_time: Duration::from_secs(30),
        progress_bytes: 64 * 1024,
        inflight_bytes: 192 * MIB,
        inflight_bytes_per_client: 128 * MIB,
        wait_time: Duration::from_secs(5),
        stop_time: Duration::from_secs(30),
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const MIB: usize = 1 << 20;
/// What a lane keeps of a store's bytes until its client took them: as much as a disk reads at a time.
pub(super) const READ_BYTES: usize = 512 * 1024;
/// What a listing takes, about that of 100 000 names.
pub(super) const LIST_BYTES: usize = 8 * MIB;
/// Blocks that are read in step must not wait for each other: all lanes of a client have their piece at a time.
const _: () = assert!(
    Limits::DEFAULT.inflight_bytes_per_client >= Limits::DEFAULT.lanes_per_connection as usize * READ_BYTES
);
/// Bytes that a QUIC client may send before it is known whether there is room for its connection.
pub(super) const QUIC_FIRST_BYTES: usize = 16 * 1024;
/// Bytes that a QUIC client may send before the server has read them.
pub(super) const QUIC_RECEIVE_BYTES: usize = 4 * MIB;
/// Of these, bytes of one stream.
pub(super) const QUIC_STREAM_BYTES: usize = MIB;
/// Bytes that the server sends before a QUIC client has confirmed them.
pub(super) const QUIC_SEND_BYTES: usize = 2 * MIB;
/// Packets of QUIC connections that are not accepted yet: this many, and this many bytes of them all.
pub(super) const QUIC_INCOMING_MAX: usize = 256;
pub(super) const QUIC_INCOMING_BYTES: usize = 4 * MIB;
/// With more handshakes than this under way, a QUIC client first has to prove that its address is its own.
pub(super) const QUIC_RETRY_HANDSHAKES: usize = 16;

/// The memory of all that may be under way at a time.
const BYTES_MAX: usize = {
    let limits = Limits::DEFAULT;
    2 * limits.handshakes * 64 * 1024
        + limits.tcp_connections * 96 * 1024
        + limits.quic_connections * Limits::QUIC_CONNECTION_BYTES
        + limits.quic_connections * limits.lanes_per_connection as usize * 20 * 1024
        + limits.inflight_bytes
        + QUIC_INCOMING_BYTES
};
const _: () = assert!(BYTES_MAX < 512 * MIB);
