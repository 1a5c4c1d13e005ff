//! Debian's podman, buildah and containerd, with the project's runtime in the place of theirs,
//! in a guest that has every cgroup v2 controller and no systemd; and the runtime's own
//! integration tests in another such guest, where limits can be had.

use std::path::Path;

use anyhow::Result;
use orlop_qemu::build;

use crate::{debian_guest, fixture};

/// The steps of the clients, in the order in which the guest goes through them; later ones use
/// what earlier ones made.
const CLIENTS: &[(&str, &str)] = &[
    ("podman", include_str!("podman.steps")),
    ("podman-life", include_str!("podman-life.steps")),
    ("buildah", include_str!("buildah.steps")),
    ("containerd", include_str!("containerd.steps")),
];

/// Every step does what it should.
pub(crate) fn run_containers() -> Result<()> {
    go_through("clients", &[], CLIENTS)
}

/// The integration tests of the runtime, limits among them.
pub(crate) fn own_tests() -> Result<()> {
    let built = build::runtime_tests()?;
    let place = fixture::folder("shared")?.join("runtime-place");
    // Where the tests look for the runtime, the guest has it too.
    std::fs::write(&place, built.runtime.display().to_string())?;
    go_through(
        "runtime-tests",
        &[(&built.tests, "runtime-tests"), (&place, "runtime-place")],
        &[("runtime", include_str!("runtime.steps"))],
    )
}

fn go_through(story: &str, more: &[(&Path, &str)], steps: &[(&str, &str)]) -> Result<()> {
    let words = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/stories/clients/words.sh");
    let runtime = build::binary("orlop-runtime");
    let mut files = vec![(&*words, "words.sh"), (&*runtime, "orlop-runtime")];
    files.extend(more);
    debian_guest::go_through(story, &files, steps)
}
