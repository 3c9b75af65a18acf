//! Memory stays within its bound, whatever the size of the file.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Blocks, Sink};
use tanner::{Backup, BackupId, Even, IoMode, Progress, Resources, Shape, Stop, Store};
use tanner_kernels::CodeChoice;
use tokio::sync::Mutex;

/// One test at a time, for the peak belongs to the process.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Peak resident memory of this process, since it was last reset.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

async fn backup_sparse(bytes: u64, io: IoMode, (data, parity): (u64, u64), memory_bytes: u64) -> u64 {
    let _alone = ALONE.lock().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn forty_gib_fit_in_512_mib() {
    backup_sparse(40 << 30, IoMode::Auto, (10, 5), 512 << 20).await;
}

/// Pages of a mapping count as ours until they are given back.
#[tokio::test(flavor = "multi_thread")]
async fn a_mapped_file_fits_as_well() {
    backup_sparse(2 << 30, IoMode::Mmap, (10, 5), 128 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_shapes_fit_as_well() {
    backup_sparse(1 << 30, IoMode::Auto, (1000, 200), 256 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_widest_shape_fits_in_the_default() {
    backup_sparse(1 << 30, IoMode::Auto, (3072, 1024), 512 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_the_file_takes_no_more_memory() {
    let small = backup_sparse(300 << 20, IoMode::Auto, (10, 5), 512 << 20).await;
    let large = backup_sparse(3 << 30, IoMode::Auto, (10, 5), 512 << 20).await;
    assert!(large.abs_diff(small) * 10 < small, "{small} bytes for 300 MiB, {large} for 3 GiB");
}
