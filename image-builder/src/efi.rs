//! Makes an EFI application, a PE image, of a program in an ELF file that may
//! lie anywhere in memory.
//!
//! Each loadable segment becomes a section of the same content at the same
//! distance from its neighbours, one page further on, because a PE image begins
//! with headers of its own. What the ELF file says of addresses in its data is
//! said in the PE image's way. PE as in Microsoft's "PE Format". It must not
//! know what the program does.

use object::Endianness;
use object::elf::{self, FileHeader64};
use object::pe;
use object::read::elf::{FileHeader, ProgramHeader, Rela, SectionHeader};
use object::write::pe::{NtHeaders, Writer};
use thiserror::Error;

type Header = FileHeader64<Endianness>;

/// Alignment of sections in memory, and by how much everything moves.
const PAGE: u32 = 0x1000;
/// Alignment of sections in the file.
const SECTOR: u32 = 512;
/// So many sections' headers lie on the first page; linkers make four.
const SEGMENTS_MAX: usize = 16;

/// Why a program cannot be an EFI application.
#[derive(Debug, Error)]
pub enum EfiError {
    /// The file cannot be read as ELF.
    #[error("it is not a 64-bit ELF program: {0}")]
    Elf(#[from] object::read::Error),
    /// It is not what the firmware can run.
    #[error("as a program for the firmware it {0}; build it with `cargo build --release`")]
    Unfit(String),
    /// The PE image could not be written.
    #[error("writing the EFI application: {0}")]
    Pe(#[from] object::write::Error),
}

fn unfit<T>(why: impl Into<String>) -> Result<T, EfiError> {
    Err(EfiError::Unfit(why.into()))
}

/// A segment on whole pages, at its address in the PE image.
struct Segment {
    address: u32,
    size: u32,
    flags: elf::ProgramFlags,
    content: Vec<u8>,
}

/// The PE image of the program in `file`.
///
/// # Errors
/// A file that is no ELF program for x86-64, or one that is linked for a fixed
/// address, needs other files, or keeps data for each thread.
pub fn application(file: &[u8]) -> Result<Vec<u8>, EfiError> {
    let header = Header::parse(file)?;
    let endian = header.endian()?;
    if header.e_machine(endian) != elf::EM_X86_64 {
        return unfit("is not for x86-64");
    }
    if header.e_type(endian) != elf::ET_DYN {
        return unfit("is linked for a fixed address");
    }
    let mut segments = segments(header, endian, file)?;
    let moved = relocate(header, endian, file, &mut segments)?;
    let entry = header.e_entry(endian).wrapping_add(PAGE.into());
    let begins_in = |segment: &&Segment| {
        let place = entry.checked_sub(segment.address.into());
        let inside = place.is_some_and(|place| place < segment.content.len() as u64);
        inside && segment.flags.contains(elf::PF_X)
    };
    if segments.iter().find(begins_in).is_none() {
        return unfit("does not begin in its code");
    }
    write(&segments, &moved, entry as u32)
}

fn segments(header: &Header, endian: Endianness, file: &[u8]) -> Result<Vec<Segment>, EfiError> {
    let mut found: Vec<Segment> = Vec::new();
    for part in header.program_headers(endian, file)? {
        match part.p_type(endian) {
            elf::PT_LOAD if part.p_memsz(endian) > 0 => {}
            elf::PT_INTERP => return unfit("is dynamically linked"),
            elf::PT_TLS => return unfit("keeps data for each thread"),
            _ => continue,
        }
        let Ok(content) = part.data(endian, file) else {
            return unfit("is cut off");
        };
        let end = part.p_vaddr(endian).checked_add(part.p_memsz(endian));
        let Some(end) = end
            .and_then(|end| u32::try_from(end).ok())
            .filter(|end| *end < 1 << 30)
        else {
            return unfit("is larger than 1 GiB");
        };
        let start = part.p_vaddr(endian) as u32;
        let before = start % PAGE;
        let address = start - before + PAGE;
        if found
            .last()
            .is_some_and(|last| last.address + last.size > address)
        {
            return unfit("has two segments on one page");
        }
        let mut padded = vec![0; before as usize];
        padded.extend_from_slice(content);
        found.push(Segment {
            address,
            size: end - (start - before),
            flags: part.p_flags(endian),
            content: padded,
        });
    }
    if found.len() > SEGMENTS_MAX {
        return unfit(format!("has more than {SEGMENTS_MAX} segments"));
    }
    Ok(found)
}

/// Puts addresses into the data for an image at address 0, and says where they
/// are: the firmware adds what the image's address is then.
fn relocate(
    header: &Header,
    endian: Endianness,
    file: &[u8],
    segments: &mut [Segment],
) -> Result<Vec<u32>, EfiError> {
    let mut moved = Vec::new();
    let sections = header.sections(endian, file)?;
    if sections.is_empty() {
        return unfit("has no section headers, which tell of its relocations");
    }
    for section in sections.iter() {
        // Packed ones (`SHT_RELR`) leave the address in its place.
        if let Some(places) = section.relr(endian, file)? {
            for place in places {
                moved.push(move_by_page(segments, place, None)?);
            }
        }
        let Some((all, _)) = section.rela(endian, file)? else {
            continue;
        };
        for one in all {
            let kind = one.r_type(endian, false);
            if kind != elf::R_X86_64_RELATIVE {
                return unfit(format!("has a relocation of type {kind:?}"));
            }
            let address = one.r_addend(endian) as u64;
            moved.push(move_by_page(segments, one.r_offset(endian), Some(address))?);
        }
    }
    moved.sort_unstable();
    Ok(moved)
}

/// Puts `address`, or what is there, at `place` in the ELF file's memory, a page
/// further on like everything else. Gives the place in the PE image.
fn move_by_page(
    segments: &mut [Segment],
    place: u64,
    address: Option<u64>,
) -> Result<u32, EfiError> {
    let place = place.wrapping_add(PAGE.into());
    let found = segments.iter_mut().find_map(|segment| {
        let at = usize::try_from(place.checked_sub(segment.address.into())?).ok()?;
        let bytes = segment.content.get_mut(at..)?;
        bytes.first_chunk_mut::<8>()
    });
    let Some(bytes) = found else {
        return unfit(format!(
            "has a relocation outside of its data, at {place:#x}"
        ));
    };
    let address = address.unwrap_or(u64::from_le_bytes(*bytes));
    *bytes = address.wrapping_add(PAGE.into()).to_le_bytes();
    Ok(place as u32)
}

fn write(segments: &[Segment], moved: &[u32], entry: u32) -> Result<Vec<u8>, EfiError> {
    let mut image = Vec::new();
    let mut writer = Writer::new(true, PAGE, SECTOR, &mut image);
    writer.reserve_dos_header_and_stub();
    writer.reserve_nt_headers(pe::IMAGE_NUMBEROF_DIRECTORY_ENTRIES);
    writer.reserve_section_headers(segments.len() as u16 + 1);
    let mut places = Vec::new();
    for segment in segments {
        writer.reserve_virtual_until(segment.address);
        let (name, characteristics) = kind(segment.flags)?;
        let length = segment.content.len() as u32;
        let range = writer.reserve_section(name, characteristics, segment.size, length);
        places.push((range.file_offset, &segment.content));
    }
    for place in moved {
        writer.add_reloc(*place, pe::IMAGE_REL_BASED_DIR64);
    }
    if moved.is_empty() {
        // Does nothing. An image without such a section is one that must not be
        // moved, to some firmware.
        writer.add_reloc(PAGE, pe::IMAGE_REL_BASED_ABSOLUTE);
    }
    writer.reserve_reloc_section();
    writer.write_dos_header_and_stub()?;
    writer.write_nt_headers(nt_headers(entry));
    writer.write_section_headers();
    for (offset, content) in places {
        writer.write_section(offset, content);
    }
    writer.write_reloc_section();
    Ok(image)
}

fn kind(flags: elf::ProgramFlags) -> Result<([u8; 8], pe::SectionFlags), EfiError> {
    let data = pe::IMAGE_SCN_CNT_INITIALIZED_DATA | pe::IMAGE_SCN_MEM_READ;
    let writes = flags.contains(elf::PF_W);
    match (writes, flags.contains(elf::PF_X)) {
        (false, false) => Ok((*b".rodata\0", data)),
        (true, false) => Ok((*b".data\0\0\0", data | pe::IMAGE_SCN_MEM_WRITE)),
        (false, true) => {
            let code = pe::IMAGE_SCN_CNT_CODE | pe::IMAGE_SCN_MEM_EXECUTE;
            Ok((*b".text\0\0\0", code | pe::IMAGE_SCN_MEM_READ))
        }
        (true, true) => unfit("has memory that is both written and run"),
    }
}

fn nt_headers(entry: u32) -> NtHeaders {
    NtHeaders {
        machine: pe::IMAGE_FILE_MACHINE_AMD64,
        time_date_stamp: 0,
        characteristics: pe::IMAGE_FILE_EXECUTABLE_IMAGE | pe::IMAGE_FILE_LARGE_ADDRESS_AWARE,
        major_linker_version: 0,
        minor_linker_version: 0,
        address_of_entry_point: entry,
        image_base: 0,
        major_operating_system_version: 0,
        minor_operating_system_version: 0,
        major_image_version: 0,
        minor_image_version: 0,
        major_subsystem_version: 0,
        minor_subsystem_version: 0,
        subsystem: pe::IMAGE_SUBSYSTEM_EFI_APPLICATION,
        dll_characteristics: pe::IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE
            | pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT,
        size_of_stack_reserve: 0,
        size_of_stack_commit: 0,
        size_of_heap_reserve: 0,
        size_of_heap_commit: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::read::pe::PeFile64;
    use object::{Object, ObjectSection};
    use std::process::Command;

    /// Adds up two numbers, one of which it knows only by an address in its data.
    const PROGRAM: &str = ".globl efi_main\nefi_main: mov where(%rip), %rax\n\
        add (%rax), %rcx\nmov %rcx, sum(%rip)\nret\n\
        .data\n.balign 8\nnumber: .quad 0x1234567\nwhere: .quad number\n.bss\nsum: .skip 9000\n";

    fn linked(text: &str, words: &[&str]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let (source, program) = (dir.path().join("a.s"), dir.path().join("a"));
        std::fs::write(&source, text).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-nostdlib", "-Wl,--entry=efi_main"]).args(words);
        let output = gcc.arg(&source).arg("-o").arg(&program).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        std::fs::read(program).unwrap()
    }

    fn u64_at(image: &PeFile64<'_>, address: u64) -> u64 {
        let found = image.sections().find_map(|section| {
            let at = usize::try_from(address.checked_sub(section.address())?).ok()?;
            let bytes = section.data().ok()?.get(at..at + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        });
        found.unwrap()
    }

    #[test]
    fn addresses_in_data_move_with_the_image() {
        let plain = linked(PROGRAM, &["-static-pie"]);
        moves(&plain);
        let packed = linked(PROGRAM, &["-static-pie", "-Wl,-z,pack-relative-relocs"]);
        let file = object::read::elf::ElfFile64::<Endianness>::parse(&*packed).unwrap();
        assert!(file.section_by_name(".relr.dyn").is_some());
        moves(&packed);
    }

    fn moves(program: &[u8]) {
        let made = application(program).unwrap();
        let image = PeFile64::parse(made.as_slice()).unwrap();
        let headers = image.nt_headers();
        let optional = &headers.optional_header;
        let subsystem = optional.subsystem.get(object::LittleEndian);
        assert_eq!(subsystem, pe::IMAGE_SUBSYSTEM_EFI_APPLICATION);
        let blocks = image.data_directories();
        let mut blocks = blocks
            .relocation_blocks(made.as_slice(), &image.section_table())
            .unwrap()
            .unwrap();
        let first = blocks.next().unwrap().unwrap().next().unwrap();
        assert_eq!(first.typ, pe::IMAGE_REL_BASED_DIR64);
        let number = u64_at(&image, first.virtual_address.into());
        assert_eq!(u64_at(&image, number), 0x1234567);
        let code = image.sections().find(|s| s.name() == Ok(".text")).unwrap();
        let entry = u64::from(optional.address_of_entry_point.get(object::LittleEndian));
        assert!((code.address()..code.address() + code.size()).contains(&entry));
        // Nine thousand bytes are there in memory alone.
        let data = image.sections().find(|s| s.name() == Ok(".data")).unwrap();
        assert!(data.size() > 9000 && data.data().unwrap().len() < 9000);
        let all = u64::from(optional.size_of_image.get(object::LittleEndian));
        let end = |s: object::read::pe::PeSection<'_, '_, _>| s.address() + s.size();
        assert_eq!(
            all,
            image
                .sections()
                .map(end)
                .max()
                .unwrap()
                .next_multiple_of(4096)
        );
        assert!(application(program).unwrap() == made);
    }

    #[test]
    fn other_programs_are_refused_with_the_reason() {
        let fixed = PROGRAM.replace("mov where(%rip), %rax", "mov $number, %rax");
        let thread = format!("{PROGRAM}.section .tdata,\"awT\"\n.quad 1\n");
        let mut headless = linked(PROGRAM, &["-static-pie"]);
        // e_shoff; e_shnum and e_shstrndx.
        headless[40..48].fill(0);
        headless[60..64].fill(0);
        let cases = [
            (linked(&fixed, &["-static", "-no-pie"]), "fixed address"),
            (linked(PROGRAM, &["-pie"]), "dynamically linked"),
            (linked(&thread, &["-static-pie"]), "for each thread"),
            (
                std::fs::read("/bin/busybox").unwrap(),
                "as a program for the firmware",
            ),
            (b"MZ".to_vec(), "not a 64-bit ELF program"),
            (headless, "has no section headers"),
        ];
        for (program, wanted) in cases {
            let refusal = application(&program).unwrap_err().to_string();
            assert!(refusal.contains(wanted), "{wanted}: {refusal}");
        }
    }

    #[test]
    fn a_damaged_program_is_no_reason_to_panic() {
        let good = linked(PROGRAM, &["-static-pie"]);
        for at in 0..good.len().min(4096) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let _ = application(&bad);
            }
        }
        for length in 0..good.len().min(4096) {
            let _ = application(&good[..length]);
        }
    }
}
