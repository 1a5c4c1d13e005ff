//! Links the program without anything of Linux, where it is to run without.
//!
//! In a release build the program is one for the firmware: an ELF file that may
//! lie anywhere in memory and needs nothing, of which `orlop-image` makes a PE
//! image. Other profiles unwind when they panic, which needs std; there it is a
//! program that says so, and only the library is the same.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(firmware)");
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        println!("cargo::rustc-cfg=firmware");
        for word in [
            "-nostartfiles",
            "-Wl,--entry=efi_main",
            "-Wl,--build-id=none",
        ] {
            println!("cargo::rustc-link-arg-bins={word}");
        }
    }
}
