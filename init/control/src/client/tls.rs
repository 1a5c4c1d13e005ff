//! Who we are, and whom we trust.

use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::{CONNECT_TIMEOUT, ClientError, connect};
use crate::pki::Fingerprint;

/// Whom we trust to be the host.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Who shows a certificate for the host's name that this authority (PEM)
    /// signed.
    Authority(String),
    /// Who shows exactly this certificate, whatever its names and dates.
    Pin(Fingerprint),
}

/// Our certificate and key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// The certificate that `host` presents, without trusting it or being known
/// to it.
pub async fn presented(host: &str, port: u16) -> Result<Fingerprint, ClientError> {
    let seen = Arc::new(Seen::default());
    let config = builder()?
        .dangerous()
        .with_custom_certificate_verifier(seen.clone())
        .with_no_client_auth();
    let handshake = async {
        let tcp = connect::tcp(host, port).await?;
        TlsConnector::from(Arc::new(config))
            .connect(server_name(host)?, tcp)
            .await
            .map_err(|source| ClientError::Connect {
                host: format!("{host}:{port}"),
                source,
            })
    };
    let outcome = tokio::time::timeout(CONNECT_TIMEOUT, handshake).await;
    let certificate = seen
        .certificate
        .lock()
        .ok()
        .and_then(|mut seen| seen.take());
    match (certificate, outcome) {
        (Some(fingerprint), _) => Ok(fingerprint),
        (None, Ok(Ok(_))) => Err(ClientError::Protocol(format!(
            "{host}:{port} presents no certificate"
        ))),
        (None, Ok(Err(error))) => Err(error),
        (None, Err(_)) => Err(ClientError::Timeout {
            host: format!("{host}:{port}"),
            seconds: CONNECT_TIMEOUT.as_secs(),
        }),
    }
}

/// The configuration of connections.
pub(super) fn config(trust: &Trust, identity: &Identity) -> Result<ClientConfig, ClientError> {
    let bad = |what: &'static str, reason: String| ClientError::Credentials { what, reason };
    let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad("client certificate", error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(
            "client certificate",
            "it holds no PEM certificate".into(),
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
        .map_err(|error| bad("client key", error.to_string()))?;
    let builder = builder()?;
    let builder = match trust {
        Trust::Pin(fingerprint) => {
            let algorithms = ring::default_provider().signature_verification_algorithms;
            let pinned = Pinned {
                fingerprint: *fingerprint,
                algorithms,
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(pinned))
        }
        Trust::Authority(pem) => builder.with_root_certificates(roots(pem)?),
    };
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| bad("client certificate and key", error.to_string()))
}

fn roots(pem: &str) -> Result<RootCertStore, ClientError> {
    let bad = |reason: String| ClientError::Credentials {
        what: "authority's certificate",
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("it holds no PEM certificate".into()));
    }
    Ok(roots)
}

/// The name that the host's certificate has to be for.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, ClientError> {
    ServerName::try_from(host.to_owned()).map_err(|_| ClientError::Resolve {
        host: host.to_owned(),
        reason: "it is neither a host name nor an address".into(),
    })
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, ClientError> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| ClientError::Protocol(error.to_string()))
}

/// Trusts one certificate. The handshake's signature still proves that the
/// other side holds its key.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let presented = Fingerprint::of(end_entity);
        if presented == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!(
            "the host presents another certificate: {presented}, but {} is trusted",
            self.fingerprint
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Trusts nobody, and remembers what was shown together with proof that the
/// other side holds its key.
#[derive(Debug, Default)]
struct Seen {
    certificate: Mutex<Option<Fingerprint>>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 is expected".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, &algorithms)?;
        if let Ok(mut seen) = self.certificate.lock() {
            *seen = Some(Fingerprint::of(cert));
        }
        // Nothing may be said over a connection that is not trusted yet.
        Err(rustls::Error::General("only looking".into()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
