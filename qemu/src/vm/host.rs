//! Whether a host that is to be booted lets `cargo vm` drive it.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::files;

/// Checks that the host TOML `host` trusts the authority of `cargo vm`'s operator,
/// whose certificate may not be made yet.
///
/// # Errors
///
/// When it does not, with what to write into it.
pub(super) fn admits_operator(host: &Path) -> Result<()> {
    let text =
        std::fs::read_to_string(host).with_context(|| format!("cannot read {}", host.display()))?;
    let authority = files::operator().join("ca.crt");
    let own = std::fs::read_to_string(&authority).ok();
    let read = |file: &str| {
        let folder = host.parent().unwrap_or(Path::new(""));
        std::fs::read_to_string(folder.join(file)).ok()
    };
    let Some(complaint) = complaint(&text, own.as_deref(), read) else {
        return Ok(());
    };
    bail!(
        "{}: {complaint}, so `cargo vm` could not drive the host; write\n\n  \
         [api]\n  client-ca = \"{}\"",
        host.display(),
        authority.display()
    )
}

/// Why a host TOML does not let in clients of the authority whose certificate is
/// `own`; any authority will do when there is none yet. One that does not parse
/// is the builder's to refuse, with line and column; so is a file that it names
/// and that cannot be `read`, once there is an authority.
fn complaint(
    toml: &str,
    own: Option<&str>,
    read: impl Fn(&str) -> Option<String>,
) -> Option<&'static str> {
    let table: toml::Table = toml.parse().ok()?;
    let api = table.get("api").and_then(toml::Value::as_table);
    let named = api.and_then(|api| api.get("client-ca"));
    let Some(named) = named.and_then(toml::Value::as_str) else {
        return Some("there is no client-ca under [api]");
    };
    let listen = api.and_then(|api| api.get("listen")?.as_str());
    if listen.is_some_and(|listen| listen != "0.0.0.0:7470") {
        return Some("listen under [api] is not \"0.0.0.0:7470\", which goes without saying");
    }
    let trusted = if named.contains("-----BEGIN") {
        Some(named.to_owned())
    } else {
        read(named)
    };
    let foreign = !trusted?.contains(own?.trim());
    foreign.then_some("the client-ca under [api] is another authority")
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn a_host_must_trust_the_operator() {
        let (own, other) = ("-----BEGIN X\nown\n", "-----BEGIN X\nother\n");
        let read = |file: &str| match file {
            "own.crt" => Some(own.to_owned()),
            "both.crt" => Some(format!("{other}{own}")),
            "other.crt" => Some(other.to_owned()),
            _ => None,
        };
        let (none, foreign) = (Some("there is no client-ca"), Some("is another authority"));
        let inline = format!("[api]\nclient-ca = {own:?}");
        for (toml, made, wanted) in [
            ("name = \"a\"", true, none),
            ("name = \"a\"", false, none),
            ("[api]\nlisten = \"0.0.0.0:7470\"", true, none),
            ("[api]\nclient-ca = \"own.crt\"", true, None),
            ("[api]\nclient-ca = \"both.crt\"", true, None),
            ("[api]\nclient-ca = \"other.crt\"", true, foreign),
            ("[api]\nclient-ca = \"other.crt\"", false, None),
            ("[api]\nclient-ca = \"missing.crt\"", true, None),
            (inline.as_str(), true, None),
            ("[api", true, None),
            (
                "[api]\nclient-ca = \"own.crt\"\nlisten = \"0.0.0.0:7470\"",
                true,
                None,
            ),
            (
                "[api]\nclient-ca = \"own.crt\"\nlisten = \"none\"",
                true,
                Some("listen under [api]"),
            ),
        ] {
            let said = complaint(toml, made.then_some(own), read);
            match (said, wanted) {
                (None, None) => {}
                (Some(said), Some(wanted)) => assert!(said.contains(wanted), "{toml}: {said}"),
                other => panic!("{toml}: {other:?}"),
            }
        }
    }
}
