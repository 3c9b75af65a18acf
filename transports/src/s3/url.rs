//! `s3:` URLs: where a bucket is, and nothing that is secret.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;

use crate::{Result, TransportError};

/// What an `s3:` URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) bucket: String,
    /// What stands before the names of objects: empty, or it ends with a slash.
    pub(super) prefix: String,
    /// `http://HOST[:PORT]` or `https://…`. Without one it is that of the region at AWS.
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    /// Whether the bucket stands in the path, not before the host.
    pub(super) path_style: bool,
    pub(super) allow_http: bool,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let bad = |reason| TransportError::BadUrl { url: without_secrets(text), reason };
        let url =
            Url::parse(text).map_err(|_| bad("it is not s3://BUCKET/PREFIX?endpoint=URL&region=NAME"))?;
        if text.contains('@') || !url.username().is_empty() || url.password().is_some() {
            return Err(bad("keys do not stand in a URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
        }
        if url.port().is_some() || url.fragment().is_some() {
            return Err(bad("the bucket stands after s3://, the server in ?endpoint=http://HOST:PORT"));
        }
        let bucket = url.host_str().unwrap_or_default().to_owned();
        if !(3..=63).contains(&bucket.len()) || !is_plain(&bucket) {
            return Err(bad("a bucket has 3 to 63 letters, digits, dots, hyphens and underscores"));
        }
        let prefix = url.path().trim_matches('/');
        if prefix.len() > PREFIX_BYTES_MAX || !(prefix.is_empty() || prefix.split('/').all(is_plain)) {
            return Err(bad("a prefix is made of letters, digits, dots, hyphens, underscores and slashes"));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let (mut endpoint, mut region, mut path_style, mut allow_http) = (None, None, None, false);
        for (key, value) in url.query_pairs() {
            match (&*key, &*value) {
                ("endpoint", value) => endpoint = Some(origin(value).ok_or_else(|| bad(BAD_ENDPOINT))?),
                ("region", value) if is_plain(value) => region = Some(value.to_owned()),
                ("path_style", "true" | "false") => path_style = Some(value == "true"),
                ("allow_http", "true" | "false") => allow_http = value == "true",
                _ => return Err(bad("it takes endpoint, region, path_style=true and allow_http=true only")),
            }
        }
        if endpoint.as_deref().is_some_and(|endpoint| !allow_http && needs_tls(endpoint)) {
            return Err(bad(
                "whoever is on the way can change what http:// carries: use https://, or allow_http=true",
            ));
        }
        let path_style = path_style.unwrap_or(endpoint.is_some());
        Ok(Self { bucket, prefix, endpoint, region, path_style, allow_http })
    }

    /// One spelling for one place.
    pub(super) fn url(&self) -> String {
        let encode = |value: &str| utf8_percent_encode(value, ESCAPED).to_string();
        let mut query = Vec::new();
        query.extend(self.endpoint.as_deref().map(|value| format!("endpoint={}", encode(value))));
        query.extend(self.region.as_deref().map(|value| format!("region={}", encode(value))));
        if self.path_style != self.endpoint.is_some() {
            query.push(format!("path_style={}", self.path_style));
        }
        query.extend(self.allow_http.then(|| "allow_http=true".to_owned()));
        let start = format!("s3://{}/{}", self.bucket, self.prefix);
        let start = start.trim_end_matches('/');
        if query.is_empty() { start.to_owned() } else { format!("{start}?{}", query.join("&")) }
    }

    /// Whether the server may be spoken to without TLS.
    pub(super) fn is_http(&self) -> bool {
        self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }
}

/// As much of a URL as may be printed: neither what stands before an `@` nor what stands after a `?`.
fn without_secrets(text: &str) -> String {
    let start = text.split(['?', '#']).next().unwrap_or_default();
    match start.rsplit_once('@') {
        Some(_) => "s3://...@...".to_owned(),
        None => start.to_owned(),
    }
}

/// Whether this is a component that no server and no listing spells in another way.
fn is_plain(component: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !component.is_empty() && !component.starts_with('.') && component.bytes().all(plain)
}

/// `http://HOST[:PORT]` or `https://…` and nothing else, in one spelling.
fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let fits =
        matches!(url.scheme(), "http" | "https") && bare && url.fragment().is_none() && url.path() == "/";
    fits.then(|| url.origin().ascii_serialization())
}

