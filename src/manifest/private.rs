//! The private part of a manifest: what only readers may know, if it is encrypted.

use blake3::Hash;
use minicbor::{Decode, Encode};

use super::cbor::malformed;
use super::{Manifest, ManifestError, is_file_name};
use crate::crypto::Epochs;
use crate::geometry::Geometry;
use crate::id::BackupId;
use crate::places::Places;
use crate::scheduler::Labels;

#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct Private {
    #[n(0)]
    name: String,
    #[n(1)]
    created: u64,
    #[n(2)]
    modified: Option<u64>,
    #[n(3)]
    source_hash: minicbor::bytes::ByteArray<32>,
    #[n(4)]
    places: Option<minicbor::bytes::ByteVec>,
    #[n(5)]
    labels: Option<Vec<Labels>>,
    #[n(6)]
    epochs: Option<minicbor::bytes::ByteVec>,
    #[n(7)]
    form: Option<u64>,
}

impl From<&Manifest> for Private {
    fn from(manifest: &Manifest) -> Self {
        Self {
            name: manifest.name.clone(),
            created: manifest.created,
            modified: manifest.modified,
            source_hash: (*manifest.source_hash.as_bytes()).into(),
            places: manifest.places.as_ref().map(Places::to_bytes),
            labels: manifest.places.as_ref().map(|places| places.labels.clone()),
            epochs: manifest.epochs.to_bytes().map(Into::into),
            form: manifest.is_archive.then_some(FORM_ARCHIVE),
        }
    }
}

impl Private {
    /// The whole manifest, once everything here is checked.
    pub(super) fn join(
        self,
        id: BackupId,
        geometry: Geometry,
        hashes: Vec<Hash>,
    ) -> Result<Manifest, ManifestError> {
        let places = match (self.places, self.labels) {
            (None, None) => None,
            (Some(places), Some(labels)) => Some(Places::read(&places, labels, hashes.len())?),
            _ => return Err(malformed("places without labels, or labels without places")),
        };
        let read = |bytes: minicbor::bytes::ByteVec| Epochs::read(&bytes, geometry.steps());
        let Some(epochs) = self.epochs.map_or_else(|| Some(Epochs::default()), read) else {
            return Err(malformed("its epochs are none"));
        };
        // What is read once is encrypted once.
        if geometry.row_steps().is_some() && epochs != Epochs::default() {
            return Err(malformed("epochs of a stream"));
        }
        if !is_file_name(&self.name) {
            return Err(malformed("the source's name is not a file name"));
        }
        if let Some(form) = self.form.filter(|&form| form != FORM_ARCHIVE) {
            return Err(malformed(format!("a source of form {form}, which is not known")));
        }
        Ok(Manifest {
            id,
            geometry,
            hashes,
            name: self.name,
            created: self.created,
            modified: self.modified,
            source_hash: Hash::from_bytes(self.source_hash.into()),
            epochs,
            places,
            is_archive: self.form.is_some(),
        })
    }
}

/// Several files, packed by `tar`. Without a form, the source is whatever it is.
const FORM_ARCHIVE: u64 = 1;
