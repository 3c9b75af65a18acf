//! Every transport of this crate keeps the contract.

use std::sync::Arc;

use tanner_transports::{
    Disk, DiskIo, Exec, Fault, Faults, Limit, Limiter, Limits, Memory, Transport, conformance_tests, ring,
};

conformance_tests!(memory, {
    let store = Memory::new();
    move || Arc::new(store.clone()) as Arc<dyn Transport>
});

conformance_tests!(disk_ring, {
    let io = if ring::refusal().is_none() {
        DiskIo::Ring
    } else {
        eprintln!("the ring is not tried here: {}", ring::status());
        DiskIo::Auto
    };
    disk(io)
});

conformance_tests!(disk_positioned, disk(DiskIo::Positioned));

fn disk(io: DiskIo) -> impl Fn() -> Arc<dyn Transport> {
    let place = tempfile::tempdir().expect("a temporary directory");
    move || {
        // The root is not there yet: the first put makes it.
        let disk = Disk::open(place.path().join("not/yet")).expect("a path");
        Arc::new(disk.with_io(io).expect("a way to read and write"))
    }
}

conformance_tests!(fault_none, {
    let store = Memory::new();
    move || Arc::new(Fault::new(Arc::new(store.clone()), 7, Faults::none())) as Arc<dyn Transport>
});

// Slow and out of order is no breach of the contract.
conformance_tests!(fault_slow, {
    let store = Memory::new();
    let time = std::time::Duration::from_millis(1);
    let faults = Faults { delay: time, reorder: time, piece_bytes: Some(4096), ..Faults::none() };
    move || Arc::new(Fault::new(Arc::new(store.clone()), 7, faults)) as Arc<dyn Transport>
});

// Few enough of everything that every trial meets the limits, and fast enough that none takes long.
conformance_tests!(limit, {
    let store = Memory::new();
    let rate = "00:00,200MiB 12:00,300MiB".parse().expect("a timetable");
    let limits = Limits { rate, requests_at_a_time: Some(1), inflight_bytes: Some(10_000) };
    let limiter = Limiter::new(limits, Arc::new(|| 0));
    move || Arc::new(Limit::new(Arc::new(store.clone()), limiter.clone())) as Arc<dyn Transport>
});

// The example of the documentation, as it stands there.
conformance_tests!(exec, {
    if !has_python() {
        eprintln!("skipped: this machine has no python3");
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/exec_directory.py");
    let url = format!("exec:python3?arg=-IS&arg={program}&arg={}/not/yet", place.path().display());
    move || {
        let _place = &place;
        Arc::new(Exec::from_url(&url).expect("a URL")) as Arc<dyn Transport>
    }
});

fn has_python() -> bool {
    std::process::Command::new("python3").arg("-V").output().is_ok_and(|output| output.status.success())
}

/// The table in the documentation is what the example `conformance` prints.
#[test]
fn the_table_of_results_names_every_trial_and_no_failure() {
    let table = include_str!("../src/conformance/results.md");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    let named: Vec<_> = rows.iter().filter_map(|row| row.split(" | ").next()?.strip_prefix("| ")).collect();
    let trials: Vec<_> = tanner_transports::conformance::trials().collect();
    assert_eq!(named, trials, "print it again: the command is above the table");
    let columns = |row: &str| row.matches('|').count();
    for row in &rows {
        assert_eq!(columns(row), columns(rows[0]), "{row}");
        let verdicts = row.trim_end_matches(" |").split(" | ").skip(1);
        assert!(verdicts.into_iter().all(|word| ["pass", "skip"].contains(&word)), "{row}");
    }
}
