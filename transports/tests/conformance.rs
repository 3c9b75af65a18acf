//! Every transport of this crate keeps the contract, and the table in the documentation says how.

mod common;

#[path = "common/columns.rs"]
mod columns;
#[path = "common/s3_place.rs"]
mod s3_place;
#[path = "common/s3_server.rs"]
mod s3_server;

use std::sync::Arc;

use tanner_transports::conformance::{Verdict, run, trials};
use tanner_transports::{Fault, Faults, Memory, Transport, conformance_tests};

use self::columns::{COLUMNS, place};

/// One test for each trial of a column, which fails unless the trial ends as the table says.
macro_rules! column {
    ($module:ident, $column:literal) => {
        mod $module {
            tanner_transports::__each_trial! { [trial_tests] $column }
        }
    };
}

macro_rules! trial_tests {
    ($column:literal; $($trial:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $trial() {
            super::ends_as_documented($column, stringify!($trial)).await;
        }
    )*};
}

column!(memory, "memory");
column!(disk_ring, "disk (ring)");
column!(disk_positioned, "disk (positioned)");
column!(tcp, "tcp");
column!(quic, "quic");
column!(s3, "s3");
column!(exec, "exec");
column!(fault, "fault");
column!(limit, "limit");

conformance_tests!(fault_none, {
    let store = Memory::new();
    move || Arc::new(Fault::new(Arc::new(store.clone()), 7, Faults::none())) as Arc<dyn Transport>
});

async fn ends_as_documented(column: &str, trial: &str) {
    let place = match place(column).await {
        Ok(place) => place,
        Err(why) => return eprintln!("skipped: {column} is not tried here: {why}"),
    };
    let word = match run(trial, &*place).await {
        Verdict::Passed => "pass",
        Verdict::Skipped(_) => "skip",
    };
    let wanted = if is_for_the_patient(trial) { "pass" } else { documented(column, trial) };
    assert_eq!(wanted, word, "{PRINT}");
}

/// Whether the trial is one that was left out when the table was printed, and is not now.
fn is_for_the_patient(trial: &str) -> bool {
    trial == "five_gibibytes_come_back_exactly" && std::env::var_os("TANNER_CONFORMANCE_LARGE").is_some()
}

/// The word in a cell of the table.
fn documented(column: &str, trial: &str) -> &'static str {
    let at = COLUMNS.iter().position(|title| *title == column).expect("a column");
    let row = rows().into_iter().find(|row| row[0] == trial).expect(PRINT);
    row[at + 1]
}

fn rows() -> Vec<Vec<&'static str>> {
    let lines = include_str!("../src/conformance/results.md").lines();
    lines.map(|line| line.trim_matches(['|', ' ']).split(" | ").collect()).collect()
}

/// What the cells say is checked by the test of each trial.
#[test]
fn the_table_of_results_has_a_cell_for_every_trial_of_every_transport() {
    let rows = rows();
    assert_eq!(rows[0][1..], COLUMNS, "{PRINT}");
    let named: Vec<_> = rows[2..].iter().map(|row| row[0]).collect();
    assert_eq!(named, trials().collect::<Vec<_>>(), "{PRINT}");
    assert!(rows.iter().all(|row| row.len() == 1 + COLUMNS.len()), "{PRINT}");
}

const PRINT: &str = "print the table again: the command stands above it";
