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
    /// Propagations, and whether each is for everything below too.
    pub(crate) propagation: Vec<(u64, bool)>,
    /// A bind mount, and whether it takes what is mounted below its source along.
    pub(crate) bind: Option<bool>,
    /// Id-mapped, by the mount's mappings or the container's, and whether everything below is
    /// too.
    pub(crate) idmap: Option<bool>,
    /// Changes a mount that is there.
    pub(crate) remount: bool,
    /// A tmpfs that begins with what it covers.
    pub(crate) copy_up: bool,
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

/// Whether the word means something here, and not to a file system.
pub(crate) fn known(word: &str) -> bool {
    Options::parse([word]).data.is_empty()
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
            "idmap" => self.idmap = Some(self.idmap.unwrap_or(false)),
            "ridmap" => self.idmap = Some(true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            // What is so anyway: nobody says more than an error here, and file systems that
            // count versions of their inodes always do.
            "defaults" | "async" | "nomand" | "nolazytime" | "silent" | "loud" | "iversion"
            | "noiversion" | "" => {}
            _ => {
                if let Some((attr, on)) = attribute(word) {
                    apply(&mut self.set, &mut self.clear, attr, on);
                } else if let Some((attr, on)) = below {
                    apply(&mut self.set_below, &mut self.clear_below, attr, on);
                } else if let Some(found) = propagation(word) {
                    self.propagation.push(found);
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
        assert_eq!(parse("rslave").propagation, [(SLAVE, true)]);
        assert_eq!(
            parse("slave,shared").propagation,
            [(SLAVE, false), (SHARED, false)]
        );
        assert_eq!(parse("idmap").idmap, Some(false));
        assert_eq!(parse("ridmap,idmap").idmap, Some(true));
        assert!(parse("remount,ro").remount && parse("tmpcopyup").copy_up);
        let data = vec![
            ("size".into(), Some("64k".into())),
            ("newinstance".into(), None),
        ];
        assert_eq!(parse("size=64k,newinstance").data, data);
        assert_eq!(parse("relatime").data, vec![]);
    }

    /// The table of the spec, less those that are told apart above. All of them are words of
    /// ours; but for four, which the kernel knows as a file system's own.
    #[test]
    fn every_word_of_the_spec_is_known() {
        let words = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud \
            mand noatime nodev nodiratime noexec noiversion nolazytime nomand norelatime \
            nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime \
            remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid \
            rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid \
            rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync \
            tmpcopyup unbindable idmap ridmap";
        let parsed = Options::parse(words.split_whitespace());
        let passed: Vec<_> = parsed.data.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(passed, ["dirsync", "lazytime", "mand", "sync"]);
        for word in words.split_whitespace() {
            let Some(plain) = word
                .strip_prefix('r')
                .filter(|word| attribute(word).is_some())
            else {
                continue;
            };
            let (below, own) = (Options::parse([word]), Options::parse([plain]));
            assert_eq!(
                (below.set_below, below.clear_below),
                (own.set, own.clear),
                "{word}"
            );
        }
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
