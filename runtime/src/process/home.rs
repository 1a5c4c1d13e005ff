//! The home directory of the process's user, which its configuration need not name.
//!
//! As runc and crun have it: what the container's /etc/passwd says, else /root for root and /
//! for others.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

/// Of the file no more than this is read, in bytes.
const READ: u64 = 1 << 20;

/// `HOME=…` for user `uid`. Called in the container's root.
pub(super) fn variable(uid: u32) -> Result<CString> {
    let passwd = passwd().unwrap_or_default();
    let home = of_user(&passwd, uid).unwrap_or(if uid == 0 { b"/root" } else { b"/" });
    CString::new([b"HOME=", home].concat()).context("/etc/passwd: a home with a NUL byte in it")
}

/// Nothing is waited for: the image may have put anything there.
fn passwd() -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_MAGICLINKS;
    let file = openat2(CWD, c"/etc/passwd", flags, Mode::empty(), resolve).ok()?;
    if FileType::from_raw_mode(fstat(&file).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    File::from(file).take(READ).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The first entry of a user counts, as for getpwuid(3). See passwd(5).
fn of_user(passwd: &[u8], uid: u32) -> Option<&[u8]> {
    let uid = uid.to_string();
    let entries = passwd.split(|byte| *byte == b'\n');
    let homes = entries.filter_map(|entry| {
        let fields: Vec<&[u8]> = entry.split(|byte| *byte == b':').collect();
        match *fields {
            [_, _, id, _, _, home, _] if id == uid.as_bytes() => Some(home),
            _ => None,
        }
    });
    homes.take(1).find(|home| home.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# app:x:1000:\n\
        app:x:1000:1000:,,,:/home/app:/bin/sh\nother:x:1000:1:::/bin/sh\n\
        none:x:7:7:::\nrelative:x:8:8::home:\nlast:x:9:9::/srv:";

    #[test]
    fn a_home_is_that_of_the_first_entry() {
        let of = |uid| of_user(PASSWD, uid).map(|home| String::from_utf8_lossy(home).into_owned());
        assert_eq!(of(0).as_deref(), Some("/root"));
        assert_eq!(of(1000).as_deref(), Some("/home/app"));
        assert_eq!(of(9).as_deref(), Some("/srv"));
        for without in [1, 7, 8, 10, 100] {
            assert_eq!(of(without), None, "{without}");
        }
    }

    #[test]
    fn anything_may_be_there() {
        for text in [
            &b""[..],
            b"\n\n",
            b":::::::",
            b"\0\xff:x:1:1::/a:",
            b"a:x:1:1::/\xff:",
        ] {
            let _ = of_user(text, 1);
        }
    }
}
