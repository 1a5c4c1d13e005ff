//! Paths as text: nothing here touches a file system.

/// Whether `path` is absolute and says where it leads without climbing: no `.`, no `..`, no empty
/// part, no `:` (the separator of volumes) and no control characters.
pub fn is_absolute_and_plain(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    path.len() <= 4096
        && !path.chars().any(|c| c.is_control() || c == ':')
        && (rest.is_empty() || rest.split('/').all(|part| !matches!(part, "" | "." | "..")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for good in ["/", "/a", "/var/lib/data", "/a.b/..c"] {
            assert!(is_absolute_and_plain(good), "{good}");
        }
        for bad in [
            "", "a", "a/b", "/a/", "//a", "/a/../b", "/./a", "/a:b", "/a\n", "/\0",
        ] {
            assert!(!is_absolute_and_plain(bad), "{bad}");
        }
    }
}