/// Whether this is an endpoint without TLS that is not this machine.
fn needs_tls(endpoint: &str) -> bool {
    let Some(host) = Url::parse(endpoint).ok().and_then(|url| url.host_str().map(str::to_owned)) else {
        return true;
    };
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    endpoint.starts_with("http://") && !here
}

const BAD_ENDPOINT: &str = "an endpoint is http://HOST:PORT or https://HOST:PORT, with no path and no keys";

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b':')
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'[')
    .remove(b']');

/// Bytes of the longest prefix: with the longest name it stays below the 1024 bytes of a key.
const PREFIX_BYTES_MAX: usize = 512;
const _: () = assert!(PREFIX_BYTES_MAX + 1 + crate::NAME_BYTES_MAX <= 1024);

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(url: &str) -> String {
        Address::parse(url).unwrap().url()
    }

    #[test]
    fn one_bucket_has_one_spelling_which_opens_it_again() {
        let rows = [
            ("s3://backups", "s3://backups"),
            ("S3://backups/", "s3://backups"),
            ("s3://backups/a/b/?region=eu-1", "s3://backups/a/b?region=eu-1"),
            (
                "s3://backups?region=garage&endpoint=http%3A%2F%2F127.0.0.1%3A3900%2F",
                "s3://backups?endpoint=http://127.0.0.1:3900&region=garage",
            ),
            ("s3://abc?endpoint=http://[::1]:9000", "s3://abc?endpoint=http://[::1]:9000"),
            ("s3://abc?endpoint=https://host&path_style=true", "s3://abc?endpoint=https://host"),
            (
                "s3://abc?endpoint=https://host&path_style=false",
                "s3://abc?endpoint=https://host&path_style=false",
            ),
            (
                "s3://abc?endpoint=http://nas:9000&allow_http=true",
                "s3://abc?endpoint=http://nas:9000&allow_http=true",
            ),
        ];
        for (url, wanted) in rows {
            assert_eq!(spelled(url), wanted);
            assert_eq!(spelled(wanted), wanted);
        }
    }

    #[test]
    fn a_url_that_names_no_bucket_is_refused() {
        let bad = [
            "s3:",
            "s3://",
            "s3:bucket",
            "s3://ab",
            "s3://b%20cket",
            "s3://.bucket",
            "s3://bucket:80/x",
            "s3://bucket/a//b",
            "s3://bucket/%2e%2e/x%00",
            "s3://bucket/a b",
            "s3://bucket/.hidden",
            "s3://bucket#x",
            "s3://bucket?endpoint=",
            "s3://bucket?endpoint=ftp://x",
            "s3://bucket?endpoint=https://x/path",
            "s3://bucket?region=a%0ab",
            "s3://bucket?path_style=1",
            "s3://bucket?unknown=1",
        ];
        for url in bad {
            assert!(matches!(Address::parse(url), Err(TransportError::BadUrl { .. })), "{url}");
        }
    }

    #[test]
    fn keys_in_a_url_are_refused_and_not_printed() {
        let urls = [
            "s3://AKIA:hunter2@bucket/x",
            "s3://hunter2@bucket/x",
            "s3://bucket?endpoint=http://me:hunter2@localhost:1",
            "s3://bucket?secret_access_key=hunter2",
            "s3://bucket?hunter2",
            "s3://u:hunter2@/@/bucket",
        ];
        for url in urls {
            let message = Address::parse(url).unwrap_err().to_string();
            assert!(!message.contains("hunter2") && !message.contains("AKIA"), "{message}");
        }
    }

    #[test]
    fn what_crosses_a_network_unprotected_has_to_be_asked_for() {
        for host in ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.9.9.9"] {
            assert!(Address::parse(&format!("s3://bucket?endpoint=http://{host}")).is_ok(), "{host}");
        }
        for host in ["nas:9000", "10.0.0.1", "localhost.example.org", "127.0.0.1.example.org", "[fe80::1]"] {
            assert!(Address::parse(&format!("s3://bucket?endpoint=http://{host}")).is_err(), "{host}");
            assert!(Address::parse(&format!("s3://bucket?endpoint=https://{host}")).is_ok(), "{host}");
        }
    }
}
