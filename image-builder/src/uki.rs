//! Makes a unified kernel image: systemd's EFI stub with kernel, initramfs,
//! command line and os-release appended as PE sections.
//!
//! Specification: <https://uapi-group.org/specifications/specs/unified_kernel_image/>;
//! PE as in Microsoft's "PE Format". It must not know what the sections say.

use thiserror::Error;

/// Why an image could not be made.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UkiError {
    /// The stub is not what we can append to.
    #[error("the EFI stub: {0}")]
    Stub(&'static str),
    /// A section name over eight bytes.
    #[error("section name {0:?} is longer than 8 bytes")]
    Name(String),
    /// The image would be over 4 GiB.
    #[error("the unified kernel image would be larger than 4 GiB")]
    TooLarge,
}

const SECTION_HEADER: usize = 40;
/// Readable, initialised data.
const CHARACTERISTICS: u32 = 0x4000_0040;

/// Where things are in the stub's headers.
struct Headers {
    optional: usize,
    count_at: usize,
    count: usize,
    table: usize,
    section_alignment: u32,
    file_alignment: u32,
    headers_size: usize,
}

/// Appends `sections` to `stub`, in this order.
///
/// # Errors
/// A stub that is no 64-bit PE image or has no room for more section headers,
/// and the limits of the format.
pub fn build(stub: &[u8], sections: &[(&str, &[u8])]) -> Result<Vec<u8>, UkiError> {
    let headers = parse(stub)?;
    let end = headers.table + (headers.count + sections.len()) * SECTION_HEADER;
    if end > headers.headers_size || end > first_data(stub, &headers)? {
        return Err(UkiError::Stub("no room for more section headers"));
    }
    let mut out = stub.to_vec();
    let mut address = end_of_memory(stub, &headers)?;
    let aligned = |value: usize, to: u32| -> Result<u32, UkiError> {
        let value = u32::try_from(value).map_err(|_| UkiError::TooLarge)?;
        value.checked_next_multiple_of(to).ok_or(UkiError::TooLarge)
    };
    let mut data_size = 0u32;
    for (index, (name, bytes)) in sections.iter().enumerate() {
        if name.len() > 8 {
            return Err(UkiError::Name((*name).to_owned()));
        }
        let raw_at = aligned(out.len(), headers.file_alignment)?;
        let raw_size = aligned(bytes.len(), headers.file_alignment)?;
        let virtual_at = aligned(address as usize, headers.section_alignment)?;
        let mut header = [0u8; SECTION_HEADER];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let size = u32::try_from(bytes.len()).map_err(|_| UkiError::TooLarge)?;
        let fields = [
            (8, size),
            (12, virtual_at),
            (16, raw_size),
            (20, raw_at),
            (36, CHARACTERISTICS),
        ];
        for (at, value) in fields {
            header[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let at = headers.table + (headers.count + index) * SECTION_HEADER;
        out[at..at + SECTION_HEADER].copy_from_slice(&header);
        out.resize(raw_at as usize, 0);
        out.extend_from_slice(bytes);
        out.resize(raw_at as usize + raw_size as usize, 0);
        address = virtual_at.checked_add(size).ok_or(UkiError::TooLarge)?;
        data_size = data_size.checked_add(raw_size).ok_or(UkiError::TooLarge)?;
    }
    let image_size = aligned(address as usize, headers.section_alignment)?;
    let count = (headers.count + sections.len()) as u16;
    out[headers.count_at..headers.count_at + 2].copy_from_slice(&count.to_le_bytes());
    let data_at = headers.optional + 8;
    let data_size = word(&out, data_at)?
        .checked_add(data_size)
        .ok_or(UkiError::TooLarge)?;
    out[data_at..data_at + 4].copy_from_slice(&data_size.to_le_bytes());
    out[headers.optional + 56..headers.optional + 60].copy_from_slice(&image_size.to_le_bytes());
    // The checksum is optional for EFI; a stale one would be worse than none.
    out[headers.optional + 64..headers.optional + 68].fill(0);
    Ok(out)
}

fn half(bytes: &[u8], at: usize) -> Result<u16, UkiError> {
    let found = bytes
        .get(at..at + 2)
        .ok_or(UkiError::Stub("it is cut off"))?;
    Ok(u16::from_le_bytes([found[0], found[1]]))
}

fn word(bytes: &[u8], at: usize) -> Result<u32, UkiError> {
    Ok(u32::from(half(bytes, at)?) | u32::from(half(bytes, at + 2)?) << 16)
}

fn parse(stub: &[u8]) -> Result<Headers, UkiError> {
    if stub.get(..2) != Some(b"MZ") {
        return Err(UkiError::Stub("it is no PE image"));
    }
    let pe = word(stub, 60)? as usize;
    if stub.get(pe..pe + 4) != Some(b"PE\0\0") {
        return Err(UkiError::Stub("it is no PE image"));
    }
    let optional = pe + 24;
    if half(stub, optional)? != 0x20b {
        return Err(UkiError::Stub("it is not a 64-bit image"));
    }
    let headers = Headers {
        optional,
        count_at: pe + 6,
        count: usize::from(half(stub, pe + 6)?),
        table: optional + usize::from(half(stub, pe + 20)?),
        section_alignment: word(stub, optional + 32)?,
        file_alignment: word(stub, optional + 36)?,
        headers_size: word(stub, optional + 60)? as usize,
    };
    let power = |value: u32| value.is_power_of_two();
    if !power(headers.section_alignment) || !power(headers.file_alignment) {
        return Err(UkiError::Stub("its alignments are not powers of two"));
    }
    if half(stub, optional + 68).is_err() || headers.headers_size > stub.len() {
        return Err(UkiError::Stub("it is cut off"));
    }
    Ok(headers)
}

/// First byte in the file of any section's data.
fn first_data(stub: &[u8], headers: &Headers) -> Result<usize, UkiError> {
    let mut first = stub.len();
    for index in 0..headers.count {
        let at = word(stub, headers.table + index * SECTION_HEADER + 20)? as usize;
        if at != 0 {
            first = first.min(at);
        }
    }
    Ok(first)
}

/// First address after all of the stub's sections.
fn end_of_memory(stub: &[u8], headers: &Headers) -> Result<u32, UkiError> {
    let mut end = 0;
    for index in 0..headers.count {
        let header = headers.table + index * SECTION_HEADER;
        let (size, at) = (word(stub, header + 8)?, word(stub, header + 12)?);
        end = end.max(
            at.checked_add(size)
                .ok_or(UkiError::Stub("a section wraps"))?,
        );
    }
    Ok(end)
}
