//! Boots images under QEMU: cargo vm, and the library of the end-to-end tests.
