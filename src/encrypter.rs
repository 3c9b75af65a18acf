//! What encrypts the source of one backup, through all its passes and runs: no key ever covers two plaintexts in one place.
//!
//! A pass may read again what was sent: for blocks that were lost on the way, or because an earlier run was cut off. What
//! it reads is encrypted only if it has the tags of what was read before. Where an earlier run may have sent something
//! whose tags were not made durable, nothing can be compared: from there on another key is used, in an epoch of its own.

use std::ops::Range;

use blake3::Hasher;
use zeroize::Zeroizing;

use crate::crypto::{Cipher, EPOCHS_MAX, Encryption, Epoch, Epochs};
use crate::error::Error;
use crate::geometry::Geometry;
use crate::hash::PieceHasher;
use crate::journal::{Journal, Record};
use crate::tags::{TAG_BYTES, Tag, Tags};

/// The cipher of a backup, and the tags of what it encrypted.
pub(crate) struct Encrypter {
    cipher: Cipher,
    tag_key: Zeroizing<[u8; 32]>,
    pub(crate) tags: Tags,
    pub(crate) epochs: Epochs,
}

impl Encrypter {
    /// For a backup that begins, or that is gone on with as its journal says: then another epoch begins, durably, behind
    /// the last tags.
    ///
    /// # Errors
    /// If the journal or its tags cannot be used, or there were too many epochs.
    pub(crate) fn new(
        encryption: &Encryption,
        geometry: &Geometry,
        journal: Option<(&mut Journal, bool)>,
    ) -> Result<Self, Error> {
        let (id, data) = (encryption.id(), geometry.profile().data());
        let (mut file, mut before, mut epochs) = (None, 0, Epochs::default());
        if let Some((journal, is_resumed)) = journal {
            file = Some(journal.open_tags().map_err(|source| journal.refused(source))?);
            (before, epochs) = (journal.contents.tagged, journal.contents.epochs.clone());
            let mut chunks = geometry.chunks(journal.contents.header.chunk_steps);
            let untagged = usize::try_from(before).ok().and_then(|before| chunks.nth(before));
            if let Some(chunk) = untagged.filter(|_| is_resumed) {
                let epoch = Epoch::random(chunk.frame.start + chunk.start);
                if !epochs.begin(epoch) {
                    return Err(Error::ResumedTooOften { id, most: EPOCHS_MAX });
                }
                journal.append(Record::Epoch(epoch.into())).map_err(|source| journal.refused(source))?;
            }
        }
        let tags = Tags::new(data, file, before);
        let tags = tags.map_err(|source| Error::Tags { source })?;
        let cipher = encryption.cipher(geometry, &epochs);
        Ok(Self { cipher, tag_key: encryption.file_key.tag_key(id), tags, epochs })
    }

    /// For a source that is read once: no tags are kept.
    pub(crate) fn once(encryption: &Encryption, geometry: &Geometry) -> Self {
        let (epochs, tag_key) = (Epochs::default(), encryption.file_key.tag_key(encryption.id()));
        Self { cipher: encryption.cipher(geometry, &epochs), tag_key, tags: Tags::none(), epochs }
    }

    /// Encrypts what was read of a range of the source, which `read` has hashed; but only if it is what was read `before`,
    /// if anything was. Returns its tag.
    pub(crate) fn encrypt(
        &self,
        range: Range<u64>,
        bytes: &mut [u8],
        read: &PieceHasher,
        before: Option<Tag>,
    ) -> Option<Tag> {
        let tag = self.tag(range.clone(), read);
        let is_same = before.is_none_or(|before| before == tag);
        is_same.then(|| self.cipher.encrypt(range.start, bytes))?;
        Some(tag)
    }

    /// The source is hashed anyway: it takes but a keyed hash of that.
    fn tag(&self, range: Range<u64>, read: &PieceHasher) -> Tag {
        let mut hasher = Hasher::new_keyed(&self.tag_key);
        hasher.update(&range.start.to_le_bytes()).update(&range.end.to_le_bytes());
        read.each_value(|offset, value| _ = hasher.update(&offset.to_le_bytes()).update(value));
        let mut tag = [0; TAG_BYTES];
        hasher.finalize_xof().fill(&mut tag);
        tag
    }
}
