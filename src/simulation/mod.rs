//! Backups and restores in simulated worlds, each from a seed.
//!
//! Real are the placement, the writing and the reading with all their decisions, the code, the hashes and the bytes of
//! the manifest. Simulated are stores, the network and time: one queue of events and one source of chance, no thread,
//! no clock. So a world that goes wrong goes wrong again, and its trace says how.
//!
//! Whatever befalls a world, this has to hold: a backup ends, as it is told or with a clean error; what was
//! acknowledged restores, even when everything is lost that was said to be survivable; a restore gives the bytes that
//! were backed up or a clean error; what is in memory stays within its bound; nothing is left of a backup that was
//! refused. Each fault has to occur, and each mistake that is planted to be found, among the seeds that every run of
//! the tests plays. Before a release it is a million:
//!
//! ```text
//! TANNER_SIMULATION_SEEDS=0..1000000 cargo test --release --lib simulation::tests::acknowledged
//! ```

mod backup;
mod condition;
mod dice;
mod faults;
mod mistakes;
mod net;
mod pass;
mod restore;
mod store;
mod tests;
mod verdict;
mod world;
