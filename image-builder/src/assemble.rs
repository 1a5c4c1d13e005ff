//! The build itself: the parts in their order, into one sparse file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use orlop_bundle::bundle_name;
use orlop_images::tree::Tree;
use orlop_slot::{BootEntry, Partition, Slot};
use orlop_verity::Superblock;

use crate::bundle::{self, Bundling, Contents};
use crate::debian::{self, Debian};
use crate::erofs::{self, Volume};
use crate::gpt::{Extent, Layout};
use crate::host::{self, Inputs};
use crate::identity::Identity;
use crate::kernel::debs::Debs;
use crate::pick::{self, Picked};
use crate::place::Staged;
use crate::request::{BuildReport, BuildRequest, Format, Part, Progress};
use crate::state::Given;
use crate::{efi, esp, gpt, host_pair, initramfs, rootfs, state, uki};

/// Smallest root partition unless the host TOML says otherwise, and the step
/// of larger ones: the sizes can never be changed on a disk that is in use.
const ROOT_MIN: u64 = 128 << 20;
/// Room for a kernel image, which an update puts behind the root until it is
/// checked: more than any has.
const KERNEL_ROOM: u64 = 64 << 20;
const ROOT_STEP: u64 = 64 << 20;

/// The program of ours that the firmware starts.
const LOADER: &str = "orlop-loader";

/// Builds the disk image.
///
/// # Errors
/// Anything that is wrong with the host TOML or what it names, rendered with
/// its place; packages that cannot be had; writing. Nothing is left at
/// `request.output` then but what was there before.
pub fn build(request: &BuildRequest, progress: &mut dyn Progress) -> Result<BuildReport> {
    let cache = absolute(&request.cache)?;
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    progress.step("reading the host file");
    let inputs = host::read(&request.host, &cache, progress)?;
    bundle::check_update(&inputs)?;
    let bundling = Bundling::read(request, &inputs, progress)?;
    let binaries = rootfs::BINARIES
        .iter()
        .map(|name| Ok((*name, rootfs::binary(&request.binaries, name)?)))
        .collect::<Result<Vec<_>>>()?;
    let loader = efi::application(&rootfs::binary(&request.binaries, LOADER)?)
        .with_context(|| request.binaries.join(LOADER).display().to_string())?;
    let given = request.pki.as_deref().map(host_pair::read).transpose()?;
    progress.step("fetching Debian packages");
    let debian = debian::read(&Debs::new(&cache), &inputs)?;
    let picked = pick::pick(&debian.modules, &inputs)?;
    progress.step("assembling the root");
    let tree = root_tree(request, &inputs, &debian, &picked, &binaries)?;
    let init = binaries
        .first()
        .map(|(_, bytes)| bytes.as_slice())
        .unwrap_or_default();
    let initrd = initramfs::pack(init, &picked.initramfs, request.compression)?;
    let job = Job {
        request,
        inputs: &inputs,
        debian: &debian,
        tree: &tree,
        initrd: &initrd,
        loader: &loader,
        given: given.as_deref().unwrap_or_default(),
        bundling: bundling.as_ref(),
    };
    job.write(progress)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}

