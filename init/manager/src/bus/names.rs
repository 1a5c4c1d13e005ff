//! Object paths.

use zbus::{ObjectPath, OwnedObjectPath};

/// The manager's object.
pub(super) const MANAGER_PATH: &str = "/org/orlop/Manager1";
/// What units' objects are below.
const UNIT_PATH: &str = "/org/orlop/unit/";

/// The path of a unit's object. Bytes that a path cannot hold are written as
/// `_` and two hexadecimal digits, as systemd does.
pub(super) fn unit_path(name: &str) -> OwnedObjectPath {
    let mut path = String::from(UNIT_PATH);
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && at > 0) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    if name.is_empty() {
        path.push('_');
    }
    ObjectPath::try_from(path)
        .unwrap_or_else(|_| ObjectPath::from_static_str_unchecked("/"))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_has_a_path_of_its_own() {
        for (name, path) in [
            ("web", "/org/orlop/unit/web"),
            ("my-db.2", "/org/orlop/unit/my_2ddb_2e2"),
            ("2fa", "/org/orlop/unit/_32fa"),
            ("a_b", "/org/orlop/unit/a_5fb"),
            ("", "/org/orlop/unit/_"),
            ("ä", "/org/orlop/unit/_c3_a4"),
        ] {
            assert_eq!(unit_path(name).as_str(), path, "{name:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn paths_are_valid_and_differ(a in "\\PC{0,20}", b in "\\PC{0,20}") {
            let (path, other) = (unit_path(&a), unit_path(&b));
            proptest::prop_assert!(path.as_str().starts_with(UNIT_PATH), "{}", path.as_str());
            proptest::prop_assert_eq!(a == b, path == other);
        }
    }
}
