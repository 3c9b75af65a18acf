//! AES-256 in counter mode, at any place of a source.

use std::fmt;

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

#[cfg(test)]
use super::ledger::Ledger;

/// Encrypts and decrypts the bytes of one source, both by the same call. Any thread may use it at any place, in any
/// order; but no place may ever be used for two different plaintexts, or both are lost to whoever sees both.
pub struct Cipher {
    /// The key of each epoch, by the byte of every data block that it begins with. The first begins with byte 0.
    keys: Vec<(u64, Key)>,
    /// Bytes of a whole data block.
    block_bytes: u64,
}

/// One key of a cipher.
struct Key {
    key: EncryptingKey,
    #[cfg(test)]
    bytes: [u8; 32],
}

impl Cipher {
    /// The cipher by these keys, each with the byte of every data block that it begins with.
    pub(super) fn new<'a>(keys: impl IntoIterator<Item = (u64, &'a [u8; 32])>, block_bytes: u64) -> Self {
        Self { keys: keys.into_iter().map(|(first, key)| (first, Key::new(key))).collect(), block_bytes }
    }

    /// Turns the bytes at `offset` of the source into those that are stored, and back.
    ///
    /// # Panics
    /// If the bytes end beyond 2⁶⁴, where no source has any.
    pub fn apply(&self, offset: u64, bytes: &mut [u8]) {
        self.by_key(offset, bytes, Key::apply);
    }

    /// As [`Self::apply`], of bytes that are to be sent.
    pub(crate) fn encrypt(&self, offset: u64, bytes: &mut [u8]) {
        #[cfg(test)]
        self.by_key(offset, bytes, |key, offset, plain| Ledger::get().record(&key.bytes, offset, plain));
        self.apply(offset, bytes);
    }

    /// Does something with each run of bytes that have the same key.
    fn by_key(&self, mut offset: u64, mut bytes: &mut [u8], each: impl Fn(&Key, u64, &mut [u8])) {
        assert!(offset.checked_add(bytes.len() as u64).is_some(), "{} bytes at {offset}", bytes.len());
        while !bytes.is_empty() {
            let within = offset % self.block_bytes;
            let next = self.keys.partition_point(|(first, _)| *first <= within);
            let end = self.keys.get(next).map_or(self.block_bytes, |(first, _)| *first);
            let run = usize::try_from(end - within).map_or(bytes.len(), |run| run.min(bytes.len()));
            let (now, rest) = bytes.split_at_mut(run);
            each(&self.keys[next - 1].1, offset, now);
            (offset, bytes) = (offset + run as u64, rest);
        }
    }
}

impl Key {
    fn new(bytes: &[u8; 32]) -> Self {
        let key = UnboundCipherKey::new(&AES_256, bytes).and_then(EncryptingKey::ctr);
        let key = key.expect("AES-256 takes 32 bytes");
        Self {
            key,
            #[cfg(test)]
            bytes: *bytes,
        }
    }

    fn apply(&self, offset: u64, bytes: &mut [u8]) {
        let within = usize::try_from(offset % BLOCK_BYTES as u64).expect("less than a block");
        let counter = offset / BLOCK_BYTES as u64;
        if within == 0 {
            return self.apply_from(counter, bytes);
        }
        // The library begins with whole blocks.
        let (first, rest) = bytes.split_at_mut(bytes.len().min(BLOCK_BYTES - within));
        let mut block = [0; BLOCK_BYTES];
        self.apply_from(counter, &mut block);
        first.iter_mut().zip(&block[within..]).for_each(|(byte, pad)| *byte ^= pad);
        if !rest.is_empty() {
            self.apply_from(counter + 1, rest);
        }
    }

    fn apply_from(&self, counter: u64, bytes: &mut [u8]) {
        let counter = FixedLength::from(u128::from(counter).to_be_bytes());
        let applied = self.key.less_safe_encrypt(bytes, EncryptionContext::Iv128(counter));
        applied.expect("counter mode takes any number of bytes");
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher(..)")
    }
}

