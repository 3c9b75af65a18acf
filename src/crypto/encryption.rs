//! What an attempt to back up is encrypted and signed with.

use super::{Cipher, CryptoError, DeviceKey, Epochs, FileKey, ReadKey, Recipients};
use crate::geometry::Geometry;
use crate::id::BackupId;

/// The keys of one attempt to back up one source: made when it begins, and never used for another.
#[derive(Debug)]
pub struct Encryption {
    pub(crate) device: DeviceKey,
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) file_key: FileKey,
    pub(crate) wrapped: Vec<Vec<u8>>,
    /// For whom, in words.
    pub(crate) readers: Vec<String>,
}

impl Encryption {
    /// Fresh keys, and a fresh id that `device` alone can sign for.
    ///
    /// # Errors
    /// If there are no recipients, or too many.
    ///
    /// # Panics
    /// When the system has no random numbers.
    pub fn begin(device: DeviceKey, recipients: &Recipients) -> Result<Self, CryptoError> {
        let (file_key, mut salt) = (FileKey::random(), [0; SALT_BYTES]);
        getrandom::fill(&mut salt).expect("the system provides random numbers");
        let wrapped = file_key.wrap(recipients)?;
        Ok(Self { device, salt, file_key, wrapped, readers: recipients.readers() })
    }

    /// The id of the backup.
    #[must_use]
    pub fn id(&self) -> BackupId {
        BackupId::certified(self.device.device(), &self.salt)
    }

    /// What encrypts its source in these epochs.
    #[must_use]
    pub fn cipher(&self, geometry: &Geometry, epochs: &Epochs) -> Cipher {
        self.file_key.cipher(self.id(), geometry, epochs)
    }

    /// What reads this backup and no other.
    #[must_use]
    pub fn read_key(&self) -> ReadKey {
        let file_key = FileKey::from_bytes(self.file_key.expose());
        ReadKey::new(self.id(), file_key, self.device.device())
    }
}

/// Bytes of the random number that an id is made of, together with the device.
pub const SALT_BYTES: usize = 16;
