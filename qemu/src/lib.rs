//! Boots host images under QEMU: the library behind `cargo vm` and the
//! end-to-end tests.
//!
//! It builds the binaries and images that a boot needs, starts QEMU as an
//! ordinary user, and watches the serial console. It knows nothing of what runs
//! inside beyond what the console prints and the API answers.

pub mod accel;
pub mod build;
pub mod console;
pub mod debian;
pub mod gdb;
pub mod guest;
pub mod http;
pub mod machine;
pub mod paths;
pub mod qmp;
pub mod uptimes;
pub mod vm;
