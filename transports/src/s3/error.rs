//! The one conversion of what an object store reports. No text of the server but its error code, cut to a word,
//! reaches a message, and no key ever does.

use std::error::Error;
use std::io::{self, ErrorKind};

use object_store::client::{HttpError, HttpErrorKind};

use super::client::Failure;
use crate::{Target, TransportError};

/// What a failed call means for `at`.
pub(super) fn convert(at: Target, error: &object_store::Error) -> TransportError {
    if let Some(failure) = failure(error) {
        let said = |kind| io::Error::new(kind, failure.to_string());
        return match failure {
            Failure::Answered { status, code } => answered(at, *status, code, said),
            Failure::Late => TransportError::Slow { at, source: said(ErrorKind::TimedOut) },
            Failure::Endless | Failure::Foreign => {
                TransportError::Other { at, source: said(ErrorKind::InvalidData) }
            }
        };
    }
    let http = chain(error).find_map(|cause| cause.downcast_ref::<HttpError>());
    let source = |kind| io::Error::new(kind, one_line(&root(error).to_string()));
    match http.map(HttpError::kind) {
        Some(HttpErrorKind::Timeout) => TransportError::Slow { at, source: source(ErrorKind::TimedOut) },
        Some(HttpErrorKind::Connect | HttpErrorKind::Request | HttpErrorKind::Interrupted) => {
            TransportError::Unreachable { at, source: source(ErrorKind::NotConnected) }
        }
        // A body that broke off. The next one may come whole.
        Some(_) => TransportError::Unreachable { at, source: source(ErrorKind::ConnectionAborted) },
        None => TransportError::Other { at, source: source(ErrorKind::InvalidData) },
    }
}

/// What the guard of the connection saw, if the error came from there.
pub(super) fn failure(error: &object_store::Error) -> Option<&Failure> {
    chain(error).find_map(|cause| cause.downcast_ref::<Failure>())
}

fn answered(at: Target, status: u16, code: &str, said: impl Fn(ErrorKind) -> io::Error) -> TransportError {
    match (status, code) {
        (404, "NoSuchBucket") => TransportError::Missing { at: Target { name: None, ..at } },
        (404, _) => TransportError::Missing { at },
        (_, "EntityTooLarge" | "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded")
        | (413 | 507, _) => TransportError::Full { at, source: said(ErrorKind::StorageFull) },
        (401 | 403 | 501, _) | (_, "ExpiredToken" | "InvalidToken" | "AuthorizationHeaderMalformed") => {
            TransportError::Refused { at, source: said(ErrorKind::PermissionDenied) }
        }
        (408 | 429 | 504, _) | (_, "SlowDown" | "RequestTimeout") => {
            TransportError::Slow { at, source: said(ErrorKind::TimedOut) }
        }
        (409, _) => TransportError::Other { at, source: said(ErrorKind::ResourceBusy) },
        (500.., _) | (_, "InternalError") => {
            TransportError::Unreachable { at, source: said(ErrorKind::ConnectionAborted) }
        }
        _ => TransportError::Other { at, source: said(ErrorKind::Other) },
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    chain(error).last().unwrap_or(error)
}

/// What a server may have had a hand in, made fit for one line of a log.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect()
}

const MESSAGE_CHARS_MAX: usize = 160;
