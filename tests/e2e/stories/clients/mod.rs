//! Debian's podman, buildah and containerd, with the project's runtime in the place of theirs,
//! in a guest that has every cgroup v2 controller, and is run by systemd.

use std::path::Path;

use anyhow::Result;
use orlop_qemu::build;

use crate::debian_guest;

/// The steps of the clients, in the order in which the guest goes through them; later ones use
/// what earlier ones made.
const CLIENTS: &[(&str, &str)] = &[
    ("podman", include_str!("podman.steps")),
    ("podman-life", include_str!("podman-life.steps")),
    ("systemd", include_str!("systemd.steps")),
    ("rootless", include_str!("rootless.steps")),
    ("buildah", include_str!("buildah.steps")),
    ("containerd", include_str!("containerd.steps")),
];

/// Every step does what it should.
pub(crate) fn run_containers() -> Result<()> {
    let words = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/stories/clients/words.sh");
    let runtime = build::binary("orlop-runtime");
    let files = [(&*words, "words.sh"), (&*runtime, "orlop-runtime")];
    debian_guest::go_through("clients", &files, CLIENTS)
}
