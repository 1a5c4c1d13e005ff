//! Which numbers a user has in an image.
//!
//! Names are looked up in the image's own `/etc/passwd` and `/etc/group`,
//! opened inside the root so that no link in the image leads out of it.

use std::io::Read;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// The largest passwd or group file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// A user as the kernel knows it, inside the container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, from the image's group file.
    pub groups: Vec<u32>,
    /// The home directory, if the image names one.
    pub home: Option<String>,
}

/// Why a user could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The image has no such name.
    #[error("the image's /etc/{file} has no {name:?}; use a number or a name that it has")]
    Unknown {
        /// `passwd` or `group`.
        file: &'static str,
        /// What was looked for.
        name: String,
    },
    /// Not a user at all.
    #[error("expected uid, uid:gid, name or name:group, found {0:?}")]
    Syntax(String),
}

/// Resolves `user[:group]` in the image whose root is `rootfs`; an empty
/// string is root.
pub fn resolve(rootfs: &Path, spec: &str) -> Result<Ids, UserError> {
    let passwd = read_in_root(rootfs, "etc/passwd");
    let group = read_in_root(rootfs, "etc/group");
    resolve_in(&passwd, &group, spec)
}

fn read_in_root(rootfs: &Path, name: &str) -> String {
    let mut text = Vec::new();
    let opened = openat(
        CWD,
        rootfs,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .and_then(|root| {
        openat2(
            root,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    });
    // An image without the file has no names; numbers still work.
    if let Ok(fd) = opened {
        let _ = std::fs::File::from(fd)
            .take(FILE_MAX)
            .read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn resolve_in(passwd: &str, group: &str, spec: &str) -> Result<Ids, UserError> {
    let (user, wanted_group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    if user.contains([' ', '\n']) || wanted_group.is_some_and(str::is_empty) {
        return Err(UserError::Syntax(spec.to_owned()));
    }
    // A number wins over a name that looks like one, and need not be listed.
    let number: Option<u32> = user.parse().ok();
    let line = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| match number {
            Some(number) => fields.get(2).and_then(|uid| uid.parse().ok()) == Some(number),
            None => fields.first() == Some(&user),
        });
    let listed = line.as_ref().and_then(|fields| {
        let uid = fields.get(2)?.parse::<u32>().ok()?;
        let gid = fields.get(3)?.parse::<u32>().ok()?;
        Some((uid, gid))
    });
    let (uid, primary) = match (number, listed) {
        (Some(uid), Some((_, gid))) => (uid, gid),
        (Some(uid), None) => (uid, 0),
        (None, Some((uid, gid))) => (uid, gid),
        (None, None) => {
            return Err(UserError::Unknown {
                file: "passwd",
                name: user.to_owned(),
            });
        }
    };
    let field = |index: usize| {
        line.as_ref()
            .and_then(|fields| fields.get(index))
            .map(|text| (*text).to_owned())
    };
    let name = field(0);
    let home = field(5).filter(|home| home.starts_with('/'));
    let gid = match wanted_group {
        Some(wanted) => group_id(group, wanted)?,
        None => primary,
    };
    // As with docker: naming a group leaves the supplementary ones out.
    let groups = match (&name, wanted_group) {
        (Some(name), None) => member_of(group, name),
        (Some(_), Some(_)) | (None, _) => Vec::new(),
    };
    Ok(Ids {
        uid,
        gid,
        groups,
        home,
    })
}

fn group_id(group: &str, wanted: &str) -> Result<u32, UserError> {
    if let Ok(number) = wanted.parse() {
        return Ok(number);
    }
    group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&wanted))
        .and_then(|fields| fields.get(2)?.parse().ok())
        .ok_or_else(|| UserError::Unknown {
            file: "group",
            name: wanted.to_owned(),
        })
}

fn member_of(group: &str, name: &str) -> Vec<u32> {
    group
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let (gid, members) = (fields.nth(2)?, fields.next()?);
            members
                .split(',')
                .any(|member| member == name)
                .then_some(())?;
            gid.parse().ok()
        })
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv:/bin/false\nbad line\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\nlogs:x:4:web,root\n";

    fn ids(uid: u32, gid: u32, groups: &[u32], home: Option<&str>) -> Result<Ids, UserError> {
        Ok(Ids {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.map(str::to_owned),
        })
    }

    #[test]
    fn users_resolve_as_in_docker() {
        let unknown = |file, name: &str| {
            Err(UserError::Unknown {
                file,
                name: name.to_owned(),
            })
        };
        let cases = [
            ("", ids(0, 0, &[4], Some("/root"))),
            ("0", ids(0, 0, &[4], Some("/root"))),
            ("web", ids(101, 102, &[4], Some("/srv"))),
            ("101", ids(101, 102, &[4], Some("/srv"))),
            ("web:logs", ids(101, 4, &[], Some("/srv"))),
            ("1000", ids(1000, 0, &[], None)),
            ("1000:1000", ids(1000, 1000, &[], None)),
            ("nobody", unknown("passwd", "nobody")),
            ("web:nogroup", unknown("group", "nogroup")),
            ("web:", Err(UserError::Syntax("web:".to_owned()))),
        ];
        for (spec, expected) in cases {
            assert_eq!(resolve_in(PASSWD, GROUP, spec), expected, "{spec:?}");
        }
    }

    #[test]
    fn a_link_in_the_image_does_not_lead_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(dir.path().join("outside"), "evil:x:7:7::/:/x\n").unwrap();
        std::os::unix::fs::symlink("../../outside", root.join("etc/passwd")).unwrap();
        assert!(resolve(&root, "evil").is_err());
    }
}
