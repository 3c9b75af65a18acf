//! Backup ids.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::crypto::{Device, SALT_BYTES};

/// The id of a backup: 16 bytes, written in hex. That of an encrypted backup certifies who may sign its manifest, and
/// is known by its first bit; else they are random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId([u8; 16]);

/// Text is not a backup id.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("`{text}` is no backup id: wanted 32 hexadecimal digits in lower case, as `tanner ls` prints them")]
pub struct IdError {
    /// The text given.
    pub text: String,
}

impl BackupId {
    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A fresh id for a plain backup, from the system's random numbers.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the system provides random numbers");
        bytes[0] &= !CERTIFIED;
        Self(bytes)
    }

    /// The id of an encrypted backup that this device, and no other, can sign for.
    #[must_use]
    pub fn certified(device: Device, salt: &[u8; SALT_BYTES]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("tanner backup id 1");
        let hash = hasher.update(device.as_bytes()).update(salt).finalize();
        let mut bytes = *hash.as_bytes().first_chunk().expect("32 bytes are more than 16");
        bytes[0] |= CERTIFIED;
        Self(bytes)
    }

    /// Whether the manifest under this id has to be a signed one. (Plain backups of old have any bit here.)
    #[must_use]
    pub fn is_certified(&self) -> bool {
        self.0[0] & CERTIFIED != 0
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackupId({self})")
    }
}

impl FromStr for BackupId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError { text: text.chars().take(80).collect() };
        let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(lower) {
            return Err(error());
        }
        u128::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| error())
    }
}

/// The first bit, which tells the two kinds apart.
const CERTIFIED: u8 = 0x80;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::BackupId;
    use crate::crypto::Device;

    /// A store could otherwise hand out a plain manifest in the place of a signed one.
    #[test]
    fn plain_and_signed_backups_are_told_apart_by_their_ids() {
        assert!((0..100).all(|_| !BackupId::random().is_certified()));
        let ids = (0..100_u8).map(|i| BackupId::certified(Device::from_bytes([i; 32]), &[7; 16]));
        let other_salts = (0..100_u8).map(|i| BackupId::certified(Device::from_bytes([7; 32]), &[i; 16]));
        let all: BTreeSet<_> = ids.chain(other_salts).inspect(|id| assert!(id.is_certified())).collect();
        assert_eq!(all.len(), 199, "one is in both");
    }

    #[test]
    fn ids_read_back_and_nothing_else_does() {
        let id = BackupId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "00",
            "../../../../../../etc/passwd/abc",
            "0123456789ABCDEF0123456789ABCDEF",
            "+1234567890123456789012345678901",
        ] {
            assert!(text.parse::<BackupId>().is_err(), "{text}");
        }
    }
}
