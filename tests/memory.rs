//! Memory stays within its bound, whatever the size of the file.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Read;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use common::{Blocks, Sink};
use tanner::{Backup, BackupId, Even, IoMode, Progress, Resources, Shape, Stop, Store, Stream};
use tanner_kernels::CodeChoice;
use tokio::runtime::Runtime;

/// Runs a test in a process of its own, for the peak belongs to the process, and so does what others left in it.
fn alone(test: &str, work: impl AsyncFnOnce()) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if std::env::var_os(ALONE).is_some() {
        return Runtime::new().unwrap().block_on(work());
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    println!("{out}");
    assert!(output.status.success() && out.contains("1 passed"), "{err}");
}

/// Peak resident memory of this process, since it was last reset.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

async fn backup_sparse(bytes: u64, io: IoMode, (data, parity): (u64, u64), memory_bytes: u64) -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    // Holes of a file in memory are read without filling the page cache.
    let directory =
        ["/dev/shm", "/tmp"].into_iter().find(|path| std::path::Path::new(path).is_dir()).unwrap();
    let file = tempfile::NamedTempFile::new_in(directory).unwrap();
    file.as_file().set_len(bytes).unwrap();
    let backup = Backup {
        source: file.path(),
        io,
        shape: Shape::Blocks { code: CodeChoice::Auto, data, parity },
        stores: vec![Store::new(Arc::new(Sink::new(Blocks::Discarded)))],
        policy: &Even,
        quorum: 1,
        survive: &[],
        encryption: None,
        id: BackupId::random(),
        created: 0,
    };
    let resources = Arc::new(Resources::new(2, memory_bytes).unwrap());
    let report = backup.run(&resources, &Stop::default(), &Arc::new(Progress::default())).await.unwrap();
    assert!(report.is_complete());
    let peak = peak_memory_bytes();
    println!("{bytes} bytes, {data}+{parity}, {io:?}: peak {} MiB of {}", peak >> 20, memory_bytes >> 20);
    assert!(peak <= memory_bytes, "{peak} bytes where {memory_bytes} are allowed");
    peak
}

#[test]
fn forty_gib_fit_in_512_mib() {
    alone("forty_gib_fit_in_512_mib", async || {
        backup_sparse(40 << 30, IoMode::Auto, (10, 5), 512 << 20).await;
    });
}

/// Pages of a mapping count as ours until they are given back.
#[test]
fn a_mapped_file_fits_as_well() {
    alone("a_mapped_file_fits_as_well", async || {
        backup_sparse(2 << 30, IoMode::Mmap, (10, 5), 128 << 20).await;
    });
}

#[test]
fn wide_shapes_fit_as_well() {
    alone("wide_shapes_fit_as_well", async || {
        backup_sparse(1 << 30, IoMode::Auto, (1000, 200), 256 << 20).await;
    });
}

#[test]
fn the_widest_shape_fits_in_the_default() {
    alone("the_widest_shape_fits_in_the_default", async || {
        backup_sparse(1 << 30, IoMode::Auto, (3072, 1024), 512 << 20).await;
    });
}

#[test]
fn ten_times_the_file_takes_no_more_memory() {
    alone("ten_times_the_file_takes_no_more_memory", async || {
        let small = backup_sparse(300 << 20, IoMode::Auto, (10, 5), 512 << 20).await;
        let large = backup_sparse(3 << 30, IoMode::Auto, (10, 5), 512 << 20).await;
        assert!(large.abs_diff(small) * 10 < small, "{small} bytes for 300 MiB, {large} for 3 GiB");
    });
}

async fn backup_stream(bytes: u64, (data, parity): (u64, u64), memory_bytes: u64) {
    let (from, mut into) = std::io::pipe().unwrap();
    let writer = std::thread::spawn(move || std::io::copy(&mut std::io::repeat(1).take(bytes), &mut into));
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let backup = Backup {
        source: "-".as_ref(),
        io: IoMode::Auto,
        shape: Shape::Blocks { code: CodeChoice::Auto, data, parity },
        stores: vec![Store::new(Arc::new(Sink::new(Blocks::Discarded)))],
        policy: &Even,
        quorum: 1,
        survive: &[],
        encryption: None,
        id: BackupId::random(),
        created: 0,
    };
    let resources = Arc::new(Resources::new(2, memory_bytes).unwrap());
    let (stream, progress) = (Stream::new("stream".into(), from.into()), Arc::new(Progress::default()));
    let report = backup.run_stream(stream, &resources, &Stop::default(), &progress).await.unwrap();
    assert!(report.is_complete() && report.manifest.geometry.source_bytes() == bytes);
    writer.join().unwrap().unwrap();
    let peak = peak_memory_bytes();
    println!("{bytes} bytes, {data}+{parity}: peak {} MiB of {}", peak >> 20, memory_bytes >> 20);
    assert!(peak <= memory_bytes, "{peak} bytes where {memory_bytes} are allowed");
}

/// Nobody says before how long it is.
#[test]
fn a_stream_fits_however_long_it_is() {
    alone("a_stream_fits_however_long_it_is", async || {
        backup_stream(2 << 30, (10, 5), 128 << 20).await;
    });
}

#[test]
fn a_stream_in_many_blocks_fits_as_well() {
    alone("a_stream_in_many_blocks_fits_as_well", async || {
        backup_stream(600 << 20, (3072, 1024), 512 << 20).await;
    });
}

/// Set in the process that a test has of its own.
const ALONE: &str = "TANNER_TEST_ALONE";
