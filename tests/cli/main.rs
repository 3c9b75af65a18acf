//! The command line as users meet it: the real binary, real files, real signals.
//!
//! Every test owns its directory. A run that hangs, panics or dies of a signal fails whichever test it is in.
#![expect(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

mod bench;
mod bench_page;
mod changing;
mod codes;
mod deletes;
mod exit_codes;
mod failing_stores;
mod few_tasks;
mod harness;
mod hostile;
mod json;
mod kills;
mod levels;
mod limits;
mod main_job;
mod overwriting;
mod placing;
mod plan;
mod plugin;
mod progress;
mod repair;
mod resume;
mod resuming;
mod ring;
mod s3;
mod serve;
mod signals;
mod sizes;
mod slow_stores;
mod stored;
mod usage;
mod zfec_table;
