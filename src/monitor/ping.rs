//! Pings for services that raise the alarm when one is missing: URL/start, URL, and URL/fail.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Method, Url};
use tokio::time::{sleep, timeout};

/// Where a run is told of. Whoever knows such a URL can ping in its place: it is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PingUrl(Url);

impl PingUrl {
    pub(super) fn start(&self) -> impl Future<Output = Result<(), String>> + use<> {
        ping(Method::GET, self.below("start"), String::new())
    }

    /// What is not wholly done is a failure: somebody has to look.
    pub(super) async fn end(&self, exit_code: u8, error: Option<&str>) -> Result<(), String> {
        if exit_code == 0 {
            return ping(Method::GET, self.0.clone(), String::new()).await;
        }
        let line = format!("exit code {exit_code}: {}", error.unwrap_or("see what the run said"));
        let line = line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE_CHARS_MAX);
        ping(Method::POST, self.below("fail"), line.collect()).await
    }

    fn below(&self, part: &str) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().push(part);
        }
        url
    }
}

impl FromStr for PingUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).ok().filter(Url::has_host);
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        url.map(Self).ok_or_else(|| "wanted a URL such as https://HOST/PATH".into())
    }
}

impl fmt::Debug for PingUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PingUrl({})", self.0.host_str().unwrap_or_default())
    }
}

async fn ping(method: Method, url: Url, body: String) -> Result<(), String> {
    let host = url.host_str().unwrap_or_default().to_owned();
    let failed = |what: String| format!("no ping to {host}: {what}");
    let tries = async {
        let client = Client::builder().redirect(Policy::limited(REDIRECTS_MAX));
        let client = client.user_agent(USER_AGENT).build().map_err(|error| words(&error))?;
        let mut tried = 1;
        loop {
            let request = client.request(method.clone(), url.clone()).body(body.clone());
            let answer = request.send().await.and_then(reqwest::Response::error_for_status);
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if tried == TRIES_MAX => return Err(words(&error)),
                Err(_) => tried += 1,
            }
            sleep(PAUSE).await;
        }
    };
    let pinged = timeout(PING_TIME, tries).await;
    pinged.unwrap_or_else(|_| Err(format!("nothing within {} s", PING_TIME.as_secs()))).map_err(failed)
}

/// The last cause, which names no URL.
fn words(error: &reqwest::Error) -> String {
    if let Some(status) = error.status() {
        return format!("it answers {status}");
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// For one ping with all its tries.
const PING_TIME: Duration = Duration::from_secs(10);
const TRIES_MAX: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);
const REDIRECTS_MAX: usize = 3;
/// Of what is told of a failure.
const LINE_CHARS_MAX: usize = 500;
const USER_AGENT: &str = concat!("tanner/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_goes_below_the_path_and_keeps_the_query() {
        for (url, start) in [
            ("https://host/uuid", "https://host/uuid/start"),
            ("https://host/uuid/", "https://host/uuid/start"),
            ("http://host:8000", "http://host:8000/start"),
            ("https://host/a/b?create=1", "https://host/a/b/start?create=1"),
        ] {
            assert_eq!(url.parse::<PingUrl>().unwrap().below("start").as_str(), start);
        }
        for wrong in ["", "host/uuid", "ftp://host/uuid", "file:///etc/passwd", "https://", "mailto:a@b"] {
            assert!(wrong.parse::<PingUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_path_of_a_ping_which_is_its_password_is_in_no_log() {
        let url: PingUrl = "https://user:word@host/uuid?token=secret".parse().unwrap();
        assert_eq!(format!("{url:?}"), "PingUrl(host)");
    }
}
