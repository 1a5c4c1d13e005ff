//! `EFI/BOOT/BOOTX64.EFI`, which the firmware starts by itself.

#![cfg_attr(all(firmware, not(test)), no_std, no_main)]

#[cfg(all(firmware, not(test)))]
mod firmware {
    #![allow(unsafe_code, reason = "the entry point's name and its call")]

    use r_efi::efi;

    /// # Safety
    /// Called by the firmware, with what it gives an application.
    // SAFETY: nothing else in the program has this name.
    #[unsafe(export_name = "efi_main")]
    unsafe extern "efiapi" fn main(
        image: efi::Handle,
        table: *mut efi::SystemTable,
    ) -> efi::Status {
        // SAFETY: these are the firmware's own arguments.
        unsafe { orlop_loader::run(image, table) }
    }

    /// Nothing here panics. If something did, the firmware's watchdog, which
    /// still runs, would reset the machine within five minutes.
    #[panic_handler]
    fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {
            core::hint::spin_loop();
        }
    }
}

#[cfg(not(all(firmware, not(test))))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "orlop-loader: a program for a machine's firmware, which only a release build gives; \
         `orlop-image build` puts it on the boot partition"
    );
    std::process::ExitCode::FAILURE
}
