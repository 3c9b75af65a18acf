//! The right to delete, apart from the right to put: a secret of its own, which no machine that makes backups need hold.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

/// 32 random bytes that allow their holder, who must be a known client all the same, to delete. Never shown, and wiped
/// when it is dropped.
#[derive(Clone)]
pub struct DeleteToken(Zeroizing<[u8; Self::BYTES]>);

impl DeleteToken {
    /// Bytes of a token.
    pub const BYTES: usize = 32;

    /// A new one.
    ///
    /// # Panics
    /// When the system has no random numbers.
    pub fn generate() -> Self {
        let mut token = Zeroizing::new([0; Self::BYTES]);
        aws_lc_rs::rand::fill(&mut *token).expect("the system has random numbers");
        Self(token)
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// What a server knows it by.
    pub fn hash(&self) -> TokenHash {
        TokenHash(blake3::derive_key(HASH_CONTEXT, &*self.0))
    }

    /// The token that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When there is none, others may read it, or it is something else.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let io = |source| TokenError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TokenError::NoToken { path: path.to_owned() },
            _ => io(error),
        })?;
        let meta = file.metadata().map_err(io)?;
        if let Some(mode) = crate::exposed_mode(path, &meta) {
            return Err(TokenError::Exposed { path: path.to_owned(), mode });
        }
        // Its capacity from the start: growing would leave a copy behind.
        let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX));
        file.take(FILE_BYTES_MAX as u64).read_to_end(&mut text).map_err(io)?;
        let text = std::str::from_utf8(&text).ok().map(str::trim);
        text.and_then(Self::parse).ok_or_else(|| TokenError::Broken { path: path.to_owned() })
    }

    /// Writes a new file that only its owner can read.
    ///
    /// # Errors
    /// When there is one already, or it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TokenError> {
        let io = |source| TokenError::Io { path: path.to_owned(), source };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        let written = file.write_all(self.text().as_bytes()).and_then(|()| file.sync_all());
        if written.is_err() {
            let _ = std::fs::remove_file(path);
        }
        written.map_err(io)
    }

    fn text(&self) -> Zeroizing<String> {
        let hrp = Hrp::parse(HRP).expect("lower case");
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
        bech32::encode_to_fmt::<Bech32m, _>(&mut *text, hrp, &*self.0).expect("it is short");
        text.push('\n');
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let checked = CheckedHrpstring::new::<Bech32m>(text).ok()?;
        let mut token = Zeroizing::new([0; Self::BYTES]);
        let mut bytes = checked.byte_iter();
        token.iter_mut().try_for_each(|byte| bytes.next().map(|next| *byte = next))?;
        (checked.hrp().as_str() == HRP && bytes.next().is_none()).then_some(Self(token))
    }
}

impl PartialEq for DeleteToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for DeleteToken {}

impl fmt::Debug for DeleteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeleteToken(…)")
    }
}

/// What a server stores of a [`DeleteToken`], from which nobody gets at the token: written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Whether this is the hash of one of `known`. All bytes of all of them are compared, whatever comes out.
    pub(crate) fn is_one_of(&self, known: &[Self]) -> bool {
        known.iter().fold(Choice::from(0), |found, one| found | one.0.ct_eq(&self.0)).into()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        blake3::Hash::from_bytes(self.0).to_hex().fmt(f)
    }
}

impl FromStr for TokenHash {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(|_| TokenError::NotAHash)
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Nobody made one there.
    #[error("there is no delete token at {}: make one with `tanner key token -o FILE`", path.display())]
    NoToken {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The token is not its owner's alone.
    #[error("{} has mode {mode:03o}, so that others can use the delete token: chmod 600 it, or make a new one", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds no token.
    #[error("{} does not hold a delete token, as `tanner key token` makes it", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot read or write the delete token at {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Text is no hash of a token.
    #[error("the hash of a delete token is 64 hexadecimal digits, as `tanner key token` prints it")]
    NotAHash,
}

/// Bytes of a frame with a secret in it, wiped when the last who reads them is done.
pub(crate) struct Wiped<B: AsMut<[u8]>>(pub(crate) B);

impl<B: AsMut<[u8]> + AsRef<[u8]>> AsRef<[u8]> for Wiped<B> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl<B: AsMut<[u8]>> Drop for Wiped<B> {
    fn drop(&mut self) {
        self.0.as_mut().zeroize();
    }
}

/// So that the hash of a token is that of nothing else.
const HASH_CONTEXT: &str = "tanner 2026-11 delete token, as servers store it";
/// What the text of a token begins with.
const HRP: &str = "tanner-token";
/// Bytes that are read of a file which should hold one token, of 72 and the end of the line.
const FILE_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_token_outlives_the_process_and_is_its_owners_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        assert!(matches!(DeleteToken::load(&path), Err(TokenError::NoToken { .. })));
        let token = DeleteToken::generate();
        token.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&path).unwrap().starts_with("tanner-token1"));
        assert_eq!(DeleteToken::load(&path).unwrap(), token);
        // Never over another: some server may know no other.
        assert!(matches!(DeleteToken::generate().save(&path), Err(TokenError::Io { .. })));
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = DeleteToken::load(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:o}")) && error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_damaged_token_or_something_else_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        let token = DeleteToken::generate();
        let good = token.text().trim().to_owned();
        let end = if good.ends_with('q') { "p" } else { "q" };
        let other = bech32::encode::<Bech32m>(Hrp::parse("age-secret-key-").unwrap(), &[7; 32]).unwrap();
        let long = bech32::encode::<Bech32m>(Hrp::parse(HRP).unwrap(), &[7; 33]).unwrap();
        let short = bech32::encode::<Bech32m>(Hrp::parse(HRP).unwrap(), &[7; 31]).unwrap();
        let changed = format!("{}{end}", &good[..good.len() - 1]);
        let hex = token.hash().to_string();
        for text in ["", "nonsense", &good[1..], &changed, &other, &long, &short, &hex, "\u{1}\u{fffd}"] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let error = DeleteToken::load(&path).unwrap_err();
            assert!(matches!(error, TokenError::Broken { .. }), "{text}");
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn no_byte_of_a_hash_is_left_out_of_the_comparison_wherever_the_hash_stands() {
        let hash = DeleteToken::generate().hash();
        let others: Vec<_> = (0..3).map(|_| DeleteToken::generate().hash()).collect();
        assert!(!hash.is_one_of(&others) && !hash.is_one_of(&[]));
        for place in 0..=others.len() {
            let mut known = others.clone();
            known.insert(place, hash);
            assert!(hash.is_one_of(&known));
            for bit in 0..256 {
                let mut near = hash;
                near.0[bit / 8] ^= 1 << (bit % 8);
                assert!(!near.is_one_of(&known), "bit {bit}");
            }
        }
    }

    #[test]
    fn nothing_of_a_frame_with_a_token_stays_in_memory() {
        let mut frame = *b"id/7 and a token";
        assert_eq!(Wiped(&mut frame[..]).0, b"id/7 and a token");
        assert_eq!(frame, [0; 16]);
    }

    #[test]
    fn a_token_is_told_from_any_other_and_never_shown() {
        let (one, other) = (DeleteToken::generate(), DeleteToken::generate());
        assert!(one == one.clone() && one != other);
        assert_eq!(format!("{one:?}"), "DeleteToken(…)");
        let again: TokenHash = one.hash().to_string().parse().unwrap();
        assert!(again.is_one_of(&[one.hash()]));
        for garbage in ["", "short", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), one.text().trim()] {
            assert!(matches!(garbage.parse::<TokenHash>(), Err(TokenError::NotAHash)), "{garbage}");
        }
    }
}
