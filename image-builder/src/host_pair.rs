//! The host's own certificate and key, where they are given with the build: a
//! host makes its own at its first boot otherwise. They go onto the state
//! partition, so that one host TOML does for many hosts and an update of the
//! root does not touch them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::state::Given;

/// Where the host looks for both.
const PLACE: &str = "var/lib/orlop/api";
/// The largest file that is read, in bytes: as the host does.
const SIZE_MAX: u64 = 256 * 1024;

/// `host.crt` and `host.key` of `dir`, as `orlop pki init` makes them.
///
/// # Errors
/// A file that cannot be read, is not PEM, or a key that is not the
/// certificate's: a host with them could not serve its API.
pub(crate) fn read(dir: &Path) -> Result<Vec<Given>> {
    let (certificate, key) = (dir.join("host.crt"), dir.join("host.key"));
    let (chain, secret) = (bounded(&certificate)?, bounded(&key)?);
    check(&chain, &secret)
        .with_context(|| format!("{} and {}", certificate.display(), key.display()))?;
    let given = |name: &str, bytes| Given {
        path: PathBuf::from(PLACE).join(name),
        bytes,
    };
    Ok(vec![given("host.crt", chain), given("host.key", secret)])
}

fn check(chain: &[u8], key: &[u8]) -> Result<()> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| anyhow!("the certificate is not PEM: {error}"))?;
    if chain.is_empty() {
        bail!("expected a PEM certificate, found none");
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| anyhow!("expected a private key in PEM: {error}"))?;
    CertifiedKey::from_der(chain, key, &default_provider())
        .map_err(|error| anyhow!("key and certificate cannot be used together: {error}"))?;
    Ok(())
}

fn bounded(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SIZE_MAX + 1).read_to_end(&mut bytes))
        .with_context(|| {
            format!(
                "{}: expected what `orlop pki init DIR --host NAME` makes",
                path.display()
            )
        })?;
    if bytes.len() as u64 > SIZE_MAX {
        bail!("{}: larger than {SIZE_MAX} bytes", path.display());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A certificate and its key.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["demo.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_is_taken_and_what_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = || format!("{:#}", read(dir.path()).err().unwrap());
        assert!(error().contains("orlop pki init"), "{}", error());
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let (certificate, key) = pair();
        put("host.crt", &certificate);
        put("host.key", &key);
        let given = read(dir.path()).unwrap();
        let paths: Vec<_> = given.iter().map(|file| file.path.to_str()).collect();
        let place = ["var/lib/orlop/api/host.crt", "var/lib/orlop/api/host.key"];
        assert_eq!(paths, place.map(Some));
        assert_eq!(given[1].bytes, key.as_bytes());

        put("host.key", &pair().1);
        assert!(error().contains("cannot be used together"), "{}", error());
        put("host.key", "none");
        assert!(error().contains("private key"), "{}", error());
        put("host.crt", "none");
        assert!(error().contains("found none"), "{}", error());
        put("host.crt", &"x".repeat(300 << 10));
        assert!(error().contains("larger"), "{}", error());
    }
}
