//! The key of one backup, to be given to somebody who may read that and nothing else.

use std::fmt::{self, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::file_key::KEY_BYTES;
use super::{CryptoError, Device, FileKey, secret_file, text};
use crate::id::BackupId;

/// What reads one backup: its id, its key, and who signed it. A secret.
pub struct ReadKey {
    id: BackupId,
    file_key: FileKey,
    device: Device,
}

impl ReadKey {
    /// The key of backup `id`, which `device` signed.
    #[must_use]
    pub fn new(id: BackupId, file_key: FileKey, device: Device) -> Self {
        Self { id, file_key, device }
    }

    /// The backup.
    #[must_use]
    pub fn id(&self) -> BackupId {
        self.id
    }

    /// Who signed it.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// Writes a new file, for its owner alone.
    ///
    /// # Errors
    /// If it is there already, or cannot be written.
    pub fn create(&self, path: &Path) -> Result<(), CryptoError> {
        let mut text = Zeroizing::new(String::with_capacity(512));
        let written = write!(text, "# reads backup {} and nothing else\n{}\n", self.id, &*self.to_text());
        written.expect("a String takes any text");
        secret_file::create(path, text.as_bytes())
    }

    /// The key in a file that only its owner may read: one line of `tanner-read1…`, and comments.
    ///
    /// # Errors
    /// If it cannot be read, others may read it, or it holds something else.
    pub fn read(path: &Path) -> Result<Self, CryptoError> {
        let bytes = secret_file::read(path)?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let key = lines.next().and_then(Self::from_text).filter(|_| lines.next().is_none());
        key.ok_or_else(|| CryptoError::NotAReadKey { path: path.to_owned() })
    }

    pub(super) fn file_key(&self) -> &FileKey {
        &self.file_key
    }

    fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES));
        bytes.push(VERSION);
        bytes.extend(self.id.as_bytes());
        bytes.extend(self.file_key.expose());
        bytes.extend(self.device.as_bytes());
        Zeroizing::new(text::encode(PREFIX, &bytes))
    }

    fn from_text(text: &str) -> Option<Self> {
        let bytes = text::decode::<BYTES>(PREFIX, text)?;
        let (version, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (file_key, rest) = rest.split_first_chunk()?;
        let (device, _) = rest.split_first_chunk()?;
        (*version == VERSION).then(|| Self {
            id: BackupId::from_bytes(*id),
            file_key: FileKey::from_bytes(file_key),
            device: Device::from_bytes(*device),
        })
    }
}

impl fmt::Debug for ReadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadKey({}, {})", self.id, self.device)
    }
}

const PREFIX: &str = "tanner-read";
const VERSION: u8 = 1;
const BYTES: usize = 1 + 16 + KEY_BYTES + 32;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::crypto::Identities;

    fn key() -> ReadKey {
        let device = Device::from_bytes([3; 32]);
        ReadKey::new(
            BackupId::from_bytes([0x81; 16]),
            FileKey::from_bytes(b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            device,
        )
    }

    #[test]
    fn a_read_key_opens_its_backup_and_no_other() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("read.key");
        key().create(&path).unwrap();
        let read = ReadKey::read(&path).unwrap();
        assert_eq!((read.id(), read.device()), (key().id(), key().device()));
        let mut identities = Identities::default();
        identities.add_read_key(read);
        assert_eq!(identities.file_key(key().id(), &[]).unwrap().expose(), key().file_key.expose());
        let other = identities.file_key(BackupId::from_bytes([0x82; 16]), &[]);
        assert!(matches!(other, Err(CryptoError::NoKey)));
        assert!(matches!(key().create(&path), Err(CryptoError::Exists { .. })));
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(ReadKey::read(&path), Err(CryptoError::Exposed { .. })));
    }

    #[test]
    fn a_read_key_shows_nothing_of_its_secret() {
        let shown = format!("{0:?} {0:#?}", key());
        assert!(
            !shown.contains("tanner-read") && !shown.contains("AAAA") && !shown.contains("4141"),
            "{shown}"
        );
    }
}
