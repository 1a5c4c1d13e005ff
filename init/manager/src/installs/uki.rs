//! Which root a unified kernel image leads to, by its command line.
//!
//! Only headers and that one section are read, and all of their sizes are bounded: the ESP is
//! nobody's but whoever's had the disk in hand. The format is in Microsoft's "PE Format".

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The farthest that the PE header may be from the file's start, in bytes.
const HEADER_MAX: u32 = 1 << 20;
/// The most sections; the same as Windows takes.
const SECTIONS_MAX: usize = 96;
/// One line of the table of sections.
const SECTION: usize = 40;
/// The longest command line, in bytes.
const COMMAND_LINE_MAX: u32 = 64 << 10;

/// Why an image leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UkiError {
    /// The system's own.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is in another format.
    #[error("not a unified kernel image: {0}")]
    Format(&'static str),
    /// It is shorter than its sections say.
    #[error("it is cut off")]
    CutOff,
    /// It names no root.
    #[error("its command line has no orlop.root= with 64 hexadecimal digits")]
    NoRoot,
}

/// The root hash that `file` leads to, 64 hexadecimal digits.
pub(crate) fn root_hash(file: &File) -> Result<String, UkiError> {
    let (start, length) = (0, file.metadata()?.len());
    root_hash_of(&Piece {
        file,
        start,
        length,
    })
}

/// The part of a file or device that is an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'f> {
    pub(crate) file: &'f File,
    /// Its first byte.
    pub(crate) start: u64,
    /// Its bytes.
    pub(crate) length: u64,
}

impl Piece<'_> {
    fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), UkiError> {
        if at + bytes.len() as u64 > self.length {
            return Err(UkiError::CutOff);
        }
        match self.file.read_exact_at(bytes, self.start + at) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(UkiError::CutOff)
            }
            outcome => Ok(outcome?),
        }
    }
}

/// [`root_hash`] of an image that is a part of something.
pub(crate) fn root_hash_of(image: &Piece<'_>) -> Result<String, UkiError> {
    let line = command_line(image)?;
    let words = line.split_whitespace();
    // The last counts, as for the kernel and for PID 1.
    let root = words
        .filter_map(|word| word.strip_prefix("orlop.root="))
        .next_back();
    let digits = |root: &&str| root.len() == 64 && root.bytes().all(|b| b.is_ascii_hexdigit());
    root.filter(digits)
        .map(str::to_ascii_lowercase)
        .ok_or(UkiError::NoRoot)
}

/// The bytes of a root hash, if `digits` are 64 hexadecimal digits.
pub(crate) fn bytes(digits: &str) -> Option<[u8; 32]> {
    let hex: orlop_bundle::Digest = digits.parse().ok()?;
    Some(hex.0)
}

fn command_line(image: &Piece<'_>) -> Result<String, UkiError> {
    let mut dos = [0; 64];
    image.read(&mut dos, 0)?;
    let pe = word(&dos, 60);
    if !dos.starts_with(b"MZ") || pe > HEADER_MAX {
        return Err(UkiError::Format("it has no PE header"));
    }
    let mut header = [0; 24];
    image.read(&mut header, pe.into())?;
    if !header.starts_with(b"PE\0\0") {
        return Err(UkiError::Format("it has no PE header"));
    }
    let (count, optional) = (half(&header, 6), half(&header, 20));
    let count = usize::from(count);
    if count > SECTIONS_MAX {
        return Err(UkiError::Format("it has more than 96 sections"));
    }
    let mut table = vec![0; count * SECTION];
    let table_at = u64::from(pe) + 24 + u64::from(optional);
    image.read(&mut table, table_at)?;
    let mut found = None;
    for section in table.chunks_exact(SECTION) {
        let (used, stored, at) = (word(section, 8), word(section, 16), word(section, 20));
        if u64::from(at) + u64::from(stored) > image.length {
            return Err(UkiError::CutOff);
        }
        if section.starts_with(b".cmdline") {
            found = Some((at, used.min(stored)));
        }
    }
    let (at, size) = found.ok_or(UkiError::Format("it has no command line"))?;
    if size > COMMAND_LINE_MAX {
        return Err(UkiError::Format("its command line is over 64 KiB"));
    }
    let mut text = vec![0; size as usize];
    image.read(&mut text, at.into())?;
    Ok(String::from_utf8_lossy(&text)
        .trim_end_matches('\0')
        .to_owned())
}

/// Two bytes of a header that is long enough for them.
fn half(bytes: &[u8], at: usize) -> u16 {
    let byte = |at: usize| u16::from(bytes.get(at).copied().unwrap_or_default());
    byte(at) | byte(at + 1) << 8
}

/// Four bytes of a header that is long enough for them.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from(half(bytes, at)) | u32::from(half(bytes, at + 2)) << 16
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// The least that is a unified kernel image with this command line.
    pub(crate) fn uki(command_line: &str) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[60] = 64;
        bytes.extend(b"PE\0\0\x64\x86\x02\0");
        bytes.resize(64 + 24 + 16, 0);
        bytes[64 + 20] = 16;
        let size = u32::try_from(command_line.len()).unwrap();
        for (name, size, at) in [(&b".osrel\0\0"[..], 0, 0), (b".cmdline", size, 184)] {
            let mut section = [0; SECTION];
            section[..8].copy_from_slice(name);
            for (place, value) in [(8, size), (16, size), (20, at)] {
                section[place..place + 4].copy_from_slice(&u32::to_le_bytes(value));
            }
            bytes.extend(section);
        }
        bytes.extend(command_line.as_bytes());
        bytes
    }

    fn root_of(bytes: &[u8]) -> Result<String, UkiError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        root_hash(&file)
    }

    #[test]
    fn the_command_line_names_the_root() {
        let root = "ab".repeat(32);
        let good = uki(&format!("orlop.root={root} quiet\0"));
        assert_eq!(root_of(&good).unwrap(), root);
        let twice = uki(&format!("orlop.root={} orlop.root={root}", "cd".repeat(32)));
        assert_eq!(root_of(&twice).unwrap(), root);
        for (bytes, expected) in [
            (&good[..good.len() - 1], "cut off"),
            (&good[..100], "cut off"),
            (b"", "cut off"),
            (&[0; 200], "no PE header"),
            (&uki("quiet"), "no orlop.root="),
            (&uki("orlop.root=ab"), "no orlop.root="),
        ] {
            let refusal = root_of(bytes).unwrap_err().to_string();
            assert!(refusal.contains(expected), "{refusal}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_image_never_panics(
            changes in prop::collection::vec((0_usize..250, any::<u8>()), 1..8), length in 0_usize..300,
        ) {
            let mut bytes = uki(&format!("orlop.root={}", "ab".repeat(32)));
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(length);
            let _ = root_of(&bytes);
        }
    }
}
