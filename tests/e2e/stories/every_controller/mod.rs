//! The runtime's own integration tests once more, in a guest that has what the development
//! machine may lack: every cgroup v2 controller, and a user whose systemd manager was given a
//! part of the cgroups. There no test may be skipped.

use std::path::Path;

use anyhow::Result;
use orlop_qemu::build;

use crate::debian_guest;
use crate::fixture::{self, PATIENCE};

/// The steps; each lists the tests that elsewhere have nothing to test.
const STEPS: &[(&str, &str)] = &[("tests", include_str!("tests.steps"))];

/// All of them pass. What a step does is hundreds of programs, each emulated.
pub(crate) fn own_tests() -> Result<()> {
    let built = build::runtime_tests()?;
    let place = fixture::folder("shared")?.join("runtime-place");
    // Where the tests look for the runtime, the guest has the one that is released.
    std::fs::write(&place, built.runtime.display().to_string())?;
    let words = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/stories/every_controller/words.sh");
    let runtime = build::binary("orlop-runtime");
    let files = [
        (&*words, "words.sh"),
        (&*runtime, "orlop-runtime"),
        (&*built.tests, "runtime-tests"),
        (&*place, "runtime-place"),
    ];
    debian_guest::go_through_within(PATIENCE * 8, "every-controller", &files, STEPS)
}
