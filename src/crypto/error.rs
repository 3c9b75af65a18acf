//! What can be wrong with keys.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::device::Device;
use super::recipients::RECIPIENTS_MAX;
use super::wrap::WORK_FACTOR_MAX;

/// Why a key cannot be had, or does not fit. None of these says anything of a secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// A file that cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of secrets that is not its owner's alone.
    #[error("{0} has mode {mode:03o}, so that others can use the secret in it: chmod 600 {0}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A key would replace another one.
    #[error("{} exists, and no key is ever replaced: name another file", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Longer than any file of keys.
    #[error("{} is too long to be a file of keys", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// A line of a file of keys that says nothing that is known.
    #[error("{}, line {line}: it is neither empty nor a comment nor {wanted}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number. What it says may be a secret.
        line: usize,
        /// What belongs there.
        wanted: &'static str,
    },
    /// A file of keys without any.
    #[error("{} holds no {wanted}", path.display())]
    NoKeys {
        /// The file.
        path: PathBuf,
        /// What belongs there.
        wanted: &'static str,
    },
    /// An identity file that needs a passphrase.
    #[error("{} is encrypted with a passphrase: name the file that holds it with --passphrase-file", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// An encrypted identity file that does not open.
    #[error("{} cannot be decrypted", path.display())]
    Unlock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<CryptoError>,
    },
    /// A file that holds no device's key.
    #[error("{} does not hold a device's key (Ed25519, PKCS#8, PEM)", path.display())]
    NotADeviceKey {
        /// The file.
        path: PathBuf,
    },
    /// Text is no device.
    #[error("`{text}` is no device: one begins with tanner-device1, and `tanner key device` prints it")]
    NotADevice {
        /// How the text begins.
        text: String,
    },
    /// Text is no recipient.
    #[error("`{text}` is no recipient: one begins with age1, and `tanner key recipients` prints it")]
    NotARecipient {
        /// How the text begins.
        text: String,
    },
    /// A file is no read key.
    #[error("{} does not hold the key of one backup, as `tanner key export` writes it", path.display())]
    NotAReadKey {
        /// The file.
        path: PathBuf,
    },
    /// Nobody could ever read it.
    #[error("nobody could read the backup: name at least one recipient or a passphrase")]
    NoRecipients,
    /// More than a manifest has room for.
    #[error("{given} recipients are too many: {RECIPIENTS_MAX} are the most, and a passphrase counts as two")]
    TooManyRecipients {
        /// How many there were.
        given: usize,
    },
    /// A passphrase that is none.
    #[error("{} holds no passphrase: wanted one line of 1 to {} bytes in UTF-8", path.display(), super::passphrase::PASSPHRASE_BYTES_MAX)]
    NoPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// The command that should say the passphrase failed.
    #[error("the command for the passphrase failed: {status}")]
    PassphraseCommand {
        /// How it ended.
        status: String,
    },
    /// A command that should print a secret failed.
    #[error("`{program}`, which should print a secret, failed: {status}")]
    SecretCommand {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
    },
    /// What systemd should pass to this unit is not there.
    #[error("there is no credential {name} here: run this in a unit that says LoadCredential={name}:FILE")]
    NoCredential {
        /// Its name.
        name: String,
    },
    /// What should be the keys of a bucket is something else.
    #[error("{place} has no lines aws_access_key_id = … and aws_secret_access_key = …")]
    NoBucketKeys {
        /// Where they were looked for.
        place: String,
    },
    /// Opening this would cost too much, as a forger may want.
    #[error("its passphrase asks for work factor {factor}: {WORK_FACTOR_MAX} is the most")]
    WorkFactor {
        /// What it asks for.
        factor: u8,
    },
    /// The passphrase is another one.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// Wrapped keys that no writer makes.
    #[error("the wrapped keys in its manifest are malformed")]
    Wrapped,
    /// No key at hand opens it.
    #[error(
        "none of the keys at hand opens it: name one that does with --identity, --read-key or --passphrase-file"
    )]
    NoKey,
    /// Signed by somebody that nobody here knows.
    #[error(
        "it is signed by {device}, whom nothing here trusts: name the identity that it was made for with --identity, or if \
         that device is yours, say so with --trust {device}"
    )]
    Untrusted {
        /// The signer.
        device: Device,
    },
}

impl CryptoError {
    /// Whether all is well but for the key.
    #[must_use]
    pub fn is_wrong_key(&self) -> bool {
        match self {
            Self::Unlock { source, .. } => source.is_wrong_key(),
            error => {
                matches!(
                    error,
                    Self::NoKey | Self::WrongPassphrase | Self::Untrusted { .. } | Self::Locked { .. }
                )
            }
        }
    }
}
