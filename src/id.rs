//! Backup ids.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The id of a backup: 16 random bytes, written in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId([u8; 16]);

/// Text is not a backup id.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("`{text}` is no backup id: wanted 32 hexadecimal digits in lower case, as `tanner ls` prints them")]
pub struct IdError {
    /// The text given.
    pub text: String,
}

impl BackupId {
    /// The id with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A fresh id from the system's random numbers.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the system provides random numbers");
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackupId({self})")
    }
}

impl FromStr for BackupId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError { text: text.chars().take(80).collect() };
        let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(lower) {
            return Err(error());
        }
        u128::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| error())
    }
}

#[cfg(test)]
mod tests {
    use super::BackupId;

    #[test]
    fn ids_read_back_and_nothing_else_does() {
        let id = BackupId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "00",
            "../../../../../../etc/passwd/abc",
            "0123456789ABCDEF0123456789ABCDEF",
            "+1234567890123456789012345678901",
        ] {
            assert!(text.parse::<BackupId>().is_err(), "{text}");
        }
    }
}
