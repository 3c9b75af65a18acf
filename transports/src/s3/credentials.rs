//! Keys in a file, as the tools of AWS write it. An environment is shown by more than one would think: every child
//! inherits it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The keys of one profile.
pub(super) struct Credentials {
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
    pub(super) token: Option<Zeroizing<String>>,
}

impl Credentials {
    /// Those of a profile, in a file that only its owner may read.
    pub(super) fn read(path: &Path, profile: &str) -> Result<Self, CredentialsError> {
        let failed = |source| CredentialsError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        // A pipe or descriptor has no others.
        if meta.is_file() && meta.mode() & 0o077 != 0 {
            return Err(CredentialsError::Exposed { path: path.to_owned(), mode: meta.mode() & 0o777 });
        }
        // All the room at once: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
        file.take(FILE_BYTES_MAX as u64).read_to_string(&mut text).map_err(failed)?;
        let none = || CredentialsError::NoKeys { path: path.to_owned(), profile: profile.to_owned() };
        Self::parse(&text, profile).ok_or_else(none)
    }

    fn parse(text: &str, profile: &str) -> Option<Self> {
        let header = format!("[{profile}]");
        let lines = text.lines().map(str::trim).skip_while(|line| *line != header).skip(1);
        let section = || lines.clone().take_while(|line| !line.starts_with('['));
        let value = |name: &str| {
            let mut fields = section().filter_map(|line| line.split_once('='));
            fields.find(|(field, _)| field.trim() == name).map(|(_, value)| value.trim())
        };
        Some(Self {
            id: value("aws_access_key_id")?.to_owned(),
            secret: Zeroizing::new(value("aws_secret_access_key")?.to_owned()),
            token: value("aws_session_token").map(|token| Zeroizing::new(token.to_owned())),
        })
    }
}

/// Why a file has no keys for us. None of these repeats a line of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    #[error("cannot read the keys in {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{0} has mode {mode:03o}, so that others can use the keys in it: chmod 600 {0}", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} has no aws_access_key_id and aws_secret_access_key in [{profile}]", path.display())]
    NoKeys { path: PathBuf, profile: String },
}

/// No file of keys is longer; what is longer is cut off there.
const FILE_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::{Credentials, CredentialsError};

    const TEXT: &str = "# mine\n[other]\naws_access_key_id=AK1\naws_secret_access_key=S1\n\n[default]\n\
                        region = eu-1\r\naws_access_key_id = AK2\naws_secret_access_key = a+b/c=\n\
                        [half]\naws_access_key_id = AK3\n[session]\naws_secret_access_key = S4\n\
                        aws_session_token = T4==\naws_access_key_id = AK4\n";

    #[test]
    fn the_keys_of_one_profile_are_not_mixed_with_anothers() {
        let keys = |profile: &str| {
            let keys = Credentials::parse(TEXT, profile)?;
            let token = keys.token.as_deref().cloned();
            Some((keys.id.clone(), keys.secret.to_string(), token))
        };
        let of = |id: &str, secret: &str, token: Option<&str>| {
            Some((id.to_owned(), secret.to_owned(), token.map(str::to_owned)))
        };
        assert_eq!(keys("default"), of("AK2", "a+b/c=", None));
        assert_eq!(keys("other"), of("AK1", "S1", None));
        assert_eq!(keys("session"), of("AK4", "S4", Some("T4==")));
        assert_eq!([keys("half"), keys("nobody"), keys("")], [None, None, None]);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_and_nothing_of_it_is_repeated() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("credentials");
        let read = |profile: &str| Credentials::read(&path, profile).err().map(|error| error.to_string());
        assert!(read("default").unwrap().contains("cannot read"));
        fs::write(&path, TEXT).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let exposed = Credentials::read(&path, "default").err();
            assert!(matches!(exposed, Some(CredentialsError::Exposed { mode: found, .. }) if found == mode));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read("default"), None);
        let error = read("half").unwrap();
        assert!(error.contains("[half]") && !error.contains("AK"), "{error}");
    }
}
