//! Who this machine is: host name, machine id, image version, serial.

use crate::console::Console;
use crate::files;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

const MACHINE_ID: &str = "/etc/orlop/machine-id";
/// systemd-boot's variable for the entry that was started.
const ENTRY: &str =
    "/sys/firmware/efi/efivars/LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Its variable for the path that it gave the entry when it counted the start. It
/// is not kept across a reset, so it always speaks of this start.
const COUNTED: &str =
    "/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Sets the host name that the image was built with.
pub(crate) fn hostname() -> std::io::Result<()> {
    let name = files::read("/etc/hostname")?;
    Ok(rustix::system::sethostname(name.trim().as_bytes())?)
}

/// Makes the machine id unless there is one.
pub(crate) fn establish(console: &Console) -> Result<()> {
    let id = machine_id(Path::new(MACHINE_ID), || {
        files::read("/proc/sys/kernel/random/uuid")
    });
    match id {
        Ok(_) => Ok(()),
        // A full state partition must not keep the host from coming up.
        Err(error) => {
            console.say(&format!(
                "{MACHINE_ID}: {error}: this boot has no machine id"
            ));
            Ok(())
        }
    }
}

/// The id in `path`, made of `uuid` if there is none that is whole.
fn machine_id(path: &Path, uuid: impl Fn() -> std::io::Result<String>) -> Result<String> {
    let id = files::read_trimmed(path);
    if is_id(&id) {
        return Ok(id);
    }
    let id: String = uuid()?.chars().filter(char::is_ascii_hexdigit).collect();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    files::replace(path, &format!("{id}\n")).context("writing it")?;
    Ok(id)
}

fn is_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// `IMAGE_VERSION=` of an os-release file; empty when it has none.
pub(crate) fn version(os_release: &str) -> String {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("IMAGE_VERSION="))
        .map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
        .unwrap_or_default()
}

/// The file name of the entry that was started; empty without a boot loader.
pub(crate) fn entry() -> String {
    text_of(ENTRY)
}

/// The file name that the entry got when the boot loader counted this start; empty
/// when it counted none.
pub(crate) fn counted() -> String {
    file_name(&text_of(COUNTED)).to_owned()
}

/// The last part of a path, as EFI writes it.
fn file_name(path: &str) -> &str {
    path.rsplit('\\').next().unwrap_or_default()
}

/// What an EFI variable says; empty when there is none.
fn text_of(variable: &str) -> String {
    fs::read(variable)
        .ok()
        .and_then(|variable| text(&variable))
        .unwrap_or_default()
}

/// The text in an EFI variable: 4 bytes of attributes, then UTF-16 up to a zero.
fn text(variable: &[u8]) -> Option<String> {
    let units = variable
        .get(4..)?
        .chunks_exact(2)
        .map(|c| u16::from_le_bytes([c[0], c[1]]))
        .take_while(|unit| *unit != 0);
    let name = char::decode_utf16(units).map(|c| c.unwrap_or('?'));
    Some(name.collect())
}

/// The serial in the name `orlop_<serial>_<version>…` of an entry; 0 when it is
/// named otherwise.
pub(crate) fn serial(entry: &str) -> u64 {
    let rest = entry.strip_prefix("orlop_");
    rest.and_then(|rest| rest.split('_').next()?.parse().ok())
        .unwrap_or(0)
}

/// Whether the boot loader counts the starts of an entry with this name, as it does
/// until the version is found good.
pub(crate) fn is_on_trial(entry: &str) -> bool {
    serial(entry) > 0 && entry.contains('+')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_id_is_made_once_and_a_torn_one_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc/machine-id");
        let uuid = || Ok("0cd4a7a4-4b87-4b57-9d1e-0e1b0f5a7b11\n".to_owned());
        let first = machine_id(&path, uuid).unwrap();
        assert_eq!(first, "0cd4a7a44b874b579d1e0e1b0f5a7b11");
        assert_eq!(machine_id(&path, || panic!("made twice")).unwrap(), first);
        fs::write(&path, &first[..9]).unwrap();
        assert_eq!(machine_id(&path, uuid).unwrap(), first);
    }

    #[test]
    fn versions_and_serials_are_found() {
        assert_eq!(version("ID=orlop\nIMAGE_VERSION=\"1.2.0\"\n"), "1.2.0");
        assert_eq!(version("ID=orlop\n"), "");
        let variable = |name: &str| {
            let units = name.encode_utf16().flat_map(u16::to_le_bytes);
            [6, 0, 0, 0].into_iter().chain(units).collect::<Vec<u8>>()
        };
        for (name, want, counts) in [
            ("orlop_12_1.0.0+3-1.efi", 12, true),
            ("orlop_12_1.0.0+1.efi", 12, true),
            ("orlop_12_1.0.0.efi", 12, false),
            ("ORLOP_~1.EFI", 0, false),
            ("orlop_x_1.efi", 0, false),
            ("other+1.efi", 0, false),
            ("", 0, false),
        ] {
            let read = text(&variable(&format!("{name}\0"))).unwrap();
            assert_eq!((read.as_str(), serial(&read)), (name, want));
            assert_eq!(is_on_trial(&read), counts, "{name}");
        }
        assert_eq!(text(&[1]), None);
        for (path, name) in [
            (
                "\\EFI\\Linux\\orlop_2_2.0.0+2-1.efi",
                "orlop_2_2.0.0+2-1.efi",
            ),
            ("orlop_2_2.0.0.efi", "orlop_2_2.0.0.efi"),
            ("", ""),
        ] {
            assert_eq!(file_name(path), name);
        }
    }
}
