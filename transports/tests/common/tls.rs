//! Either side of TLS for peers that misbehave: they trust anybody, and show what they are told to show.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "what fails in the harness fails the test")]

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, SignatureScheme, SupportedProtocolVersion,
};
use tanner_transports::net::Identity;

/// A key, and a server's side of TLS with it that lets everybody in.
pub(crate) fn server_tls() -> (Identity, rustls::ServerConfig) {
    let (identity, chain, key) = parts();
    let key = CertifiedKey::from_der(chain, key, &provider()).unwrap();
    (identity, server_tls_of(TLS13, &[ALPN], key))
}

/// A server's side of TLS that lets everybody in.
pub(crate) fn server_tls_of(
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
    certificate: CertifiedKey,
) -> rustls::ServerConfig {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(Arc::new(Anybody))
        .with_cert_resolver(Arc::new(Fixed(Arc::new(certificate))));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

/// An identity, and what it is made of.
pub(crate) fn parts() -> (Identity, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("node.pem");
    let identity = Identity::generate();
    identity.save(&path).unwrap();
    let pem = std::fs::read(&path).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(&pem).unwrap()];
    (identity, chain, PrivateKeyDer::from_pem_slice(&pem).unwrap())
}

pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A client's side of TLS that checks nothing of the server.
pub(crate) fn client_tls(
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
    certificate: Option<CertifiedKey>,
) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match certificate {
        Some(key) => config.with_client_cert_resolver(Arc::new(Always(Arc::new(key)))),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Shows one certificate, whoever asks.
#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Trusts whoever comes, and checks no signature.
#[derive(Debug)]
struct Anybody;

macro_rules! any_signature {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    any_signature!();
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    any_signature!();
}

pub(crate) const ALPN: &[u8] = b"tanner/1";
pub(crate) const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
pub(crate) const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
