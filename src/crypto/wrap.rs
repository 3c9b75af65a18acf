//! The file key as a manifest carries it: age files, which any age tool opens.

use std::io::{Read, Write};
use std::iter;

use age::{DecryptError, Decryptor, Encryptor, scrypt};
use zeroize::Zeroizing;

use super::file_key::KEY_BYTES;
use super::{CryptoError, FileKey, Identities, Passphrase, Recipients};

impl FileKey {
    /// Wraps the key: one age file for all who hold identities, one for whoever knows the passphrase, as age has
    /// passphrases alone in a file.
    ///
    /// # Errors
    /// If there are no recipients, or too many.
    pub(super) fn wrap(&self, recipients: &Recipients) -> Result<Vec<Vec<u8>>, CryptoError> {
        let (keys, passphrase) = recipients.checked()?;
        let mut wrapped = Vec::new();
        if !keys.is_empty() {
            wrapped.push(encrypt(keys.iter().map(|key| key as _), self.expose()));
        }
        if let Some(passphrase) = passphrase {
            wrapped.push(encrypt_by_passphrase(passphrase, self.expose()));
        }
        debug_assert!(wrapped.iter().map(Vec::len).sum::<usize>() <= WRAPPED_BYTES_MAX);
        Ok(wrapped)
    }

    /// The key that is wrapped in one of these files for one of these identities.
    pub(super) fn unwrap(wrapped: &[Vec<u8>], identities: &Identities) -> Result<Self, CryptoError> {
        // What is wrong with one says more than that another is for somebody else.
        let mut wrong = CryptoError::NoKey;
        for file in wrapped {
            match Self::unwrap_one(file, identities) {
                Err(CryptoError::NoKey) => {}
                Err(error) => wrong = error,
                key => return key,
            }
        }
        Err(wrong)
    }

    fn unwrap_one(file: &[u8], identities: &Identities) -> Result<Self, CryptoError> {
        let decryptor = Decryptor::new_buffered(file).map_err(|_| CryptoError::Wrapped)?;
        let payload = if decryptor.is_scrypt() {
            let passphrase = identities.passphrase().ok_or(CryptoError::NoKey)?;
            decrypt_by_passphrase(decryptor, passphrase, WORK_FACTOR_MAX, KEY_BYTES)?
        } else {
            decrypt(decryptor, identities.keys().map(|key| key as _), KEY_BYTES)?
        };
        let key: &[u8; KEY_BYTES] = payload.as_slice().try_into().map_err(|_| CryptoError::Wrapped)?;
        Ok(Self::from_bytes(key))
    }
}

pub(super) fn encrypt_by_passphrase(passphrase: &Passphrase, plain: &[u8]) -> Vec<u8> {
    let mut recipient = scrypt::Recipient::new(passphrase.secret());
    recipient.set_work_factor(WORK_FACTOR);
    encrypt(iter::once(&recipient as _), plain)
}

fn encrypt<'a>(recipients: impl Iterator<Item = &'a dyn age::Recipient>, plain: &[u8]) -> Vec<u8> {
    let into_memory = "a Vec takes any number of bytes";
    let encryptor = Encryptor::with_recipients(recipients).expect("of one kind, and at least one");
    let mut file = Vec::new();
    let mut writer = encryptor.wrap_output(&mut file).expect(into_memory);
    writer.write_all(plain).expect(into_memory);
    writer.finish().expect(into_memory);
    file
}

/// What is in an age file for a passphrase that asks for no more work than `factor_max`.
pub(super) fn decrypt_by_passphrase(
    decryptor: Decryptor<impl Read>,
    passphrase: &Passphrase,
    factor_max: u8,
    bytes_max: usize,
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let mut identity = scrypt::Identity::new(passphrase.secret());
    identity.set_max_work_factor(factor_max);
    decrypt(decryptor, iter::once(&identity as _), bytes_max)
}

/// What is in an age file, if it is no longer than `bytes_max`.
fn decrypt<'a>(
    decryptor: Decryptor<impl Read>,
    identities: impl Iterator<Item = &'a dyn age::Identity>,
    bytes_max: usize,
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let by_passphrase = decryptor.is_scrypt();
    // The library's own words are for its own command line.
    let refused = |error| match error {
        DecryptError::NoMatchingKeys => CryptoError::NoKey,
        DecryptError::ExcessiveWork { required, .. } => CryptoError::WorkFactor { factor: required },
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed if by_passphrase => {
            CryptoError::WrongPassphrase
        }
        _ => CryptoError::Wrapped,
    };
    let reader = decryptor.decrypt(identities).map_err(refused)?;
    let mut plain = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    reader.take(bytes_max as u64 + 1).read_to_end(&mut plain).map_err(|_| CryptoError::Wrapped)?;
    if plain.len() > bytes_max { Err(CryptoError::Wrapped) } else { Ok(plain) }
}

