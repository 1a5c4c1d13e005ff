//! A container image that is baked into the root keeps its owners, modes, hard
//! links and capabilities, whoever builds.

// Helpers of tests may fail as the tests themselves do.
#![allow(clippy::unwrap_used)]

mod programs;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A root in a tar archive, with what an ordinary user's files cannot have.
fn root_tar(path: &Path) {
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    let header = |mode, uid, gid, size| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(1_600_000_000);
        header.set_size(size);
        header
    };
    let capability: [(&str, &[u8]); 1] = [("SCHILY.xattr.security.capability", &CAPABILITY)];
    tar.append_data(&mut header(0o4755, 0, 0, 2), "su", b"su".as_slice())
        .unwrap();
    tar.append_data(&mut header(0o640, 70_000, 42, 2), "mine", b"hi".as_slice())
        .unwrap();
    tar.append_pax_extensions(capability).unwrap();
    tar.append_data(&mut header(0o755, 0, 0, 4), "ping", b"ping".as_slice())
        .unwrap();
    let mut link = header(0o640, 70_000, 42, 0);
    link.set_entry_type(tar::EntryType::Link);
    tar.append_link(&mut link, "again", "mine").unwrap();
    tar.into_inner().unwrap();
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// Builds a disk with the image baked in; gives the root partition's bytes.
fn bake(dir: &Path) -> Vec<u8> {
    let at = |name: &str| dir.join(name);
    let program = || Command::new(env!("CARGO_BIN_EXE_orlop-image"));
    root_tar(&at("root.tar"));
    let reference = ["--reference", "localhost/odd:1", "--cmd", "/su"];
    run(program()
        .arg("oci")
        .arg("--rootfs")
        .arg(at("root.tar"))
        .args(reference)
        .arg("-o")
        .arg(at("odd.tar")));
    fs::create_dir(at("bin")).unwrap();
    programs::put(&at("bin"));
    let host = "name = \"baked\"\nversion = \"1\"\n[disk]\nesp = \"128M\"\nstate = \"160M\"\n\
                [image]\ncontainers = [{ source = \"odd.tar\", reference = \"localhost/odd:1\" }]\n";
    fs::write(at("host.toml"), host).unwrap();
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cache");
    run(program()
        .arg("build")
        .arg(at("host.toml"))
        .arg("-o")
        .arg(at("disk.img"))
        .arg("--cache")
        .arg(cache)
        .arg("--binaries")
        .arg(at("bin")));

    let found = orlop_image::inspect::inspect(&at("disk.img")).unwrap();
    let extent = found
        .partitions
        .iter()
        .find(|(name, _)| name == "root-a")
        .unwrap()
        .1;
    let disk = fs::read(at("disk.img")).unwrap();
    disk[extent.start as usize..(extent.start + extent.len) as usize].to_vec()
}

/// The mode in an EROFS image of the inode that dump.erofs showed.
fn mode(image: &[u8], shown: &str) -> u16 {
    let (_, rest) = shown.split_once("NID:").unwrap();
    let nid: usize = rest.split_whitespace().next().unwrap().parse().unwrap();
    // erofs_fs.h: the superblock's meta_blkaddr, and an inode's i_mode.
    let address: [u8; 4] = image[1024 + 0x28..][..4].try_into().unwrap();
    let inode = u32::from_le_bytes(address) as usize * 4096 + nid * 32;
    u16::from_le_bytes(image[inode + 4..][..2].try_into().unwrap())
}

#[test]
fn a_baked_image_is_as_its_layers_say() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let root = bake(dir.path());
    fs::write(at("root"), &root).unwrap();
    run(Command::new("fsck.erofs").arg(at("root")));

    // The image's directory is named by its id, which index.json tells.
    let index = String::from_utf8_lossy(&root);
    let start = index.find("\"id\": \"sha256:").unwrap() + 14;
    let base = format!("/usr/lib/orlop/images/{}/rootfs", &index[start..start + 64]);
    let show = |name: &str| {
        let path = format!("{base}/{name}");
        run(Command::new("dump.erofs")
            .arg("--path")
            .arg(path)
            .arg(at("root")))
    };
    let expected = BTreeMap::from([
        ("su", "Uid: 0   Gid: 0  Access: 0755"),
        ("mine", "Uid: 70000   Gid: 42  Access: 0640"),
        ("again", "Uid: 70000   Gid: 42  Access: 0640"),
        ("ping", "Uid: 0   Gid: 0  Access: 0755"),
    ]);
    for (name, owner) in expected {
        assert!(show(name).contains(owner), "{name}: {}", show(name));
    }
    // Which shows no more of a mode than the nine usual bits.
    for (name, wanted) in [("su", 0o104_755), ("mine", 0o100_640), ("ping", 0o100_755)] {
        let found = mode(&root, &show(name));
        assert_eq!(found, wanted, "{name}: {found:o}");
    }
    let number = |name: &str| {
        show(name)
            .lines()
            .find(|line| line.starts_with("NID"))
            .map(str::to_owned)
    };
    assert_eq!(number("mine"), number("again"), "hard links");
    assert!(
        show("mine").contains("Links: 2") && show("mine").contains("2020-09-13"),
        "{}",
        show("mine")
    );
    let entry = [&[10, 6, 20, 0], b"capability".as_slice(), &CAPABILITY].concat();
    assert!(
        root.windows(entry.len()).any(|window| window == entry),
        "security.capability"
    );
}
