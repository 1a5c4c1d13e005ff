//! Mount options of config.json, from words to attributes.

use orlop_sys::mount::{PRIVATE, SHARED, SLAVE, UNBINDABLE};
use rustix::mount::MountAttrFlags as Attr;

use crate::lsm::MountLabel;

/// What the options of one mount say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Attributes for the mount itself.
    pub(crate) set: u64,
    pub(crate) clear: u64,
    /// Attributes for the mount and everything below it.
    pub(crate) set_below: u64,
    pub(crate) clear_below: u64,
    /// A propagation and whether it is for everything below too.
    pub(crate) propagation: Option<(u64, bool)>,
    /// A bind mount, and whether it takes what is mounted below its source along.
    pub(crate) bind: Option<bool>,
    /// Id-mapped, by the mount's mappings or the container's.
    pub(crate) idmap: bool,
    /// An SELinux label for its root.
    pub(crate) root_label: Option<String>,
    /// Everything else, for the file system: a key, with a value or without.
    pub(crate) data: Vec<(String, Option<String>)>,
}

const ATIMES: u64 = Attr::MOUNT_ATTR__ATIME.bits() as u64;

/// The attribute behind a word, and whether the word sets or clears it.
fn attribute(word: &str) -> Option<(Attr, bool)> {
    Some(match word {
        "ro" => (Attr::MOUNT_ATTR_RDONLY, true),
        "rw" => (Attr::MOUNT_ATTR_RDONLY, false),
        "nosuid" => (Attr::MOUNT_ATTR_NOSUID, true),
        "suid" => (Attr::MOUNT_ATTR_NOSUID, false),
        "nodev" => (Attr::MOUNT_ATTR_NODEV, true),
        "dev" => (Attr::MOUNT_ATTR_NODEV, false),
        "noexec" => (Attr::MOUNT_ATTR_NOEXEC, true),
        "exec" => (Attr::MOUNT_ATTR_NOEXEC, false),
        "nosymfollow" => (Attr::MOUNT_ATTR_NOSYMFOLLOW, true),
        "symfollow" => (Attr::MOUNT_ATTR_NOSYMFOLLOW, false),
        "nodiratime" => (Attr::MOUNT_ATTR_NODIRATIME, true),
        "diratime" => (Attr::MOUNT_ATTR_NODIRATIME, false),
        "noatime" => (Attr::MOUNT_ATTR_NOATIME, true),
        "strictatime" => (Attr::MOUNT_ATTR_STRICTATIME, true),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => (Attr::MOUNT_ATTR_RELATIME, true),
        _ => return None,
    })
}

fn propagation(word: &str) -> Option<(u64, bool)> {
    Some(match word {
        "private" => (PRIVATE, false),
        "rprivate" => (PRIVATE, true),
        "slave" => (SLAVE, false),
        "rslave" => (SLAVE, true),
        "shared" => (SHARED, false),
        "rshared" => (SHARED, true),
        "unbindable" => (UNBINDABLE, false),
        "runbindable" => (UNBINDABLE, true),
        _ => return None,
    })
}

impl Options {
    /// Never fails: a word nobody knows is an option of the file system, which will say so.
    pub(crate) fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Options {
        let mut options = Options::default();
        for word in words {
            options.take(word);
        }
        options
    }

    /// Has a new file system of this type labelled as its kind is; with no label, not at all.
    pub(crate) fn label(&mut self, label: &str, kind: &str) {
        if label.is_empty() {
            return;
        }
        match MountLabel::of(kind) {
            MountLabel::Fixed => {}
            MountLabel::Option => self.data.push(("context".into(), Some(label.into()))),
            MountLabel::Root => self.root_label = Some(label.into()),
        }
    }

    fn take(&mut self, word: &str) {
        let below = word.strip_prefix('r').and_then(attribute);
        match word {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "idmap" | "ridmap" => self.idmap = true,
            "defaults" | "async" | "nomand" | "" => {}
            _ => {
                if let Some((attr, on)) = attribute(word) {
                    apply(&mut self.set, &mut self.clear, attr, on);
                } else if let Some((attr, on)) = below {
                    apply(&mut self.set_below, &mut self.clear_below, attr, on);
                } else if let Some(found) = propagation(word) {
                    self.propagation = Some(found);
                } else {
                    self.data.push(match word.split_once('=') {
                        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                        None => (word.to_owned(), None),
                    });
                }
            }
        }
    }
}

/// The later word wins. Access times are one field of several values, not bits of their own.
fn apply(set: &mut u64, clear: &mut u64, attr: Attr, on: bool) {
    let bits = u64::from(attr.bits());
    let is_atime = matches!(
        attr,
        Attr::MOUNT_ATTR_RELATIME | Attr::MOUNT_ATTR_NOATIME | Attr::MOUNT_ATTR_STRICTATIME
    );
    if is_atime {
        *set = (*set & !ATIMES) | bits;
        *clear |= ATIMES;
    } else if on {
        *set |= bits;
        *clear &= !bits;
    } else {
        *set &= !bits;
        *clear |= bits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RO: u64 = Attr::MOUNT_ATTR_RDONLY.bits() as u64;
    const NOSUID: u64 = Attr::MOUNT_ATTR_NOSUID.bits() as u64;
    const NOATIME: u64 = Attr::MOUNT_ATTR_NOATIME.bits() as u64;

    #[test]
    fn words_become_attributes() {
        let parse = |text: &str| Options::parse(text.split(','));
        assert_eq!(parse("ro,nosuid").set, RO | NOSUID);
        assert_eq!((parse("ro,rw").set, parse("ro,rw").clear), (0, RO));
        assert_eq!((parse("rro").set, parse("rro").set_below), (0, RO));
        assert_eq!(parse("rrw").clear_below, RO);
        assert_eq!(
            (parse("noatime").set, parse("noatime").clear),
            (NOATIME, ATIMES)
        );
        assert_eq!(parse("noatime,relatime").set, 0);
        assert_eq!(parse("bind,rbind").bind, Some(true));
        assert_eq!(parse("rbind,bind").bind, Some(true));
        assert_eq!(parse("rslave").propagation, Some((SLAVE, true)));
        let data = vec![
            ("size".into(), Some("64k".into())),
            ("newinstance".into(), None),
        ];
        assert_eq!(parse("size=64k,newinstance").data, data);
        assert_eq!(parse("relatime").data, vec![]);
    }

    #[test]
    fn labels_go_where_the_kind_takes_them() {
        let labelled = |kind: &str, label: &str| {
            let mut options = Options::default();
            options.label(label, kind);
            (options.data, options.root_label)
        };
        let context = vec![("context".into(), Some("u:r:t".into()))];
        assert_eq!(labelled("tmpfs", "u:r:t"), (context, None));
        assert_eq!(labelled("mqueue", "u:r:t"), (vec![], Some("u:r:t".into())));
        assert_eq!(labelled("proc", "u:r:t"), (vec![], None));
        assert_eq!(labelled("tmpfs", ""), (vec![], None));
    }
}
