//! Who can read: age identities, in files as age's own tools write and read them.

use std::fmt::{self, Write as _};
use std::io::Read;
use std::path::Path;

use age::armor::ArmoredReader;
use age::secrecy::ExposeSecret;
use age::{Decryptor, x25519};
use zeroize::Zeroizing;

use super::wrap::{decrypt_by_passphrase, encrypt_by_passphrase};
use super::{CryptoError, Device, FileKey, Passphrase, ReadKey, Recipients, secret_file};
use crate::id::BackupId;

/// What is in an identity file: keys, and in comments the devices whose backups they read, so that this file is all
/// that a new machine needs.
pub struct IdentityFile {
    keys: Vec<x25519::Identity>,
    devices: Vec<Device>,
}

impl IdentityFile {
    /// Makes a new identity in a new file, for its owner alone, and encrypted if there is a passphrase.
    ///
    /// # Errors
    /// If the file is there already, or cannot be written.
    pub fn create(path: &Path, device: Device, passphrase: Option<&Passphrase>) -> Result<Self, CryptoError> {
        let key = x25519::Identity::generate();
        let secret = key.to_string();
        let public = key.to_public();
        // Room for all of it: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(512));
        let written = write!(text, "# public key: {public}\n{DEVICE}{device}\n{}\n", secret.expose_secret());
        written.expect("a String takes any text");
        match passphrase {
            Some(passphrase) => {
                secret_file::create(path, &encrypt_by_passphrase(passphrase, text.as_bytes()))?;
            }
            None => secret_file::create(path, text.as_bytes())?,
        }
        Ok(Self { keys: vec![key], devices: vec![device] })
    }

    /// The identities in a file that only its owner may read.
    ///
    /// # Errors
    /// If it cannot be read, others may read it, it holds something else, or the passphrase is missing or wrong.
    pub fn read(path: &Path, passphrase: Option<&Passphrase>) -> Result<Self, CryptoError> {
        let bytes = secret_file::read(path)?;
        if !is_encrypted(&bytes) {
            return Self::parse(path, &bytes);
        }
        let locked = |source| CryptoError::Unlock { path: path.to_owned(), source: Box::new(source) };
        let decryptor = Decryptor::new_buffered(ArmoredReader::new(bytes.as_slice()));
        let decryptor = decryptor.ok().filter(Decryptor::is_scrypt);
        let decryptor = decryptor.ok_or_else(|| locked(CryptoError::NoKey))?;
        let passphrase = passphrase.ok_or_else(|| CryptoError::Locked { path: path.to_owned() })?;
        let text = decrypt_by_passphrase(decryptor, passphrase, FILE_WORK_FACTOR_MAX, IDENTITY_BYTES_MAX);
        Self::parse(path, &text.map_err(locked)?)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, CryptoError> {
        let mut file = Self { keys: Vec::new(), devices: Vec::new() };
        let lines = bytes.split(|byte| *byte == b'\n').enumerate();
        for (line, text) in lines {
            // Nothing of the line: it may be a secret with a typo.
            let wrong = |wanted| CryptoError::Line { path: path.to_owned(), line: line + 1, wanted };
            let not_a_key = || wrong("an identity (AGE-SECRET-KEY-1…)");
            let text = std::str::from_utf8(text).map_err(|_| not_a_key())?.trim_end();
            if let Some(device) = text.strip_prefix(DEVICE) {
                file.devices.push(device.trim().parse().map_err(|_| wrong("the device that it names"))?);
            } else if !text.is_empty() && !text.starts_with('#') {
                file.keys.push(text.parse().map_err(|_| not_a_key())?);
            }
        }
        match file.keys.is_empty() {
            true => Err(CryptoError::NoKeys { path: path.to_owned(), wanted: "identity" }),
            false => Ok(file),
        }
    }

    /// For whom to encrypt so that these can read it.
    #[must_use]
    pub fn recipients(&self) -> Recipients {
        let mut recipients = Recipients::default();
        self.keys.iter().for_each(|key| recipients.add_key(key.to_public()));
        recipients
    }

    /// The devices that its comments name.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }
}

impl fmt::Debug for IdentityFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityFile")
            .field("recipients", &self.recipients())
            .field("devices", &self.devices)
            .finish()
    }
}

/// Everything at hand to read backups with.
#[derive(Default)]
pub struct Identities {
    keys: Vec<x25519::Identity>,
    passphrase: Option<Passphrase>,
    read_keys: Vec<ReadKey>,
}

impl Identities {
    /// Those of a file.
    pub fn add_file(&mut self, file: IdentityFile) {
        self.keys.extend(file.keys);
    }

    /// The key of one backup.
    pub fn add_read_key(&mut self, key: ReadKey) {
        self.read_keys.push(key);
    }

    /// A passphrase.
    pub fn set_passphrase(&mut self, passphrase: Passphrase) {
        self.passphrase = Some(passphrase);
    }

