//! For whom backups are encrypted and with what they are read: arguments, and the files that stand in for them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::node::{config_directory, make_directory};
use crate::crypto::{
    CryptoError, Device, DeviceKey, Identities, IdentityFile, Passphrase, ReadKey, Recipients, TrustedDevices,
};
use crate::error::Error;

/// Where a passphrase is.
#[derive(Args, Debug, Default)]
pub(super) struct PassphraseArgs {
    /// The file with the passphrase, in one line; /dev/fd/N is a descriptor
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,

    /// A command of the shell that prints the passphrase
    #[arg(
        long,
        env = "TANNER_PASSPHRASE_COMMAND",
        hide_env_values = true,
        conflicts_with = "passphrase_file",
        value_name = "COMMAND"
    )]
    passphrase_command: Option<String>,
}

impl PassphraseArgs {
    pub(super) fn read(&self) -> Result<Option<Passphrase>, CryptoError> {
        let from_file = self.passphrase_file.as_deref().map(Passphrase::read);
        let from_command = || self.passphrase_command.as_deref().map(Passphrase::from_command);
        from_file.or_else(from_command).transpose()
    }
}

/// Who is to read a backup.
#[derive(Args, Debug, Default)]
pub(super) struct EncryptArgs {
    /// Encrypt for whoever has this recipient's age identity; repeat for more
    #[arg(long = "recipient", value_name = "AGE1…")]
    recipients: Vec<String>,

    /// Encrypt for the recipients in this file, one a line
    #[arg(long, env = "TANNER_RECIPIENTS_FILE", value_name = "FILE")]
    recipients_file: Option<PathBuf>,

    /// Store the file as it is: whoever can read a store can read it
    #[arg(long, conflicts_with_all = ["recipients", "passphrase_file"])]
    no_encrypt: bool,

    /// Encrypt for this user's own recipients or identity, whatever the environment and the file of settings say
    #[arg(long, conflicts_with_all = ["no_encrypt", "recipients", "passphrase_file"])]
    encrypt: bool,

    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
}

/// Who is to read a backup.
#[derive(Debug)]
pub(super) enum Readers {
    /// Everybody who sees it.
    Everybody,
    /// Recipients, and where they were found if nobody named them.
    These(Recipients, Option<PathBuf>),
    /// Nobody said: time to make an identity.
    Unsaid,
}

impl EncryptArgs {
    /// Those who were named, else those in the file of recipients, else whoever has the identity of this user.
    pub(super) fn readers(&self) -> Result<Readers, Error> {
        if self.no_encrypt {
            return Ok(Readers::Everybody);
        }
        if self.encrypt {
            return Self::own_readers();
        }
        let mut named = Recipients::default();
        self.recipients.iter().try_for_each(|recipient| named.add(recipient))?;
        if let Some(path) = &self.recipients_file {
            named.add_file(path, &read_text(path)?)?;
        }
        let passphrase = self.passphrase.read()?;
        let any = !self.recipients.is_empty() || self.recipients_file.is_some() || passphrase.is_some();
        passphrase.into_iter().for_each(|passphrase| named.set_passphrase(passphrase));
        if any {
            return Ok(Readers::These(named, None));
        }
        Self::own_readers()
    }

    fn own_readers() -> Result<Readers, Error> {
        let path = recipients_file();
        if path.exists() {
            let mut named = Recipients::default();
            named.add_file(&path, &read_text(&path)?)?;
            return Ok(Readers::These(named, Some(path)));
        }
        let path = identity_file();
        match path.exists() {
            true => Ok(Readers::These(IdentityFile::read(&path, None)?.recipients(), Some(path))),
            false => Ok(Readers::Unsaid),
        }
    }
}

/// What a backup is read with.
#[derive(Args, Debug, Default)]
pub(super) struct IdentityArgs {
    /// A file with age identities, as `tanner key new` writes it; repeat for more
    #[arg(long = "identity", env = "TANNER_IDENTITY_FILE", value_name = "FILE")]
    identities: Vec<PathBuf>,

    /// The key of this backup alone, as `tanner key export` writes it; repeat for more
    #[arg(long = "read-key", value_name = "FILE")]
    read_keys: Vec<PathBuf>,

