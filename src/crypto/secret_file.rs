//! Files that only their owner may read.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::CryptoError;

/// What is in a secret file. One that others can read is refused; a pipe or descriptor has no others.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let failed = |source| CryptoError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if let Some(mode) = tanner_transports::exposed_mode(path, &meta) {
        return Err(CryptoError::Exposed { path: path.to_owned(), mode });
    }
    read_from(&mut file, path)
}

/// What a stream has to say, if it is no longer than a secret.
pub(super) fn read_from(from: &mut impl Read, path: &Path) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let failed = |source| CryptoError::Read { path: path.to_owned(), source };
    // All the room at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    from.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(CryptoError::TooLong { path: path.to_owned() });
    }
    Ok(bytes)
}

/// What a command prints: a program and its arguments.
pub(crate) fn of_command(argv: &[String]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let (program, arguments) = argv.split_first().map_or(("", argv), |(program, rest)| (program, rest));
    let path = Path::new(program);
    let failed = |source| CryptoError::Read { path: path.to_owned(), source };
    let command = &mut Command::new(program);
    let command = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let mut stdout = child.stdout.take().expect("it was piped");
    let printed = read_from(&mut stdout, path);
    drop(stdout);
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        return Err(CryptoError::SecretCommand { program: program.to_owned(), status: status.to_string() });
    }
    printed
}

/// Writes a new secret file. Never over another one: it may be the only key to something.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<(), CryptoError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => CryptoError::Exists { path: path.to_owned() },
        _ => CryptoError::Write { path: path.to_owned(), source },
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    });
    written.map_err(|source| {
        // Half a key is none.
        let _ = remove_file(path);
        failed(source)
    })
}

/// No file of keys is longer.
const SECRET_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions, metadata};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::{CryptoError, SECRET_BYTES_MAX, create, read};

    #[test]
    fn a_secret_is_its_owners_alone_and_never_replaced() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("secret");
        create(&path, b"abc").unwrap();
        assert_eq!(metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().as_slice(), b"abc");
        assert!(matches!(create(&path, b"other"), Err(CryptoError::Exists { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        for mode in [0o640, 0o604, 0o602, 0o660, 0o601] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:o}")) && error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn what_is_too_long_for_a_key_is_not_read_on() {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().join("at");
        create(&at, &vec![0; SECRET_BYTES_MAX]).unwrap();
        assert!(read(&at).is_ok());
        let over = place.path().join("over");
        create(&over, &vec![0; SECRET_BYTES_MAX + 1]).unwrap();
        assert!(matches!(read(&over), Err(CryptoError::TooLong { .. })));
        assert!(matches!(read("/dev/zero".as_ref()), Err(CryptoError::TooLong { .. })));
    }
}
