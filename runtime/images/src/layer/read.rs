//! From archive members to changes of a tree.

use std::io::{self, Read};

use super::{Action, Change};
use crate::image::NOTES_MAX;
use crate::spool::Spool;
use crate::tarball::{Fault, Member, Reader, What};
use crate::tree::{Device, Kind, Meta, Node, PATH_MAX, Xattrs};
use crate::{Error, Limits, Result};

/// Prefix of a name that hides the rest of the name in lower layers.
const WHITEOUT: &[u8] = b".wh.";
/// Name that hides all that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of other names that AUFS left in old images; they mean nothing.
const AUFS: &[u8] = b".wh..wh.";
/// Longest attribute name and value that Linux takes (XATTR_NAME_MAX,
/// XATTR_SIZE_MAX).
const XATTR_NAME_MAX: usize = 255;
const XATTR_SIZE_MAX: usize = 64 << 10;

/// What all layers of one image may still use, and what was left out of it.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) limits: Limits,
    pub(crate) entries: usize,
    pub(crate) unpacked_bytes: u64,
    metadata_bytes: u64,
    pub(crate) notes: Vec<String>,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            entries: limits.entries,
            unpacked_bytes: limits.unpacked_bytes,
            metadata_bytes: limits.metadata_bytes,
            limits: limits.clone(),
            notes: Vec::new(),
        }
    }

    /// Keeps a note, if there is room and it is new.
    pub(crate) fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn entry(&mut self, what: &str) -> Result<()> {
        let limit = self.limits.entries;
        self.entries = self.entries.checked_sub(1).ok_or_else(|| Error::TooLarge {
            what: what.to_owned(),
            found: "the number of files in the image".to_owned(),
            limit: format!("{limit} files"),
        })?;
        Ok(())
    }

    /// Pays for what of a member stays in memory.
    fn metadata(&mut self, what: &str, member: &Member) -> Result<()> {
        let target = match &member.what {
            What::HardLink(target) | What::Symlink(target) => target.len(),
            What::File(_) | What::Dir | What::Char(_) | What::Block(_) | What::Fifo => 0,
        };
        if target > PATH_MAX {
            let why =
                format!("has a link target of {target} bytes; at most {PATH_MAX} are possible");
            return Err(in_member(what, member, why));
        }
        let attributes = member.xattrs.iter();
        let attributes = attributes.map(|(name, value)| name.len() + value.len());
        let bytes = member.path.len() + target + attributes.sum::<usize>();
        let limit = self.limits.metadata_bytes;
        self.metadata_bytes = self
            .metadata_bytes
            .checked_sub(bytes as u64)
            .ok_or_else(|| Error::TooLarge {
                what: what.to_owned(),
                found: "the size of all names, links and extended attributes".to_owned(),
                limit: format!("{limit} bytes"),
            })?;
        Ok(())
    }

    /// What reading a stream can run into, in this crate's terms.
    pub(crate) fn read_error(&self, what: &str, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::FileTooLarge {
            let limit = self.limits.unpacked_bytes;
            return Error::TooLarge {
                what: what.to_owned(),
                found: "the unpacked size".to_owned(),
                limit: format!("{limit} bytes for all layers together"),
            };
        }
        Error::io(format!("read {what}"), error)
    }

    /// What a tar stream can run into, in this crate's terms.
    pub(crate) fn fault(&self, what: &str, fault: Fault) -> Error {
        match fault {
            Fault::Io(error) => self.read_error(what, error),
            Fault::Format(why) => Error::invalid(what, why),
            Fault::Extension(bytes) => Error::TooLarge {
                what: what.to_owned(),
                found: format!("extension headers of {bytes} bytes for one member"),
                limit: format!("{} bytes", self.limits.extension_bytes),
            },
        }
    }
}

/// Reads the changes that a layer makes; files' bytes go to `spool`. `what`
/// names the layer in errors.
pub(crate) fn read_layer(
    plain: impl Read,
    what: &str,
    spool: &mut Spool,
    budget: &mut Budget,
) -> Result<Vec<Change>> {
    let mut reader = Reader::new(plain, budget.limits.extension_bytes);
    let mut changes = Vec::new();
    loop {
        let member = match reader.next() {
            Ok(Some(member)) => member,
            Ok(None) => return Ok(changes),
            Err(fault) => return Err(budget.fault(what, fault)),
        };
        budget.entry(what)?;
        budget.metadata(what, &member)?;
        let Some(place) = place(&member.path).map_err(|why| in_member(what, &member, why))? else {
            continue;
        };
        let change = match place {
            Place::Whiteout(path) => Change {
                path,
                action: Action::Whiteout,
            },
            Place::Opaque(path) => Change {
                path,
                action: Action::Opaque,
            },
            Place::Entry => {
                let content = &mut |size, budget: &Budget| {
                    let failed = |error| budget.read_error(what, error);
                    spool.take_in(&mut reader.data(), size, &failed)
                };
                let action = action(&member, what, budget, content)?;
                Change {
                    path: member.path,
                    action,
                }
            }
        };
        changes.push(change);
    }
}

