//! Which kernel modules go into an image, and what waits for them.
//!
//! PID 1 loads them list by list, some lists beside others, so each list names
//! all that its modules need, but for those that are loaded by then.

use anyhow::Result;

use crate::host::Inputs;
use crate::kernel::modules::{Module, Modules};

/// Modules that PID 1 loads one after the other, under the name of a file.
pub(crate) struct List {
    /// The file, as PID 1 knows it.
    pub(crate) file: &'static str,
    /// In the order to load them.
    pub(crate) modules: Vec<Module>,
}

impl List {
    /// The file's content.
    pub(crate) fn text(&self) -> String {
        let lines = self.modules.iter().map(|module| module.file_name() + "\n");
        lines.collect()
    }
}

/// The lists of the initramfs and of the root.
pub(crate) struct Picked {
    pub(crate) initramfs: Vec<List>,
    pub(crate) root: Vec<List>,
}

/// Each module of `lists`, once.
pub(crate) fn each(lists: &[List]) -> Vec<&Module> {
    let mut all: Vec<&Module> = Vec::new();
    for module in lists.iter().flat_map(|list| &list.modules) {
        if !all.contains(&module) {
            all.push(module);
        }
    }
    all
}

// Of all these, those that a kernel has built in, or has not at all, are left out.

/// What finding the disk waits for.
const DISK: &[&str] = &["virtio_pci", "virtio_blk", "nvme", "ahci", "sd_mod"];

/// Of those, the ones that only a kernel for real hardware gets: a virtual
/// machine that needs one says so in its host TOML, and boots faster without.
const METAL: &[&str] = &["nvme", "ahci", "sd_mod"];

/// What opening the root waits for.
const ROOT: &[&str] = &["sha256_ssse3", "dm_verity", "erofs"];

/// What PID 1 waits for on the root: the state partition, the watchdog, and the
/// firmware's word on which entry it booted. Of softdog it loads only what that needs, until it finds no other watchdog.
/// ext4 asks for the format of its quota files (`quota_v2`) by a user-space
/// helper, of which there is none, and refuses to mount the state without.
const BOOT: &[&str] = &["ext4", "quota_v2", "i6300esb", "softdog", "efivarfs"];

/// What the manager waits for: containers and their network; and what an operator
/// may press.
const MANAGER: &[&str] = &[
    "bridge",
    "veth",
    "nf_conntrack",
    "nf_tables",
    "nft_ct",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_fib",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_fib_inet",
    "overlay",
    "virtio_net",
    "virtio_rng",
    "evdev",
    "button",
];

/// What nobody waits for.
const REST: &[&str] = &[
    "efi_pstore",
    "vfat",
    "nft_redir",
    "nft_reject",
    "nft_reject_inet",
];

/// Whether the kernel in this package is for virtual machines alone.
pub(crate) fn is_virtual(package: &str) -> bool {
    package.contains("cloud")
}

/// Picks the modules of an image.
///
/// # Errors
/// A module that the host TOML names and the kernel does not have, with its
/// place; modules that cannot be read.
pub(crate) fn pick(modules: &Modules, inputs: &Inputs) -> Result<Picked> {
    let kernel = &inputs.host.value.kernel;
    check(modules, inputs)?;
    let whole = |file, ours: &[&str], theirs: &[String], loaded: &[Module]| -> Result<List> {
        let ours = ours.iter().copied().filter(|name| modules.knows(name));
        let theirs = theirs.iter().map(String::as_str);
        Ok(List {
            file,
            modules: modules.resolve(ours.chain(theirs), loaded)?,
        })
    };
    let is_virtual = is_virtual(&kernel.package);
    let disk = DISK.iter().copied();
    let disk: Vec<&str> = disk
        .filter(|name| !(is_virtual && METAL.contains(name)))
        .collect();
    let initramfs = vec![
        whole("disk.order", &disk, &kernel.initramfs_modules, &[])?,
        whole("root.order", ROOT, &[], &[])?,
    ];
    let early: Vec<Module> = each(&initramfs).into_iter().cloned().collect();
    // One of the host's own may be a watchdog: for those, too, PID 1 waits.
    let boot = whole("boot.order", BOOT, &kernel.modules, &early)?;
    let manager = whole("manager.order", MANAGER, &[], &early)?;
    let before = [early, manager.modules.clone()].concat();
    let rest = whole("rest.order", REST, &[], &before)?;
    Ok(Picked {
        initramfs,
        root: vec![boot, manager, rest],
    })
}

fn check(modules: &Modules, inputs: &Inputs) -> Result<()> {
    let kernel = &inputs.host.value.kernel;
    let lists = [
        ("kernel.initramfs-modules", &kernel.initramfs_modules),
        ("kernel.modules", &kernel.modules),
    ];
    for (path, names) in lists {
        let missing = names.iter().position(|name| !modules.knows(name));
        if let Some(index) = missing {
            let name = &names[index];
            let message = format!(
                "{} has no module {name:?}, neither as a file nor built in",
                kernel.package
            );
            let near = modules.names().find(|known| known.contains(name.as_str()));
            let help = near.map(|known| format!("there is {known:?}"));
            return Err(inputs.error(&format!("{path}[{index}]"), message, help));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str) -> Module {
        Module {
            name: name.to_owned(),
            file: name.into(),
        }
    }

    #[test]
    fn a_module_of_two_lists_is_packed_once_and_loaded_by_both() {
        let list = |file, names: &[&str]| List {
            file,
            modules: names.iter().map(|name| module(name)).collect(),
        };
        let lists = [list("a", &["x", "y"]), list("b", &["x", "z"])];
        let names: Vec<&str> = each(&lists).iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["x", "y", "z"]);
        assert_eq!(lists[1].text(), "x.ko\nz.ko\n");
    }
}
