//! For whom a backup is encrypted.

use std::path::Path;

use age::x25519;
use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;

use super::text::beginning;
use super::{CryptoError, Passphrase};

/// Who will be able to read a backup: the holders of age identities, and whoever knows a passphrase. No secret but for
/// the passphrase.
#[derive(Clone, Debug, Default)]
pub struct Recipients {
    keys: Vec<x25519::Recipient>,
    passphrase: Option<Passphrase>,
}

impl Recipients {
    /// Adds a recipient as age writes it, `age1…`. One that is there already is not added again.
    ///
    /// # Errors
    /// If the text is none.
    pub fn add(&mut self, text: &str) -> Result<(), CryptoError> {
        let bad = || CryptoError::NotARecipient { text: beginning(text) };
        let key: x25519::Recipient = text.parse().map_err(|_| bad())?;
        // A point of low order shares the same secret with everybody, and age takes that for broken random numbers.
        if !is_sound(text) {
            return Err(bad());
        }
        self.add_key(key);
        Ok(())
    }

    /// Adds those in a file, one a line; comments begin with `#`.
    ///
    /// # Errors
    /// If a line is something else, or there are none.
    pub fn add_file(&mut self, path: &Path, text: &str) -> Result<(), CryptoError> {
        let (before, wanted) = (self.keys.len(), "a recipient (age1…)");
        let mut any = false;
        for (line, text) in text.lines().map(str::trim).enumerate() {
            if !text.is_empty() && !text.starts_with('#') {
                // Not the text: somebody may have mixed up the files, and it is a secret.
                let wrong = |_| CryptoError::Line { path: path.to_owned(), line: line + 1, wanted };
                self.add(text).map_err(wrong)?;
                any = true;
            }
        }
        debug_assert!(any || self.keys.len() == before);
        if any { Ok(()) } else { Err(CryptoError::NoKeys { path: path.to_owned(), wanted: "recipient" }) }
    }

    /// Whoever knows this passphrase, too.
    pub fn set_passphrase(&mut self, passphrase: Passphrase) {
        self.passphrase = Some(passphrase);
    }

    /// As age writes them.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.keys.iter().map(ToString::to_string)
    }

    /// Whether a passphrase opens it, too.
    #[must_use]
    pub fn has_passphrase(&self) -> bool {
        self.passphrase.is_some()
    }

    /// All of them in words, the same for the same.
    pub(crate) fn readers(&self) -> Vec<String> {
        let passphrase = self.has_passphrase().then(|| "a passphrase".into());
        let mut readers: Vec<String> = self.iter().chain(passphrase).collect();
        readers.sort();
        readers
    }

    pub(super) fn add_key(&mut self, key: x25519::Recipient) {
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
    }

    /// Keys and passphrase, if there are some and not too many.
    pub(super) fn checked(&self) -> Result<(&[x25519::Recipient], Option<&Passphrase>), CryptoError> {
        match self.keys.len() + 2 * usize::from(self.passphrase.is_some()) {
            0 => Err(CryptoError::NoRecipients),
            given if given > RECIPIENTS_MAX => Err(CryptoError::TooManyRecipients { given }),
            _ => Ok((&self.keys, self.passphrase.as_ref())),
        }
    }
}

/// Whether a secret can be shared with the holder of this key alone.
fn is_sound(recipient: &str) -> bool {
    let Some(point) = super::text::decode::<32>("age", recipient) else { return false };
    let own = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new());
    let own = own.expect("a key can be made wherever there are random numbers");
    agree_ephemeral(own, UnparsedPublicKey::new(&X25519, *point), (), |_| Ok(())).is_ok()
}

/// The most recipients of a backup, of which a passphrase counts as two: what is wrapped for so many takes at most
/// [`WRAPPED_BYTES_MAX`](super::WRAPPED_BYTES_MAX), whatever age adds of its own.
pub const RECIPIENTS_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use age::x25519::Identity;

    use super::super::text::encode;
    use super::{CryptoError, RECIPIENTS_MAX, Recipients};

    fn recipient() -> String {
        Identity::generate().to_public().to_string()
    }

    #[test]
    fn a_file_of_recipients_is_read_as_age_reads_it_and_names_the_line_that_is_wrong() {
        let (one, two) = (recipient(), recipient());
        let mut recipients = Recipients::default();
        let path = "recipients.txt".as_ref();
        recipients.add_file(path, &format!("# me\n{one}\n\n{two}\r\n{one}\n")).unwrap();
        assert_eq!(recipients.iter().collect::<Vec<_>>(), [one.clone(), two]);
        let secret = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
        let error = recipients.add_file(path, &format!("{one}\n{secret}")).unwrap_err();
        assert!(matches!(error, CryptoError::Line { line: 2, .. }), "{error}");
        assert!(!error.to_string().contains("GQ9778"), "{error}");
        let none = recipients.add_file(path, "# none\n");
        assert!(matches!(none, Err(CryptoError::NoKeys { .. })));
    }

    /// The point of low order would end the program, and tell everybody the key.
    #[test]
    fn a_recipient_that_shares_its_secret_with_everybody_is_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        for point in [[0; 32], one] {
            let added = Recipients::default().add(&encode("age", &point));
            assert!(matches!(added, Err(CryptoError::NotARecipient { .. })), "{point:?}");
        }
        assert!(Recipients::default().add(&recipient()).is_ok());
    }

    #[test]
    fn as_many_recipients_as_fit_are_taken_and_not_one_more() {
        let mut recipients = Recipients::default();
        assert!(matches!(recipients.checked(), Err(CryptoError::NoRecipients)));
        (0..RECIPIENTS_MAX).for_each(|_| recipients.add(&recipient()).unwrap());
        assert!(recipients.checked().is_ok());
        recipients.add(&recipient()).unwrap();
        let error = recipients.checked().unwrap_err();
        assert!(matches!(error, CryptoError::TooManyRecipients { given: 13 }), "{error}");
    }
}