fn root_tree(
    request: &BuildRequest,
    inputs: &Inputs,
    debian: &Debian,
    picked: &Picked,
    binaries: &[(&'static str, Vec<u8>)],
) -> Result<Tree> {
    let host = &inputs.host.value;
    let names = |lists| {
        let modules = pick::each(lists).into_iter();
        modules.map(|module| module.name.as_str()).collect()
    };
    let record = rootfs::BuildRecord {
        name: &host.name,
        version: &host.version,
        builder: env!("CARGO_PKG_VERSION"),
        packages: debian.packages.clone(),
        initramfs_modules: names(&picked.initramfs),
        modules: names(&picked.root),
        images: inputs
            .images
            .iter()
            .map(|i| format!("{} {}", i.reference, i.id))
            .collect(),
    };
    rootfs::assemble(&rootfs::Parts {
        inputs,
        binaries,
        e2fsck: debian.e2fsck.clone(),
        modules: &picked.root,
        record: &record,
        time: request.time,
    })
}

/// Everything that is written to the disk.
struct Job<'a> {
    request: &'a BuildRequest,
    inputs: &'a Inputs,
    debian: &'a Debian,
    tree: &'a Tree,
    initrd: &'a [u8],
    loader: &'a [u8],
    given: &'a [Given],
    bundling: Option<&'a Bundling>,
}

impl Job<'_> {
    fn identity(&self) -> Identity<'_> {
        let host = &self.inputs.host.value;
        Identity {
            name: &host.name,
            version: &host.version,
        }
    }

    fn write(&self, progress: &mut dyn Progress) -> Result<BuildReport> {
        let output = absolute(&self.request.output)?;
        let dir = output
            .parent()
            .ok_or_else(|| anyhow!("{}: not a file name", output.display()))?;
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let bundle_place = self.bundle_place(dir, &output, progress)?;
        let identity = self.identity();
        let volume = Volume {
            uuid: identity.uuid("root file system").into_bytes(),
            label: "orlop-root".to_owned(),
            time: self.request.time,
        };
        let plan = erofs::plan(self.tree, &volume)?;
        let layout = self.layout(plan.size())?;
        let beside = tempfile::NamedTempFile::new_in(dir)?;
        beside.as_file().set_len(layout.disk_size)?;

        progress.step("writing the root");
        let root = layout.extent(Partition::Root(Slot::A));
        let mut file = std::io::BufWriter::with_capacity(1 << 20, beside.as_file());
        file.seek(SeekFrom::Start(root.start))?;
        plan.write(&mut file)?;
        std::io::Write::flush(&mut file)?;
        drop(file);

        progress.step("hashing the root");
        let superblock = self.superblock(plan.size());
        let tree = write_verity(beside.as_file(), &layout, &superblock)?;
        let cmdline = self.command_line(&tree.root_hash_hex());

        progress.step("writing the boot partition");
        let image = self.unified_image(&cmdline)?;
        self.write_esp(beside.as_file(), &layout, &image)?;

        progress.step("writing the state partition");
        self.write_state(beside.as_file(), &layout, dir)?;
        gpt::write(&mut beside.as_file().try_clone()?, &layout, &identity)?;
        let mut staged = Staged::new(dir);
        let contents = Contents {
            inputs: self.inputs,
            time: self.request.time,
            uki: &image,
            superblock: &superblock,
            tree: &tree,
        };
        progress.step("packing the update bundle");
        let bundle =
            self.stage_bundle(&mut staged, beside.as_file(), root, &contents, bundle_place)?;
        // A key that was given is in it.
        let mode = if self.given.is_empty() { 0o644 } else { 0o600 };
        staged.add(self.in_format(beside, progress)?, output.clone(), mode);
        let direct = self.stage_direct(&mut staged, &output, &cmdline)?;
        staged.place()?;
        let parts = self.parts(&contents, &layout, &output, bundle.as_deref())?;
        Ok(BuildReport {
            output,
            direct,
            bundle,
            root_hash: tree.root_hash_hex(),
            parts,
        })
    }

    /// What each part weighs.
    fn parts(
        &self,
        made: &Contents<'_>,
        layout: &Layout,
        output: &Path,
        bundle: Option<&Path>,
    ) -> Result<Vec<Part>> {
        let room = |partition: Partition| Some(layout.extent(partition).len);
        let (esp, root) = (room(Partition::Esp), room(Partition::Root(Slot::A)));
        let root_size = made.superblock.data_blocks * orlop_verity::BLOCK;
        let state = self.inputs.host.value.disk.state.0;
        let part = |name, bytes: u64, room| Part { name, bytes, room };
        let tree = made.tree.bytes.len() as u64;
        let mut parts = vec![
            part("kernel", self.debian.kernel.len() as u64, None),
            part("initramfs", self.initrd.len() as u64, None),
            part("unified kernel image", made.uki.len() as u64, esp),
            part("root", root_size, root),
            part("hash tree", tree, room(Partition::Verity(Slot::A))),
            part("state", state, room(Partition::State)),
            part("disk image", on_disk(output)?, Some(layout.disk_size)),
        ];
        if let Some(bundle) = bundle {
            parts.push(part("update bundle", fs::metadata(bundle)?.len(), None));
        }
        Ok(parts)
    }

    /// Where the update bundle goes, beside the disk. One that is there and is not
    /// written anew is told of: it does not fit this disk.
    fn bundle_place(
        &self,
        dir: &Path,
        output: &Path,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf> {
        let host = &self.inputs.host.value;
        let place = dir.join(bundle_name(&host.name, &host.version));
        let shown = place.display();
        if place == output {
            bail!("{shown} is what the update bundle is called; give the disk another name");
        }
        if self.bundling.is_none() && place.exists() {
            progress.note(&format!(
                "{shown} is of another build; --sign KEY writes it anew"
            ));
        }
        Ok(place)
    }

    /// The update bundle, if it was asked for.
    fn stage_bundle(
        &self,
        staged: &mut Staged,
        disk: &File,
        root: Extent,
        contents: &Contents<'_>,
        place: PathBuf,
    ) -> Result<Option<PathBuf>> {
        let Some(bundling) = self.bundling else {
            return Ok(None);
        };
        let mut disk = disk.try_clone()?;
        disk.seek(SeekFrom::Start(root.start))?;
        let size = contents.superblock.data_blocks * orlop_verity::BLOCK;
        let dir = place.parent().unwrap_or(Path::new("."));
        let file = bundle::pack(bundling, contents, disk.take(size), dir)?;
        staged.add(file, place.clone(), 0o644);
        Ok(Some(place))
    }

    fn layout(&self, root_size: u64) -> Result<Layout> {
        let disk = &self.inputs.host.value.disk;
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let root = match disk.root {
            Some(size) if size.0 < root_size + self.image_size() => {
                let message = format!(
                    "the root and, while it is updated, the kernel image need {} MiB, which is more \
                     than this",
                    mib(root_size + self.image_size())
                );
                let help = "leave room for later versions too, or leave it out".to_owned();
                return Err(self.inputs.error("disk.root", message, Some(help)));
            }
            Some(size) => size.0,
            // Twice what is there: an update has to fit into the same slot.
            None => (root_size * 2 + KERNEL_ROOM)
                .next_multiple_of(ROOT_STEP)
                .max(ROOT_MIN),
        };
        let verity = orlop_verity::size(root / orlop_verity::BLOCK);
        let sizes = BTreeMap::from([
            (Partition::Esp, disk.esp.0),
            (Partition::Root(Slot::A), root),
            (Partition::Verity(Slot::A), verity),
            (Partition::Root(Slot::B), root),
            (Partition::Verity(Slot::B), verity),
            (Partition::State, disk.state.0),
        ]);
        let wanted = disk.size.map(|size| size.0);
        let layout = Layout::new(&sizes, wanted);
        if wanted.is_some_and(|wanted| wanted < layout.disk_size) {
            let message = format!(
                "the partitions need {} MiB, which is more than this",
                mib(layout.disk_size)
            );
            return Err(self.inputs.error("disk.size", message, None));
        }
        Ok(layout)
    }

    /// Bytes of the unified kernel image, and some more: what is in it is known
    /// before the root's hash is.
    fn image_size(&self) -> u64 {
        let parts = [&self.debian.stub, &self.debian.kernel];
        let parts: usize = parts.iter().map(|part| part.len()).sum();
        (parts + self.initrd.len()) as u64 + (1 << 20)
    }

    fn superblock(&self, root_size: u64) -> Superblock {
        let identity = self.identity();
        Superblock {
            uuid: identity.uuid("hash tree").into_bytes(),
            data_blocks: root_size / orlop_verity::BLOCK,
            salt: identity.bytes("verity salt").to_vec(),
        }
    }

    fn command_line(&self, root_hash: &str) -> String {
        let kernel = &self.inputs.host.value.kernel;
        let own = &kernel.command_line;
        // Tests of the kernel's own algorithms take a twelfth of a boot under
        // emulation, mostly for some that no host uses; a hash that is
        // computed wrongly would show at once, in the root.
        // The timer's check counts ticks while it spins, and panics when there are too
        // few, as under emulation on a busy machine.
        let is_virtual = pick::is_virtual(&kernel.package);
        let check = if is_virtual { "no_timer_check " } else { "" };
        let text = format!(
            "orlop.root={root_hash} console=tty0 console=ttyS0,115200 gpt panic=10 oops=panic \
             softlockup_panic=1 cryptomgr.notests {check}quiet {own}"
        );
        text.trim_end().to_owned()
    }

    fn unified_image(&self, cmdline: &str) -> Result<Vec<u8>> {
        let os_release = rootfs::os_release(&self.inputs.host.value.name, None);
        let sections: [(&str, &[u8]); 4] = [
            (".osrel", os_release.as_bytes()),
            (".cmdline", cmdline.as_bytes()),
            (".initrd", self.initrd),
            (".linux", &self.debian.kernel),
        ];
        Ok(uki::build(&self.debian.stub, &sections)?)
    }

    fn write_esp(&self, disk: &File, layout: &Layout, image: &[u8]) -> Result<()> {
        let extent = layout.extent(Partition::Esp);
        // Both slots' images, and the next one beside them while it is written.
        let needed = (image.len() as u64 * 3 + (4 << 20)).max(esp::SIZE_MIN);
        if extent.len < needed {
            let message = format!(
                "two slots with room for an update need {} MiB",
                needed.div_ceil(1 << 20)
            );
            return Err(self.inputs.error("disk.esp", message, None));
        }
        let version = self.inputs.host.value.version.clone();
        // A factory image is good by definition: no counter.
        let entry = BootEntry {
            serial: 1,
            version,
            tries: None,
        };
        let loader: &[u8] = b"timeout 0\neditor no\nauto-entries no\nauto-firmware no\n";
        let files = [
            // Started by firmware that knows nothing of this disk; starts the other.
            ("EFI/BOOT/BOOTX64.EFI".to_owned(), self.loader),
            (
                "EFI/systemd/systemd-bootx64.efi".to_owned(),
                self.debian.boot_loader.as_slice(),
            ),
            ("loader/loader.conf".to_owned(), loader),
            (format!("EFI/Linux/{entry}"), image),
        ];
        let window = esp::Window::new(Arc::new(disk.try_clone()?), extent);
        let [a, b, c, d, ..] = self.identity().bytes("esp volume id");
        esp::write(&window, u32::from_le_bytes([a, b, c, d]), &files)?;
        Ok(())
    }

    fn write_state(&self, disk: &File, layout: &Layout, dir: &Path) -> Result<()> {
        let scratch = tempfile::tempdir_in(dir)?;
        let file = scratch.path().join("state");
        let extent = layout.extent(Partition::State);
        let (identity, time) = (self.identity(), self.request.time);
        state::format(&file, extent.len, &identity, time, self.given)?;
        copy_sparse(&file, disk, extent)
    }

    /// Kernel, initramfs and command line beside the disk.
    fn stage_direct(&self, staged: &mut Staged, output: &Path, cmdline: &str) -> Result<PathBuf> {
        let mut name = output.as_os_str().to_owned();
        name.push(".d");
        let dir = PathBuf::from(name);
        staged.write(&self.debian.kernel, dir.join("vmlinuz"))?;
        staged.write(self.initrd, dir.join("initrd.img"))?;
        staged.write(format!("{cmdline}\n").as_bytes(), dir.join("cmdline"))?;
        Ok(dir)
    }

    /// The disk in the format that was asked for.
    fn in_format(
        &self,
        raw: tempfile::NamedTempFile,
        progress: &mut dyn Progress,
    ) -> Result<tempfile::NamedTempFile> {
        match self.request.format {
            Format::Raw => Ok(raw),
            Format::Qcow2 => {
                progress.step("converting to qcow2");
                // Made before: others must not read a key that is in it.
                let place = raw.path().parent().unwrap_or(Path::new("."));
                let converted = tempfile::NamedTempFile::new_in(place)?;
                let run = Command::new("qemu-img")
                    .args(["convert", "-q", "-f", "raw", "-O", "qcow2"])
                    .args([raw.path(), converted.path()])
                    .output()
                    .context("running qemu-img (Debian package qemu-utils)")?;
                if !run.status.success() {
                    bail!("qemu-img: {}", String::from_utf8_lossy(&run.stderr).trim());
                }
                Ok(converted)
            }
        }
    }
}

fn write_verity(
    disk: &File,
    layout: &Layout,
    superblock: &Superblock,
) -> Result<orlop_verity::Tree> {
    let root = layout.extent(Partition::Root(Slot::A));
    let tree = orlop_verity::build(disk, root.start, superblock)?;
    disk.write_all_at(&tree.bytes, layout.extent(Partition::Verity(Slot::A)).start)?;
    Ok(tree)
}

/// Copies what is not zero.
fn copy_sparse(from: &Path, to: &File, extent: Extent) -> Result<()> {
    let mut from = File::open(from)?;
    let mut buffer = vec![0; 64 << 10];
    let mut at = extent.start;
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if buffer[..count].iter().any(|byte| *byte != 0) {
            to.write_all_at(&buffer[..count], at)?;
        }
        at += count as u64;
    }
}

/// Bytes that a sparse file takes.
fn on_disk(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(path)?.blocks() * 512)
}
