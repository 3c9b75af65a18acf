//! TLS as it is used here: version 1.3 alone, both sides with a certificate, known by the pin of its key.
//!
//! The verifiers replace only the question whom to trust. That the peer has the private key is proved by the
//! signature of the handshake, and rustls checks that: a copied certificate is worth nothing.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};

use super::{Identity, Pin};

/// The pin that a server showed, whether it was the right one or not.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown(Arc<Mutex<Option<Pin>>>);

impl Shown {
    pub(super) fn pin(&self) -> Option<Pin> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, pin: Pin) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(pin);
    }
}

/// For a client that talks to nobody but the server with this pin; without a pin, to nobody at all.
pub(super) fn client_config(identity: &Identity, wanted: Option<Pin>, shown: Shown) -> Arc<ClientConfig> {
    let verifier = ServerPin { wanted, shown, provider: provider() };
    let (chain, key) = identity.chain_and_key();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .expect("an identity holds a key and its certificate");
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Arc::new(config)
}

/// For a server that talks to nobody but the clients whose pin is `known`.
pub(crate) fn server_config(
    identity: &Identity,
    known: impl Fn(Pin) -> bool + Send + Sync + 'static,
) -> Arc<ServerConfig> {
    let verifier = ClientPin { known: Box::new(known), provider: provider() };
    let (chain, key) = identity.chain_and_key();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider speaks TLS 1.3")
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)
        .expect("an identity holds a key and its certificate");
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// Whether both sides agreed on the protocol: TLS itself lets a peer name none.
pub(crate) fn speaks_alpn(agreed: Option<&[u8]>) -> bool {
    agreed == Some(ALPN)
}

/// The pin of a peer whose handshake is done.
pub(crate) fn peer_pin(certificates: Option<&[CertificateDer<'_>]>) -> Option<Pin> {
    Pin::of(certificates?.first()?).ok()
}

/// As [`peer_pin`], from what quinn keeps.
pub(crate) fn pin_of_peer(connection: &quinn::Connection) -> Option<Pin> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    peer_pin(Some(&identity))
}

/// The one library of cryptography.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// What both verifiers leave to rustls: whether whoever shows a certificate has its key.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            // Neither offered nor accepted, so that this is never asked.
            Err(Error::General("only TLS 1.3 is spoken".into()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

#[derive(Debug)]
struct ServerPin {
    wanted: Option<Pin>,
    shown: Shown,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ServerPin {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pin = Pin::of(certificate)?;
        self.shown.set(pin);
        if self.wanted == Some(pin) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    signatures!();
}

struct ClientPin {
    known: Box<dyn Fn(Pin) -> bool + Send + Sync>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for ClientPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientPin")
    }
}

impl ClientCertVerifier for ClientPin {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if (self.known)(Pin::of(certificate)?) {
            return Ok(ClientCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    signatures!();
}

/// Names the protocol and its version, so that nothing else is taken for it.
const ALPN: &[u8] = b"tanner/1";
