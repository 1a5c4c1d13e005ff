//! What stands for our own programs in an image that nobody boots.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Fills `dir` with busybox under our programs' names, and with a loader that
/// does nothing.
pub(crate) fn put(dir: &Path) {
    for name in ["orlop-init", "orlop-manager", "orlop-runtime"] {
        fs::copy("/bin/busybox", dir.join(name)).unwrap();
    }
    let source = dir.join("loader.s");
    fs::write(&source, ".globl efi_main\nefi_main: ret\n").unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-nostdlib", "-static-pie", "-Wl,--entry=efi_main", "-o"]);
    let output = gcc.arg(dir.join("orlop-loader")).arg(&source).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::remove_file(source).unwrap();
}
