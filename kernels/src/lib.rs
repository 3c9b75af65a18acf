//! The erasure codes of tanner, as a library of their own: XORs only, at the speed of memory.
//!
//! A file is split into k data blocks; m parity blocks are added; enough of the n = k + m blocks bring the
//! file back. A block is a stream of symbols of 64 bytes and the code runs along the whole length of all
//! blocks at once, so a file of any size is one codeword and a few megabytes of it at a time are in memory.
//!
//! No I/O, no async, no clock: bytes come in slices of yours or in [`Arena`]s, threads only where you ask for them.
//!
//! * [`Profile`] – everything that fixes a code; [`Profile::for_source`] chooses one.
//! * [`Codec`] – [`encode`](Codec::encode) blocks, [`reconstruct`](Codec::reconstruct) lost ones (or
//!   [a range](Codec::reconstruct_range) of them), [`verify`](Codec::verify) parity, ask what is
//!   [`recoverable`](Codec::recoverable). Plans of reconstructions are kept and used again.
//! * [`StreamEncoder`] – encode chunk by chunk what does not fit into memory.
//! * [`Level`] – the SIMD level, detected or forced, and used once it passed its self-test.
//! * [`Program`], [`Bound`], [`DecodePlan`], [`RepairPlan`] – the layer below, for pipelines of your own: what to XOR,
//!   bound to where bytes are.
//!
//! ```
//! use tanner_kernels::{Codec, Profile};
//!
//! let source = b"a file that must survive the loss of any two of its six blocks".repeat(100);
//! let codec = Codec::new(Profile::for_source(4, 2, source.len() as u64)?);
//! let data = codec.data_blocks(&source);
//! let block_bytes = data[0].len();
//! let mut parity = vec![vec![0; codec.parity_bytes(block_bytes)]; 2];
//! codec.encode(&data, &mut parity.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>())?;
//!
//! // Blocks 0 and 3 are lost.
//! let at_hand = [None, Some(data[1]), Some(data[2]), None, Some(&parity[0]), Some(&parity[1])];
//! let (mut first, mut last) = (vec![0; block_bytes], vec![0; data[3].len()]);
//! codec.reconstruct(&at_hand, &mut [(0, &mut first), (3, &mut last)], block_bytes)?;
//! assert_eq!([first, last], [data[0], data[3]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! For speed, let slices be aligned to 64 bytes and lie at distances that are an odd number of cache lines, not too
//! close to a multiple of 64 of them: blocks at distances of a power of two share a few sets of the first-level
//! cache. Streams of an [`Arena`] do.

mod arena;
mod block_set;
pub mod certificate;
mod choose;
mod code;
mod codec;
mod encode;
mod evidence;
mod exec;
mod losses;
mod plan;
mod prng;
mod profile;
mod program;
mod rank;
mod reconstruct;
mod rfc5170;
mod rfc5170_choice;
mod simd;
mod surplus;

#[doc = include_str!("code.md")]
pub mod theory {}

pub use arena::{Arena, ArenaError};
pub use block_set::BlockSet;
pub use choose::CodeChoice;
pub use code::{Code, Row, Tap};
pub use codec::{BlockError, Codec};
pub use encode::StreamEncoder;
pub use evidence::Evidence;
pub use exec::{Bound, Part, Stores};
pub use losses::Losses;
pub use plan::{DecodePlan, PlanCost, Reads, RepairPlan, Role, Unrecoverable};
pub use profile::{
    BLOCKS_MAX, Construction, DEPTH_MAX, FRAME_STEPS_MULTIPLE, GROUP_MAX, Profile, ProfileError,
    RFC5170_SEED_MAX, TAPS_MAX, UNIT_MAX, WEIGHT_MAX,
};
pub use program::{Program, Slot, XorRow};
pub use rank::{Climb, LightKernels, Minors, RankTest};
pub use simd::{LEVEL_VARIABLE, Level, LevelError};
