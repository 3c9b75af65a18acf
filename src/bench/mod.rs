//! What a machine can do, and what tanner makes of it.
//!
//! Each part measures tanner next to the ceilings of the same rounds: what memory, hash, disk or network would
//! allow if nothing else had to be done. A speed alone says little; the share of the ceiling that binds says what
//! to buy or to mend. Every result is checked before it is timed. All raw times stay in the [`Report`], so that
//! words, JSON, page and comparison are views of one thing.

mod buffer;
mod ceilings;
mod codec;
pub(crate) mod compare;
pub(crate) mod disk;
pub(crate) mod e2e;
mod figures;
mod machine;
mod memory;
pub(crate) mod net;
pub(crate) mod page;
mod plots;
mod recorder;
mod report;
mod roofline;

use std::fmt;
use std::str::FromStr;

use buffer::Buffer;
pub(crate) use ceilings::Run as Ceilings;
pub(crate) use codec::Run as Codec;
pub(crate) use disk::Run as Disk;
pub(crate) use e2e::{Modes as EncryptionModes, Run as EndToEnd};
pub use machine::Machine;
pub(crate) use net::Run as Net;
pub(crate) use recorder::Recorder;
pub use report::{DirectoryFacts, Kind, Measurement, ProfileFacts, Report, SCHEMA, Subject};
pub use roofline::{Paired, Roof};

use crate::error::Error;

/// Data and parity blocks, written `10+5`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Blocks {
    pub(crate) data: u64,
    pub(crate) parity: u64,
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity)
    }
}

impl FromStr for Blocks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('+').and_then(|(k, m)| Some((k.parse().ok()?, m.parse().ok()?)));
        parts.map(|(data, parity)| Self { data, parity }).ok_or_else(|| "wanted a shape such as 10+5".into())
    }
}

/// Bytes without a pattern: disks that compress and codes that mix up blocks find nothing to be lucky with.
fn fill(bytes: &mut [u8], seed: usize) {
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(bytes);
}

/// Fails the run unless what is about to be timed gives the right bytes.
fn verified(right: bool, what: impl FnOnce() -> String) -> Result<(), Error> {
    if right { Ok(()) } else { Err(Error::BenchWrong { what: what() }) }
}

/// Memory to measure in.
fn buffer(blocks: usize, block_bytes: usize) -> Result<Buffer, Error> {
    Buffer::new(blocks, block_bytes).map_err(|source| Error::BenchBuffer { blocks, block_bytes, source })
}

/// Refuses a measurement that would not fit into memory.
fn check_memory(needed: u64) -> Result<(), Error> {
    match machine::memory_available_bytes() {
        Some(available) if needed > available => Err(Error::BenchMemory { needed, available }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Error;

    #[test]
    fn memory_that_no_system_has_is_refused_with_words() {
        let error = super::buffer(1 << 20, 1 << 44).err().unwrap();
        assert!(matches!(error, Error::BenchBuffer { .. }) && error.exit_code() == 2, "{error}");
        assert!(error.to_string().contains("--size"), "{error}");
    }
}
