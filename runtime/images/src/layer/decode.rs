//! Compression of layers and archives, recognised by its first bytes: media
//! types have been wrong in the wild, and the bytes cannot be.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// A reader of the plain bytes of a gzip, zstd or uncompressed stream.
pub(crate) fn decoder<'a>(compressed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut input = BufReader::with_capacity(128 << 10, compressed);
    // One read gives at least the magic of any stream that has one.
    let start = input.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(MultiGzDecoder::new(input)));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(input)?));
    }
    Ok(Box::new(input))
}

/// Lets a number of bytes through; the next one is an error of kind
/// `FileTooLarge`.
pub(crate) struct Capped<'a, R> {
    pub(crate) inner: R,
    pub(crate) left: &'a mut u64,
}

impl<R: Read> Read for Capped<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        match self.left.checked_sub(got as u64) {
            Some(left) => *self.left = left,
            None => return Err(io::ErrorKind::FileTooLarge.into()),
        }
        Ok(got)
    }
}
