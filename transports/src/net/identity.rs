//! Who a node is: a key of its own, in a certificate that it signed itself, known to others by its pin.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use zeroize::{Zeroize, Zeroizing};

/// SHA-256 of the `SubjectPublicKeyInfo` in a certificate: names a key, whatever else the certificate says. Written
/// as 64 hexadecimal digits. No secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin of the key in a certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        let hash = digest::digest(&digest::SHA256, &key);
        Ok(Self(hash.as_ref().try_into().expect("SHA-256 has 32 bytes")))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

impl FromStr for Pin {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let bad = || IdentityError::NotAPin;
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut pin = [0; 32];
        for (byte, digits) in pin.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(Self(pin))
    }
}

/// The key of this node and its certificate. The key is never shown, and wiped when this is dropped.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pin: Pin,
    /// Both as they are written.
    pem: Zeroizing<String>,
}

impl Identity {
    /// A new key.
    ///
    /// # Panics
    /// When the system has no random numbers.
    pub fn generate() -> Self {
        let made = "a key of the default kind can be made and can sign";
        let key = rcgen::KeyPair::generate().expect(made);
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "tanner node");
        let signed = params.self_signed(&key).expect(made);
        let pem = Zeroizing::new(format!("{}{}", signed.pem(), *Zeroizing::new(key.serialize_pem())));
        let certificate = signed.der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect(made);
        let pin = Pin::of(&certificate).expect(made);
        Self { certificate, key, pin, pem }
    }

    /// The identity that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When there is none, others may read it, or it is something else.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let io = |source| IdentityError::Io { path: path.to_owned(), source };
        let no_key = || IdentityError::NoKey { path: path.to_owned() };
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => no_key(),
            _ => io(error),
        })?;
        let meta = file.metadata().map_err(io)?;
        if let Some(mode) = crate::exposed_mode(path, &meta) {
            return Err(IdentityError::Exposed { path: path.to_owned(), mode });
        }
        let broken = || IdentityError::Broken { path: path.to_owned() };
        // All the room at once: a text that grows leaves copies behind.
        let mut pem = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
        file.take(FILE_BYTES_MAX as u64).read_to_string(&mut pem).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => broken(),
            _ => io(error),
        })?;
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| broken())?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| broken())?;
        let pin = Pin::of(&certificate).map_err(|_| broken())?;
        let identity = Self { certificate, key, pin, pem };
        // A key that does not belong to the certificate would only show in a handshake.
        identity.certified().map_err(|_| broken())?;
        Ok(identity)
    }

    /// Writes a new file that only its owner can read.
    ///
    /// # Errors
    /// When there is one already, or it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let io = |source| IdentityError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        file.write_all(self.pem.as_bytes()).and_then(|()| file.sync_all()).map_err(io)
    }

    /// What others know this node by.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// As rustls takes it.
    pub(crate) fn chain_and_key(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.certificate.clone()], self.key.clone_key())
    }

    fn certified(&self) -> Result<rustls::sign::CertifiedKey, rustls::Error> {
        let (chain, key) = self.chain_and_key();
        let certified = rustls::sign::CertifiedKey::from_der(chain, key, &super::tls::provider())?;
        certified.keys_match()?;
        Ok(certified)
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.pin)
    }
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Nobody made one yet.
    #[error("there is no node key at {}: make one with `tanner key node`", path.display())]
    NoKey {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The key is not this node's alone.
    #[error("{} has mode {mode:03o}, so that others can use the node's key: chmod 600 it, or make a new one", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds no key and certificate.
    #[error("{} does not hold a node's key and its certificate", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot read or write the node's key at {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Text is no pin.
    #[error("a pin is 64 hexadecimal digits")]
    NotAPin,
}

/// Bytes that are read of a file which should hold one key and one certificate.
const FILE_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn an_identity_outlives_the_process_and_is_its_owners_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("node.pem");
        assert!(matches!(Identity::load(&path), Err(IdentityError::NoKey { .. })));
        let identity = Identity::generate();
        identity.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Identity::load(&path).unwrap().pin(), identity.pin());
        assert_eq!(identity.pin().to_string().parse::<Pin>().unwrap(), identity.pin());
        // Never over another key: it may be the only one that a server knows.
        assert!(matches!(Identity::generate().save(&path), Err(IdentityError::Io { .. })));

        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = Identity::load(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:o}")) && error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_damaged_or_patched_up_identity_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let (one, other, path) = ("one.pem", "other.pem", place.path().join("x.pem"));
        let [one, other] = [one, other].map(|name| {
            Identity::generate().save(&place.path().join(name)).unwrap();
            fs::read_to_string(place.path().join(name)).unwrap()
        });
        let end = one.find("-----BEGIN PRIVATE").unwrap();
        let mixed = format!("{}{}", &one[..end], &other[other.find("-----BEGIN PRIVATE").unwrap()..]);
        for text in ["", "nonsense", &one[..end], &one[end..], &mixed] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(Identity::load(&path), Err(IdentityError::Broken { .. })), "{text}");
        }
    }

    #[test]
    fn no_two_nodes_share_a_pin_and_no_key_is_printed() {
        let (one, other) = (Identity::generate(), Identity::generate());
        assert_ne!(one.pin(), other.pin());
        assert_eq!(format!("{one:?}"), format!("Identity({})", one.pin()));
    }
}