/// Where a member's content goes.
type TakeIn<'a> = dyn FnMut(u64, &Budget) -> Result<crate::content::Content> + 'a;

fn action(
    member: &Member,
    what: &str,
    budget: &mut Budget,
    content: &mut TakeIn<'_>,
) -> Result<Action> {
    let kind = match &member.what {
        What::HardLink(target) => return Ok(Action::Link(target.clone())),
        What::File(size) => Kind::File(content(*size, budget)?),
        What::Dir => Kind::Dir(crate::tree::Entries::default()),
        What::Symlink(target) => Kind::Symlink(target.clone()),
        What::Char(Device { major: 0, minor: 0 }) => {
            let why = "is an overlayfs whiteout (character device 0/0); \
                       a layer says it with a `.wh.` name";
            return Err(in_member(what, member, why.to_owned()));
        }
        What::Char(device) => Kind::Char(*device),
        What::Block(device) => Kind::Block(*device),
        What::Fifo => Kind::Fifo,
    };
    let xattrs = attributes(member, &kind, what, budget)?;
    let id = |id: u64, name: &str| {
        // The highest number means "leave as it is" to chown(2).
        u32::try_from(id)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| {
                in_member(
                    what,
                    member,
                    format!("has {name} {id}; at most 4294967294 is possible"),
                )
            })
    };
    let meta = Meta {
        mode: if matches!(kind, Kind::Symlink(_)) {
            0o777
        } else {
            member.mode
        },
        uid: id(member.uid, "uid")?,
        gid: id(member.gid, "gid")?,
        mtime: member.mtime,
        xattrs,
    };
    Ok(Action::Put(Node { meta, kind }))
}

/// Attributes that an image may set. The rest are left out with a note:
/// `trusted.*` steers overlayfs on the host, labels of SELinux and NFS belong
/// to the machine that made the image (umoci leaves them out, too), and Linux
/// has `user.*` on files and directories only.
fn attributes(member: &Member, kind: &Kind, what: &str, budget: &mut Budget) -> Result<Xattrs> {
    let is_plain = matches!(kind, Kind::File(_) | Kind::Dir(_));
    let mut kept = Xattrs::new();
    for (name, value) in &member.xattrs {
        if name.len() > XATTR_NAME_MAX || value.len() > XATTR_SIZE_MAX || name.contains(&0) {
            let why = "has an extended attribute whose name is over 255 bytes or has NUL, \
                       or whose value is over 64 KiB";
            return Err(in_member(what, member, why.to_owned()));
        }
        let fits = match name.as_slice() {
            b"security.selinux" => false,
            b"system.posix_acl_access" => !matches!(kind, Kind::Symlink(_)),
            b"system.posix_acl_default" => matches!(kind, Kind::Dir(_)),
            name if name.starts_with(b"user.overlay.") => false,
            name if name.starts_with(b"user.") => is_plain && name.len() > b"user.".len(),
            name => name.starts_with(b"security.") && name.len() > b"security.".len(),
        };
        if fits {
            kept.insert(name.clone(), value.clone());
        } else {
            let name = String::from_utf8_lossy(name);
            budget.note(format!(
                "extended attribute {name:?} was left out, as for every image"
            ));
        }
    }
    Ok(kept)
}

enum Place {
    Entry,
    Whiteout(Vec<u8>),
    Opaque(Vec<u8>),
}

/// What the names in a path say; nothing for what AUFS left behind.
fn place(path: &[u8]) -> std::result::Result<Option<Place>, String> {
    let names = crate::tree::split(path).map_err(|error| error.why)?;
    let Some((last, parents)) = names.split_last() else {
        return Ok(Some(Place::Entry));
    };
    if *last == OPAQUE && !parents.iter().any(|name| name.starts_with(WHITEOUT)) {
        return Ok(Some(Place::Opaque(parents.join(&b'/'))));
    }
    if names.iter().any(|name| name.starts_with(AUFS)) {
        return Ok(None);
    }
    if parents.iter().any(|name| name.starts_with(WHITEOUT)) {
        return Err("lies below a `.wh.` name, which can hold nothing".to_owned());
    }
    let Some(hidden) = last.strip_prefix(WHITEOUT) else {
        return Ok(Some(Place::Entry));
    };
    if matches!(hidden, b"" | b"." | b"..") {
        return Err("is a whiteout that names nothing".to_owned());
    }
    let mut path = parents.to_vec();
    path.push(hidden);
    Ok(Some(Place::Whiteout(path.join(&b'/'))))
}

fn in_member(what: &str, member: &Member, why: String) -> Error {
    let path = String::from_utf8_lossy(&member.path);
    Error::invalid(format!("{what}, member {path:?}"), why)
}