    /// A device whose signature to trust, besides this one and those that identities and the file of devices name;
    /// repeat for more
    #[arg(long = "trust", value_name = "DEVICE")]
    trust: Vec<Device>,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl IdentityArgs {
    /// What to open backups with, and whose signatures to take.
    pub(super) fn read(&self) -> Result<(Identities, TrustedDevices), Error> {
        let (mut identities, mut trusted) = (Identities::default(), TrustedDevices::default());
        let passphrase = self.passphrase.read()?;
        let others = passphrase.is_some() || !self.read_keys.is_empty();
        let default = Some(identity_file()).filter(|path| self.identities.is_empty() && path.exists());
        for path in self.identities.iter().chain(&default) {
            match IdentityFile::read(path, passphrase.as_ref()) {
                Ok(file) => {
                    trusted.extend(file.devices().iter().copied());
                    identities.add_file(file);
                }
                // Nobody asked for it, and what was asked for may do without.
                Err(error) if self.identities.is_empty() && others && error.is_wrong_key() => {}
                Err(error) => return Err(error.into()),
            }
        }
        for path in &self.read_keys {
            let key = ReadKey::read(path)?;
            trusted.extend([key.device()]);
            identities.add_read_key(key);
        }
        passphrase.into_iter().for_each(|passphrase| identities.set_passphrase(passphrase));
        let own = device_key_file();
        if own.exists() {
            trusted.extend([DeviceKey::load(&own)?.device()]);
        }
        let others = config_directory().join("devices");
        if others.exists() {
            trusted.extend(TrustedDevices::parse(&others, &read_text(&others)?)?.iter().copied());
        }
        trusted.extend(self.trust.iter().copied());
        Ok((identities, trusted))
    }
}

/// The key that this device signs by, made if there is none; and whether it was.
pub(super) fn device_key() -> Result<(DeviceKey, bool), Error> {
    let path = device_key_file();
    if path.exists() {
        return Ok((DeviceKey::load(&path)?, false));
    }
    make_directory_of(&path)?;
    match DeviceKey::create(&path) {
        // Another run was faster.
        Err(CryptoError::Exists { .. }) => Ok((DeviceKey::load(&path)?, false)),
        made => Ok((made?, true)),
    }
}

/// Makes an identity. One of this user's that is encrypted says nothing of its recipient to backups that are to come, so
/// that is put into the file of recipients, unless there is one: where it went, if anywhere.
pub(super) fn make_identity(
    path: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<(IdentityFile, Option<PathBuf>), Error> {
    let (device, _) = device_key()?;
    make_directory_of(path)?;
    let identity = IdentityFile::create(path, device.device(), passphrase)?;
    let recipients = recipients_file();
    if passphrase.is_none() || path != identity_file() || recipients.exists() {
        return Ok((identity, None));
    }
    make_directory_of(&recipients)?;
    let text: String = identity.recipients().iter().map(|recipient| format!("{recipient}\n")).collect();
    let written = fs::write(&recipients, text);
    written.map_err(|source| CryptoError::Write { path: recipients.clone(), source })?;
    Ok((identity, Some(recipients)))
}

/// The file with the identity of this user.
pub(super) fn identity_file() -> PathBuf {
    from_env("TANNER_IDENTITY_FILE").unwrap_or_else(|| config_directory().join("identity.txt"))
}

/// The file with the key of this device.
pub(super) fn device_key_file() -> PathBuf {
    from_env("TANNER_DEVICE_KEY").unwrap_or_else(|| config_directory().join("device.pem"))
}

/// The file that says for whom to encrypt.
fn recipients_file() -> PathBuf {
    config_directory().join("recipients.txt")
}

/// What is in a file of public keys.
pub(super) fn read_text(path: &Path) -> Result<String, CryptoError> {
    let failed = |source| CryptoError::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    let bytes =
        io::Read::read_to_string(&mut io::Read::take(file, TEXT_BYTES_MAX), &mut text).map_err(failed)?;
    match bytes as u64 == TEXT_BYTES_MAX {
        true => Err(CryptoError::TooLong { path: path.to_owned() }),
        false => Ok(text),
    }
}

fn make_directory_of(path: &Path) -> Result<(), CryptoError> {
    make_directory(path).map_err(|source| CryptoError::Write { path: path.to_owned(), source })
}

fn from_env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// No file of public keys is longer.
const TEXT_BYTES_MAX: u64 = 1 << 20;
