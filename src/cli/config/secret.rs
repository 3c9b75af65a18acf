//! Secrets: the file of settings says where they are, never what they are.

use std::fmt;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tanner_transports::S3Keys;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, read_secret, secret_of_command};

/// Where a secret is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Secret {
    /// In a credential that systemd passes to a unit: `LoadCredential=NAME:FILE`.
    Systemd(String),
    /// In a file that only its owner may read; `/dev/fd/N` is a descriptor.
    File(PathBuf),
    /// A command prints it.
    Command(Argv),
}

/// A command: a program and its arguments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub(in crate::cli) struct Argv(Vec<String>);

impl Argv {
    /// The program, and its arguments.
    pub(in crate::cli) fn words(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for Argv {
    type Error = &'static str;

    fn try_from(words: Vec<String>) -> Result<Self, Self::Error> {
        let is_command = words.first().is_some_and(|program| !program.is_empty());
        if is_command { Ok(Self(words)) } else { Err("a command begins with a program") }
    }
}

impl From<Argv> for Vec<String> {
    fn from(argv: Argv) -> Self {
        argv.0
    }
}

impl fmt::Display for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shlex::try_join(self.0.iter().map(String::as_str)).unwrap_or_default())
    }
}

impl Secret {
    /// The file that it is in, for what reads files; none if no file holds it.
    pub(in crate::cli) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Systemd(name) => {
                Some(credentials_directory().unwrap_or_else(|| "/run/credentials".into()).join(name))
            }
            Self::File(path) => Some(path.clone()),
            Self::Command(_) => None,
        }
    }

    /// Whether it can be had here and now: what systemd passes is there for its unit only.
    pub(in crate::cli) fn is_at_hand(&self) -> bool {
        !matches!(self, Self::Systemd(_)) || credentials_directory().is_some()
    }

    fn read(&self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        match self {
            Self::Systemd(name) if !self.is_at_hand() => {
                Err(CryptoError::NoCredential { name: name.clone() })
            }
            Self::Systemd(_) | Self::File(_) => read_secret(&self.file().unwrap_or_default()),
            Self::Command(argv) => secret_of_command(argv.words()),
        }
    }

    /// The keys of a bucket.
    pub(in crate::cli) fn s3_keys(&self) -> Result<S3Keys, CryptoError> {
        let text = self.read()?;
        let keys = std::str::from_utf8(&text).ok().and_then(s3_keys);
        keys.ok_or_else(|| CryptoError::NoBucketKeys { place: self.to_string() })
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systemd(name) => write!(f, "the credential {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Command(argv) => write!(f, "the output of `{argv}`"),
        }
    }
}

/// `aws_access_key_id = …` and `aws_secret_access_key = …`, in any case, as files and environments have them.
fn s3_keys(text: &str) -> Option<S3Keys> {
    let fields = || text.lines().filter_map(|line| line.split_once('='));
    let value = |name: &str| {
        let is_it = |field: &str| field.trim().trim_start_matches("export ").eq_ignore_ascii_case(name);
        fields().find(|(field, _)| is_it(field)).map(|(_, value)| value.trim().to_owned())
    };
    let (id, secret) = (value("aws_access_key_id")?, value("aws_secret_access_key")?);
    Some(match value("aws_session_token") {
        Some(token) => S3Keys::Session { id, secret, token },
        None => S3Keys::Key { id, secret },
    })
}

/// A secret for what reads a file of it.
pub(super) fn in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let secret = Secret::deserialize(deserializer)?;
    match secret.file() {
        Some(_) => Ok(Some(secret)),
        None => Err(D::Error::custom("this one is read from a file: wanted { file = … } or { systemd = … }")),
    }
}

/// Where systemd puts what it passes to a unit.
fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Refuses a secret that stands in the text itself: where, and where it belongs.
pub(super) fn refuse_written(text: &str) -> Result<(), (usize, String)> {
    // What is wrong otherwise is told by whoever reads the whole.
    DeTable::parse(text).map_or(Ok(()), |table| refuse_in(table.get_ref()))
}

fn refuse_in(table: &DeTable<'_>) -> Result<(), (usize, String)> {
    for (key, value) in table {
        let written = refuse_value(key.get_ref(), value.get_ref());
        written.map_err(|place| place.unwrap_or_else(|| (key.span().start, WAY_OUT.to_owned())))?;
    }
    Ok(())
}

/// Where within the value, or none if it is the value.
fn refuse_value(key: &str, value: &DeValue<'_>) -> Result<(), Option<(usize, String)>> {
    match value {
        DeValue::String(text) if SECRETS.contains(&key) || text.starts_with("AGE-SECRET-KEY-") => Err(None),
        DeValue::Array(values) => values.iter().try_for_each(|value| refuse_value("", value.get_ref())),
        DeValue::Table(table) => refuse_in(table).map_err(Some),
        _ => Ok(()),
    }
}

const WAY_OUT: &str = "a secret does not stand in this file: put it into a file of mode 600, and say where with \
                       { file = \"/…\" }, { systemd = \"NAME\" } or { command = [\"…\"] } behind credentials, passphrase, \
                       identity or delete_token";
/// What tools elsewhere call their secrets; a string behind one of these names is taken for one.
const SECRETS: [&str; 14] = [
    "access_key",
    "access_key_id",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "credentials",
    "delete_token",
    "passphrase",
    "password",
    "secret",
    "secret_access_key",
    "secret_key",
    "session_token",
    "token",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_bucket_are_found_in_files_and_environments_of_all_kinds() {
        for text in [
            "[default]\naws_access_key_id = AK\naws_secret_access_key = s+/=\n",
            "AWS_ACCESS_KEY_ID=AK\nAWS_SECRET_ACCESS_KEY=s+/=",
            "# mine\nexport AWS_ACCESS_KEY_ID=AK\r\nexport AWS_SECRET_ACCESS_KEY=s+/=\r\n",
        ] {
            assert!(
                matches!(s3_keys(text), Some(S3Keys::Key { id, secret }) if id == "AK" && secret == "s+/="),
                "{text}"
            );
        }
        let session = "aws_access_key_id=AK\naws_secret_access_key=s\naws_session_token=T==\n";
        assert!(matches!(s3_keys(session), Some(S3Keys::Session { token, .. }) if token == "T=="));
        for text in ["", "AK\ns+/=", "aws_access_key_id = AK"] {
            assert!(s3_keys(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_secret_in_the_text_is_refused_wherever_it_stands_and_not_repeated() {
        for text in [
            "[store.a]\nurl = \"s3://x\"\ncredentials = \"AK:hunter2\"",
            "[store.a]\nurl = \"s3://x\"\nsecret_access_key = \"hunter2\"",
            "[store.a]\nurl = \"s3://x\"\ncredentials = { aws_secret_access_key = \"hunter2\" }",
            "[defaults]\nx = 1\npassphrase = 'hunter2'",
            "[defaults]\nx = 1\nidentity = [\"AGE-SECRET-KEY-1HUNTER2hunter2\"]",
        ] {
            let (at, what) = refuse_written(text).unwrap_err();
            assert_eq!(text[..at].matches('\n').count(), 2, "{text}");
            assert!(what.contains("file of mode 600") && !what.contains("hunter2"), "{what}");
        }
        for text in ["[store.a]\ncredentials = { file = \"/k\" }", "token = 1", "not = toml = at all"] {
            assert_eq!(refuse_written(text), Ok(()), "{text}");
        }
    }
}
