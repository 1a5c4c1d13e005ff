//! The host's own key and certificate: made at the first boot, or given for one
//! host by putting the files there before it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use orlop_control::pki::{self, Fingerprint, PkiError, files};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why the host has no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] files::FilesError),
    /// Writing failed.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The key or certificate could not be made.
    #[error(transparent)]
    Make(#[from] PkiError),
    /// A file is there, but is not what it should be.
    #[error(
        "{path}: {reason}; remove host.key and host.crt to have new ones made at the next boot"
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The host's certificate chain and its key.
pub struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    fingerprint: Fingerprint,
}

/// Where the files are.
pub(super) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("api")
}

impl Identity {
    /// Reads `<state_dir>/api/host.{key,crt}`. When there is no certificate, a
    /// key and a certificate that carries `name` are made first.
    pub fn open(state_dir: &Path, name: &str) -> Result<Self, IdentityError> {
        let dir = directory(state_dir);
        if !dir.join("host.crt").exists() {
            make(&dir, name)?;
        }
        Self::read(&dir)
    }

    /// The SHA-256 of the certificate, by which clients know the host.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The fingerprint of the host in `<state_dir>/api`, if it has one yet.
    pub fn fingerprint_in(state_dir: &Path) -> Option<Fingerprint> {
        Self::read(&directory(state_dir))
            .ok()
            .map(|identity| identity.fingerprint)
    }

    pub(super) fn read(dir: &Path) -> Result<Self, IdentityError> {
        let pair = files::read_pair(dir, "host")?;
        let bad = |name: &str, reason: String| IdentityError::Content {
            path: dir.join(name),
            reason,
        };
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| bad("host.crt", error.to_string()))?;
        let first = chain
            .first()
            .ok_or_else(|| bad("host.crt", "it holds no certificate".into()))?;
        let fingerprint = Fingerprint::of(first);
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())
            .map_err(|error| bad("host.key", error.to_string()))?;
        Ok(Self {
            chain,
            key,
            fingerprint,
        })
    }
}

/// Makes key and certificate. The certificate comes last: while there is none,
/// a key that a power cut left behind is made again.
fn make(dir: &Path, name: &str) -> Result<(), IdentityError> {
    let pair = pki::self_signed_host(name)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| IdentityError::Write {
            path: dir.to_owned(),
            source,
        })?;
    replace(dir, "host.key", &pair.key)?;
    replace(dir, "host.crt", &pair.certificate)
}

/// Writes a file beside, makes it last, and renames it into place.
fn replace(dir: &Path, name: &str, content: &str) -> Result<(), IdentityError> {
    let path = dir.join(name);
    let beside = dir.join(format!("{name}.new"));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|source| IdentityError::Write {
        path: path.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn is_made_once_and_kept() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(Identity::fingerprint_in(state.path()), None);
        let first = Identity::open(state.path(), "demo").unwrap().fingerprint();
        let again = Identity::open(state.path(), "other").unwrap().fingerprint();
        assert_eq!(first, again);
        assert_eq!(Identity::fingerprint_in(state.path()), Some(first));
        for name in ["host.key", "host.crt"] {
            let mode = fs::metadata(state.path().join("api").join(name))
                .unwrap()
                .permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_power_cut_between_key_and_certificate_heals() {
        let state = tempfile::tempdir().unwrap();
        Identity::open(state.path(), "demo").unwrap();
        fs::remove_file(state.path().join("api/host.crt")).unwrap();
        fs::write(state.path().join("api/host.crt.new"), "half").unwrap();
        let identity = Identity::open(state.path(), "demo").unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        // It refuses a key that is not the certificate's.
        config
            .with_single_cert(identity.chain, identity.key)
            .unwrap();
    }

    #[test]
    fn broken_files_are_named_and_not_overwritten() {
        let state = tempfile::tempdir().unwrap();
        Identity::open(state.path(), "demo").unwrap();
        let path = state.path().join("api/host.crt");
        fs::write(&path, "not a certificate").unwrap();
        let Err(error) = Identity::open(state.path(), "demo") else {
            panic!("accepted")
        };
        assert!(error.to_string().contains("host.crt"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a certificate");
    }
}
