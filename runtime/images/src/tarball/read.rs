//! Reading members.

use std::io::{self, Read};
use std::ops::Range;

use tar::{EntryType, Header};

use super::pax::Extension;
use crate::tree::Xattrs;
use crate::tree::{Device, Time};

const BLOCK: usize = 512;

/// A member's header, extensions applied.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Path as it stands in the archive.
    pub(crate) path: Vec<u8>,
    /// What it is.
    pub(crate) what: What,
    /// Permission bits, at most `0o7777`.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u64,
    /// Group.
    pub(crate) gid: u64,
    /// Time of last modification.
    pub(crate) mtime: Time,
    /// Extended attributes.
    pub(crate) xattrs: Xattrs,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A regular file of so many bytes, which [`Reader::data`] gives.
    File(u64),
    Dir,
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    Char(Device),
    Block(Device),
    Fifo,
}

/// Why reading ended early.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The stream failed.
    Io(io::Error),
    /// The archive breaks a rule; what, and in which member as far as known.
    Format(String),
    /// Extension headers of one member with that many bytes.
    Extension(u64),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a tar stream.
pub(crate) struct Reader<R> {
    inner: R,
    /// Bytes taken from the stream.
    offset: u64,
    /// Bytes of the current member's data that no one took yet.
    data: u64,
    /// Bytes of padding after them.
    padding: u64,
    /// Most bytes of a member's extension headers.
    extension_bytes: u64,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(inner: R, extension_bytes: u64) -> Self {
        Self {
            inner,
            offset: 0,
            data: 0,
            padding: 0,
            extension_bytes,
        }
    }

