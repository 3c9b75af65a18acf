//! The erasure codes of tanner, as a library of their own: XORs only, at the speed of memory.
//!
//! A file is split into k data blocks; m parity blocks are added; enough of the n = k + m blocks bring the
//! file back. A block is a stream of symbols of 64 bytes and the code runs along the whole length of all
//! blocks at once, so a file of any size is one codeword and a few megabytes of it at a time are in memory.
//!
//! No I/O, no async, no clock: bytes come in [`Arena`]s, programs run over them, threads are the caller's.
//!
//! * [`Profile`] – everything that fixes a code; [`Profile::for_source`] chooses one, [`Profile::for_code`] one by
//!   a given construction.
//! * [`Codec`] – encode, plan a decode, ask what is recoverable.
//! * [`Level`] – the SIMD level, detected or forced.
//!
//! ```
//! use tanner_kernels::{BlockSet, Codec, Profile};
//!
//! let source = b"a file that must survive the loss of any two of its six blocks".repeat(100);
//! let codec = Codec::new(Profile::for_source(4, 2, source.len() as u64)?);
//! let blocks = codec.encode_all(&source);
//!
//! let mut live = BlockSet::all(6);
//! live.remove(0);
//! live.remove(3);
//! assert_eq!(codec.recoverable(&live), Some(0)); // restorable, but not one more block may go
//! let kept = live.iter().map(|block| (block, blocks[block].as_slice())).collect::<Vec<_>>();
//! assert_eq!(codec.decode_all(&kept, source.len())?, source);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arena;
mod block_set;
mod choose;
mod code;
mod codec;
mod encode;
mod evidence;
mod exec;
mod plan;
mod prng;
mod profile;
mod program;
mod reconstruct;
mod rfc5170;
mod rfc5170_choice;
mod simd;
mod surplus;

pub use arena::{Arena, ArenaError};
pub use block_set::BlockSet;
pub use choose::CodeChoice;
pub use code::{Code, Row, Tap};
pub use codec::{BlockError, Codec};
pub use encode::StreamEncoder;
pub use evidence::Evidence;
pub use exec::{Bound, Part, Stores};
pub use plan::{DecodePlan, PlanCost, Reads, RepairPlan, Role, Unrecoverable};
pub use profile::{
    BLOCKS_MAX, Construction, DEPTH_MAX, FRAME_STEPS_MULTIPLE, GROUP_MAX, Profile, ProfileError,
    RFC5170_SEED_MAX, TAPS_MAX, UNIT_MAX, WEIGHT_MAX,
};
pub use program::{Program, Slot, XorRow};
pub use simd::{LEVEL_VARIABLE, Level, LevelError};
