//! End-to-end tests: real images, booted under QEMU, read as stories.

mod neighbour;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, Vec::new()).exit();
}
