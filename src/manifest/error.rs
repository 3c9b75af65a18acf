//! Why bytes are not a manifest.

use tanner_kernels::ProfileError;
use thiserror::Error;

use super::MANIFEST_BYTES_MAX;
use super::frame::{MODE_PLAIN, MODE_SIGNED, VERSION};
use crate::crypto::Device;
use crate::id::BackupId;

/// Why bytes are not a manifest.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Longer than any manifest.
    #[error("{bytes} bytes: a manifest has at most {MANIFEST_BYTES_MAX}")]
    TooLong {
        /// Bytes found.
        bytes: u64,
    },
    /// Does not begin like a manifest.
    #[error("it does not begin like a tanner manifest")]
    Magic,
    /// Another version of the format.
    #[error("format version {version}: this program reads version {VERSION}; a newer tanner may read it")]
    Version {
        /// The version found.
        version: u16,
    },
    /// A mode that does not exist.
    #[error(
        "mode {mode}: this program knows the modes {MODE_PLAIN} and {MODE_SIGNED}; a newer tanner may know it"
    )]
    Mode {
        /// The mode found.
        mode: u8,
    },
    /// Shorter or longer than it says.
    #[error("it is cut off or has bytes behind its end: {got} bytes where {wanted} belong")]
    Length {
        /// Bytes that belong there.
        wanted: u64,
        /// Bytes found.
        got: u64,
    },
    /// The seal does not match: some byte changed.
    #[error("it is damaged: its seal does not match its content")]
    Seal,
    /// The signature does not match: some byte changed, or somebody else wrote it.
    #[error("it is damaged or forged: its signature does not match its content")]
    Signature,
    /// Signed by a device that its id does not certify.
    #[error("it is forged: {device} signed it, whom its id does not certify")]
    Uncertified {
        /// The signer.
        device: Device,
    },
    /// A plain manifest in the place of a signed one.
    #[error(
        "it is not signed, and the id {id} is that of a signed backup: unless you know it for a plain backup of an early \
         version, somebody else put it there"
    )]
    Downgrade {
        /// The id.
        id: BackupId,
    },
    /// Only its public part can be read.
    #[error("it is encrypted, and only its public part can be read without a key")]
    Encrypted,
    /// The key is not this backup's.
    #[error("the key does not open its private part")]
    WrongKey,
    /// Two different manifests of one generation, both rightly signed.
    #[error(
        "two different manifests of generation {generation} are signed by the same device: its key was copied or stolen; \
         name the stores that you trust"
    )]
    Equivocation {
        /// The generation.
        generation: u64,
    },
    /// Older than what was seen before.
    #[error(
        "the newest manifest is of generation {found}, and {seen} was seen before: the stores lost the newer one, or hide it"
    )]
    Rollback {
        /// The highest generation found.
        found: u64,
        /// The highest generation seen before.
        seen: u64,
    },
    /// Not the CBOR that the format asks for.
    #[error("its content is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// The profile in it is not one.
    #[error("its profile is refused: {0}")]
    Profile(#[from] ProfileError),
    /// It belongs to another backup than its place says.
    #[error("it belongs to backup {found}")]
    OtherBackup {
        /// The id in it.
        found: BackupId,
    },
}
