//! What the program is linked without: the tables that unwinding goes by.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/no-unwinding.ld");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={script}");
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        println!("cargo:rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{script}");
    }
}
