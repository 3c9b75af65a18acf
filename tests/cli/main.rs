//! The command line as users meet it: the real binary, real files, real signals.
//!
//! Every test owns its directory. A run that hangs, panics or dies of a signal fails whichever test it is in.
#![expect(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod bench;
mod bench_page;
mod changing;
mod codes;
mod config;
mod deletes;
mod encrypted;
mod evacuate;
mod exit_codes;
mod failing_stores;
mod few_tasks;
mod forget;
mod from_nothing;
mod harness;
mod hostile;
mod json;
mod keys;
mod kills;
mod levels;
mod limits;
mod main_job;
mod monitor;
mod overwriting;
mod packages;
mod placing;
mod plan;
mod plugin;
mod progress;
mod protect;
mod repair;
mod resume;
mod resuming;
mod ring;
mod run;
mod s3;
mod salvage;
mod scan;
mod schema;
mod scrub;
mod secrets;
mod serve;
mod signals;
mod sizes;
mod slow_stores;
mod status;
mod stored;
mod streams;
mod swapped;
mod tap;
mod usage;
mod zfec_table;