/// The most age files with the wrapped key in a manifest.
pub(crate) const WRAPPED_MAX: usize = 2;
/// The most bytes that they have together.
pub const WRAPPED_BYTES_MAX: usize = 1536;
/// What a guess at a passphrase costs: scrypt with N = 2¹⁷ and r = 8 takes 128 MiB of memory.
const WORK_FACTOR: u8 = 17;
/// The most that opening a manifest may cost, whoever made it: 256 MiB of memory, and twice the time.
pub const WORK_FACTOR_MAX: u8 = 18;

const _: () = assert!(WORK_FACTOR <= WORK_FACTOR_MAX);

#[cfg(test)]
mod tests {
    use age::x25519::Identity;

    use super::super::RECIPIENTS_MAX;
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::from_command(&format!("printf '{text}'")).unwrap()
    }

    fn for_keys(keys: &[Identity]) -> Recipients {
        let mut recipients = Recipients::default();
        keys.iter().for_each(|key| recipients.add_key(key.to_public()));
        recipients
    }

    fn holding(key: &Identity) -> Identities {
        let mut identities = Identities::default();
        identities.add_key(key.clone());
        identities
    }

    #[test]
    fn every_recipient_opens_it_and_nobody_else_does() {
        let keys: Vec<Identity> = (0..3).map(|_| Identity::generate()).collect();
        let file_key = FileKey::random();
        let mut recipients = for_keys(&keys);
        recipients.set_passphrase(passphrase("two words"));
        let wrapped = file_key.wrap(&recipients).unwrap();
        assert_eq!(wrapped.len(), WRAPPED_MAX);
        for key in &keys {
            assert_eq!(FileKey::unwrap(&wrapped, &holding(key)).unwrap().expose(), file_key.expose());
        }
        let mut knowing = Identities::default();
        knowing.set_passphrase(passphrase("two words"));
        assert_eq!(FileKey::unwrap(&wrapped, &knowing).unwrap().expose(), file_key.expose());
        let stranger = FileKey::unwrap(&wrapped, &holding(&Identity::generate()));
        assert!(matches!(stranger, Err(CryptoError::NoKey)));
        knowing.set_passphrase(passphrase("other words"));
        assert!(matches!(FileKey::unwrap(&wrapped, &knowing), Err(CryptoError::WrongPassphrase)));
    }

    /// age adds a stanza of random length to every file: what is wrapped must fit with its longest.
    #[test]
    fn as_many_recipients_as_are_allowed_fit_into_a_manifest_whatever_age_adds() {
        // A line of 55 bytes, and 99 bytes in Base64 on three lines.
        let longest = 55 + 135;
        for with_passphrase in [false, true] {
            let count = RECIPIENTS_MAX - 2 * usize::from(with_passphrase);
            let mut recipients = for_keys(&(0..count).map(|_| Identity::generate()).collect::<Vec<_>>());
            if with_passphrase {
                recipients.set_passphrase(passphrase("two words"));
            }
            let wrapped = FileKey::random().wrap(&recipients).unwrap();
            let bytes = wrapped.iter().map(Vec::len).sum::<usize>();
            let header = wrapped[0].split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
            let stanza = header.skip_while(|line| !line.contains("-grease")).enumerate();
            let added = stanza.take_while(|(at, line)| *at == 0 || !line.starts_with('-'));
            let added: usize = added.map(|(_, line)| line.len() + 1).sum();
            assert!(added > 0 && added <= longest, "{added}");
            assert!(bytes - added + longest <= WRAPPED_BYTES_MAX, "{bytes} with {added} and {count} keys");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_wrapped_key_is_refused() {
        let key = Identity::generate();
        let (file_key, identities) = (FileKey::random(), holding(&key));
        let file = file_key.wrap(&for_keys(&[key])).unwrap().remove(0);
        for at in 0..file.len() {
            for bit in [0x01, 0x20, 0x80] {
                let mut damaged = file.clone();
                damaged[at] ^= bit;
                assert!(FileKey::unwrap(&[damaged], &identities).is_err(), "byte {at}");
            }
            assert!(FileKey::unwrap(&[file[..at].to_vec()], &identities).is_err(), "cut to {at}");
        }
        assert!(FileKey::unwrap(&[[file, vec![0]].concat()], &identities).is_err());
    }

    /// What is wrapped is a key and nothing else: another age file of the user's is not taken for one.
    #[test]
    fn an_age_file_with_anything_but_a_key_is_refused() {
        let key = Identity::generate();
        for bytes in [0, 31, 33, 5000] {
            let file = encrypt(iter::once(&key.to_public() as _), &vec![1; bytes]);
            let refused = FileKey::unwrap(&[file], &holding(&key));
            assert!(matches!(refused, Err(CryptoError::Wrapped)), "{bytes}");
        }
    }
}
