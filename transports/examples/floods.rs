//! What is left to a good client of a block server while others flood it:
//! `cargo run --release --example floods -p tanner-transports -- [SECONDS] [ROUNDS] [WORD]`.
//!
//! A server runs in a process of its own, with a quota, on loopback. A good client puts blocks and gets them back over TCP
//! and over QUIC for SECONDS (2) with nobody beside it and then for as long beside a flood, ROUNDS (3) times for each. What
//! is printed is the good client's throughput as a part of its quiet throughput just before, the median of the rounds, and
//! the most memory that the server has had so far (`VmHWM`). Floods are bounded in number and rate and
//! run in this process, so that on a machine of few cores they take from the good client what the server does not.
//! With a WORD, only floods whose name has it. Ends with 1 if the good client failed or the server took more than its 512 MiB.
#![allow(clippy::unwrap_used, reason = "what fails here ends the program")]

#[path = "../tests/common/flood.rs"]
mod flood;
#[path = "../tests/common/tls.rs"]
mod tls;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flood::{Flood, Place};
use futures_util::TryStreamExt;
use tanner_transports::net::{Identity, Patience, Pin, Remote};
use tanner_transports::server::{Area, Client, Clients, Limits, Server};
use tanner_transports::{Disk, ObjectName, Result, Transport};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, root, pins @ ..] = &args[..]
        && word == SERVE
    {
        runtime.block_on(serve(root, pins));
        return ExitCode::SUCCESS;
    }
    let number =
        |at: usize, default| args.get(at).map_or(default, |text| text.parse().expect("[SECONDS] [ROUNDS]"));
    runtime.block_on(measure(
        Duration::from_secs(number(0, 2)),
        number(1, 3),
        args.get(2).map_or("", String::as_str),
    ))
}

/// The server's side: says where it listens, and serves until its input ends.
async fn serve(root: &str, pins: &[String]) {
    let limits = Limits::default();
    let mut clients = Clients::default();
    for (directory, pin) in ["good", "bad"].iter().zip(pins) {
        let store = Arc::new(Disk::open(format!("{root}/{directory}")).unwrap());
        clients
            .allow(pin.parse().unwrap(), Client::new(Arc::new(Area::new(store, Some(QUOTA_BYTES))), &limits));
    }
    let listen = ["tcp://127.0.0.1:0", "quic://127.0.0.1:0"];
    let server = Server::bind(&listen, Arc::new(Identity::generate()), clients, limits).await.unwrap();
    println!("{}", server.urls().join(" "));
    let stop = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    server.run(async { drop(stop.await) }).await;
}

struct Serving {
    child: Child,
    urls: Vec<String>,
    _root: tempfile::TempDir,
}

impl Serving {
    fn start(good: Pin, bad: Pin) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(SERVE)
            .arg(root.path())
            .args([good.to_string(), bad.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let urls = line.split_whitespace().map(str::to_owned).collect();
        Self { child, urls, _root: root }
    }

    /// MiB of memory, the most so far.
    fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn measure(time: Duration, rounds: u64, word: &str) -> ExitCode {
    let good = Identity::generate();
    let (bad, chain, key) = tls::parts();
    let serving = Serving::start(good.pin(), bad.pin());
    let stores = [0, 1].map(|net| Remote::open(&serving.urls[net], &good, Patience::default()).unwrap());
    let place = Place::new(&serving.urls, &bad, chain, key);
    place.prepare().await;
    let mut failed = false;
    println!("{:<42}{:>10}{:>10}{:>12}", "flood", "tcp", "quic", "server MiB");
    let mut quiet = [Vec::new(), Vec::new()];
    for flood in Flood::ALL.into_iter().filter(|flood| flood.words().contains(word)) {
        let mut parts = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for (net, store) in stores.iter().enumerate() {
                let name = format!("{flood:?}{round}").to_lowercase();
                let alone = rate(store, time, &name).await.expect("a server that nobody floods");
                let running = flood.start(&place);
                tokio::time::sleep(START_TIME).await;
                match rate(store, time, &name).await {
                    Ok(beside) => parts[net].push(beside / alone),
                    Err(error) => {
                        failed = true;
                        println!("{}: the good client failed: {error}", flood.words());
                    }
                }
                quiet[net].push(alone);
                drop(running);
                tokio::time::sleep(END_TIME).await;
            }
        }
        let [tcp, quic] = parts.map(median);
        println!("{:<42}{tcp:>9.2}×{quic:>9.2}×{:>12}", flood.words(), serving.peak_mib());
    }
    let [tcp, quic] = quiet.map(|rates| median(rates) / 1e6);
    println!("quiet: {tcp:.0} MB/s over TCP, {quic:.0} MB/s over QUIC, the medians of all");
    failed |= serving.peak_mib() >= SERVER_MIB_MAX;
    println!("the bound of the server's memory is {SERVER_MIB_MAX} MiB");
    ExitCode::from(u8::from(failed))
}

/// Bytes a second that a good client moves, there and back.
async fn rate(store: &Remote, time: Duration, name: &str) -> Result<f64> {
    let name = ObjectName::new(format!("{name}/0")).unwrap();
    let piece = bytes::Bytes::from(vec![0x5a; 1 << 20]);
    let (began, mut moved) = (Instant::now(), 0);
    while moved == 0 || began.elapsed() < time {
        let mut put = store.put(&name, Some(BLOCK_BYTES)).await?;
        for _ in 0..BLOCK_BYTES >> 20 {
            put.write(piece.clone()).await?;
        }
        put.commit().await?;
        let mut pieces = store.get(&name, 0..BLOCK_BYTES).await?;
        while let Some(piece) = pieces.try_next().await? {
            moved += piece.len() as u64;
        }
        store.delete(&name).await?;
        moved += BLOCK_BYTES;
    }
    Ok(moved as f64 / began.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

const SERVE: &str = "serve";
const BLOCK_BYTES: u64 = 32 << 20;
const QUOTA_BYTES: u64 = 256 << 20;
const SERVER_MIB_MAX: u64 = 512;
/// For a flood to come to its height, and for its connections to be closed.
const START_TIME: Duration = Duration::from_millis(1500);
const END_TIME: Duration = Duration::from_millis(700);
