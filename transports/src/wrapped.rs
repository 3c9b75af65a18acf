//! `SCHEME:KEY=VALUE,KEY=VALUE+URL`: how a URL says that one transport is around another.

use std::fmt::Display;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::{Result, TransportError};

/// A URL of a wrapper, taken apart.
#[derive(Debug, PartialEq)]
pub(crate) struct Wrapped<'a> {
    /// All before the `+`: what may be shown, as only the inner URL can hold a secret.
    outer: &'a str,
    /// Keys and values as written, but for `%20`, which is a space.
    pub(crate) options: Vec<(String, String)>,
    /// What the wrapper is around.
    pub(crate) inner: &'a str,
}

impl<'a> Wrapped<'a> {
    /// Takes `url` apart at its first `+`, which no option holds. What has no `=` of its own belongs to the option
    /// before: a timetable has commas.
    pub(crate) fn parse(url: &'a str) -> Result<Self> {
        let (outer, inner) = url.split_once('+').unwrap_or((url, ""));
        let mut wrapped = Self { outer, options: Vec::new(), inner };
        if inner.is_empty() {
            return Err(wrapped.bad("a wrapper ends with + and the URL it is around"));
        }
        let text = outer.split_once(':').map_or("", |(_, options)| options);
        let text = percent_decode_str(text).decode_utf8_lossy();
        for word in text.split(',').filter(|_| !text.is_empty()) {
            match (word.split_once('='), wrapped.options.last_mut()) {
                (Some((key, value)), _) => wrapped.options.push((key.to_owned(), value.to_owned())),
                (None, Some((_, value))) => *value = format!("{value},{word}"),
                (None, None) => return Err(wrapped.bad("options are KEY=VALUE with commas between them")),
            }
        }
        Ok(wrapped)
    }

    /// A value, or what is wrong with it.
    pub(crate) fn value<T: FromStr>(&self, value: &str, reason: &'static str) -> Result<T> {
        value.parse().map_err(|_| self.bad(reason))
    }

    pub(crate) fn bad(&self, reason: &'static str) -> TransportError {
        TransportError::BadUrl { url: self.outer.to_owned(), reason }
    }
}

/// The URL of a wrapper with these options around what `inner` is the URL of.
pub(crate) fn url_of(scheme: &str, options: &[(&str, &dyn Display)], inner: &str) -> String {
    let options: Vec<_> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{scheme}:{}+{inner}", options.join(",").replace(' ', "%20"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_as_it_was_put_together() {
        let url =
            url_of("limit", &[("rate", &"08:00,5M 19:00,off"), ("requests", &4)], "file:///mnt/a+b,c=d");
        assert_eq!(url, "limit:rate=08:00,5M%2019:00,off,requests=4+file:///mnt/a+b,c=d");
        let wrapped = Wrapped::parse(&url).unwrap();
        let option = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        assert_eq!(wrapped.options, [("rate", "08:00,5M 19:00,off"), ("requests", "4")].map(option));
        assert_eq!(wrapped.inner, "file:///mnt/a+b,c=d");
        assert_eq!(Wrapped::parse("limit:+/mnt/a").unwrap().options, []);
    }

    #[test]
    fn a_url_around_nothing_is_refused_without_a_word_of_what_may_be_secret() {
        for url in ["limit:", "limit:rate=5M", "limit:rate=5M+", "limit:5M+memory:"] {
            assert!(matches!(Wrapped::parse(url), Err(TransportError::BadUrl { .. })), "{url}");
        }
        let error = Wrapped::parse("limit:5M+s3://user:secret@host").unwrap_err().to_string();
        assert!(error.contains("limit:5M") && !error.contains("secret"), "{error}");
    }
}
