//! What a backup is encrypted with, as long as it is unfinished: a journal is for its owner alone.

use std::fmt;

use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Encode};
use zeroize::Zeroize;

use crate::crypto::{DeviceKey, Encryption, FileKey, SALT_BYTES};

/// What makes an [`Encryption`] again, together with the device's key.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Keys {
    #[n(0)]
    salt: ByteArray<SALT_BYTES>,
    #[n(1)]
    file_key: ByteArray<32>,
    #[n(2)]
    wrapped: Vec<ByteVec>,
}

impl Keys {
    pub(crate) fn new(salt: &[u8; SALT_BYTES], file_key: &[u8; 32], wrapped: &[Vec<u8>]) -> Self {
        let wrapped = wrapped.iter().map(|key| key.clone().into()).collect();
        Self { salt: (*salt).into(), file_key: (*file_key).into(), wrapped }
    }

    pub(crate) fn of(encryption: &Encryption) -> Self {
        Self::new(&encryption.salt, encryption.file_key.expose(), &encryption.wrapped)
    }

    /// The encryption, by the device that signs, for those who read it.
    pub(crate) fn encryption(&self, device: DeviceKey, readers: Vec<String>) -> Encryption {
        Encryption {
            device,
            salt: *self.salt,
            file_key: FileKey::from_bytes(&self.file_key),
            wrapped: self.wrapped.iter().map(|key| key.to_vec()).collect(),
            readers,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.file_key.zeroize();
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}
