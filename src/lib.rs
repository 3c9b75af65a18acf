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
//! What is stored, byte for byte: [the format](mod@format). Who can do what, and what is not promised: [the threat
//! model](mod@security).

pub mod archive;
mod assembly;
mod backup;
pub mod bench;
mod beside;
pub mod certify;
mod checkpoint;
mod chunking;
pub mod cli;
mod copies;
pub mod crypto;
mod cursor;
mod decode;
mod encode;
mod encrypter;
#[cfg(test)]
mod encrypter_tests;
mod error;
mod evacuate;
mod fetch;
mod forget;
mod gather;
mod geometry;
pub mod guarantee;
mod hash;
mod id;
mod input;
mod into_staged;
mod job;
mod journal;
mod keeper;
mod manifest;
mod margins;
mod monitor;
mod parallel;
mod place;
mod places;
pub mod plan;
mod pool;
mod probe;
mod progress;
mod questions;
mod range;
mod read;
mod rebuild;
mod relics;
mod repair;
mod report;
mod resources;
mod restore;
mod retention;
mod salvage;
pub mod scheduler;
mod scratch;
mod scrub;
mod seen;
#[cfg(test)]
mod simulation;
mod source;
mod staged;
mod status;
mod store;
mod stream;
mod streams;
mod sweep;
mod tags;
mod timed;
mod unfinished;
mod verify;
mod write;

#[doc = include_str!("format.md")]
pub mod format {}

#[doc = include_str!("security.md")]
pub mod security {}

pub use backup::{Backup, Planned, Shape};
pub use beside::{Beside, Protect, Protected, protection};
pub use cursor::Cursor;
pub use error::{Error, SealedError};
pub use evacuate::{Evacuate, Evacuated};
pub use fetch::{Damage, DamageKind, Found, Trouble, chain, list_backups, read_object};
pub use forget::{Forget, Remains};
pub use geometry::{Chunk, Frame, Geometry, SMALL_SYMBOLS_BYTES_MAX, SOURCE_BYTES_MAX};
pub use hash::PieceHasher;
pub use id::{BackupId, IdError};
pub use journal::Journals;
pub use manifest::{
    MANIFEST_BYTES_MAX, Manifest, ManifestError, NAME_BYTES_MAX, Remembered, SealedManifest, newest,
};
pub use margins::{Margins, PlacedMargins};
pub use places::Places;
pub use progress::Progress;
pub use questions::Questions;
pub use repair::{Repair, RepairReport};
pub use report::BackupReport;
pub use resources::{MEMORY_BYTES_DEFAULT, Resources, Stop};
pub use restore::{ReadFrom, RestoreReport, RestoreTo, restore, restore_spooled};
pub use retention::{Dated, Keep};
pub use salvage::{Salvage, Salvaged, salvage};
pub use scheduler::Even;
pub use scrub::{Scrub, ScrubReport, Scrubbed};
pub use seen::Seen;
pub use source::{IoMode, Source};
pub use store::Store;
pub use stream::Stream;
pub use sweep::{Sweep, SweepPlan, Swept};
pub use timed::Behaviour;
pub use unfinished::{Resumable, unfinished};
pub use verify::{Checked, Extent, Health, check, verify};
