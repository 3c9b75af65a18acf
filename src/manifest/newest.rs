//! Which of several manifests is the backup's.

use blake3::Hash;

use super::{ManifestError, SealedManifest};

/// What was seen of a signed backup before: the highest generation, and which manifest that was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// The generation.
    pub generation: u64,
    /// BLAKE3 of the manifest.
    pub digest: Hash,
}

/// The newest of the signed manifests that stores have of one backup: each read with
/// [`SealedManifest::from_bytes_of`], in any order and number. None if there is none.
///
/// # Errors
/// If two of the highest generation differ, or it is lower than what was seen before, or not what was seen.
pub fn newest<'a>(
    manifests: impl IntoIterator<Item = &'a SealedManifest>,
    seen: Option<Remembered>,
) -> Result<Option<&'a SealedManifest>, ManifestError> {
    let signed = manifests.into_iter().filter_map(|manifest| Some((manifest.generation()?, manifest)));
    let signed: Vec<_> = signed.collect();
    let Some(&(generation, newest)) = signed.iter().max_by_key(|(generation, _)| *generation) else {
        return Ok(None);
    };
    let mut others = signed.iter().filter(|(other, _)| *other == generation);
    if others.any(|(_, other)| other.as_bytes() != newest.as_bytes()) {
        return Err(ManifestError::Equivocation { generation });
    }
    match seen {
        Some(seen) if generation < seen.generation => {
            Err(ManifestError::Rollback { found: generation, seen: seen.generation })
        }
        Some(seen) if generation == seen.generation && newest.digest() != seen.digest => {
            Err(ManifestError::Equivocation { generation })
        }
        _ => Ok(Some(newest)),
    }
}
