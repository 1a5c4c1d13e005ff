//! Keys and certificates as files: private keys are readable by their owner
//! only, and no file is ever overwritten.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Authority, CLIENT_DAYS, HOST_DAYS, Pair, PkiError};
use crate::types::Role;

/// The largest key or certificate file that is read, in bytes.
const SIZE_MAX: u64 = 256 * 1024;

/// What can go wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file is in the way.
    #[error("{0} exists already, and keys are never overwritten")]
    Exists(PathBuf),
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Making or reading a certificate failed.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A name cannot be a file's name.
    #[error("{0:?} is not a name for a client: use letters, digits, `.`, `_` and `-`")]
    Name(String),
}

/// The files that [`init`] makes, in the order it makes them.
pub const INIT_FILES: [&str; 6] = [
    "ca.crt",
    "ca.key",
    "host.crt",
    "host.key",
    "client.crt",
    "client.key",
];

/// Makes an authority (`ca`), a host's certificate for `names` (`host`) and an
/// admin's (`client`) in `dir`, each a `.crt` and a `.key`. When one of the files
/// is there already, none is made.
pub fn init(dir: &Path, names: &[String], now: Timestamp) -> Result<(), FilesError> {
    make_dir(dir)?;
    for name in INIT_FILES {
        refuse_existing(&dir.join(name))?;
    }
    let label = names.first().map_or("orlop", String::as_str);
    let authority = Authority::create(&format!("{label} authority"), now)?;
    let host = authority.host(names, now, HOST_DAYS)?;
    let client = authority.client("admin", Role::Admin, now, CLIENT_DAYS)?;
    write_pair(dir, "ca", authority.pair())?;
    write_pair(dir, "host", &host)?;
    write_pair(dir, "client", &client)
}

/// Makes one more client certificate, signed by the authority in `dir`:
/// `<name>.crt` and `<name>.key`.
pub fn client(
    dir: &Path,
    name: &str,
    role: Role,
    now: Timestamp,
    days: u32,
) -> Result<(), FilesError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    if name.is_empty() || name.starts_with('.') || name.len() > 64 || !name.chars().all(plain) {
        return Err(FilesError::Name(name.to_owned()));
    }
    for ending in ["crt", "key"] {
        refuse_existing(&dir.join(format!("{name}.{ending}")))?;
    }
    let authority = Authority::load(read_pair(dir, "ca")?)?;
    write_pair(dir, name, &authority.client(name, role, now, days)?)
}

/// Reads `<name>.crt` and `<name>.key` in `dir`.
pub fn read_pair(dir: &Path, name: &str) -> Result<Pair, FilesError> {
    Ok(Pair {
        certificate: read_text(&dir.join(format!("{name}.crt")))?,
        key: read_text(&dir.join(format!("{name}.key")))?,
    })
}

/// Writes `<name>.key` (mode 0600) and `<name>.crt` (0644) in `dir` so that they
/// last; the key first, so that a certificate is never without its key.
pub fn write_pair(dir: &Path, name: &str, pair: &Pair) -> Result<(), FilesError> {
    write_new(&dir.join(format!("{name}.key")), 0o600, pair.key.as_bytes())?;
    write_new(
        &dir.join(format!("{name}.crt")),
        0o644,
        pair.certificate.as_bytes(),
    )?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| FilesError::Io {
            path: dir.to_owned(),
            source,
        })
}

/// Reads a text file of at most 256 KiB.
pub fn read_text(path: &Path) -> Result<String, FilesError> {
    let fail = |source| FilesError::Io {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(fail)?.len();
    if size > SIZE_MAX {
        let source = io::Error::other(format!("{size} bytes; at most {SIZE_MAX} are expected"));
        return Err(fail(source));
    }
    fs::read_to_string(path).map_err(fail)
}

fn make_dir(dir: &Path) -> Result<(), FilesError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| FilesError::Io {
            path: dir.to_owned(),
            source,
        })
}

fn refuse_existing(path: &Path) -> Result<(), FilesError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(FilesError::Exists(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(FilesError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> Result<(), FilesError> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => FilesError::Exists(path.to_owned()),
        _ => FilesError::Io {
            path: path.to_owned(),
            source,
        },
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(fail)?;
    file.write_all(content).map_err(fail)?;
    file.sync_all().map_err(fail)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn makes_six_files_once_with_private_keys() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("pki");
        init(&dir, &["demo".into()], now()).unwrap();
        for name in INIT_FILES {
            let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode == 0o600, name.ends_with(".key"), "{name} {mode:o}");
        }
        let before = fs::read(dir.join("ca.key")).unwrap();
        assert!(matches!(
            init(&dir, &["demo".into()], now()),
            Err(FilesError::Exists(_))
        ));
        assert_eq!(fs::read(dir.join("ca.key")).unwrap(), before);

        client(&dir, "ann", Role::Reader, now(), 30).unwrap();
        let mode = fs::metadata(dir.join("ann.key"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o600);
        assert!(matches!(
            client(&dir, "ann", Role::Admin, now(), 30),
            Err(FilesError::Exists(_))
        ));
    }

    #[test]
    fn one_file_in_the_way_stops_all() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("client.key"), "mine").unwrap();
        assert!(init(dir.path(), &["demo".into()], now()).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn client_names_stay_in_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["demo".into()], now()).unwrap();
        for name in ["", "../x", ".hidden", "a/b", "a b", &"x".repeat(65)] {
            let result = client(dir.path(), name, Role::Reader, now(), 30);
            assert!(matches!(result, Err(FilesError::Name(_))), "{name:?}");
        }
    }
}
