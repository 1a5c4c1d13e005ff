//! TLS for the network: 1.3 only, and only with clients that the configured
//! authority has signed (I8).

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::{Identity, ServeError};

/// The server's configuration for `identity`, with clients signed by the
/// authority in `client_ca` (PEM, one or more certificates).
pub(super) fn config(
    identity: &Identity,
    client_ca: &str,
) -> Result<Arc<ServerConfig>, ServeError> {
    let bad = |error: &dyn std::fmt::Display| ServeError::Authority(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(client_ca.as_bytes()) {
        let certificate = certificate.map_err(|error| bad(&error))?;
        roots.add(certificate).map_err(|error| bad(&error))?;
    }
    if roots.is_empty() {
        return Err(bad(&"it holds no PEM certificate"));
    }
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .map_err(|error| bad(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| bad(&error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|error| super::IdentityError::Content {
            path: "host.key and host.crt".into(),
            reason: error.to_string(),
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Resumption would keep state for clients, and let one go on after its
    // certificate has expired.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}
