//! What the program is linked without: the tables that unwinding goes by, as a panic of a
//! released program aborts; and second copies of the same code.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=no-unwinding.ld");
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/no-unwinding.ld");
    println!("cargo:rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{script}");
    // By the linker that Rust has of its own, and uses by default for this machine alone; others
    // know no such option. Nothing here tells functions apart by their addresses.
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}
