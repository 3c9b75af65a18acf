//! Who stored a backup: a device signs what it stores, and whoever restores says whom they trust.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use pem::Pem;
use zeroize::Zeroizing;

use super::{CryptoError, secret_file, text};

/// A device, known by its public key. Written `tanner-device1…`; no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device([u8; 32]);

impl Device {
    /// The device with this Ed25519 public key.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its public key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this device signed the message.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::encode(PREFIX, &self.0))
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({self})")
    }
}

impl FromStr for Device {
    type Err = CryptoError;

    fn from_str(text: &str) -> Result<Self, CryptoError> {
        let bytes = text::decode(PREFIX, text).map(|bytes| Self(*bytes));
        bytes.ok_or_else(|| CryptoError::NotADevice { text: text::beginning(text) })
    }
}

/// The key that a device signs by.
pub struct DeviceKey(Ed25519KeyPair);

impl DeviceKey {
    /// The key in a file, as [`Self::create`] or any other tool writes it: PKCS#8 in PEM.
    ///
    /// # Errors
    /// If there is none, others may read it, or it is something else.
    pub fn load(path: &Path) -> Result<Self, CryptoError> {
        let not_a_key = || CryptoError::NotADeviceKey { path: path.to_owned() };
        let block = pem::parse(&*secret_file::read(path)?).map_err(|_| not_a_key())?;
        let (tag, der) = (block.tag().to_owned(), Zeroizing::new(block.into_contents()));
        let key = (tag == TAG).then(|| Ed25519KeyPair::from_pkcs8(&der).ok()).flatten();
        key.map(Self).ok_or_else(not_a_key)
    }

    /// A new key in a new file, for its owner alone.
    ///
    /// # Errors
    /// If the file is there already, or cannot be written.
    ///
    /// # Panics
    /// When the system has no random numbers.
    pub fn create(path: &Path) -> Result<Self, CryptoError> {
        let (key, der) = Self::generate();
        let text = Zeroizing::new(pem::encode(&Pem::new(TAG, der.to_vec())));
        secret_file::create(path, text.as_bytes())?;
        Ok(key)
    }

    /// The public half.
    #[must_use]
    pub fn device(&self) -> Device {
        let public = self.0.public_key().as_ref();
        Device(public.try_into().expect("a public key of Ed25519 has 32 bytes"))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).as_ref().try_into().expect("a signature of Ed25519 has 64 bytes")
    }

    /// A new key, and how it is written. PKCS#8 without the public half: what other tools read, too.
    pub(crate) fn generate() -> (Self, Zeroizing<Vec<u8>>) {
        let made = "a key can be made wherever there are random numbers";
        let key = Ed25519KeyPair::generate().expect(made);
        let der = Zeroizing::new(key.to_pkcs8v1().expect(made).as_ref().to_vec());
        (Self(key), der)
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", self.device())
    }
}

/// The devices whose word is taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustedDevices(BTreeSet<Device>);

impl TrustedDevices {
    /// Reads a file with one device a line; comments begin with `#`.
    ///
    /// # Errors
    /// If a line is something else.
    pub fn parse(path: &Path, text: &str) -> Result<Self, CryptoError> {
        let mut trusted = Self::default();
        for (line, text) in text.lines().map(str::trim).enumerate() {
            if !text.is_empty() && !text.starts_with('#') {
                let wanted = "a device (tanner-device1…)";
                let wrong = |_| CryptoError::Line { path: path.to_owned(), line: line + 1, wanted };
                trusted.0.insert(text.parse().map_err(wrong)?);
            }
        }
        Ok(trusted)
    }

    /// Refuses a signer that nobody here knows.
    ///
    /// # Errors
    /// If the device is none of these.
    pub fn check(&self, device: Device) -> Result<(), CryptoError> {
        if self.0.contains(&device) { Ok(()) } else { Err(CryptoError::Untrusted { device }) }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        self.0.iter()
    }
}

impl Extend<Device> for TrustedDevices {
    fn extend<T: IntoIterator<Item = Device>>(&mut self, devices: T) {
        self.0.extend(devices);
    }
}

pub(crate) const SIGNATURE_BYTES: usize = 64;
const PREFIX: &str = "tanner-device";
const TAG: &str = "PRIVATE KEY";

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::{CryptoError, Device, DeviceKey, TrustedDevices};

    /// RFC 8032, section 7.1, test 3.
    #[test]
    fn signatures_are_those_of_the_standard_and_no_other_message_bears_them() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let device = hex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
        let device = Device::from_bytes(device.try_into().unwrap());
        let signature = hex(concat!(
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ));
        let mut signature: [u8; 64] = signature.try_into().unwrap();
        assert!(device.has_signed(&[0xaf, 0x82], &signature));
        assert!(!device.has_signed(&[0xaf, 0x83], &signature));
        for bit in 0..512 {
            signature[bit / 8] ^= 1 << (bit % 8);
            assert!(!device.has_signed(&[0xaf, 0x82], &signature), "bit {bit}");
            signature[bit / 8] ^= 1 << (bit % 8);
        }
        // A third party could otherwise make a second signature of one manifest: s + L for s.
        let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut carry = 0;
        for (byte, add) in signature[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        assert!(!device.has_signed(&[0xaf, 0x82], &signature));
    }

    #[test]
    fn a_device_keeps_its_key_and_others_cannot_use_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("device.pem");
        assert!(matches!(DeviceKey::load(&path), Err(CryptoError::Read { .. })));
        let key = DeviceKey::create(&path).unwrap();
        let again = DeviceKey::load(&path).unwrap();
        assert_eq!(again.device(), key.device());
        assert!(key.device().has_signed(b"message", &again.sign(b"message")));
        assert!(!DeviceKey::generate().0.device().has_signed(b"message", &again.sign(b"message")));
        assert!(matches!(DeviceKey::create(&path), Err(CryptoError::Exists { .. })));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(DeviceKey::load(&path), Err(CryptoError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_device_reads_back_as_it_is_written_and_its_key_is_never_shown() {
        let (key, der) = DeviceKey::generate();
        let device = key.device();
        assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        assert_eq!(format!("{key:?}"), format!("DeviceKey({device})"));
        let secret: String = der[der.len() - 32..].iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!format!("{key:?}").contains(&secret));
        for text in ["", "tanner-device1", "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"] {
            assert!(matches!(text.parse::<Device>(), Err(CryptoError::NotADevice { .. })), "{text}");
        }
    }

    #[test]
    fn only_those_that_were_named_are_trusted() {
        let devices: Vec<Device> = (0..3).map(|_| DeviceKey::generate().0.device()).collect();
        let path = "devices".as_ref();
        let text = format!("# mine\n{}\n\n  {}  \n", devices[0], devices[1]);
        let trusted = TrustedDevices::parse(path, &text).unwrap();
        assert!(trusted.check(devices[0]).is_ok() && trusted.check(devices[1]).is_ok());
        let error = trusted.check(devices[2]).unwrap_err().to_string();
        assert!(error.contains(&format!("--trust {}", devices[2])), "{error}");
        let wrong = format!("{}\ntanner-device1qqqq", devices[0]);
        assert!(matches!(TrustedDevices::parse(path, &wrong), Err(CryptoError::Line { line: 2, .. })));
    }
}
