//! What a host in a directory is made of: a store of one image, and the runtime.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::Digest as _;

/// Makes a store of one image; returns its digits.
pub(crate) fn make_store(store: &Path, reference: &str) -> String {
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": []}, "history": [],
    })
    .to_string();
    let digest = sha2::Sha256::digest(&config);
    let id: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let bin = store.join(&id).join("rootfs/bin");
    std::fs::create_dir_all(&bin).unwrap();
    let busybox = ["/usr/bin/busybox", "/bin/busybox"];
    let busybox = busybox
        .iter()
        .find(|path| Path::new(path).exists())
        .unwrap();
    std::fs::copy(busybox, bin.join("busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", bin.join("sh")).unwrap();
    std::fs::write(store.join(&id).join("config.json"), config).unwrap();
    let index = serde_json::json!({"images": [{
        "reference": reference, "id": format!("sha256:{id}"), "digest": format!("sha256:{id}"),
        "architecture": "amd64", "size": 1,
    }]});
    std::fs::write(store.join("index.json"), index.to_string()).unwrap();
    id
}

/// The runtime beside the manager, built now: but `cargo vm test` has built it
/// already, as its caller, where root may have no toolchain and would leave files
/// that the caller cannot replace.
fn runtime() -> PathBuf {
    if std::env::var_os("ORLOP_TESTS_COMPLETE").is_none() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "orlop-runtime"])
            .status()
            .unwrap();
        assert!(built.success());
    }
    Path::new(env!("CARGO_BIN_EXE_orlop-manager")).with_file_name("orlop-runtime")
}

/// The runtime, with the limit left out that this machine may have no
/// controller for.
pub(crate) fn make_wrapper(dir: &Path) -> PathBuf {
    let runtime = runtime();
    let wrapper = dir.join("runtime.sh");
    let text = format!(
        "#!/bin/sh\nfor a in \"$@\"; do\n[ \"$last\" = --bundle ] && sed -i \
         's/\"pids\":{{\"limit\":[0-9]*}},*//; s/,}}/}}/' \"$a/config.json\"\nlast=$a\ndone\n\
         exec {} \"$@\"\n",
        runtime.display()
    );
    std::fs::write(&wrapper, text).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    wrapper
}
