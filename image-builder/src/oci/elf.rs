//! Whether a program brings all it needs: a static ELF names no interpreter.

use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};

/// Checks that the ELF program in `bytes` is statically linked and runs on
/// `architecture` (the OCI's word; one unknown here is not checked).
///
/// # Errors
/// What is wrong with it, and what to do.
pub(super) fn check_static(bytes: &[u8], architecture: &str) -> Result<()> {
    let header = FileHeader64::<Endianness>::parse(bytes)
        .context("is no 64-bit ELF program; put scripts in with --file")?;
    let endian = header.endian()?;
    let machine = header.e_machine(endian);
    let expected = match architecture {
        "amd64" => Some(object::elf::EM_X86_64),
        "arm64" => Some(object::elf::EM_AARCH64),
        "riscv64" => Some(object::elf::EM_RISCV),
        _ => None,
    };
    if expected.is_some_and(|expected| expected != machine) {
        bail!("is for another machine than {architecture} (ELF machine {machine:?})");
    }
    let segments = header.program_headers(endian, bytes)?;
    if segments
        .iter()
        .any(|segment| segment.p_type(endian) == PT_INTERP)
    {
        bail!(
            "is dynamically linked and would not find its libraries; \
             link it statically, or use --rootfs with them"
        );
    }
    Ok(())
}
