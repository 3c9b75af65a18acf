//! What can go wrong with a store, typed, so that callers decide by what happened and never by a message.

use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;

use rustix::io::Errno;

use crate::{NameError, ObjectName};

/// A result of this crate.
pub type Result<T, E = TransportError> = std::result::Result<T, E>;

/// The store, or the object in a store, that an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// [`url`](crate::Transport::url) of the store.
    pub store: Arc<str>,
    /// The object; `None` when the error is about the store itself.
    pub name: Option<ObjectName>,
}

impl Target {
    /// The store itself.
    pub fn store(store: impl Into<Arc<str>>) -> Self {
        Self { store: store.into(), name: None }
    }

    /// One object of the store.
    pub fn object(store: impl Into<Arc<str>>, name: &ObjectName) -> Self {
        Self { store: store.into(), name: Some(name.clone()) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "object {name} in {}", self.store),
            None => write!(f, "store {}", self.store),
        }
    }
}

/// Why a transport did not do what it was asked.
///
/// `at` names the store, and the object where there is one. The cause is the
/// [`source`](std::error::Error::source) and is not repeated in the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// There is no such object, or, when `at` has no name, no such store.
    #[error("{at} does not exist")]
    Missing {
        /// What is missing.
        at: Target,
    },
    /// An object of this name is there already. This says nothing about its bytes, nor that they are durable.
    #[error("{at} exists already and is never overwritten: delete it first, or use another name")]
    Exists {
        /// The object.
        at: Target,
    },
    /// What is to be written is being written, perhaps by a program whose end the store has not noticed yet.
    #[error("{at} is being written by another program: try again when that has ended")]
    Busy {
        /// The object.
        at: Target,
    },
    /// There is no room for the object: a full disk, a quota, a limit of one file.
    #[error("there is no room for {at}: free some there, or add another store")]
    Full {
        /// What had no room.
        at: Target,
        /// The answer of the store.
        source: io::Error,
    },
    /// Something else is where the object should be: a directory, a symbolic link, bytes known to be wrong.
    #[error("{at} is not what tanner stores there")]
    Corrupt {
        /// What is corrupt.
        at: Target,
        /// What was found.
        source: io::Error,
    },
    /// The object ended before the bytes it was known to have.
    #[error("{at} was cut short: wanted {wanted} bytes, got {got}")]
    Truncated {
        /// The object.
        at: Target,
        /// Bytes of the range.
        wanted: u64,
        /// Bytes of the range that were there.
        got: u64,
    },
    /// The bytes written are not as many as the put declared.
    #[error("{at} was to have {declared} bytes and {written} were written")]
    WrongLength {
        /// The object.
        at: Target,
        /// Bytes declared when the put began.
        declared: u64,
        /// Bytes written, at least.
        written: u64,
    },
    /// A range that does not lie in the object, or is inverted.
    #[error("bytes {}..{} are not within {at}, which has {length} bytes", .range.start, .range.end)]
    OutOfRange {
        /// The object.
        at: Target,
        /// The range asked for.
        range: Range<u64>,
        /// Bytes of the object.
        length: u64,
    },
    /// A string which is not the name of an object, or not a prefix of one.
    #[error("not the name of an object")]
    BadName(#[from] NameError),
    /// The store cannot be reached now.
    #[error("{at} cannot be reached: check that it is mounted, running and connected")]
    Unreachable {
        /// What was asked for.
        at: Target,
        /// The cause.
        source: io::Error,
    },
    /// The store said no, and will say it again.
    #[error("{at} was refused: check permissions and that the store is not read-only")]
    Refused {
        /// What was asked for.
        at: Target,
        /// The cause.
        source: io::Error,
    },
    /// The store did not answer in time.
    #[error("{at} did not answer in time")]
    Slow {
        /// What was asked for.
        at: Target,
        /// The cause.
        source: io::Error,
    },
    /// Anything else that the system reports.
    #[error("input or output failed at {at}")]
    Other {
        /// What was asked for.
        at: Target,
        /// The cause.
        source: io::Error,
    },
    /// A URL that its opener cannot read.
    #[error("{url:?} does not open a store: {reason}")]
    BadUrl {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A URL whose scheme nobody registered.
    #[error("no transport is known for {scheme:?}: use one of {known}, or ./{scheme}:... for a path")]
    UnknownScheme {
        /// What stands before the first colon. The rest is left out, as it may hold a secret.
        scheme: String,
        /// The schemes that are known.
        known: String,
    },
}

impl TransportError {
    /// The one conversion of an error of the system, used where a transport meets it.
    pub fn from_io(at: Target, source: io::Error) -> Self {
        // Has no stable `ErrorKind`.
        if Errno::from_io_error(&source) == Some(Errno::LOOP) {
            return Self::Corrupt { at, source };
        }
        match source.kind() {
            ErrorKind::NotFound => Self::Missing { at },
            ErrorKind::AlreadyExists => Self::Exists { at },
            ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::FileTooLarge
            | ErrorKind::OutOfMemory => Self::Full { at, source },
            ErrorKind::InvalidData | ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
                Self::Corrupt { at, source }
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::Refused { at, source },
            ErrorKind::TimedOut => Self::Slow { at, source },
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::BrokenPipe
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::StaleNetworkFileHandle => Self::Unreachable { at, source },
            _ => Self::Other { at, source },
        }
    }

    /// Whether the same call may succeed later with nothing else changed. A put is retried from its start.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Unreachable { .. } | Self::Slow { .. } => true,
            Self::Other { source, .. } => {
                matches!(
                    source.kind(),
                    ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::ResourceBusy
                )
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Target {
        Target::object("file:///mnt/a", &ObjectName::new("id/7").unwrap())
    }

    #[test]
    fn an_error_of_the_system_becomes_what_it_means_for_a_store() {
        use Errno as E;
        let variant = |errno: Errno| match TransportError::from_io(at(), errno.into()) {
            TransportError::Missing { .. } => "missing",
            TransportError::Exists { .. } => "exists",
            TransportError::Full { .. } => "full",
            TransportError::Corrupt { .. } => "corrupt",
            TransportError::Refused { .. } => "refused",
            TransportError::Slow { .. } => "slow",
            TransportError::Unreachable { .. } => "unreachable",
            _ => "other",
        };
        let rows: [(&str, &[Errno]); 8] = [
            ("missing", &[E::NOENT]),
            ("exists", &[E::EXIST]),
            ("full", &[E::NOSPC, E::DQUOT, E::FBIG, E::NOMEM]),
            ("corrupt", &[E::LOOP, E::ISDIR, E::NOTDIR]),
            ("refused", &[E::ACCESS, E::PERM, E::ROFS]),
            ("slow", &[E::TIMEDOUT]),
            ("unreachable", &[E::CONNREFUSED, E::CONNRESET, E::HOSTUNREACH, E::STALE, E::PIPE]),
            ("other", &[E::IO, E::INVAL, E::MFILE]),
        ];
        for (wanted, errnos) in rows {
            for &errno in errnos {
                assert_eq!(variant(errno), wanted, "{errno:?}");
            }
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let retryable = |errno: Errno| TransportError::from_io(at(), errno.into()).is_retryable();
        assert!([Errno::TIMEDOUT, Errno::CONNRESET, Errno::BUSY, Errno::AGAIN].into_iter().all(retryable));
        // A full disk or a failed fsync is never "fixed" by asking again.
        assert!(
            ![Errno::NOSPC, Errno::IO, Errno::ACCESS, Errno::NOENT, Errno::EXIST].into_iter().any(retryable)
        );
        assert!(!TransportError::Truncated { at: at(), wanted: 2, got: 1 }.is_retryable());
    }

    #[test]
    fn a_message_is_one_line_that_names_the_object_and_its_store() {
        let range = Range { start: 5, end: 9 };
        let errors = [
            TransportError::Missing { at: at() },
            TransportError::from_io(at(), Errno::NOSPC.into()),
            TransportError::Truncated { at: at(), wanted: 10, got: 2 },
            TransportError::WrongLength { at: at(), declared: 10, written: 2 },
            TransportError::OutOfRange { at: at(), range, length: 8 },
        ];
        for error in errors {
            let message = error.to_string();
            assert!(message.contains("object id/7 in file:///mnt/a") && !message.contains('\n'), "{message}");
        }
        assert_eq!(Target::store("file:///mnt/a").to_string(), "store file:///mnt/a");
    }
}
