//! PAX extended headers: `LENGTH KEY=VALUE\n` records (POSIX.1-2017, pax,
//! "pax Extended Header"), values taken by length since attribute values may
//! hold newlines and NUL.

use super::number;
use crate::tree::{Time, Xattrs};

/// Prefix that star gave extended attributes, and every image tool uses.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

/// What the records before a member say of it; it goes before the header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Xattrs,
}

impl Extension {
    /// Takes in the records of one extended header.
    ///
    /// # Errors
    /// Why the records cannot be read.
    pub(super) fn read(&mut self, mut records: &[u8]) -> Result<(), String> {
        // GNU tar and others may pad with NUL up to the header's size.
        while !records.is_empty() && !records.iter().all(|byte| *byte == 0) {
            let (key, value, rest) =
                record(records).ok_or("has a PAX record that is not `LENGTH KEY=VALUE`")?;
            self.take(key, value)?;
            records = rest;
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let bad = || {
            let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
            format!("has a PAX record whose value is no number: {key}={value}")
        };
        let number = || match value {
            b"" => Ok(None),
            digits => number::decimal(digits).map(Some).ok_or_else(bad),
        };
        match key {
            // An empty value takes the key back, and the header speaks again.
            b"path" => self.path = Some(value.to_vec()).filter(|path| !path.is_empty()),
            b"linkpath" => self.link = Some(value.to_vec()).filter(|path| !path.is_empty()),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(number::time(value).ok_or_else(bad)?),
            key if key.starts_with(b"GNU.sparse.") => {
                return Err("is a sparse file, which OCI layers do not have; \
                            make the archive without --sparse"
                    .to_owned());
            }
            key => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    if value.is_empty() {
                        self.xattrs.remove(name);
                    } else {
                        self.xattrs.insert(name.to_vec(), value.to_vec());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Takes the first record off: key, value, what follows.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let len = usize::try_from(number::decimal(&bytes[..space])?).ok()?;
    if len > bytes.len() || len <= space + 1 {
        return None;
    }
    let (record, rest) = bytes.split_at(len);
    let body = record[space + 1..].strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    if equals == 0 {
        return None;
    }
    Some((&body[..equals], &body[equals + 1..], rest))
}

/// A record, with the length that counts its own digits.
pub(super) fn encode(key: &[u8], value: &[u8], to: &mut Vec<u8>) {
    let body = key.len() + value.len() + 3;
    let mut len = body;
    while len != body + len.to_string().len() {
        len = body + len.to_string().len();
    }
    to.extend_from_slice(len.to_string().as_bytes());
    to.push(b' ');
    to.extend_from_slice(key);
    to.push(b'=');
    to.extend_from_slice(value);
    to.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_hold_newlines_and_nul() {
        let mut bytes = Vec::new();
        encode(
            b"SCHILY.xattr.security.capability",
            b"\x01\0\n\n=\0",
            &mut bytes,
        );
        encode(b"path", b"a\nb", &mut bytes);
        let mut extension = Extension::default();
        extension.read(&bytes).unwrap();
        assert_eq!(extension.path.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(
            extension.xattrs[&b"security.capability"[..]],
            b"\x01\0\n\n=\0"
        );
    }

    #[test]
    fn an_empty_value_takes_the_key_back() {
        let mut extension = Extension::default();
        let mut bytes = Vec::new();
        for (key, value) in [
            (&b"path"[..], &b"a"[..]),
            (b"SCHILY.xattr.user.a", b"1"),
            (b"SCHILY.xattr.user.b", b"2"),
            (b"path", b""),
            (b"SCHILY.xattr.user.a", b""),
            (b"SCHILY.xattr.user.never", b""),
        ] {
            encode(key, value, &mut bytes);
        }
        extension.read(&bytes).unwrap();
        assert_eq!(extension.path, None);
        let names: Vec<_> = extension.xattrs.keys().map(Vec::as_slice).collect();
        assert_eq!(names, [b"user.b"]);
    }

    #[test]
    fn broken_records_are_refused() {
        let broken: [&[u8]; 8] = [
            b"x",
            b"6 a=bc",
            b"5 a=b\n",
            b"99 path=x\n",
            b"0 path=x\n",
            b"7 =abc\n",
            b"11 uid=abc\n",
            b"22 GNU.sparse.major=1\n",
        ];
        for records in broken {
            let mut extension = Extension::default();
            assert!(
                extension.read(records).is_err(),
                "{}",
                String::from_utf8_lossy(records)
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Extension::default().read(&bytes);
        }

        #[test]
        fn what_is_written_reads_back(value in proptest::collection::vec(any::<u8>(), 1..1200)) {
            let mut bytes = Vec::new();
            encode(b"SCHILY.xattr.user.x", &value, &mut bytes);
            let mut extension = Extension::default();
            extension.read(&bytes).unwrap();
            prop_assert_eq!(&extension.xattrs[&b"user.x"[..]], &value);
        }
    }
}
