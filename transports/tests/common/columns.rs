//! The transports of this crate as the columns of the table of results, each with whatever it needs to talk to.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tanner_transports::conformance::Place;
use tanner_transports::{Disk, DiskIo, Exec, Fault, Faults, Limit, Limiter, Limits, Memory, Transport, ring};

use crate::common::Served;
use crate::s3_place::S3Place;

pub(crate) const COLUMNS: [&str; 9] =
    ["memory", "disk (ring)", "disk (positioned)", "tcp", "quic", "s3", "exec", "fault", "limit"];

/// An empty place of its own for one trial; its server and its files go with it.
///
/// # Errors
/// Why this machine has none.
pub(crate) async fn place(column: &str) -> Result<Box<Place>, String> {
    Ok(match column {
        "memory" => {
            let store = Memory::new();
            opens(move || store.clone())
        }
        "disk (ring)" if ring::refusal().is_some() => return Err(ring::status()),
        "disk (ring)" => disk(DiskIo::Ring),
        "disk (positioned)" => disk(DiskIo::Positioned),
        "tcp" | "quic" => {
            let server = Served::new(&[column]).await;
            opens(move || server.open())
        }
        "s3" => {
            let place = S3Place::new().await;
            opens(move || place.open())
        }
        "exec" if !has_python() => return Err("there is no python3".into()),
        "exec" => {
            let root = temporary();
            let url = exec_url(&root.path().join("not/yet"));
            opens(move || {
                let _root = &root;
                Exec::from_url(&url).expect("a URL")
            })
        }
        "fault" => {
            // Slow and out of order is no breach of the contract.
            let (store, time) = (Memory::new(), Duration::from_millis(1));
            let faults = Faults { delay: time, reorder: time, piece_bytes: Some(4096), ..Faults::none() };
            opens(move || Fault::new(Arc::new(store.clone()), 7, faults))
        }
        "limit" => {
            // Little enough of everything that every trial meets the limits, and fast enough that none takes long.
            let rate = "00:00,200MiB 12:00,300MiB".parse().expect("a timetable");
            let limits = Limits { rate, requests_at_a_time: Some(1), inflight_bytes: Some(10_000) };
            let (store, limiter) = (Memory::new(), Limiter::new(limits, Arc::new(|| 0)));
            opens(move || Limit::new(Arc::new(store.clone()), limiter.clone()))
        }
        other => return Err(format!("there is no column {other}")),
    })
}

fn opens<T: Transport + 'static>(open: impl Fn() -> T + Send + Sync + 'static) -> Box<Place> {
    Box::new(move || Arc::new(open()) as Arc<dyn Transport>)
}

fn disk(io: DiskIo) -> Box<Place> {
    let root = temporary();
    // The store is not there yet: the first put makes it.
    opens(move || {
        let disk = Disk::open(root.path().join("not/yet")).expect("a path");
        disk.with_io(io).expect("a way to read and write")
    })
}

/// The example of the documentation, as it stands there.
fn exec_url(root: &Path) -> String {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/exec_directory.py");
    format!("exec:python3?arg=-IS&arg={program}&arg={}", root.display())
}

fn has_python() -> bool {
    Command::new("python3").arg("-V").output().is_ok_and(|output| output.status.success())
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}
