//! Looks for secrets in whatever was said or left, however they are spelled.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;

/// Knows secrets by their names.
pub(crate) struct Scanner {
    spellings: AhoCorasick,
    /// Whose the spellings are.
    names: Vec<String>,
}

impl Scanner {
    pub(crate) fn new(secrets: &BTreeMap<String, Vec<u8>>) -> Self {
        let of = |(name, secret): (&String, &Vec<u8>)| {
            // Half a key is worth a key: each part is looked for by itself.
            let parts = secret.chunks(PART_BYTES).filter(|part| part.len() == PART_BYTES).collect::<Vec<_>>();
            assert!(!parts.is_empty(), "{name} is too short to be told from chance");
            parts.into_iter().flat_map(spellings).map(|text| (name.clone(), text)).collect::<Vec<_>>()
        };
        let (names, texts): (Vec<_>, Vec<_>) = secrets.iter().flat_map(of).unzip();
        Self { spellings: AhoCorasick::new(texts).unwrap(), names }
    }

    /// The secrets that are in these bytes.
    pub(crate) fn find(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let found = self.spellings.find_overlapping_iter(bytes);
        found.map(|found| self.names[found.pattern().as_usize()].as_str()).collect()
    }

    /// The secrets that are in each file below a directory that has any, or in its name.
    pub(crate) fn find_below(&self, directory: &Path) -> BTreeMap<PathBuf, BTreeSet<&str>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let mut secrets = self.find(entry.file_name().as_encoded_bytes());
            if entry.file_type().unwrap().is_dir() {
                found.extend(self.find_below(&path));
            } else if entry.file_type().unwrap().is_file() {
                secrets.extend(self.find(&fs::read(&path).unwrap()));
            }
            if !secrets.is_empty() {
                found.insert(path, secrets);
            }
        }
        found
    }
}

/// Every way in which these bytes could be written, wherever in a longer text they begin.
fn spellings(bytes: &[u8]) -> BTreeSet<Vec<u8>> {
    let list = |between: &str| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(between).into_bytes();
    let mut all = BTreeSet::from([bytes.to_vec(), bytes.escape_ascii().collect(), list(", "), list(",")]);
    for alphabet in ALPHABETS {
        let bits = alphabet.len().ilog2() as usize;
        // After so many bytes before them, so many bits of theirs belong to a digit that is not all theirs.
        let skipped = (0..bits).map(|before| (bits - 8 * before % bits) % bits);
        all.extend(skipped.map(|skipped| digits(bytes, bits, skipped, alphabet)));
    }
    all
}

/// The whole digits of so many bits behind those that are skipped.
fn digits(bytes: &[u8], bits: usize, skipped: usize, alphabet: &[u8]) -> Vec<u8> {
    let all = (skipped..8 * bytes.len()).map(|at| bytes[at / 8] >> (7 - at % 8) & 1).collect::<Vec<_>>();
    let number = |bits: &[u8]| bits.iter().fold(0, |number, &bit| 2 * number + usize::from(bit));
    all.chunks_exact(bits).map(|bits| alphabet[number(bits)]).collect()
}

/// Hexadecimal, Base64 and Bech32, in all their alphabets.
const ALPHABETS: [&[u8]; 6] = [
    b"0123456789abcdef",
    b"0123456789ABCDEF",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    b"qpzry9x8gf2tvdw0s3jn54khce6mua7l",
    b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
];
/// Bytes that are looked for at a time: far too many to be there by chance.
const PART_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use bech32::{Bech32, Hrp};
    use pem::Pem;

    use super::{BTreeMap, Scanner};

    /// A scan that finds nothing is worth as much as what it would have found.
    #[test]
    fn every_secret_is_found_in_every_spelling_wherever_it_begins_and_even_half_of_it() {
        let secret: Vec<u8> = blake3::hash(b"a secret").as_bytes().to_vec();
        let other: Vec<u8> = blake3::hash(b"another").as_bytes().to_vec();
        let scanner =
            Scanner::new(&BTreeMap::from([("one".into(), secret.clone()), ("other".into(), other.clone())]));
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // Encoders that are not the scanner's own. No line of a PEM is longer than 48 bytes.
        let base64 = |bytes: &[u8]| pem::encode(&Pem::new("X", bytes));
        let bech32 = |bytes: &[u8]| bech32::encode::<Bech32>(Hrp::parse("x").unwrap(), bytes).unwrap();
        for (name, secret) in [("one", &secret), ("other", &other)] {
            for (part, before) in [(&secret[..], 0..12), (&secret[..16], 0..30), (&secret[16..], 0..30)] {
                for before in before {
                    let planted = [&vec![b'#'; before], part, b"##"].concat();
                    let url = base64(&planted).replace('+', "-").replace('/', "_");
                    for text in [
                        hex(&planted),
                        hex(&planted).to_uppercase(),
                        base64(&planted),
                        url,
                        bech32(&planted),
                        bech32(&planted).to_uppercase(),
                        format!("{planted:?}"),
                        format!("{:?}", bytes::Bytes::from(planted.clone())),
                        serde_json::to_string(&planted).unwrap(),
                    ] {
                        let said = format!("said {text} and went on");
                        assert_eq!(scanner.find(said.as_bytes()), [name].into(), "{said}");
                    }
                    assert_eq!(scanner.find(&planted), [name].into(), "{before}");
                }
            }
        }
        let mut noise = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        for noise in
            [noise.clone(), hex(&noise).into(), bech32(&noise[..500]).into(), format!("{noise:?}").into()]
        {
            assert!(scanner.find(&noise).is_empty());
        }
    }

    #[test]
    fn a_secret_in_a_file_or_in_its_name_is_found_below_a_directory() {
        let place = tempfile::tempdir().unwrap();
        let scanner = Scanner::new(&BTreeMap::from([("one".into(), b"sixteen bytes ok".to_vec())]));
        let deep = place.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), b"... sixteen bytes ok ...").unwrap();
        std::fs::write(deep.join("clean"), b"sixteen bytes, no").unwrap();
        std::fs::write(place.path().join("of sixteen bytes ok"), b"").unwrap();
        let found: Vec<_> = scanner.find_below(place.path()).into_keys().collect();
        assert_eq!(found, [deep.join("file"), place.path().join("of sixteen bytes ok")]);
    }
}
