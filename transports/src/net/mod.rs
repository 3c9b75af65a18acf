//! Stores behind a block server: `tcp://HOST:PORT#PIN` and `quic://HOST:PORT#PIN`.
//!
//! Both speak the one protocol of [`wire`](crate::wire) over TLS 1.3, and differ only in what a lane is. There are no
//! names to certify and no authorities: each side has a key of its own, and the other side knows its [`Pin`].

mod call;
mod identity;
mod lane;
mod lease;
mod put;
mod quic;
mod read;
mod remote;
mod tcp;
mod tls;
mod url;

pub use crate::token::{DeleteToken, TokenError, TokenHash};
pub use identity::{Identity, IdentityError, Pin};
pub use lease::Patience;
pub use remote::{Remote, shown_pin};

pub(crate) use lane::{Lane, Pace};
pub(crate) use tls::{peer_pin, pin_of_peer, server_config, speaks_alpn};

/// Registers `tcp` and `quic`. `identity` is asked when a URL is opened: it finds the node's key, or says why not.
/// `token_file` is asked when a server wants a token to delete: where the token for the store of this URL is, if anywhere.
pub fn register<F, T>(registry: &mut crate::Registry, identity: F, token_file: T)
where
    F: Fn() -> Result<std::sync::Arc<Identity>, IdentityError> + Clone + Send + Sync + 'static,
    T: Fn(&str) -> Option<std::path::PathBuf> + Clone + Send + Sync + 'static,
{
    for scheme in url::SCHEMES {
        let (identity, token_file) = (identity.clone(), token_file.clone());
        registry.register(scheme, move |url| {
            let address = url::Address::parse(url)?;
            let own = identity().map_err(|error| crate::TransportError::Other {
                at: crate::Target::store(address.to_string()),
                source: std::io::Error::other(error),
            })?;
            let remote = Remote::at(&address, &own, Patience::default())?;
            Ok(std::sync::Arc::new(remote.with_token_file(token_file.clone())))
        });
    }
}
