//! The two containers that are measured: one ends at once, the other stays to be entered.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// A folder with both bundles, which have one root.
pub(super) struct Bundles {
    pub(super) root: PathBuf,
    pub(super) ends: PathBuf,
    pub(super) stays: PathBuf,
}

impl Bundles {
    /// Makes them in `place` of Debian's static busybox and the configuration that `runc spec`
    /// writes, as far as every runtime takes it everywhere.
    pub(super) fn make(place: &Path) -> Result<Bundles> {
        let root = place.join("root");
        for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).context("/bin/busybox")?;
        for name in ["true", "sleep"] {
            symlink("busybox", root.join("bin").join(name))?;
        }
        let spec = default_spec(place)?;
        let bundle = |name: &str, args: &[&str]| {
            let folder = place.join(name);
            std::fs::create_dir_all(&folder)?;
            let text = adapted(spec.clone(), &root, args).to_string();
            std::fs::write(folder.join("config.json"), text)?;
            anyhow::Ok(folder)
        };
        Ok(Bundles {
            ends: bundle("ends", &["/bin/true"])?,
            stays: bundle("stays", &["/bin/sleep", "86400"])?,
            root,
        })
    }
}

fn default_spec(place: &Path) -> Result<Value> {
    let folder = place.join("spec");
    std::fs::create_dir_all(&folder)?;
    let status = Command::new("runc")
        .args(["spec", "--bundle"])
        .arg(&folder)
        .status()
        .context("cannot run runc")?;
    if !status.success() {
        bail!("`runc spec` ended with {status}");
    }
    let text = std::fs::read(folder.join("config.json"))?;
    Ok(serde_json::from_slice(&text)?)
}

/// Without a terminal, and without what needs CAP_SYS_RESOURCE, which root may lack: limits of
/// the process, and (in Debian's crun) the device rules.
fn adapted(mut spec: Value, root: &Path, args: &[&str]) -> Value {
    spec["ociVersion"] = json!("1.0.2");
    spec["root"]["path"] = json!(root);
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(args);
    for (part, name) in [("process", "rlimits"), ("linux", "resources")] {
        if let Some(object) = spec[part].as_object_mut() {
            object.remove(name);
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_more_than_root_may_have_is_left_out() {
        let spec = json!({
            "ociVersion": "1.2.0",
            "root": { "path": "rootfs", "readonly": true },
            "process": { "terminal": true, "args": ["sh"], "rlimits": [{}], "cwd": "/" },
            "linux": { "resources": {}, "maskedPaths": ["/proc/kcore"] }
        });
        let expected = json!({
            "ociVersion": "1.0.2",
            "root": { "path": "/r", "readonly": true },
            "process": { "terminal": false, "args": ["a"], "cwd": "/" },
            "linux": { "maskedPaths": ["/proc/kcore"] }
        });
        assert_eq!(adapted(spec, Path::new("/r"), &["a"]), expected);
    }
}
