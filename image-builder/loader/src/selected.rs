//! What systemd-boot had chosen: it leaves the name in a variable.

use core::mem::MaybeUninit;
use core::ptr;

use r_efi::efi;

use crate::words::{Char, put, words};

/// Of systemd's boot loader interface.
const VENDOR: efi::Guid = efi::Guid::from_fields(
    0x4a67_b082,
    0x0a4c,
    0x41cf,
    0xb6,
    0xc7,
    &[0x44, 0x0b, 0x29, 0xbb, 0x8c, 0x4f],
);

/// Longer than any entry's name of ours, which has 90 letters at most.
const LETTERS: usize = 128;

/// Writes the name of the entry that systemd-boot tried to start, as it was
/// before the try was counted.
///
/// # Safety
/// `table` must be the firmware's.
pub(crate) unsafe extern "efiapi" fn put_selected(table: *mut efi::SystemTable) {
    let mut name: MaybeUninit<[Char; LETTERS]> = MaybeUninit::uninit();
    let mut size = size_of::<[Char; LETTERS - 1]>();
    let mut vendor = VENDOR;
    // SAFETY: the firmware writes `size` bytes at most and says how many; the
    // letter after them is still inside.
    unsafe {
        let get = (*(*table).runtime_services).get_variable;
        let text = name.as_mut_ptr().cast::<Char>();
        let key = words!("LoaderEntrySelected").cast_mut();
        let status = get(key, &mut vendor, ptr::null_mut(), &mut size, text.cast());
        if status == efi::Status::SUCCESS {
            *text.add(size / size_of::<Char>()) = 0;
            put(table, text);
        } else if status == efi::Status::NOT_FOUND {
            put(table, words!("a boot partition without entries"));
        } else {
            put(table, words!("an entry that it does not name"));
        }
    }
}
