//! TCP between two machines, or over loopback: both directions, one stream and several, round trips.
//!
//! A connection carries one request of 24 bytes: [`MAGIC`], the job and the bytes as little-endian numbers. The
//! peer answers with 8 bytes, [`READY`]. Then the bytes flow, up or down, and whoever received them holds them
//! against a pattern both sides know; up, the peer confirms with [`READY`]. Round trips are echoes of [`ECHO_BYTES`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::recorder::Recorder;
use super::report::{Kind, Subject, median};
use super::{fill, verified};
use crate::error::Error;
use crate::resources::Stop;

/// What to measure.
pub(crate) struct Run {
    /// The peer; a listener of our own if there is none.
    pub(crate) connect: Option<String>,
    pub(crate) bytes: u64,
    pub(crate) rounds: usize,
    pub(crate) streams: usize,
}

impl Run {
    /// Measures against the peer.
    ///
    /// # Errors
    /// If it does not answer, answers nonsense, or falls silent.
    pub(crate) async fn run(&self, recorder: &mut Recorder) -> Result<(), Error> {
        if self.bytes > REQUEST_BYTES_MAX {
            return Err(Error::BenchSize { most: REQUEST_BYTES_MAX });
        }
        let stop = recorder.stop().clone();
        let Some(peer) = &self.connect else {
            let listener = Listener::bind("127.0.0.1:0").await?;
            let peer = listener.address.to_string();
            recorder
                .report
                .note("over loopback: no network was measured, only the system's own copies".into());
            let serving = tokio::spawn(async move { listener.serve(&Stop::default()).await });
            let result = until(&stop, self.against(recorder, &peer)).await;
            serving.abort();
            return result;
        };
        until(&stop, self.against(recorder, peer)).await
    }

    async fn against(&self, recorder: &mut Recorder, peer: &str) -> Result<(), Error> {
        let addresses: Vec<SocketAddr> = match idle(lookup_host(peer)).await {
            Ok(addresses) => addresses.collect(),
            Err(source) => return Err(Error::NetUnreachable { peer: peer.into(), source }),
        };
        let counts = if self.streams > 1 { vec![1, self.streams] } else { vec![1] };
        let pattern = pattern();
        recorder.progress().start((self.rounds * counts.len() * 2) as u64 * self.bytes);
        for _ in 0..self.rounds {
            recorder.next_round();
            let seconds = round_trip(peer, &addresses).await?;
            recorder.add(&Subject::new(Kind::Net, ROUND_TRIP, 1), 0, seconds);
            for &streams in &counts {
                for (name, job) in [("upload", Job::Upload), ("download", Job::Download)] {
                    let bytes = self.bytes / streams as u64;
                    let open = (0..streams).map(|_| open(peer, &addresses, job, bytes));
                    let mut opened = try_join_all(open).await?;
                    let began = Instant::now();
                    let flows = opened.iter_mut().map(|stream| flow(peer, stream, job, bytes, &pattern));
                    try_join_all(flows).await?;
                    let all = bytes * streams as u64;
                    recorder.add(&Subject::new(Kind::Net, name, streams), all, began.elapsed().as_secs_f64());
                    recorder.progress().advance(all);
                }
            }
        }
        Ok(())
    }
}

