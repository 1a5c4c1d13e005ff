//! Words on the firmware's console, in the firmware's letters.

use r_efi::efi;

/// A letter, as UEFI has them.
pub(crate) type Char = efi::Char16;

/// `text` in the firmware's letters, and a zero. For ASCII, at compile time.
pub(crate) const fn utf16<const LETTERS: usize>(text: &str) -> [Char; LETTERS] {
    let bytes = text.as_bytes();
    assert!(text.is_ascii() && bytes.len() + 1 == LETTERS);
    let mut letters = [0; LETTERS];
    let mut at = 0;
    while at < bytes.len() {
        letters[at] = bytes[at] as Char;
        at += 1;
    }
    letters
}

/// A pointer to words that are part of the program.
macro_rules! words {
    ($text:literal) => {{
        static WORDS: [Char; $text.len() + 1] = $crate::words::utf16($text);
        (&raw const WORDS).cast::<Char>()
    }};
}
pub(crate) use words;

/// Writes words to the firmware's console, if it has one.
///
/// # Safety
/// `table` must be the firmware's, `text` letters with a zero at their end.
pub(crate) unsafe extern "efiapi" fn put(table: *mut efi::SystemTable, text: *const Char) {
    // SAFETY: as the caller promises; the firmware only reads the letters.
    unsafe {
        let console = (*table).con_out;
        if !console.is_null() {
            ((*console).output_string)(console, text.cast_mut());
        }
    }
}

/// Writes what a status means.
///
/// # Safety
/// `table` must be the firmware's.
pub(crate) unsafe extern "efiapi" fn put_status(table: *mut efi::SystemTable, status: efi::Status) {
    let meaning = match status {
        efi::Status::SUCCESS => words!(": nothing could be started ("),
        efi::Status::LOAD_ERROR | efi::Status::UNSUPPORTED => {
            words!(": it is damaged or no program for this machine (")
        }
        efi::Status::DEVICE_ERROR => words!(": the disk cannot be read ("),
        efi::Status::VOLUME_CORRUPTED => words!(": the boot partition is damaged ("),
        efi::Status::NOT_FOUND => words!(": it is not there ("),
        efi::Status::OUT_OF_RESOURCES => words!(": out of memory ("),
        efi::Status::ACCESS_DENIED => words!(": Secure Boot refuses it ("),
        efi::Status::SECURITY_VIOLATION => words!(": Secure Boot refuses its signature ("),
        _ => words!(": it failed ("),
    };
    // SAFETY: as the caller promises.
    unsafe {
        put(table, meaning);
        put_hex(table, status.as_usize());
        put(table, words!(")"));
    }
}

/// Writes a number as `0x` and sixteen digits.
///
/// # Safety
/// `table` must be the firmware's.
unsafe extern "efiapi" fn put_hex(table: *mut efi::SystemTable, number: usize) {
    // SAFETY: as the caller promises, and both texts end with a zero.
    unsafe {
        put(table, words!("0x"));
        let mut shift = usize::BITS;
        while shift > 0 {
            shift -= 4;
            let digit = (number >> shift & 0xf) as Char;
            let first = if digit < 10 { b'0' } else { b'a' - 10 };
            let letters = [first as Char + digit, 0];
            put(table, letters.as_ptr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    #[test]
    fn words_end_with_a_zero() {
        let letters: [Char; 6] = utf16("orlop");
        assert_eq!(String::from_utf16_lossy(&letters), "orlop\0");
    }

    /// What is put on a console that takes letters as the firmware's does.
    #[test]
    fn a_status_is_said_in_words_and_digits() {
        static SAID: std::sync::Mutex<Vec<u16>> = std::sync::Mutex::new(Vec::new());
        type Console = r_efi::protocols::simple_text_output::Protocol;
        unsafe extern "efiapi" fn take(_: *mut Console, text: *mut Char) -> efi::Status {
            let mut said = SAID.lock().unwrap();
            let mut at = text;
            loop {
                // SAFETY: these are letters with a zero at their end.
                match unsafe { *at } {
                    0 => break,
                    letter => said.push(letter),
                }
                at = at.wrapping_add(1);
            }
            efi::Status::SUCCESS
        }
        let mut console = std::mem::MaybeUninit::<Console>::zeroed();
        let mut table = std::mem::MaybeUninit::<efi::SystemTable>::zeroed();
        // SAFETY: only what is set here is looked at.
        unsafe {
            (&raw mut (*console.as_mut_ptr()).output_string).write(take);
            (*table.as_mut_ptr()).con_out = console.as_mut_ptr();
            put_status(table.as_mut_ptr(), efi::Status::SECURITY_VIOLATION);
            (*table.as_mut_ptr()).con_out = std::ptr::null_mut();
            put(table.as_mut_ptr(), words!("no console, no words"));
        }
        assert_eq!(
            String::from_utf16_lossy(&SAID.lock().unwrap()),
            ": Secure Boot refuses its signature (0x800000000000001a)"
        );
    }
}