    /// The key of backup `id`, if any of these has or opens it.
    ///
    /// # Errors
    /// If none does.
    pub fn file_key(&self, id: BackupId, wrapped: &[Vec<u8>]) -> Result<FileKey, CryptoError> {
        match self.read_keys.iter().find(|key| key.id() == id) {
            Some(key) => Ok(FileKey::from_bytes(key.file_key().expose())),
            None => FileKey::unwrap(wrapped, self),
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &x25519::Identity> {
        self.keys.iter()
    }

    pub(super) fn passphrase(&self) -> Option<&Passphrase> {
        self.passphrase.as_ref()
    }

    #[cfg(test)]
    pub(crate) fn add_key(&mut self, key: x25519::Identity) {
        self.keys.push(key);
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let public: Vec<_> = self.keys.iter().map(x25519::Identity::to_public).collect();
        let mut shown = f.debug_struct("Identities");
        shown.field("recipients", &public).field("passphrase", &self.passphrase.is_some());
        shown.field("read_keys", &self.read_keys).finish()
    }
}

/// Whether a file of keys is itself encrypted.
fn is_encrypted(mut bytes: &[u8]) -> bool {
    let mut begin = [0; 64];
    let got = bytes.read(&mut begin).unwrap_or(0);
    [&b"age-encryption.org/"[..], b"-----BEGIN AGE ENCRYPTED FILE-----"]
        .iter()
        .any(|head| begin[..got].starts_with(head))
}

const DEVICE: &str = "# device: ";
/// Other tools choose the work by how fast the machine is: this much takes 1 GiB of memory.
const FILE_WORK_FACTOR_MAX: u8 = 20;
/// The most bytes of identities in an encrypted file.
const IDENTITY_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::crypto::DeviceKey;

    const SECRET: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    const PUBLIC: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

    fn parse(text: &str) -> Result<IdentityFile, CryptoError> {
        IdentityFile::parse("identity.txt".as_ref(), text.as_bytes())
    }

    #[test]
    fn an_identity_file_is_all_that_a_new_machine_needs() {
        let place = tempfile::tempdir().unwrap();
        let (path, locked) = (place.path().join("identity.txt"), place.path().join("locked.age"));
        let device = DeviceKey::generate().0.device();
        let made = IdentityFile::create(&path, device, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let read = IdentityFile::read(&path, None).unwrap();
        assert_eq!(read.devices(), [device]);
        assert_eq!(
            read.recipients().iter().collect::<Vec<_>>(),
            made.recipients().iter().collect::<Vec<_>>()
        );
        assert!(matches!(IdentityFile::create(&path, device, None), Err(CryptoError::Exists { .. })));
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(IdentityFile::read(&path, None), Err(CryptoError::Exposed { mode: 0o644, .. })));

        let passphrase = |text: &str| Passphrase::from_command(&format!("echo {text}")).unwrap();
        let made = IdentityFile::create(&locked, device, Some(&passphrase("right"))).unwrap();
        assert!(!fs::read(&locked).unwrap().windows(8).any(|bytes| bytes == b"# device"));
        let read = IdentityFile::read(&locked, Some(&passphrase("right"))).unwrap();
        assert_eq!(read.devices(), [device]);
        assert_eq!(
            read.recipients().iter().collect::<Vec<_>>(),
            made.recipients().iter().collect::<Vec<_>>()
        );
        assert!(matches!(IdentityFile::read(&locked, None), Err(CryptoError::Locked { .. })));
        let wrong = IdentityFile::read(&locked, Some(&passphrase("wrong"))).unwrap_err();
        assert!(wrong.is_wrong_key(), "{wrong}");
    }

    #[test]
    fn what_rage_writes_is_read_and_what_it_would_refuse_is_refused_without_showing_it() {
        let file =
            parse(&format!("# created: 2026-01-01\n# public key: {PUBLIC}\n{SECRET}\r\n\n{SECRET}")).unwrap();
        assert_eq!(file.recipients().iter().collect::<Vec<_>>(), [PUBLIC]);
        assert_eq!(file.keys.len(), 2);
        let typo = SECRET.replace("VQXM", "VQXN");
        for (text, line) in [(format!("# ok\n{typo}"), 2), (format!("{SECRET}\nx"), 2), (PUBLIC.into(), 1)] {
            let error = parse(&text).unwrap_err();
            assert!(matches!(&error, CryptoError::Line { line: found, .. } if *found == line), "{error}");
            assert!(!error.to_string().contains("GQ9778"), "{error}");
        }
        assert!(matches!(
            parse(&format!("# device: somebody\n{SECRET}")),
            Err(CryptoError::Line { line: 1, .. })
        ));
        assert!(matches!(parse("# nothing\n"), Err(CryptoError::NoKeys { .. })));
        assert!(matches!(parse(""), Err(CryptoError::NoKeys { .. })));
    }

    #[test]
    fn an_encrypted_file_of_another_kind_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("identity.age");
        let passphrase = Passphrase::from_command("echo right").unwrap();
        let key = x25519::Identity::generate();
        let for_a_key = age::encrypt(&key.to_public(), SECRET.as_bytes()).unwrap();
        for wrong in [&for_a_key, &b"age-encryption.org/v1\n"[..], b"-----BEGIN AGE ENCRYPTED FILE-----\n"] {
            fs::write(&path, wrong).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let error = IdentityFile::read(&path, Some(&passphrase)).unwrap_err();
            assert!(matches!(error, CryptoError::Unlock { .. }), "{error}");
        }
    }

    #[test]
    fn identities_show_their_public_halves_only() {
        let mut identities = Identities::default();
        let file = parse(SECRET).unwrap();
        let shown = format!("{file:?}");
        identities.add_file(file);
        identities.set_passphrase(Passphrase::from_command("echo hunter2").unwrap());
        let shown = format!("{shown} {identities:?} {identities:#?}");
        assert!(shown.contains(PUBLIC) && !shown.contains("hunter2") && !shown.contains("SECRET"), "{shown}");
    }
}
