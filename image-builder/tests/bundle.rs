//! Update bundles, from the build to what a host would put together again.

// Helpers of tests may fail as the tests themselves do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod programs;

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use orlop_bundle::{
    ARCHITECTURE, Content, Digest, FORMAT, Head, Hex, Index, Manifest, Packer, Part, Running,
    SecretKey, Signatures, Trusted, Verity, chunk, chunk_path, refusal,
};
use orlop_image::inspect::{SlotContent, inspect};
use orlop_unit::UpdateKey;

const HOST: &str = "name = \"plain\"\nversion = \"1.0.0\"\n\
                    [disk]\nesp = \"128M\"\nstate = \"160M\"\n[image]\nunits = [\"web.toml\"]\n";

/// A directory with a host TOML and with what stands for our programs.
fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("bin")).unwrap();
    programs::put(&dir.path().join("bin"));
    fs::write(dir.path().join("plain.toml"), HOST).unwrap();
    let unit = "[container]\nimage = \"localhost/web:1\"\n";
    fs::write(dir.path().join("web.toml"), unit).unwrap();
    dir
}

/// Runs `orlop-image` in `dir`; gives what it printed, or what it complained of.
fn run(dir: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop-image"));
    let output = command.current_dir(dir).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

fn build(dir: &Path, arguments: &[&str]) -> Result<String, String> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cache");
    let cache = cache.display().to_string();
    let words = [
        "build",
        "plain.toml",
        "--binaries",
        "bin",
        "--cache",
        &cache,
    ];
    run(dir, &[&words[..], arguments].concat())
}

fn keygen(dir: &Path, file: &str) -> UpdateKey {
    run(dir, &["keygen", file]).unwrap().trim().parse().unwrap()
}

fn read_head(path: PathBuf) -> Head {
    Head::read(&mut fs::File::open(path).unwrap()).unwrap()
}

fn trust(path: PathBuf, keys: &[UpdateKey]) -> Result<Trusted, String> {
    let trusted = read_head(path).verify("plain", keys);
    trusted.map_err(|error| error.to_string())
}

/// Puts a part together from published chunks, as a host without any would.
fn assemble(published: &Path, index: &Index, part: Part) -> Vec<u8> {
    let mut bytes = Vec::new();
    for place in index.uses(part) {
        assert_eq!(place.offset, bytes.len() as u64);
        let entry = &index.entries()[place.chunk as usize];
        let packed = fs::read(published.join(chunk_path(&entry.digest))).unwrap();
        bytes.extend(chunk::unpack(entry, &packed).unwrap());
    }
    bytes
}

/// The root and the UKI that the disk holds.
fn on_disk(disk: &Path) -> (Vec<u8>, Vec<u8>, String) {
    let found = inspect(disk).unwrap();
    let SlotContent::Good { root_hash, size } = found.slots[0].1.clone() else {
        panic!("{:?}", found.slots);
    };
    let extent = |name: &str| {
        let mut partitions = found.partitions.iter();
        partitions.find(|(label, _)| label == name).unwrap().1
    };
    let mut file = fs::File::open(disk).unwrap();
    file.seek(SeekFrom::Start(extent("root-a").start)).unwrap();
    let mut root = Vec::new();
    file.by_ref().take(size).read_to_end(&mut root).unwrap();
    let esp = disk.with_extension("esp");
    file.seek(SeekFrom::Start(extent("esp").start)).unwrap();
    let mut esp_file = fs::File::create(&esp).unwrap();
    std::io::copy(&mut file.take(extent("esp").len), &mut esp_file).unwrap();
    let uki = disk.with_extension("efi");
    let entry = format!("::/EFI/Linux/{}", found.entries[0].name);
    let mcopy = Command::new("mcopy")
        .arg("-i")
        .args([&esp])
        .arg(entry)
        .arg(&uki)
        .status();
    assert!(mcopy.unwrap().success());
    (root, fs::read(uki).unwrap(), root_hash)
}

