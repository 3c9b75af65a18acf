//! Keys and what they do: what is stored is encrypted for its readers and signed by the device that stored it.
//!
//! A backup has a [`FileKey`] of its own, made anew for every attempt, so no two sources are ever encrypted alike. The
//! manifest carries it, wrapped for [`Recipients`]; the host that backs up need not be one of them. Everything is
//! signed by a [`DeviceKey`], which the backup's id certifies. `format.md` §2.1 and §2.2 are the law.

mod cipher;
mod device;
mod encryption;
mod epochs;
mod error;
mod file_key;
mod identity;
#[cfg(test)]
pub(crate) mod ledger;
mod passphrase;
mod read_key;
mod recipients;
mod secret_file;
mod text;
mod wrap;

pub use cipher::Cipher;
pub use device::{Device, DeviceKey, TrustedDevices};
pub use encryption::{Encryption, SALT_BYTES};
pub use epochs::{EPOCHS_MAX, Epoch, EpochName, Epochs};
pub use error::CryptoError;
pub use file_key::FileKey;
pub use identity::{Identities, IdentityFile};
pub use passphrase::Passphrase;
pub use read_key::ReadKey;
pub use recipients::{RECIPIENTS_MAX, Recipients};
pub use wrap::{WORK_FACTOR_MAX, WRAPPED_BYTES_MAX};

pub(crate) use device::SIGNATURE_BYTES;
pub(crate) use epochs::EPOCH_NAME_BYTES;
pub(crate) use file_key::SEALED_MORE_BYTES;
pub(crate) use secret_file::{of_command as secret_of_command, read as read_secret};
pub(crate) use wrap::WRAPPED_MAX;