    /// The next member; nothing at the archive's end.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, Fault> {
        let mut extension = Extension::default();
        let mut long_path = None;
        let mut long_link = None;
        let mut extended = false;
        let mut extension_bytes = 0_u64;
        loop {
            self.skip_data()?;
            let Some(header) = self.header()? else {
                if extended {
                    return Err(Fault::Format("ends after an extension header".to_owned()));
                }
                return Ok(None);
            };
            let kind = header.entry_type();
            let size = number(&header, 124..136, header.entry_size())
                .ok_or_else(|| field_of("size", &header.path_bytes()))?;
            let records = match kind {
                EntryType::XHeader
                | EntryType::XGlobalHeader
                | EntryType::GNULongName
                | EntryType::GNULongLink => {
                    // A member may have several; their records add up.
                    extension_bytes = extension_bytes.saturating_add(size);
                    if extension_bytes > self.extension_bytes {
                        return Err(Fault::Extension(extension_bytes));
                    }
                    self.extension(size)?
                }
                _ => {
                    extension.path = extension.path.or(long_path);
                    extension.link = extension.link.or(long_link);
                    return self.member(&header, size, extension).map(Some);
                }
            };
            extended = true;
            match kind {
                EntryType::XHeader => extension.read(&records).map_err(Fault::Format)?,
                EntryType::GNULongName => long_path = Some(until_nul(records)),
                EntryType::GNULongLink => long_link = Some(until_nul(records)),
                // Global headers hold comments (git archive); containerd, too,
                // passes over them.
                _ => extended = false,
            }
        }
    }

    /// The current member's data.
    pub(crate) fn data(&mut self) -> Data<'_, R> {
        Data { reader: self }
    }

    fn member(&mut self, header: &Header, size: u64, ext: Extension) -> Result<Member, Fault> {
        let path = ext.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = ext
            .link
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        let named = |name: &str| field_of(name, &path);
        let device = || {
            let major = header.device_major().map(Option::unwrap_or_default);
            let minor = header.device_minor().map(Option::unwrap_or_default);
            Ok::<_, Fault>(Device {
                major: number(header, 329..337, major).ok_or_else(|| named("device major"))?,
                minor: number(header, 337..345, minor).ok_or_else(|| named("device minor"))?,
            })
        };
        let what = match header.entry_type() {
            EntryType::Regular if path.ends_with(b"/") => What::Dir,
            EntryType::Regular | EntryType::Continuous => What::File(ext.size.unwrap_or(size)),
            EntryType::Directory => What::Dir,
            EntryType::Link => What::HardLink(link),
            EntryType::Symlink => What::Symlink(link),
            EntryType::Char => What::Char(device()?),
            EntryType::Block => What::Block(device()?),
            EntryType::Fifo => What::Fifo,
            other => {
                let (shown, kind) = (String::from_utf8_lossy(&path), char::from(other.as_byte()));
                let why = format!("member {shown:?} is of type {kind:?}, which layers do not have");
                return Err(Fault::Format(why));
            }
        };
        // Only regular files have data, whatever the size field of others says.
        if let What::File(size) = what {
            self.data = size;
            self.padding = padding(size);
        }
        let mode = number(header, 100..108, header.mode()).ok_or_else(|| named("mode"))?;
        let uid = number(header, 108..116, header.uid()).ok_or_else(|| named("uid"))?;
        let gid = number(header, 116..124, header.gid()).ok_or_else(|| named("gid"))?;
        let mtime = number(header, 136..148, header.mtime()).ok_or_else(|| named("mtime"))?;
        Ok(Member {
            mode: mode & 0o7777,
            uid: ext.uid.unwrap_or(uid),
            gid: ext.gid.unwrap_or(gid),
            // A negative base-256 number is the low half of two's complement.
            mtime: ext.mtime.unwrap_or(Time {
                secs: mtime.cast_signed(),
                nanos: 0,
            }),
            xattrs: ext.xattrs,
            path,
            what,
        })
    }

    /// The next header block; nothing at a zero block or at the stream's end.
    fn header(&mut self) -> Result<Option<Header>, Fault> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(cut_short().into()),
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.offset += BLOCK as u64;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The checksum counts its own field as spaces.
        let sum = block.iter().enumerate().fold(0, |sum, (at, byte)| {
            sum + u32::from(if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            })
        });
        if header.cksum().ok() != Some(sum) {
            let at = self.offset - BLOCK as u64;
            return Err(Fault::Format(format!(
                "is no tar archive: bad checksum at byte {at}"
            )));
        }
        Ok(Some(header))
    }

    /// The whole data of an extension header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        self.data = size;
        self.padding = padding(size);
        let mut bytes = Vec::new();
        self.data().read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(cut_short().into());
        }
        Ok(bytes)
    }

    /// Passes over what is left of the current member.
    fn skip_data(&mut self) -> Result<(), Fault> {
        let left = self.data.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.inner).take(left), &mut io::sink())?;
        self.offset += skipped;
        // An archive may end without the last member's padding.
        if skipped < self.data {
            return Err(cut_short().into());
        }
        (self.data, self.padding) = (0, 0);
        Ok(())
    }
}

/// Reads a member's data.
pub(crate) struct Data<'a, R> {
    reader: &'a mut Reader<R>,
}

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.reader.data).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        let got = self.reader.inner.read(&mut buffer[..wanted])?;
        if got == 0 {
            return Err(cut_short());
        }
        self.reader.data -= got as u64;
        self.reader.offset += got as u64;
        Ok(got)
    }
}

fn cut_short() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the archive ends in the middle of a member",
    )
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// A number of a header; a field left blank is zero, as Go's and GNU's readers
/// have it.
fn number<N: Default>(header: &Header, field: Range<usize>, read: io::Result<N>) -> Option<N> {
    let is_blank = |byte: &u8| matches!(byte, 0 | b' ');
    if header.as_bytes()[field].iter().all(is_blank) {
        return Some(N::default());
    }
    read.ok()
}

fn field_of(name: &str, path: &[u8]) -> Fault {
    let path = String::from_utf8_lossy(path);
    Fault::Format(format!("member {path:?} has no number in its {name} field"))
}