#[test]
fn a_published_bundle_is_what_the_disk_holds() {
    let dir = project();
    let at = |name: &str| dir.path().join(name);
    let key = keygen(dir.path(), "a.key");
    fs::write(
        at("plain.toml"),
        format!("{HOST}[update]\nkeys = [\"{key}\"]\n"),
    )
    .unwrap();
    let said = build(dir.path(), &["--sign", "a.key", "--json"]).unwrap();
    let bundle = at("plain-1.0.0.orlop");
    let size = fs::metadata(&bundle).unwrap().len();
    let part = format!("{{\"name\":\"update bundle\",\"bytes\":{size},\"room\":null}}");
    assert!(
        said.contains(&part) && said.contains("plain-1.0.0.orlop\""),
        "{said}"
    );
    assert_eq!(
        fs::metadata(&bundle).unwrap().permissions().mode() & 0o777,
        0o644
    );

    let shown = run(dir.path(), &["inspect", "plain-1.0.0.orlop"]).unwrap();
    for words in [
        "plain 1.0.0, x86-64",
        &key.to_string(),
        "any version",
        "are good",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    run(dir.path(), &["publish", "plain-1.0.0.orlop", "www/updates"]).unwrap();
    let www = at("www/updates");
    let newest = fs::read(www.join("plain.head")).unwrap();
    assert!(newest == fs::read(www.join("plain-1.0.0.head")).unwrap());
    assert!(fs::read(&bundle).unwrap().starts_with(&newest));

    let trusted = trust(www.join("plain.head"), &[key]).unwrap();
    let (manifest, index) = (trusted.head().manifest(), trusted.head().index());
    let (root, uki, root_hash) = on_disk(&at("plain.img"));
    assert!(assemble(&www, index, Part::Root) == root, "the root");
    assert!(assemble(&www, index, Part::Uki) == uki, "the UKI");
    assert_eq!(manifest.root.sha256, Digest::of(&root));
    assert_eq!(manifest.uki.sha256, Digest::of(&uki));
    assert_eq!(manifest.verity.root_hash.to_string(), root_hash);
    let tree = tree_of(&at("root"), &root, trusted.head());
    assert_eq!(tree, root_hash, "the hash tree made anew");
    let shown = run(dir.path(), &["inspect", "www/updates/plain.head"]).unwrap();
    assert!(shown.contains("no chunks in this file"), "{shown}");
}

/// The root hash of `root` by the manifest's parameters alone.
fn tree_of(file: &Path, root: &[u8], head: &Head) -> String {
    fs::write(file, root).unwrap();
    let verity = head.manifest().verity;
    let superblock = orlop_verity::Superblock {
        uuid: verity.uuid.0,
        data_blocks: head.manifest().root.size / 4096,
        salt: verity.salt.0.to_vec(),
    };
    let file = fs::File::open(file).unwrap();
    let tree = orlop_verity::build(&file, 0, &superblock).unwrap();
    tree.root_hash_hex()
}

#[test]
fn a_changed_unit_moves_little_and_keys_can_be_replaced() {
    let dir = project();
    let at = |name: &str| dir.path().join(name);
    let (old, new) = (keygen(dir.path(), "old.key"), keygen(dir.path(), "new.key"));
    let host = |version: &str, keys: &str| {
        let text = HOST.replace("1.0.0", version);
        let update = format!("[update]\nkeys = [{keys}]\nminimum-version = \"1.0\"\n");
        fs::write(at("plain.toml"), text + &update).unwrap();
    };
    host("1.0.0", &format!("\"{old}\""));
    build(dir.path(), &["--sign", "old.key"]).unwrap();
    run(dir.path(), &["publish", "plain-1.0.0.orlop", "www"]).unwrap();

    let endorsement = run(
        dir.path(),
        &["endorse", "old.key", &new.to_string(), "--name", "plain"],
    );
    fs::write(at("new.endorsement"), endorsement.unwrap()).unwrap();
    let unit = "[container]\nimage = \"localhost/web:2\"\ncommand = [\"serve\"]\n";
    fs::write(at("web.toml"), unit).unwrap();
    host("1.1.0", &format!("\"{new}\""));
    let sign = ["--sign", "new.key", "--endorsement", "new.endorsement"];
    build(dir.path(), &sign).unwrap();
    run(dir.path(), &["publish", "plain-1.1.0.orlop", "www"]).unwrap();

    // A host of the old version takes it, by the old key's word; one that knows neither does not.
    let newest = || at("www").join("plain.head");
    let trusted = trust(newest(), &[old]).unwrap();
    assert_eq!(trusted.signers(), [new]);
    assert!(trust(newest(), &[new]).is_ok());
    let stranger = keygen(dir.path(), "stranger.key");
    let refused = trust(newest(), &[stranger]).unwrap_err();
    assert!(refused.contains(&new.to_string()), "{refused}");
    let running = |version| Running {
        version,
        allow_downgrade: false,
    };
    assert_eq!(refusal(&trusted, running("1.0.0")), None);
    assert!(
        refusal(&trusted, running("0.9")).is_some(),
        "minimum-version"
    );
    assert!(refusal(&trusted, running("1.1.0")).is_some(), "the same");

    let first = read_head(at("www").join("plain-1.0.0.head"));
    let missing = trusted.head().index().missing_from(first.index());
    let moved = missing.compressed + trusted.head().encode().len() as u64;
    let whole = fs::metadata(at("plain-1.1.0.orlop")).unwrap().len();
    assert!(moved * 20 < whole, "{moved} of {whole} bytes");
    let shown = [
        "inspect",
        "plain-1.1.0.orlop",
        "--against",
        "plain-1.0.0.orlop",
    ];
    let shown = run(dir.path(), &shown).unwrap();
    assert!(shown.contains(&format!("({moved} bytes)")), "{shown}");
    // Both versions can be put together from what is published.
    for (version, disk) in [("1.1.0", Some("plain.img")), ("1.0.0", None)] {
        let head = read_head(at("www").join(format!("plain-{version}.head")));
        let root = assemble(&at("www"), head.index(), Part::Root);
        assert_eq!(Digest::of(&root), head.manifest().root.sha256);
        if let Some(disk) = disk {
            assert!(root == on_disk(&at(disk)).0);
        }
    }
}

#[test]
fn publishing_mends_and_never_goes_back() {
    let dir = project();
    let at = |name: &str| dir.path().join(name);
    keygen(dir.path(), "a.key");
    keygen(dir.path(), "b.key");
    let build_version = |version: &str, key: &str| {
        fs::write(at("plain.toml"), HOST.replace("1.0.0", version)).unwrap();
        build(dir.path(), &["--sign", key]).unwrap();
    };
    build_version("1.0.0", "a.key");
    build_version("1.1.0", "a.key");
    let publish = |file: &str, to: &str| run(dir.path(), &["publish", file, to]);
    publish("plain-1.1.0.orlop", "www").unwrap();
    // An older one is there for who asks for it, and is not the newest.
    publish("plain-1.0.0.orlop", "www").unwrap();
    let newest = || read_head(at("www/plain.head")).manifest().version.clone();
    assert_eq!(newest(), "1.1.0");
    assert!(at("www/plain-1.0.0.head").exists());

    // Once more: nothing is new, and a damaged chunk is written again.
    let head = read_head(at("www/plain.head"));
    let chunk = at("www").join(chunk_path(&head.index().entries()[3].digest));
    let good = fs::read(&chunk).unwrap();
    fs::write(&chunk, &good[..good.len() - 1]).unwrap();
    let said = publish("plain-1.1.0.orlop", "www").unwrap();
    assert!(said.contains(", 0 of them new"), "{said}");
    assert!(fs::read(&chunk).unwrap() == good);

    // The same, signed by another key: one may have been forgotten.
    build_version("1.1.0", "b.key");
    publish("plain-1.1.0.orlop", "www").unwrap();
    assert_ne!(
        read_head(at("www/plain.head")).signatures(),
        head.signatures()
    );

    // The same version with other content, and another host's name in the way.
    let unit = "[container]\nimage = \"localhost/web:3\"\n";
    fs::write(at("web.toml"), unit).unwrap();
    build_version("1.1.0", "b.key");
    let refused = publish("plain-1.1.0.orlop", "www").unwrap_err();
    assert!(refused.contains("is published already"), "{refused}");
    fs::create_dir(at("other")).unwrap();
    let other = fs::read(at("www/plain.head")).unwrap();
    fs::write(at("other/plain.head"), &other[..other.len() - 1]).unwrap();
    let refused = publish("plain-1.1.0.orlop", "other").unwrap_err();
    assert!(
        refused.contains("other/plain.head") && refused.contains("cut off"),
        "{refused}"
    );

    // A damaged bundle is not published.
    let mut bytes = fs::read(at("plain-1.1.0.orlop")).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 0xff;
    fs::write(at("bad.orlop"), &bytes).unwrap();
    let refused = publish("bad.orlop", "new").unwrap_err();
    assert!(refused.contains("bad.orlop: chunk "), "{refused}");
    bytes[last] ^= 0xff;
    bytes.push(0);
    fs::write(at("bad.orlop"), &bytes).unwrap();
    let refused = publish("bad.orlop", "new").unwrap_err();
    assert!(refused.contains("more after the last chunk"), "{refused}");
    // Nor is one that ends after its head.
    fs::write(at("bad.orlop"), head.encode()).unwrap();
    let refused = run(dir.path(), &["inspect", "bad.orlop"]).unwrap_err();
    assert!(refused.contains("cut off"), "{refused}");

    // A disk without a bundle of its own beside an older one.
    build(dir.path(), &["--output", "plain-1.1.0.orlop"]).unwrap_err();
    let before = fs::read(at("plain-1.1.0.orlop")).unwrap();
    build(dir.path(), &[]).unwrap();
    assert!(fs::read(at("plain-1.1.0.orlop")).unwrap() == before);
    assert!(!at("new/plain.head").exists());
}

#[test]
fn keys_and_endorsements_that_do_not_fit_are_told() {
    let dir = project();
    let at = |name: &str| dir.path().join(name);
    let key = keygen(dir.path(), "a.key");
    let mode = fs::metadata(at("a.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = run(dir.path(), &["keygen", "a.key"]).unwrap_err();
    assert!(again.contains("a.key: expected a new file"), "{again}");
    let public = run(dir.path(), &["keygen", "--public", "a.key"]).unwrap();
    assert_eq!(public.trim(), key.to_string());
    let words = ["pkey", "-in", "a.key", "-noout", "-text_pub"];
    let openssl = Command::new("openssl")
        .current_dir(dir.path())
        .args(words)
        .output();
    let openssl = openssl.unwrap();
    assert!(
        openssl.status.success() && openssl.stdout.starts_with(b"ED25519"),
        "{openssl:?}"
    );

    let refused = |arguments: &[&str], words: &[&str]| {
        let error = build(dir.path(), arguments).unwrap_err();
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{words:?}: {error}"
        );
        assert!(!at("plain.img").exists() && !at("plain-1.0.0.orlop").exists());
    };
    let nine = ["--sign", "a.key"].repeat(9);
    refused(&nine, &["room for 8 keys"]);
    refused(&["--sign", "none.key"], &["none.key", "orlop-image keygen"]);
    refused(&["--sign", "plain.toml"], &["plain.toml", "PKCS#8"]);
    refused(&["--endorsement", "x"], &["--sign KEY"]);
    let of_edge = ["endorse", "a.key", &key.to_string(), "--name", "edge"];
    fs::write(at("edge"), run(dir.path(), &of_edge).unwrap()).unwrap();
    let with = ["--sign", "a.key", "--endorsement", "edge"];
    refused(&with, &["edge: ", "hosts named \"plain\""]);
    refused(
        &["--sign", "a.key", "--endorsement", "web.toml"],
        &["web.toml: expected an endorsement"],
    );
    let host = |update: &str| fs::write(at("plain.toml"), format!("{HOST}[update]\n{update}\n"));
    // Good form, and no point of the curve that a key may be.
    let zero = format!("keys = [\"{key}\", \"ed25519:{}\"]", "0".repeat(64));
    host(&zero).unwrap();
    refused(&[], &["plain.toml:9:", "no usable ed25519 public key"]);
    host("minimum-version = \"1.0.1\"").unwrap();
    refused(&[], &["plain.toml:9:19", "newer than the version itself"]);
}

/// A bundle of nothing much, signed by `keys`.
fn small(place: &Path, name: &str, version: &str, keys: &[SecretKey]) {
    let mut packer = Packer::new(Vec::new()).unwrap();
    let root = packer.add(Part::Root, [7; 8192].as_slice()).unwrap();
    let uki = packer.add(Part::Uki, [8; 100].as_slice()).unwrap();
    let (index, chunks) = packer.finish();
    let nothing = Content {
        size: 1,
        sha256: Digest::of(b""),
    };
    let manifest = Manifest {
        format: FORMAT,
        name: name.to_owned(),
        version: version.to_owned(),
        source_date: 0,
        architecture: ARCHITECTURE.to_owned(),
        minimum_version: None,
        root,
        uki,
        index: nothing,
        verity: Verity {
            root_hash: nothing.sha256,
            salt: nothing.sha256,
            uuid: Hex([0; 16]),
        },
    };
    let sign = |bytes: &[u8]| Signatures::sign(bytes, keys, &[]);
    let head = Head::new(manifest, index, sign).unwrap();
    fs::write(place, [head.encode(), chunks].concat()).unwrap();
}

#[test]
fn hosts_whose_names_collide_are_not_published_over_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let key = || [SecretKey::from_seed(&[1; 32])];
    let publish = |name: &str| orlop_image::bundle::publish(&at(name), &at("www"));
    small(&at("unsigned"), "plain", "1", &[]);
    let refused = format!("{:#}", publish("unsigned").unwrap_err());
    assert!(refused.contains("not signed"), "{refused}");
    assert!(!at("www").exists());

    // What is `plain`, version 1, is also what is newest of `plain-1`.
    small(&at("a"), "plain", "1", &key());
    small(&at("b"), "plain-1", "2", &key());
    publish("a").unwrap();
    let refused = format!("{:#}", publish("b").unwrap_err());
    let expected = ["plain-1.head is of \"plain\"", "another directory"];
    assert!(
        expected.iter().all(|words| refused.contains(words)),
        "{refused}"
    );
    // Nothing was changed; and a newer one still takes the place.
    small(&at("c"), "plain", "1.1", &key());
    assert_eq!(publish("c").unwrap().new, 0);
    assert_eq!(read_head(at("www/plain.head")).manifest().version, "1.1");
    assert_eq!(read_head(at("www/plain-1.head")).manifest().version, "1");
}
