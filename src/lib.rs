//! tanner backs up very large files to places that may fail or lie.
//!
//! A file is read once, front to back in all its data blocks at a time, encoded into k data and m parity blocks
//! by an LDPC code that runs along the whole file, hashed in the same pass, and streamed to stores. Any k
//! blocks (or k+1, by the code) bring it back.
//!
//! The data flows one way:
//!
//! ```text
//! backup:  source ─▶ encode (chunk → parity → hashes) ─▶ write (one stream a block) ─▶ transports
//! restore: transports ─▶ gather (verify) ─▶ decode (frame by frame) ─▶ restore (staged file, then its name)
//! repair:  transports ─▶ read (what is needed) ─▶ decode (frame by frame) ─▶ rebuild (hash) ─▶ transports
//! ```
//!
//! What is stored, byte for byte: [the format](mod@format).

mod assembly;
mod backup;
pub mod bench;
pub mod certify;
mod checkpoint;
pub mod cli;
mod copies;
mod decode;
mod encode;
mod error;
mod fetch;
mod gather;
mod geometry;
pub mod guarantee;
mod hash;
mod id;
mod into_staged;
mod job;
mod journal;
mod keeper;
mod manifest;
mod margins;
mod parallel;
mod place;
mod places;
pub mod plan;
mod pool;
mod probe;
mod progress;
mod range;
mod read;
mod rebuild;
mod relics;
mod repair;
mod report;
mod resources;
mod restore;
pub mod scheduler;
#[cfg(test)]
mod simulation;
mod source;
mod staged;
mod store;
mod streams;
mod sweep;
mod timed;
mod unfinished;
mod verify;
mod write;

#[doc = include_str!("format.md")]
pub mod format {}

pub use backup::{Backup, Planned, Shape};
pub use error::Error;
pub use fetch::{Damage, DamageKind, Found, Trouble, chain, list_backups, read_object};
pub use geometry::{Chunk, Frame, Geometry, SMALL_SYMBOLS_BYTES_MAX, SOURCE_BYTES_MAX};
pub use hash::PieceHasher;
pub use id::{BackupId, IdError};
pub use journal::Journals;
pub use manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestError, NAME_BYTES_MAX};
pub use margins::{Margins, PlacedMargins};
pub use places::Places;
pub use progress::Progress;
pub use repair::{Repair, RepairReport};
pub use report::BackupReport;
pub use resources::{MEMORY_BYTES_DEFAULT, Resources, Stop};
pub use restore::{ReadFrom, RestoreReport, RestoreTo, restore};
pub use scheduler::Even;
pub use source::{IoMode, Source};
pub use store::Store;
pub use sweep::{Sweep, SweepPlan, Swept};
pub use timed::Behaviour;
pub use unfinished::{Resumable, unfinished};
pub use verify::{Health, verify};