/// Serves peers that measure.
pub(crate) struct Listener {
    listener: TcpListener,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Listener {
    /// # Errors
    /// If the address is none of this machine, or taken.
    pub(crate) async fn bind(address: &str) -> Result<Self, Error> {
        let failed = |source| Error::NetListen { address: address.into(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Serves until it is told to stop. A peer that breaks the rules is hung up on; nobody else notices.
    ///
    /// # Errors
    /// [`Error::Stopped`]; there is no other way to end.
    pub(crate) async fn serve(self, stop: &Stop) -> Result<(), Error> {
        let (peers, pattern) = (Arc::new(Semaphore::new(PEERS_MAX)), Arc::new(pattern()));
        let accept = async {
            loop {
                let permit = Arc::clone(&peers).acquire_owned().await.expect("never closed");
                let Ok((mut stream, _)) = self.listener.accept().await else {
                    // Out of descriptors, most likely; those of peers that leave come back.
                    sleep(STOP_LOOK).await;
                    continue;
                };
                let pattern = Arc::clone(&pattern);
                tokio::spawn(async move {
                    // Whatever went wrong, the peer knows it or is gone.
                    let _ = serve_one(&mut stream, &pattern).await;
                    drop(permit);
                });
            }
        };
        until(stop, accept).await
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Job {
    Echo = 1,
    Upload = 2,
    Download = 3,
}

async fn serve_one(stream: &mut TcpStream, pattern: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; REQUEST_BYTES];
    idle(stream.read_exact(&mut request)).await?;
    let number = |at: usize| u64::from_le_bytes(request[at..at + 8].try_into().expect("8 bytes"));
    let bytes = number(16);
    if request[..8] != MAGIC || bytes > REQUEST_BYTES_MAX {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    idle(stream.write_all(&READY)).await?;
    match number(8) {
        job if job == Job::Echo as u64 => {
            let mut echo = [0; ECHO_BYTES];
            for _ in 0..bytes / ECHO_BYTES as u64 {
                idle(stream.read_exact(&mut echo)).await?;
                idle(stream.write_all(&echo)).await?;
            }
            Ok(())
        }
        job if job == Job::Upload as u64 => {
            if receive(stream, bytes, pattern).await? {
                idle(stream.write_all(&READY)).await?;
            }
            Ok(())
        }
        job if job == Job::Download as u64 => {
            // The peer says when its clock runs.
            idle(stream.read_exact(&mut [0; 1])).await?;
            send(stream, bytes, pattern).await
        }
        _ => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// Connects, and waits until the peer is ready for the job.
async fn open(peer: &str, addresses: &[SocketAddr], job: Job, bytes: u64) -> Result<TcpStream, Error> {
    let unreachable = |source| Error::NetUnreachable { peer: peer.into(), source };
    let mut stream = idle(TcpStream::connect(addresses)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let mut request = Vec::with_capacity(REQUEST_BYTES);
    request.extend(MAGIC);
    request.extend((job as u64).to_le_bytes());
    request.extend(bytes.to_le_bytes());
    let mut answer = [0; READY.len()];
    let ask = async {
        stream.write_all(&request).await?;
        stream.read_exact(&mut answer).await
    };
    let answered = idle(ask).await;
    match answered {
        Ok(_) if answer == READY => Ok(stream),
        Ok(_) => Err(Error::NetPeer { peer: peer.into() }),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(Error::NetPeer { peer: peer.into() })
        }
        Err(source) => Err(Error::Net { peer: peer.into(), source }),
    }
}

async fn flow(peer: &str, stream: &mut TcpStream, job: Job, bytes: u64, pattern: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::Net { peer: peer.into(), source };
    if job == Job::Upload {
        let mut answer = [0; READY.len()];
        send(stream, bytes, pattern).await.map_err(failed)?;
        idle(stream.read_exact(&mut answer)).await.map_err(failed)?;
        return verified(answer == READY, || format!("sending to {peer}"));
    }
    idle(stream.write_all(&[0])).await.map_err(failed)?;
    let right = receive(stream, bytes, pattern).await.map_err(failed)?;
    verified(right, || format!("receiving from {peer}"))
}

async fn send(stream: &mut TcpStream, bytes: u64, pattern: &[u8]) -> std::io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).map_or(pattern.len(), |left| left.min(pattern.len()));
        idle(stream.write_all(&pattern[..length])).await?;
        left -= length as u64;
    }
    Ok(())
}

/// Reads exactly so many bytes; false if they are not the pattern.
async fn receive(stream: &mut TcpStream, bytes: u64, pattern: &[u8]) -> std::io::Result<bool> {
    let (mut buffer, mut left, mut right) = (vec![0; pattern.len()], bytes, true);
    while left > 0 {
        let length = usize::try_from(left).map_or(pattern.len(), |left| left.min(pattern.len()));
        idle(stream.read_exact(&mut buffer[..length])).await?;
        right &= buffer[..length] == pattern[..length];
        left -= length as u64;
    }
    Ok(right)
}

/// Seconds from asking to the answer, the median of many.
async fn round_trip(peer: &str, addresses: &[SocketAddr]) -> Result<f64, Error> {
    let mut stream = open(peer, addresses, Job::Echo, (ECHOES * ECHO_BYTES) as u64).await?;
    let (mut echo, mut seconds) = ([0; ECHO_BYTES], Vec::with_capacity(ECHOES));
    for _ in 0..ECHOES {
        let began = Instant::now();
        let trip = async {
            stream.write_all(&echo).await?;
            stream.read_exact(&mut echo).await
        };
        idle(trip).await.map_err(|source| Error::Net { peer: peer.into(), source })?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    Ok(median(seconds))
}

/// Ends the work as soon as a stop is asked for.
async fn until(stop: &Stop, work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let stopped = async {
        while stop.check().is_ok() {
            sleep(STOP_LOOK).await;
        }
        stop.check()
    };
    tokio::select! {
        done = work => done,
        stopped = stopped => stopped,
    }
}

/// A peer that says nothing for long is gone.
async fn idle<T>(work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    timeout(IDLE, work).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

fn pattern() -> Vec<u8> {
    let mut pattern = vec![0; PATTERN_BYTES];
    fill(&mut pattern, 0);
    pattern
}

pub(super) const ROUND_TRIP: &str = "round trip";
/// Carries the version of what is said.
const MAGIC: [u8; 8] = *b"tannerb1";
const READY: [u8; 8] = *b"tannerok";
const REQUEST_BYTES: usize = 24;
const ECHO_BYTES: usize = 64;
const ECHOES: usize = 100;
/// What a peer may ask for in one request. It costs time on both sides, and no memory.
const REQUEST_BYTES_MAX: u64 = 1 << 40;
/// Peers served at a time; each costs one buffer of [`PATTERN_BYTES`].
const PEERS_MAX: usize = 64;
const PATTERN_BYTES: usize = 256 << 10;
const _: () = assert!(PEERS_MAX * PATTERN_BYTES <= 16 << 20, "what peers may make us hold");
const IDLE: Duration = Duration::from_secs(10);
const STOP_LOOK: Duration = Duration::from_millis(20);
