//! The manifests of a backup that is repaired.

use bytes::Bytes;
use tanner_transports::TransportError;

use super::Repair;
use crate::fetch::{chain, read_manifest};
use crate::manifest::{ManifestError, SealedManifest};
use crate::store::{manifest_name, put_and_read_back};

impl Repair {
    /// The stores that are to have the manifest.
    pub(super) fn stays(&self) -> impl Iterator<Item = usize> + use<> {
        let leaving = self.leaving;
        (0..self.found.stores.len()).filter(move |&store| leaving != Some(store))
    }

    /// Whether somebody deleted the manifest from every store that had it. What is put now would be seen by nobody, and a
    /// manifest without the blocks that went with it would be a lie.
    pub(super) async fn is_forgotten(&self) -> bool {
        let (id, stores) = (self.found.manifest.id, self.found.stores.iter().zip(&self.found.has_manifest));
        for (store, _) in stores.filter(|(_, has_manifest)| **has_manifest) {
            match store.transport.stat(&manifest_name(id)).await {
                Err(TransportError::Missing { at }) if at.name.is_some() => {}
                _ => return false,
            }
        }
        true
    }

    /// Whether a manifest had to be put.
    pub(super) async fn put_manifest(&self, store: usize) -> Result<bool, String> {
        let (transport, name) = (&self.found.stores[store].transport, manifest_name(self.found.manifest.id));
        match self.manifest_in(store).await? {
            InPlace::Good => return Ok(false),
            InPlace::Nothing => {}
            InPlace::Damaged => transport.delete(&name).await.map_err(|error| chain(&error))?,
        }
        let bytes = Bytes::copy_from_slice(self.found.manifest.as_bytes());
        put_and_read_back(&**transport, &name, bytes).await.map(|()| true).map_err(|error| chain(&error))
    }

    /// What is in the manifest's place in a store. What may be somebody's truth is not ours to replace.
    pub(super) async fn manifest_in(&self, store: usize) -> Result<InPlace, String> {
        if self.found.has_manifest[store] {
            return Ok(InPlace::Good);
        }
        let (store, id) = (&self.found.stores[store], self.found.manifest.id);
        let bytes = match read_manifest(store, id).await {
            Ok(bytes) => bytes,
            Err(TransportError::Missing { .. }) => return Ok(InPlace::Nothing),
            Err(error) => return Err(chain(&error)),
        };
        use ManifestError::{Length, Magic, Mode, Seal, Signature, TooLong, Version};
        match SealedManifest::from_bytes_of(id, &bytes) {
            Err(Magic | Length { .. } | Seal | Signature | TooLong { .. }) => Ok(InPlace::Damaged),
            Err(Version { .. } | Mode { .. }) if self.has_our_seal(&bytes) => Ok(InPlace::Damaged),
            Err(error) => Err(format!("the manifest in {} is left as it is: {error}", store.url())),
            Ok(_) => Err(format!("the manifest in {} is left as it is: it is another one", store.url())),
        }
    }

    /// Whether a manifest of a version that is not known ends as ours does, but for a few bytes: a seal or signature is of
    /// one text alone, so it is ours with a damaged header.
    fn has_our_seal(&self, bytes: &[u8]) -> bool {
        let ours = self.found.manifest.as_bytes();
        let alike =
            bytes.iter().rev().zip(ours.iter().rev()).take(SEAL_BYTES).filter(|(a, b)| a == b).count();
        alike > SEAL_BYTES / 2
    }
}

/// Bytes at the end of a manifest that are different for each text.
const SEAL_BYTES: usize = 32;

/// What is in the place of a manifest.
pub(super) enum InPlace {
    Good,
    Damaged,
    Nothing,
}
