//! `tcp://HOST:PORT#PIN` and back.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tokio::net::lookup_host;

use super::Pin;
use crate::{Result, TransportError};

/// Where a block server is, and the key that it has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) quic: bool,
    /// A host name or an address; IPv6 without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) pin: Option<Pin>,
}

impl Address {
    /// Reads a URL that has a pin.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let address = Self::parse_unpinned(url)?;
        match address.pin {
            Some(_) => Ok(address),
            None => {
                Err(bad(url, "it ends in #PIN, the pin of the server's key, which `tanner serve` prints"))
            }
        }
    }

    /// The addresses of the host. A name that nobody knows is a host that cannot be reached.
    pub(crate) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let unknown = |error: io::Error| io::Error::new(io::ErrorKind::HostUnreachable, error);
        Ok(lookup_host((self.host.as_str(), self.port)).await.map_err(unknown)?.collect())
    }

    /// Reads a URL that may have no pin.
    pub(crate) fn parse_unpinned(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad(url, "it is tcp://HOST:PORT#PIN"))?;
        let scheme = scheme.to_ascii_lowercase();
        if !SCHEMES.contains(&scheme.as_str()) {
            return Err(bad(url, "it starts with tcp:// or quic://"));
        }
        let (place, pin) = match rest.split_once('#') {
            None => (rest, None),
            Some((place, pin)) => {
                let pin = pin.parse().map_err(|_| bad(url, "a pin is 64 hexadecimal digits"))?;
                (place, Some(pin))
            }
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) =
            place.rsplit_once(':').ok_or_else(|| bad(url, "it names a port, as in host:7000"))?;
        let port = port.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| bad(url, "a port is a number from 1 to 65535"))?;
        let host = host_of(host).ok_or_else(|| bad(url, "a host is a name, an address, or [IPv6]"))?;
        Ok(Self { quic: scheme == "quic", host, port, pin })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.quic { "quic" } else { "tcp" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)?;
        self.pin.map_or(Ok(()), |pin| write!(f, "#{pin}"))
    }
}

fn host_of(host: &str) -> Option<String> {
    if let Some(v6) = host.strip_prefix('[') {
        let v6: std::net::Ipv6Addr = v6.strip_suffix(']')?.parse().ok()?;
        return Some(v6.to_string());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_host = (1..=253).contains(&host.len()) && host.bytes().all(allowed);
    is_host.then(|| host.to_ascii_lowercase())
}

fn bad(url: &str, reason: &'static str) -> TransportError {
    TransportError::BadUrl { url: url.to_owned(), reason }
}

/// What opens a block server.
pub(crate) const SCHEMES: [&str; 2] = ["tcp", "quic"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_server_is_one_store() {
        let pin = "0123456789abcdef".repeat(4);
        for (url, wanted) in [
            (format!("TCP://Host:7000/#{}", pin.to_uppercase()), format!("tcp://host:7000#{pin}")),
            (format!("quic://[::0001]:1#{pin}"), format!("quic://[::1]:1#{pin}")),
            (format!("tcp://10.0.0.1:65535#{pin}"), format!("tcp://10.0.0.1:65535#{pin}")),
        ] {
            let address = Address::parse(&url).unwrap();
            assert_eq!(address.to_string(), wanted);
            assert_eq!(Address::parse(&wanted).unwrap(), address);
        }
    }

    #[test]
    fn a_url_without_a_pin_or_of_another_kind_is_refused() {
        let pin = "a".repeat(64);
        let bad =
            ["tcp://h:1", "tcp://h:1#", "tcp://h:1#abc", "tcp:h:1", "tcp://h", "http://h:1", "tcp://:1"];
        let more =
            ["tcp://h:0#PIN", "tcp://h:65536#PIN", "tcp://a b:1#PIN", "tcp://u@h:1#PIN", "tcp://h/x:1#PIN"];
        for url in bad.iter().chain(&more) {
            let url = url.replace("PIN", &pin);
            assert!(matches!(Address::parse(&url), Err(TransportError::BadUrl { .. })), "{url}");
        }
    }
}
