//! From bytes to text: size, encoding, emptiness.

use crate::{Diagnostic, MAX_FILE_BYTES, Position};

/// The text of a file.
///
/// # Errors
/// More than [`MAX_FILE_BYTES`], not UTF-8 (with the place of the first such byte), or nothing but
/// white space and comments.
pub(crate) fn decode<'b>(file: &str, bytes: &'b [u8]) -> Result<&'b str, Diagnostic> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Diagnostic::whole_file(
            file,
            "the file is larger than 1 MiB, the most that is read",
            Some("keep data out of it: mount a volume, or put it into the image"),
        ));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(not_utf8(file, bytes, error.valid_up_to())),
    };
    let blank = |line: &str| line.trim_start_matches('\u{feff}').trim().is_empty();
    if text
        .lines()
        .all(|line| blank(line) || line.trim_start().starts_with('#'))
    {
        return Err(Diagnostic::whole_file(
            file,
            "the file is empty",
            Some("remove it, or fill it: see the examples in configs/"),
        ));
    }
    Ok(text)
}

fn not_utf8(file: &str, bytes: &[u8], at: usize) -> Diagnostic {
    let before = String::from_utf8_lossy(bytes.get(..at).unwrap_or(bytes));
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let byte = bytes.get(at).copied().unwrap_or(0);
    let position = Position {
        line: count(line),
        column: count(column),
    };
    Diagnostic {
        line: position.line,
        column: position.column,
        ..Diagnostic::whole_file(
            file,
            format!("the file is not UTF-8 text: byte 0x{byte:02x} cannot stand here"),
            Some("save it again as UTF-8"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals() {
        let huge = vec![b'#'; 10_000_000];
        let cases: [(&[u8], &str); 7] = [
            (&huge, "f:1:1: the file is larger than 1 MiB"),
            (b"", "f:1:1: the file is empty"),
            (b"\n  \n", "f:1:1: the file is empty"),
            (b"# nothing\n", "f:1:1: the file is empty"),
            ("\u{feff}".as_bytes(), "f:1:1: the file is empty"),
            (
                b"a = 1\nb = \"\xff\"",
                "f:2:6: the file is not UTF-8 text: byte 0xff",
            ),
            (
                b"\xff\xfea\0",
                "f:1:1: the file is not UTF-8 text: byte 0xff",
            ),
        ];
        for (bytes, message) in cases {
            let refusal = decode("f", bytes).unwrap_err().to_string();
            assert!(refusal.starts_with(message), "{refusal}");
        }
        assert_eq!(decode("f", b"a = 1"), Ok("a = 1"));
    }
}
