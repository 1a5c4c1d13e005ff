//! Reads the bytes of regular files, in pieces.

use orlop_images::tree::Content;

use super::ErofsError;

const PIECE: u64 = 256 * 1024;

/// Calls `each` with the bytes of `content` from `offset`, `len` of them.
///
/// # Errors
/// What `each` returns; a content that cannot be read or is shorter.
pub(super) fn for_each_piece(
    content: &Content,
    offset: u64,
    len: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), ErofsError>,
) -> Result<(), ErofsError> {
    let mut buffer = vec![0u8; PIECE.min(len) as usize];
    let mut done = 0;
    while done < len {
        let want = (len - done).min(PIECE) as usize;
        let got = content
            .read_at(&mut buffer[..want], offset + done)
            .map_err(ErofsError::Read)?;
        if got < want {
            return Err(ErofsError::Read(std::io::ErrorKind::UnexpectedEof.into()));
        }
        each(&buffer[..want])?;
        done += want as u64;
    }
    Ok(())
}
