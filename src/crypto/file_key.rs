//! The key of one backup.

use std::iter;

use age::secrecy::{ExposeSecret, SecretBox};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use super::{Cipher, Epochs};
use crate::geometry::Geometry;
use crate::id::BackupId;

/// What a backup is encrypted by: 32 random bytes, for one attempt to back up one source. Two attempts never share
/// one, so nothing is ever encrypted twice at the same place. Wiped when dropped; never printed.
#[derive(Debug)]
pub struct FileKey(SecretBox<[u8; KEY_BYTES]>);

impl FileKey {
    /// A fresh one.
    #[must_use]
    pub fn random() -> Self {
        Self::filled_by(|key| getrandom::fill(key).expect("the system provides random numbers"))
    }

    /// The key with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        Self::filled_by(|key| key.copy_from_slice(bytes))
    }

    /// Its bytes, for whoever keeps them as safely as this does.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        self.0.expose_secret()
    }

    /// What encrypts the source of backup `id` in its epochs.
    #[must_use]
    pub fn cipher(&self, id: BackupId, geometry: &Geometry, epochs: &Epochs) -> Cipher {
        let unit = geometry.profile().unit() as u64;
        let first = (0, self.subkey(id, &[DATA]));
        let more = epochs.iter().map(|epoch| {
            let key = self.subkey(id, &[DATA, b" epoch ", &epoch.name.0]);
            (epoch.first_step * unit, key)
        });
        let keys: Vec<_> = iter::once(first).chain(more).collect();
        Cipher::new(keys.iter().map(|(first, key)| (*first, &**key)), geometry.steps() * unit)
    }

    /// What tags are made with, by which a second reading of the source is known for the same.
    pub(crate) fn tag_key(&self, id: BackupId) -> Zeroizing<[u8; KEY_BYTES]> {
        self.subkey(id, &[b"tanner tags 1"])
    }

    /// Encrypts the private part of a manifest: nonce, ciphertext, tag. `context` must be the same to open it.
    pub(crate) fn seal(&self, id: BackupId, context: &[u8], private: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).expect("the system provides random numbers");
        let mut encrypted = private.to_vec();
        let tag = self.private_key(id).seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut encrypted,
        );
        let tag = tag.expect("AES-GCM takes more than a manifest");
        [nonce.as_slice(), &encrypted, tag.as_ref()].concat()
    }

    /// What [`Self::seal`] encrypted; none if this is not its key or context.
    pub(crate) fn open(&self, id: BackupId, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, encrypted) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut private = Zeroizing::new(encrypted.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.private_key(id).open_in_place(nonce, Aad::from(context), &mut private).ok()?.len();
        private.truncate(length);
        Some(private)
    }

    fn private_key(&self, id: BackupId) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, &*self.subkey(id, &[b"tanner private 1"]));
        LessSafeKey::new(key.expect("AES-256 takes 32 bytes"))
    }

    /// Another key for each purpose.
    fn subkey(&self, id: BackupId, purpose: &[&[u8]]) -> Zeroizing<[u8; KEY_BYTES]> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let from = Salt::new(HKDF_SHA256, id.as_bytes()).extract(self.expose());
        let filled = from.expand(purpose, HKDF_SHA256).and_then(|bytes| bytes.fill(&mut *key));
        filled.expect("HKDF gives 32 bytes");
        key
    }

    pub(super) fn filled_by(fill: impl FnOnce(&mut [u8; KEY_BYTES])) -> Self {
        Self(SecretBox::init_with_mut(fill))
    }
}

const DATA: &[u8] = b"tanner data 1";
pub(super) const KEY_BYTES: usize = 32;
/// What [`FileKey::seal`] adds: a nonce and a tag.
pub(crate) const SEALED_MORE_BYTES: usize = NONCE_LEN + 16;

#[cfg(test)]
mod tests {
    use super::{BackupId, DATA, Epochs, FileKey, Geometry, SEALED_MORE_BYTES};

    const ID: BackupId = BackupId::from_bytes([1; 16]);

    #[test]
    fn no_two_backups_keys_or_purposes_share_a_keystream() {
        let (key, other) = (FileKey::random(), FileKey::random());
        let geometry = Geometry::new(tanner_kernels::Profile::for_source(2, 1, 1000).unwrap(), 1000);
        let stream = |key: &FileKey, id: u8| {
            let mut zeros = [0; 32];
            key.cipher(BackupId::from_bytes([id; 16]), &geometry, &Epochs::default()).apply(0, &mut zeros);
            zeros
        };
        let subkeys = [*key.subkey(ID, &[DATA]), *key.subkey(ID, &[b"tanner private 1"]), *key.tag_key(ID)];
        let all = [stream(&key, 1), stream(&key, 2), stream(&other, 1), *key.expose()];
        let different: std::collections::BTreeSet<_> = all.iter().chain(&subkeys).collect();
        assert_eq!(different.len(), all.len() + subkeys.len());
        assert_eq!(stream(&FileKey::from_bytes(key.expose()), 1), stream(&key, 1));
    }

    /// RFC 5869's extract and expand, written out with HMAC alone.
    #[test]
    fn subkeys_are_those_of_hkdf_sha256() {
        use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
        let key = FileKey::from_bytes(&[7; 32]);
        let prk = sign(&Key::new(HMAC_SHA256, ID.as_bytes()), key.expose());
        let okm = sign(&Key::new(HMAC_SHA256, prk.as_ref()), b"tanner data 1\x01");
        assert_eq!(key.subkey(ID, &[DATA]).as_slice(), okm.as_ref());
        let okm = sign(&Key::new(HMAC_SHA256, prk.as_ref()), b"tanner data 1 epoch 12345678\x01");
        assert_eq!(key.subkey(ID, &[DATA, b" epoch ", b"12345678"]).as_slice(), okm.as_ref());
    }

    #[test]
    fn a_private_part_opens_with_its_key_id_and_context_only_and_not_if_any_bit_changed() {
        let (key, private) = (FileKey::random(), b"name and times");
        let sealed = key.seal(ID, b"public", private);
        assert_eq!(sealed.len(), private.len() + SEALED_MORE_BYTES);
        assert_ne!(sealed, key.seal(ID, b"public", private), "a fresh nonce each time");
        assert_eq!(key.open(ID, b"public", &sealed).unwrap().as_slice(), private);
        assert!(FileKey::random().open(ID, b"public", &sealed).is_none());
        assert!(key.open(BackupId::from_bytes([2; 16]), b"public", &sealed).is_none());
        assert!(key.open(ID, b"Public", &sealed).is_none());
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(ID, b"public", &damaged).is_none(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(key.open(ID, b"public", &sealed[..length]).is_none(), "cut to {length}");
        }
    }

    #[test]
    fn a_file_key_shows_nothing_of_itself() {
        let shown = format!("{0:?} {0:#?}", FileKey::from_bytes(b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
        assert!(!shown.contains("65") && !shown.contains("AA") && !shown.contains("41"), "{shown}");
    }
}