const BLOCK_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Cipher;

    fn cipher(key: &[u8; 32]) -> Cipher {
        Cipher::new([(0, key)], u64::MAX)
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// The pad of one block, by nothing but a block cipher.
    fn pad(key: &[u8; 32], counter: u128) -> [u8; 16] {
        use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
        let ecb = EncryptingKey::ecb(UnboundCipherKey::new(&AES_256, key).unwrap()).unwrap();
        let mut block = counter.to_be_bytes();
        ecb.less_safe_encrypt(&mut block, EncryptionContext::None).unwrap();
        block
    }

    fn reference(key: &[u8; 32], offset: u64, bytes: &[u8]) -> Vec<u8> {
        let at = |i: usize| offset + i as u64;
        let pad = |at: u64| pad(key, u128::from(at / 16))[usize::try_from(at % 16).unwrap()];
        bytes.iter().enumerate().map(|(i, byte)| byte ^ pad(at(i))).collect()
    }

    /// NIST SP 800-38A, F.5.5 (CTR-AES256.Encrypt). Its counter begins beyond 2⁶⁴, so it is held against the pad, and
    /// the pad is what the cipher is held against below.
    #[test]
    fn what_is_encrypted_is_what_the_standard_says() {
        let key: [u8; 32] =
            hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4").try_into().unwrap();
        let counter = u128::from_str_radix("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", 16).unwrap();
        for (block, (plain, encrypted)) in [
            ("6bc1bee22e409f96e93d7e117393172a", "601ec313775789a5b7a7f504bbf3d228"),
            ("ae2d8a571e03ac9c9eb76fac45af8e51", "f443e3ca4d62b59aca84e990cacaf5c5"),
            ("30c81c46a35ce411e5fbc1191a0a52ef", "2b0930daa23de94ce87017ba2d84988d"),
            ("f69f2445df4f9b17ad2b417be66c3710", "dfc9c58db67aada613c2dd08457941a6"),
        ]
        .into_iter()
        .enumerate()
        {
            let pad = pad(&key, counter + block as u128);
            let got: Vec<u8> = hex(plain).iter().zip(pad).map(|(byte, pad)| byte ^ pad).collect();
            assert_eq!(got, hex(encrypted), "block {block}");
        }
    }

    proptest! {
        /// A range that begins or ends anywhere must read as the whole does.
        #[test]
        fn any_range_is_what_a_byte_by_byte_reference_makes_of_it(
            key: [u8; 32],
            offset in prop_oneof![0..100_u64, (1_u64 << 50) - 100..(1 << 50), (1_u64 << 36) - 100..(1 << 36) + 100],
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let cipher = cipher(&key);
            let mut encrypted = bytes.clone();
            cipher.apply(offset, &mut encrypted);
            prop_assert_eq!(&encrypted, &reference(&key, offset, &bytes));
            cipher.apply(offset, &mut encrypted);
            prop_assert_eq!(encrypted, bytes);
        }
    }

    /// Cores run different code for long and for short pieces.
    #[test]
    fn pieces_of_any_length_join_to_what_one_call_makes() {
        let cipher = cipher(&[9; 32]);
        let plain: Vec<u8> = (0..200_000_usize).map(|i| (i % 251) as u8).collect();
        let mut whole = plain.clone();
        cipher.apply(5, &mut whole);
        assert_eq!(whole[..1000], reference(&[9; 32], 5, &plain[..1000]));
        assert_eq!(whole[199_000..], reference(&[9; 32], 5 + 199_000, &plain[199_000..]));
        for piece in [1, 15, 16, 17, 63, 64, 4095, 65_536] {
            let mut pieces = plain.clone();
            let parts = pieces.chunks_mut(piece).enumerate();
            parts.for_each(|(i, part)| cipher.apply(5 + (i * piece) as u64, part));
            assert!(pieces == whole, "{piece}");
        }
    }

    /// The library counts in 32 bits, and a source of more than 64 GiB goes beyond.
    #[test]
    fn a_long_piece_counts_on_where_32_bits_end() {
        let offset = (1_u64 << 36) - 100_000;
        let mut piece = vec![0; 200_000];
        cipher(&[9; 32]).apply(offset, &mut piece);
        let seam = 99_000..101_000;
        assert_eq!(piece[seam.clone()], reference(&[9; 32], offset + 99_000, &vec![0; seam.len()]));
    }

    /// Where a key ends is no place that blocks of the cipher or of the backup know of.
    #[test]
    fn each_epoch_has_its_own_key_in_every_data_block() {
        let keys = [[1; 32], [2; 32], [3; 32]];
        let cipher = Cipher::new([(0, &keys[0]), (40, &keys[1]), (107, &keys[2])], 200);
        let plain: Vec<u8> = (0..650_usize).map(|i| (i % 251) as u8).collect();
        let key = |at: usize| keys[usize::from(at % 200 >= 40) + usize::from(at % 200 >= 107)];
        let expected: Vec<u8> =
            plain.iter().enumerate().map(|(at, byte)| reference(&key(at), at as u64, &[*byte])[0]).collect();
        for piece in [1, 7, 16, 64, 199, 200, 650] {
            let mut pieces = plain.clone();
            let parts = pieces.chunks_mut(piece).enumerate();
            parts.for_each(|(i, part)| cipher.apply((i * piece) as u64, part));
            assert!(pieces == expected, "{piece}");
        }
    }

    #[test]
    fn a_cipher_shows_nothing_of_its_key() {
        assert_eq!(format!("{:?}", cipher(&[0xAB; 32])), "Cipher(..)");
    }
}
