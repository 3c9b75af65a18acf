//! A manifest as a store has it: what anybody can know of it, and with the right key the rest.

use blake3::Hash;

use super::cbor::{decode, malformed};
use super::frame::Frame;
use super::private::Private;
use super::public::Public;
use super::{Body, Manifest, ManifestError};
use crate::crypto::{Device, Epochs, FileKey, WRAPPED_BYTES_MAX, WRAPPED_MAX};
use crate::geometry::Geometry;
use crate::id::BackupId;

/// A manifest whose seal or signature is right. Its public part is all that verifying and repairing blocks takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedManifest {
    /// The backup's id.
    pub id: BackupId,
    /// Profile and sizes.
    pub geometry: Geometry,
    /// BLAKE3 of each block.
    pub hashes: Vec<Hash>,
    bytes: Vec<u8>,
    content: Content,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Content {
    Plain(Box<Manifest>),
    Encrypted {
        signer: Device,
        generation: u64,
        /// What the private part is bound to.
        context: Vec<u8>,
        private: Vec<u8>,
        wrapped: Vec<Vec<u8>>,
    },
}

impl SealedManifest {
    /// Reads a manifest. Its seal or signature is checked before its content is looked at, that its id certifies the
    /// signer, and every number before use.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        let frame = Frame::read(bytes)?;
        let Body { public: public_bytes, private, keys } = decode(frame.body)?;
        let public: Public = decode(&public_bytes)?;
        let generation = match frame.signer {
            Some(signer) => Some(public.generation_by(signer)?),
            None if public.is_signed() => return Err(malformed("a plain manifest with salt or generation")),
            None => None,
        };
        let (id, geometry, hashes) = public.read(bytes.len())?;
        let content = match (frame.signer, generation) {
            (Some(signer), Some(generation)) => {
                let wrapped_bytes = keys.iter().map(|key| key.len()).sum::<usize>();
                if !(1..=WRAPPED_MAX).contains(&keys.len()) || wrapped_bytes > WRAPPED_BYTES_MAX {
                    return Err(malformed(format!("{} wrapped keys of {wrapped_bytes} bytes", keys.len())));
                }
                let wrapped = keys.into_iter().map(Into::into).collect();
                let context = [frame.header.as_slice(), &public_bytes].concat();
                Content::Encrypted { signer, generation, context, private, wrapped }
            }
            _ if keys.is_empty() => {
                let private: Private = decode(&private)?;
                let manifest = private.join(id, geometry, hashes.clone())?;
                if manifest.epochs != Epochs::default() {
                    return Err(malformed("epochs in a plain manifest"));
                }
                Content::Plain(Box::new(manifest))
            }
            _ => return Err(malformed("wrapped keys in a plain manifest")),
        };
        Ok(Self { id, geometry, hashes, bytes: bytes.to_vec(), content })
    }

    /// Reads the manifest of backup `id`. If the id certifies a device, that device signed it.
    ///
    /// # Errors
    /// As [`Self::from_bytes`], if it belongs to another backup, and if it is plain where a signed one belongs.
    pub fn from_bytes_of(id: BackupId, bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest = Self::from_bytes(bytes)?;
        match manifest.content {
            _ if manifest.id != id => Err(ManifestError::OtherBackup { found: manifest.id }),
            Content::Plain(_) if id.is_certified() => Err(ManifestError::Downgrade { id }),
            _ => Ok(manifest),
        }
    }

    /// The bytes that are stored: any copy of them is as good.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// BLAKE3 of all its bytes.
    #[must_use]
    pub fn digest(&self) -> Hash {
        blake3::hash(&self.bytes)
    }

    /// Who signed it; none if it is plain.
    #[must_use]
    pub fn signer(&self) -> Option<Device> {
        match self.content {
            Content::Plain(_) => None,
            Content::Encrypted { signer, .. } => Some(signer),
        }
    }

    /// Which record of this backup it is, from 1; none if it is plain.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        match self.content {
            Content::Plain(_) => None,
            Content::Encrypted { generation, .. } => Some(generation),
        }
    }

    /// The backup's key, wrapped for its readers; nothing if it is plain.
    #[must_use]
    pub fn wrapped(&self) -> &[Vec<u8>] {
        match &self.content {
            Content::Plain(_) => &[],
            Content::Encrypted { wrapped, .. } => wrapped,
        }
    }

    /// All that is recorded, if that is not encrypted.
    #[must_use]
    pub fn plain(&self) -> Option<&Manifest> {
        match &self.content {
            Content::Plain(manifest) => Some(manifest),
            Content::Encrypted { .. } => None,
        }
    }

    /// As [`Self::plain`].
    #[must_use]
    pub fn into_plain(self) -> Option<Manifest> {
        match self.content {
            Content::Plain(manifest) => Some(*manifest),
            Content::Encrypted { .. } => None,
        }
    }

    /// All that is recorded. A plain manifest opens with any key.
    ///
    /// # Errors
    /// If the key is another backup's, or what it opens is malformed.
    pub fn open(&self, key: &FileKey) -> Result<Manifest, ManifestError> {
        match &self.content {
            Content::Plain(manifest) => Ok((**manifest).clone()),
            Content::Encrypted { context, private, .. } => {
                let private = key.open(self.id, context, private).ok_or(ManifestError::WrongKey)?;
                let private: Private = decode(&private)?;
                private.join(self.id, self.geometry, self.hashes.clone())
            }
        }
    }
}
