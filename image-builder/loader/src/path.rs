//! Where systemd-boot is, as the firmware writes places: a list of nodes (UEFI
//! 2.10, "Device Path Protocol"), the partition's with the file's after them.

use core::ffi::c_void;
use core::{mem, ptr};

use r_efi::efi;
use r_efi::protocols::device_path::{End, Media, Protocol, TYPE_END, TYPE_MEDIA};

use crate::words::{Char, utf16};

const FILE: &str = "\\EFI\\systemd\\systemd-bootx64.efi";
const LETTERS: usize = FILE.len() + 1;

/// The nodes after the partition's: the file, and the end.
#[repr(C)]
struct Tail {
    file: Protocol,
    name: [Char; LETTERS],
    end: Protocol,
}

static TAIL: Tail = Tail {
    file: node(
        TYPE_MEDIA,
        Media::SUBTYPE_FILE_PATH,
        mem::size_of::<Protocol>() + mem::size_of::<[Char; LETTERS]>(),
    ),
    name: utf16(FILE),
    end: node(TYPE_END, End::SUBTYPE_ENTIRE, mem::size_of::<Protocol>()),
};

const fn node(kind: u8, sub_type: u8, length: usize) -> Protocol {
    Protocol {
        r#type: kind,
        sub_type,
        length: [(length & 0xff) as u8, (length >> 8) as u8],
    }
}

/// Makes the place of systemd-boot on the partition whose place is `partition`.
///
/// # Safety
/// `boot` must be the firmware's, `partition` a list of nodes with its end, and
/// `whole` valid for writing.
pub(crate) unsafe extern "efiapi" fn below(
    boot: *mut efi::BootServices,
    partition: *mut Protocol,
    whole: *mut *mut Protocol,
) -> efi::Status {
    // SAFETY: as the caller promises.
    let length = unsafe { length_to_end(partition) };
    let tail = mem::size_of::<Tail>();
    let mut memory: *mut c_void = ptr::null_mut();
    // SAFETY: `length` bytes are there before the list's end, the memory is as
    // long as both parts, and what is copied is only read.
    unsafe {
        let status = ((*boot).allocate_pool)(efi::LOADER_DATA, length + tail, &mut memory);
        if status == efi::Status::SUCCESS {
            ((*boot).copy_mem)(memory, partition.cast(), length);
            let rest = (&raw const TAIL).cast_mut().cast();
            ((*boot).copy_mem)(memory.byte_add(length), rest, tail);
            *whole = memory.cast();
        }
        status
    }
}

/// Bytes of a list of nodes before its end.
///
/// # Safety
/// `list` must be one, with its end.
unsafe extern "efiapi" fn length_to_end(list: *const Protocol) -> usize {
    let mut length = 0;
    loop {
        // SAFETY: the end was not reached yet, so there is a node here; nodes
        // are bytes, which need no alignment.
        let node = unsafe { *list.byte_add(length) };
        let step = usize::from(node.length[0]) | usize::from(node.length[1]) << 8;
        // One that is shorter than its own head is none, and would be read for ever.
        if node.r#type == TYPE_END || step < mem::size_of::<Protocol>() {
            return length;
        }
        length += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn bytes(tail: &Tail) -> Vec<u8> {
        let mut bytes = std::vec![4, 4];
        bytes.extend(tail.file.length);
        bytes.extend(tail.name.iter().flat_map(|letter| letter.to_le_bytes()));
        bytes.extend([0x7f, 0xff, 4, 0]);
        bytes
    }

    #[test]
    fn the_file_node_is_as_long_as_it_says() {
        assert_eq!(mem::size_of::<Tail>(), bytes(&TAIL).len());
        assert_eq!((TAIL.file.r#type, TAIL.file.sub_type), (4, 4));
        assert_eq!((TAIL.end.r#type, TAIL.end.sub_type), (0x7f, 0xff));
        let said = u16::from_le_bytes(TAIL.file.length);
        assert_eq!(usize::from(said), mem::size_of::<Tail>() - 4);
        assert_eq!(TAIL.name.last(), Some(&0));
        let name: Vec<u16> = FILE.encode_utf16().collect();
        assert_eq!(TAIL.name[..LETTERS - 1], name);
    }

    #[test]
    fn the_end_is_found() {
        let list: [u8; 18] = [
            2, 1, 6, 0, 9, 9, // An ACPI node of six bytes.
            4, 1, 8, 0, 0x7f, 0xff, 4, 0, // A hard drive's of eight.
            0x7f, 0xff, 4, 0,
        ];
        // SAFETY: it is a list with its end.
        assert_eq!(unsafe { length_to_end(list.as_ptr().cast()) }, 14);
        let endless = [2u8, 1, 0, 0];
        // SAFETY: a node of no length ends it, too.
        assert_eq!(unsafe { length_to_end(endless.as_ptr().cast()) }, 0);
    }
}
