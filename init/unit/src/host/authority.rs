//! The certificates of an authority, out of the text that they come in.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::expected::Expected;
use crate::host::Authority;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

impl Authority {
    /// The certificates in `text`, as a file of an authority holds them: PEM, with whatever is said
    /// around it left out.
    ///
    /// # Errors
    /// A text without certificates, with a broken one, or with a private key: a key has no business
    /// on a host, and this is where a mistaken `ca.key` would get there.
    pub fn certificates(text: &str) -> Result<String, Expected> {
        if text.contains("PRIVATE KEY-----") {
            let refusal = Expected::new("expected PEM certificates, found a private key");
            return Err(refusal.help("give the authority's certificate (ca.crt), not its key"));
        }
        let broken = || {
            Expected::new("expected one or more whole PEM certificates")
                .help("for example the ca.crt that `orlop pki init DIR` makes")
        };
        let mut certificates = String::new();
        let mut rest = text;
        while let Some(start) = rest.find(BEGIN) {
            let (body, after) = rest[start + BEGIN.len()..]
                .split_once(END)
                .ok_or_else(broken)?;
            let block = format!("{BEGIN}{body}{END}\n");
            CertificateDer::from_pem_slice(block.as_bytes()).map_err(|_| broken())?;
            certificates.push_str(&block);
            rest = after;
        }
        match certificates.is_empty() {
            true => Err(broken()),
            false => Ok(certificates),
        }
    }
}
