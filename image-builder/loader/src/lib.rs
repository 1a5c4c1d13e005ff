//! The first program on the boot partition: starts systemd-boot, and the
//! machine anew when systemd-boot comes back.
//!
//! systemd-boot 252 counts a try down, and if the entry's image cannot be
//! started it returns to the firmware. Firmware then looks for something else
//! to start, and with nothing there it waits for a person (OVMF in its shell).
//! Started anew, the machine tries again, until the tries are used up and
//! systemd-boot chooses another entry.
//!
//! What hangs instead of coming back is the watchdog's business: the firmware
//! arms its own, of five minutes, before it starts a program; systemd-boot arms
//! it again, and the kernel's start ends it. Nothing here touches it.
//!
//! The firmware's interrupts use the stack that the program runs on. Code for
//! Linux may keep values below the stack pointer (in the "red zone"), where an
//! interrupt would overwrite them; code with the firmware's calling convention
//! never does. So every function here that is there at run time is `extern
//! "efiapi"`. There is no allocator, no formatting and nothing that may panic.

#![no_std]
#![allow(
    unsafe_code,
    reason = "the firmware's interface is raw pointers; each use says why it is sound"
)]

#[cfg(test)]
extern crate std;

mod path;
mod selected;
mod words;

use core::ptr;

use r_efi::efi;
use r_efi::protocols::{device_path, loaded_image};

use words::{Char, put, put_status, words};

/// How long a person has for reading why, after the three seconds for which
/// systemd-boot shows its own words. It keeps a machine that can start nothing
/// from doing so in a rush, too.
const PAUSE_US: usize = 5_000_000;

/// Starts systemd-boot; when that does not work out, says so and resets.
///
/// # Safety
/// `image` and `table` must be what the firmware gave the program.
pub unsafe extern "efiapi" fn run(image: efi::Handle, table: *mut efi::SystemTable) -> ! {
    // SAFETY: the firmware's tables hold until a program leaves boot services,
    // and none that does ever comes back here.
    let (boot, runtime) = unsafe { ((*table).boot_services, (*table).runtime_services) };
    let mut started = ptr::null_mut();
    // SAFETY: all of it is the firmware's own.
    unsafe {
        let loaded = load(image, boot, &mut started);
        if loaded == efi::Status::SUCCESS {
            let ended = ((*boot).start_image)(started, ptr::null_mut(), ptr::null_mut());
            put(
                table,
                words!("\r\norlop: cannot boot: systemd-boot came back from "),
            );
            selected::put_selected(table);
            put_status(table, ended);
        } else {
            put(table, words!("\r\norlop: cannot boot: systemd-boot, "));
            put(table, words!("EFI/systemd/systemd-bootx64.efi"));
            put_status(table, loaded);
        }
        put(table, words!("\r\norlop: restarting in 5 s\r\n"));
        ((*boot).stall)(PAUSE_US);
        ((*runtime).reset_system)(efi::RESET_COLD, efi::Status::SUCCESS, 0, ptr::null_mut());
    }
    // Firmware that cannot reset: its watchdog may.
    loop {
        core::hint::spin_loop();
    }
}

/// Loads systemd-boot from the partition that this program is from, by its
/// place there and not from memory: so the firmware checks its signature as it
/// checked ours, and systemd-boot learns which partition is its own.
///
/// # Safety
/// As [`run`]; `boot` of the same firmware.
unsafe extern "efiapi" fn load(
    image: efi::Handle,
    boot: *mut efi::BootServices,
    loaded: *mut efi::Handle,
) -> efi::Status {
    let mut own: *mut loaded_image::Protocol = ptr::null_mut();
    let mut partition: *mut device_path::Protocol = ptr::null_mut();
    let mut whole = ptr::null_mut();
    let mut image_id = loaded_image::PROTOCOL_GUID;
    let mut path_id = device_path::PROTOCOL_GUID;
    // SAFETY: each pointer that is written through is a variable above, and
    // each that is read was given by a call that succeeded.
    unsafe {
        let mut status = ((*boot).handle_protocol)(image, &mut image_id, (&raw mut own).cast());
        if status == efi::Status::SUCCESS {
            let device = (*own).device_handle;
            status = ((*boot).handle_protocol)(device, &mut path_id, (&raw mut partition).cast());
        }
        if status == efi::Status::SUCCESS {
            status = path::below(boot, partition, &mut whole);
        }
        if status == efi::Status::SUCCESS {
            let load = (*boot).load_image;
            status = load(
                efi::Boolean::FALSE,
                image,
                whole,
                ptr::null_mut(),
                0,
                loaded,
            );
        }
        status
    }
}
