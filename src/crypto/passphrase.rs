//! Passphrases. They come from files, descriptors and commands, never from arguments, which everybody can see.

use std::path::Path;
use std::process::{Command, Stdio};

use age::secrecy::{ExposeSecret, SecretString};

use super::{CryptoError, secret_file};

/// A passphrase. Wiped when dropped; never printed.
#[derive(Clone, Debug)]
pub struct Passphrase(SecretString);

impl Passphrase {
    /// The one line of a file, which only its owner may read; a descriptor is `/dev/fd/N`.
    ///
    /// # Errors
    /// If it cannot be read, others may read it, or it holds something else.
    pub fn read(path: &Path) -> Result<Self, CryptoError> {
        Self::from_line(path, &secret_file::read(path)?)
    }

    /// The one line that a command of the shell prints.
    ///
    /// # Errors
    /// If it fails or prints something else.
    pub fn from_command(command: &str) -> Result<Self, CryptoError> {
        let path = Path::new("the output of the command for the passphrase");
        let failed = |source| CryptoError::Read { path: path.to_owned(), source };
        let mut child =
            Command::new("sh").arg("-c").arg(command).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut stdout = child.stdout.take().expect("it was piped");
        let printed = secret_file::read_from(&mut stdout, path);
        drop(stdout);
        let status = child.wait().map_err(failed)?;
        if !status.success() {
            return Err(CryptoError::PassphraseCommand { status: status.to_string() });
        }
        Self::from_line(path, &printed?)
    }

    fn from_line(path: &Path, bytes: &[u8]) -> Result<Self, CryptoError> {
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).ok();
        let line =
            line.filter(|line| (1..=PASSPHRASE_BYTES_MAX).contains(&line.len()) && !line.contains('\n'));
        let line = line.ok_or_else(|| CryptoError::NoPassphrase { path: path.to_owned() })?;
        Ok(Self(SecretString::from(line)))
    }

    /// A copy for the library that derives a key of it, wiped like this one.
    pub(super) fn secret(&self) -> SecretString {
        SecretString::from(self.0.expose_secret())
    }
}

/// The most bytes of a passphrase.
pub(super) const PASSPHRASE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret;

    use super::{CryptoError, PASSPHRASE_BYTES_MAX, Passphrase};

    #[test]
    fn a_passphrase_is_one_line_without_its_end() {
        let read = |bytes: &[u8]| Passphrase::from_line("file".as_ref(), bytes);
        for bytes in [&b"two words"[..], b"two words\n", b"two words\r\n"] {
            assert_eq!(read(bytes).unwrap().0.expose_secret(), "two words");
        }
        assert_eq!(read(b" \n").unwrap().0.expose_secret(), " ");
        for wrong in [&b""[..], b"\n", b"a\nb", b"\xff", &[b'a'; PASSPHRASE_BYTES_MAX + 1]] {
            assert!(matches!(read(wrong), Err(CryptoError::NoPassphrase { .. })));
        }
        assert!(read(&[b'a'; PASSPHRASE_BYTES_MAX]).is_ok());
    }

    #[test]
    fn a_command_says_it_and_a_failing_one_does_not() {
        let said = Passphrase::from_command("printf 'two words\\n'").unwrap();
        assert_eq!(said.0.expose_secret(), "two words");
        let failed = Passphrase::from_command("echo secret; exit 3").unwrap_err();
        assert!(matches!(&failed, CryptoError::PassphraseCommand { .. }));
        assert!(failed.to_string().contains('3') && !failed.to_string().contains("secret"), "{failed}");
        assert!(matches!(Passphrase::from_command("true"), Err(CryptoError::NoPassphrase { .. })));
        assert!(matches!(
            Passphrase::from_command("yes"),
            Err(CryptoError::TooLong { .. } | CryptoError::PassphraseCommand { .. })
        ));
    }

    #[test]
    fn a_passphrase_is_never_shown() {
        let passphrase = Passphrase::from_line("file".as_ref(), b"hunter2").unwrap();
        assert!(!format!("{passphrase:?} {passphrase:#?}").contains("hunter2"));
    }
}
