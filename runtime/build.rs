//! What the program is linked without: the index of the tables that unwinding goes by, as a panic
//! of a released program aborts; and second copies of the same code.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    println!("cargo:rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    // By the linker that Rust has of its own, and uses by default for this machine alone; others
    // know no such option. Nothing here tells functions apart by their addresses.
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}
