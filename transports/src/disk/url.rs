//! Paths as `file:` URLs, and back. A path is any bytes, so both ways go through percent encoding.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::{Result, TransportError};

pub(super) fn from_path(path: &Path) -> String {
    format!("file://{}", percent_encode(path.as_os_str().as_bytes(), ESCAPED))
}

pub(super) fn to_path(url: &str) -> Result<PathBuf> {
    let bad = |reason| TransportError::BadUrl { url: url.to_owned(), reason };
    let rest = match url.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => rest,
        _ => return Err(bad("it does not start with file:")),
    };
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest),
    };
    if !path.starts_with('/') {
        return Err(bad("a file: URL holds an absolute path of this machine, as in file:///mnt/backup"));
    }
    if path.contains(['?', '#']) {
        return Err(bad("? and # are written %3F and %23"));
    }
    let is_escape =
        |after: &str| after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !path.split('%').skip(1).all(is_escape) {
        return Err(bad("% is followed by two hexadecimal digits, and written %25"));
    }
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    if bytes.contains(&0) {
        return Err(bad("a path has no NUL"));
    }
    Ok(OsString::from_vec(bytes).into())
}

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_found_again_whatever_bytes_its_path_has() {
        let paths: [&[u8]; 5] = [b"/mnt/a", b"/", "/a b/\u{fc}%41?#".as_bytes(), b"/\xff\x01\n", b"/x:y@z"];
        for path in paths {
            let path = Path::new(std::ffi::OsStr::from_bytes(path));
            let url = from_path(path);
            assert!(url.bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
            assert_eq!(to_path(&url).unwrap(), path);
        }
    }

    #[test]
    fn every_spelling_of_a_file_url_names_the_same_path() {
        for url in ["file:///mnt/a%20b", "file:/mnt/a b", "file://localhost/mnt/%61%20b", "FILE:///mnt/a b"] {
            assert_eq!(to_path(url).unwrap(), Path::new("/mnt/a b"), "{url}");
        }
    }

    #[test]
    fn a_url_that_names_no_local_path_is_refused() {
        let bad = [
            "file:",
            "file://",
            "file:a",
            "file://host/a",
            "file://localhostx/a",
            "file:///a?b",
            "file:///a#b",
        ];
        let escapes =
            ["file:///a%", "file:///a%4", "file:///a%zz", "file:///%é", "file:///a%00b", "http:///a"];
        for url in bad.into_iter().chain(escapes) {
            assert!(matches!(to_path(url), Err(TransportError::BadUrl { .. })), "{url}");
        }
    }
}
