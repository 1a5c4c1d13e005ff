//! Names of entries: 8.3 names, and long names in the slots before them.

use crate::directory::Slot;

/// The attributes of a long-name slot.
const LONG: u8 = 0x0F;
/// Marks the slot with a long name's last part, which lies first.
const LAST: u8 = 0x40;
/// The most slots of a long name.
const SLOTS_MAX: u8 = 20;
/// Where in a slot a part's 13 UTF-16 units are.
const UNITS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// The 8.3 name that a slot has. With `lower`, the bits by which NT keeps names in lower case
/// without a long name are honoured, as both EDK2 and Linux do.
pub(crate) fn short_name(slot: &Slot, lower: bool) -> String {
    let bytes = &slot.bytes;
    let part = |range: std::ops::Range<usize>, bit: u8| {
        let bytes = &bytes[range.clone()];
        let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let text: String = bytes.iter().copied().map(char::from).collect();
        let text = text.trim_end_matches(' ');
        // 0xE5 marks a removed slot, so a name that begins with it has 0x05 in its place.
        let text = match text.strip_prefix('\u{5}') {
            Some(rest) if range.start == 0 => format!("\u{E5}{rest}"),
            _ => text.to_owned(),
        };
        if lower && slot.bytes[12] & bit != 0 {
            text.to_lowercase()
        } else {
            text
        }
    };
    let (base, extension) = (part(0..8, 0x08), part(8..11, 0x10));
    if extension.is_empty() {
        base
    } else {
        format!("{base}.{extension}")
    }
}

/// The checksum of an 8.3 name that each slot of its long name carries.
fn checksum(slot: &Slot) -> u8 {
    let name = &slot.bytes[..11];
    name.iter()
        .fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// The long name of `short` and how many slots it takes, from the slots before it.
///
/// As EDK2 reads it: backwards from the 8.3 name, and the first slot that has not the number, the
/// checksum, the attributes and the zero bytes that it should have leaves the 8.3 name alone. Linux
/// reads forwards from a slot marked as the last part, and ignores the zero bytes.
pub(crate) fn long_name(before: &[Slot], short: &Slot) -> Option<(String, usize)> {
    let sum = checksum(short);
    let mut units = Vec::new();
    for (number, slot) in (1..=SLOTS_MAX).zip(before.iter().rev()) {
        let bytes = &slot.bytes;
        let belongs = bytes[11] == LONG
            && bytes[13] == sum
            && bytes[0] & !LAST == number
            && bytes[26..28] == [0, 0];
        if !belongs {
            return None;
        }
        units.extend(UNITS.map(|at| u16::from_le_bytes([bytes[at], bytes[at + 1]])));
        if bytes[0] & LAST != 0 {
            let name = units.split(|unit| *unit == 0).next().unwrap_or_default();
            let name = String::from_utf16_lossy(name);
            return (!name.is_empty()).then_some((name, usize::from(number)));
        }
    }
    None
}

/// Whether two names are the same to FAT, which ignores case.
pub(crate) fn same(one: &str, other: &str) -> bool {
    let fold = |text: &str| text.to_lowercase();
    one.eq_ignore_ascii_case(other) || fold(one) == fold(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(name: &[u8; 11], case: u8) -> Slot {
        let mut bytes = [0; 32];
        bytes[..11].copy_from_slice(name);
        bytes[12] = case;
        Slot { offset: 0, bytes }
    }

    #[test]
    fn short_names() {
        let cases = [
            (b"ORLOP_~1EFI", 0, "ORLOP_~1.EFI"),
            (b"LOADER  CON", 0x08, "loader.CON"),
            (b"LOADER  CON", 0x10, "LOADER.con"),
            (b"LOADER  CON", 0x18, "loader.con"),
            (b"EFI        ", 0, "EFI"),
            (b"A B     C  ", 0, "A B.C"),
            (b"\x05BC     EFI", 0, "\u{E5}BC.EFI"),
        ];
        for (bytes, case, name) in cases {
            assert_eq!(short_name(&slot(bytes, case), true), name);
        }
        assert_eq!(short_name(&slot(b"LOADER  CON", 0x18), false), "LOADER.CON");
    }

    #[test]
    fn the_checksum_is_the_specifications() {
        // The sum of Microsoft's fatgen103 (ChkSum), by hand for a name of one letter and blanks.
        let mut sum = b'A';
        for _ in 0..10 {
            sum = ((sum & 1) << 7).wrapping_add(sum >> 1).wrapping_add(b' ');
        }
        assert_eq!(checksum(&slot(b"A          ", 0)), sum);
    }
}
