//! Packets that are no QUIC, or were: the server answers with less than it is sent thrice over, and serves on.
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use self::common::tls::{ALPN, TLS13, client_tls};
use self::common::{Served, works};

/// The first packets of a client that never gets an answer.
async fn initials() -> Vec<Vec<u8>> {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let crypto = client_tls(TLS13, &[ALPN], None);
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(crypto).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let _connecting = endpoint.connect_with(config, nobody.local_addr().unwrap(), "x").unwrap();
    let (mut packets, mut bytes) = (Vec::new(), [0; 2000]);
    while let Ok(count) = timeout(Duration::from_millis(300), nobody.recv(&mut bytes)).await {
        packets.push(bytes[..count.unwrap()].to_vec());
    }
    assert!(packets.iter().any(|packet| packet.len() >= 1200), "no Initial");
    packets
}

/// A sender of packets, and the bytes it sent and got back.
struct Attacker {
    socket: UdpSocket,
    sent: usize,
    came: usize,
}

impl Attacker {
    async fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server).await.unwrap();
        Self { socket, sent: 0, came: 0 }
    }

    async fn send(&mut self, packet: &[u8]) {
        // A full queue is no fault of the server.
        self.sent += self.socket.send(packet).await.unwrap_or(0);
    }

    /// What comes until nothing has for a while.
    async fn hear(&mut self, quiet: Duration) -> Vec<Vec<u8>> {
        let (mut packets, mut bytes) = (Vec::new(), [0; 2000]);
        while let Ok(Ok(count)) = timeout(quiet, self.socket.recv(&mut bytes)).await {
            self.came += count;
            packets.push(bytes[..count].to_vec());
        }
        packets
    }

    /// The most that a server may send to an address which may be somebody else's.
    fn is_not_amplified(&self) -> bool {
        self.came <= 3 * self.sent
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_truncated_replayed_and_reflected_packets_leave_a_server_serving() {
    let served = Served::new(&["quic"]).await;
    let place = served.urls[0].split_once("://").unwrap().1.split_once('#').unwrap().0;
    let server: SocketAddr = place.parse().unwrap();
    let initials = initials().await;
    let ms = Duration::from_millis;

    let mut replays = Attacker::new(server).await;
    for packet in &initials {
        replays.send(packet).await;
    }
    let answers = replays.hear(ms(200)).await;
    assert!(!answers.is_empty(), "what is sent is not even taken for QUIC");
    for _ in 0..100 {
        for packet in &initials {
            replays.send(packet).await;
        }
    }
    // Its own words, back to where they came from, and what it answers to them.
    let mut reflected = answers;
    for _ in 0..20 {
        for packet in &reflected {
            replays.send(packet).await;
        }
        reflected = replays.hear(ms(50)).await;
    }

    let mut damaged = Attacker::new(server).await;
    for packet in &initials {
        for length in (0..packet.len()).step_by(7) {
            damaged.send(&packet[..length]).await;
            let mut padded = packet[..length].to_vec();
            padded.resize(packet.len(), 0);
            damaged.send(&padded).await;
            let mut turned = packet.clone();
            turned[length] ^= 0x55;
            damaged.send(&turned).await;
        }
    }
    let mut state = 0x7a6e_6e65_7200_0002_u64;
    for round in 0..2000_usize {
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as u8
        });
        let mut noise: Vec<u8> = noise.take(round % 1500).collect();
        // Every other one begins as a long header with a version, as the first packet of a connection does.
        if let (0, Some(head)) = (round % 2, noise.first_chunk_mut::<5>()) {
            *head = [0xc0 | head[0] & 0x0f, 0, 0, 0, (round % 4) as u8 / 2];
        }
        damaged.send(&noise).await;
    }

    works(&served.open(), "id/7").await;
    // Until the server has given up on whatever it took for a handshake.
    for attacker in [&mut replays, &mut damaged] {
        attacker.hear(ms(1500)).await;
        assert!(attacker.is_not_amplified(), "{} bytes for {}", attacker.came, attacker.sent);
    }
    works(&served.open(), "id/8").await;
}
