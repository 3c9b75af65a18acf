//! The manifest: the small record of one backup. `format.md` §2 is the law; this is its only reader and writer.

mod cbor;
mod error;
mod frame;
mod newest;
mod private;
mod public;
mod sealed;
#[cfg(test)]
mod sealed_tests;
#[cfg(test)]
mod tests;

use blake3::Hash;
use minicbor::{Decode, Encode};
use tanner_kernels::BLOCKS_MAX;

use self::private::Private;
use self::public::Public;
use crate::crypto::{Encryption, Epochs, SEALED_MORE_BYTES};
use crate::geometry::Geometry;
use crate::id::BackupId;
use crate::places::Places;

pub(crate) use self::cbor::{encode, malformed};
pub use self::error::ManifestError;
pub use self::newest::{Remembered, newest};
pub use self::sealed::SealedManifest;

/// The most bytes that any manifest may have.
pub const MANIFEST_BYTES_MAX: usize = 64 * BLOCKS_MAX + 4096;
/// The most bytes of a manifest besides those of its blocks, which are 64 for each.
const MORE_BYTES_MAX: usize = 8192;
/// The most bytes in the name of a source.
pub const NAME_BYTES_MAX: usize = 1024;

/// Everything that is recorded of one backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The backup's id.
    pub id: BackupId,
    /// Profile and sizes.
    pub geometry: Geometry,
    /// BLAKE3 of each block.
    pub hashes: Vec<Hash>,
    /// File name of the source, without directories.
    pub name: String,
    /// When the backup began, in seconds since 1970 (UTC).
    pub created: u64,
    /// When the source was last modified, likewise.
    pub modified: Option<u64>,
    /// BLAKE3 of the whole source.
    pub source_hash: Hash,
    /// When other keys took over; the first alone, if it was never cut off, or is plain.
    pub epochs: Epochs,
    /// Where the blocks were put; absent if to one store, or if nobody knows.
    pub places: Option<Places>,
    /// Whether the source is an [archive](crate::archive) of several files.
    pub is_archive: bool,
}

impl Manifest {
    /// The bytes to store, as a plain manifest.
    ///
    /// # Panics
    /// If the name is longer than [`NAME_BYTES_MAX`] or there is not one hash for each block; whoever makes a
    /// manifest makes sure of both. If there are epochs.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.check();
        assert_eq!(self.epochs, Epochs::default(), "a plain manifest has no keys");
        let (public, private) = (encode(&Public::from(self)), encode(&Private::from(self)));
        let body = encode(&Body { public, private, keys: Vec::new() });
        frame::seal([frame::header(frame::MODE_PLAIN, body.len()).as_slice(), &body].concat())
    }

    /// The bytes to store, encrypted and signed. A later record of the same backup has a higher generation; the
    /// first is 1.
    ///
    /// # Panics
    /// As [`Self::to_bytes`], if the id is not that of these keys, and if the generation is 0.
    #[must_use]
    pub fn to_sealed_bytes(&self, encryption: &Encryption, generation: u64) -> Vec<u8> {
        self.check();
        assert_eq!(self.id, encryption.id(), "an id that the device can sign for");
        assert!(generation > 0, "generations count from 1");
        let public = encode(&Public::from(self).signed(encryption.salt, generation));
        let private = encode(&Private::from(self));
        let keys = || encryption.wrapped.iter().map(|key| key.clone().into()).collect();
        // The header, which is authenticated, says how long the whole will be.
        let blank = vec![0; private.len() + SEALED_MORE_BYTES];
        let length = encode(&Body { public: public.clone(), private: blank, keys: keys() }).len();
        let header = frame::header(frame::MODE_SIGNED, length);
        let context = [header.as_slice(), &public].concat();
        let private = encryption.file_key.seal(self.id, &context, &private);
        let body = encode(&Body { public, private, keys: keys() });
        frame::sign([header.as_slice(), &body].concat(), &encryption.device)
    }

    /// Reads a plain manifest. Its seal is checked before its content is looked at, and every number before use.
    ///
    /// # Errors
    /// The first thing that is wrong with it; and if it is encrypted.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        SealedManifest::from_bytes(bytes)?.into_plain().ok_or(ManifestError::Encrypted)
    }

    /// Reads the plain manifest of backup `id`, for whoever insists that it is plain: nothing says who wrote it.
    ///
    /// # Errors
    /// As [`Self::from_bytes`], and if it belongs to another backup.
    pub fn from_bytes_of(id: BackupId, bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest = Self::from_bytes(bytes)?;
        if manifest.id == id { Ok(manifest) } else { Err(ManifestError::OtherBackup { found: manifest.id }) }
    }

    fn check(&self) {
        assert!(self.name.len() <= NAME_BYTES_MAX, "a name of {} bytes", self.name.len());
        assert_eq!(self.hashes.len(), self.geometry.profile().blocks(), "one hash for each block");
    }
}

/// Whether a name can be that of a source.
pub(crate) fn is_file_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && !name.contains(['/', '\0']) && ![".", ".."].contains(&name)
}

#[derive(Encode, Decode)]
struct Body {
    #[cbor(n(0), with = "minicbor::bytes")]
    public: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    private: Vec<u8>,
    #[n(2)]
    keys: Vec<minicbor::bytes::ByteVec>,
}
