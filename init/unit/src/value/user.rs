//! Whom a container's process runs as: `1000`, `1000:1000`, `redis`, `redis:redis`.

use std::fmt;
use std::str::FromStr;

use crate::expected::{Expected, shown};

/// A user or a group, by number or by a name that the image's own files resolve.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UserId {
    /// A numeric id as the container sees it, at most 65535: the size of its id range.
    Id(u32),
    /// A name from the image's `/etc/passwd` or `/etc/group`.
    Name(String),
}

/// A user with an optional group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// The user.
    pub user: UserId,
    /// The group; when `None`, the user's own group in the image.
    pub group: Option<UserId>,
}

/// Largest id in a container's range of 65536.
const MAX_ID: u32 = 65535;

impl FromStr for User {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        Ok(Self {
            user: id(user, "user")?,
            group: group.map(|g| id(g, "group")).transpose()?,
        })
    }
}

fn id(text: &str, what: &str) -> Result<UserId, Expected> {
    let example = "for example \"1000:1000\" or \"redis\"";
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse::<u32>() {
            Ok(number) if number <= MAX_ID => Ok(UserId::Id(number)),
            Ok(_) | Err(_) => Err(crate::expected::out_of_range(
                &format!("{what} id"),
                text,
                0,
                MAX_ID,
            )),
        };
    }
    // The names that useradd(8) accepts, and the `.` and upper case that many images use.
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    if text.len() <= 64 && text.bytes().next().is_some_and(first) && text.bytes().all(inner) {
        return Ok(UserId::Name(text.to_owned()));
    }
    Err(Expected::new(format!(
        "{} is not a {what}: expected an id or a name",
        shown(text)
    ))
    .help(example))
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserId::Id(id) => write!(f, "{id}"),
            UserId::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.user)?;
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for text in [
            "0",
            "1000",
            "1000:1000",
            "redis",
            "redis:redis",
            "www-data:33",
            "_apt",
        ] {
            assert_eq!(text.parse::<User>().unwrap().to_string(), text);
        }
        let bad = [
            ("", "expected an id or a name"),
            (":", "expected an id or a name"),
            ("1000:", "is not a group"),
            ("a b", "is not a user"),
            ("1:2:3", "is not a group"),
            ("70000", "user id 70000 is out of range 0-65535"),
            ("99999999999", "out of range"),
        ];
        for (text, message) in bad {
            let refusal = text.parse::<User>().unwrap_err();
            assert!(refusal.message.contains(message), "{text}: {refusal}");
        }
    }
}
