//! The measuring process: turns, and nothing else in them than the calls that are measured.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::{getpid, set_child_subreaper};
use serde::{Deserialize, Serialize};

use super::Plan;
use super::bundle::Bundles;
use super::calls::Calls;
use super::contestant::{Contestant, Seen};
use super::probe::{self, Words};

/// In how many turns memory is looked at.
const MEMORY_TURNS: usize = 5;

#[derive(Serialize, Deserialize)]
pub(super) struct Measured {
    /// The same namespaces and root without any runtime, in milliseconds.
    pub(super) floor: Vec<f64>,
    /// As the plan has them.
    pub(super) runtimes: Vec<Runtime>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Runtime {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// Milliseconds.
    pub(super) times: Seen<f64>,
    /// MiB.
    pub(super) memory: Seen<f64>,
    /// Of `run` and `exec` only.
    pub(super) calls: Seen<Calls>,
}

/// Measures what standard input says, and writes what came of it to standard output.
pub(super) fn from_stdin() -> Result<()> {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text)?;
    let plan: Plan = serde_json::from_slice(&text).context("the plan on standard input")?;
    // Created containers are children of a process that leaves; so that they come to us.
    set_child_subreaper(Some(getpid()))?;
    let measured = measure(&plan)?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn measure(plan: &Plan) -> Result<Measured> {
    let folder = tempfile::tempdir()?;
    let place = folder.path();
    let bundles = Bundles::make(place)?;
    let mut contestants = Vec::new();
    let mut runtimes = Vec::new();
    for (number, program) in plan.programs.iter().enumerate() {
        let contestant = Contestant::new(program, number, &bundles, place)?;
        runtimes.push(Runtime {
            name: name(program, &contestant.version()?),
            bytes: contestant.bytes()?,
            times: Seen::default(),
            memory: Seen::default(),
            calls: Seen::default(),
        });
        contestants.push(contestant);
    }
    let mut floor = Vec::new();
    let bare = bare(&bundles);
    let many = contestants.len();
    // The first turn warms caches.
    for turn in 0..=plan.runs {
        let took = probe::clock(&bare)?;
        if turn > 0 {
            floor.push(took);
        }
        for nth in 0..many {
            // What the one before left to the kernel to clean up shall not hit the same always.
            let number = (nth + turn) % many;
            let times = match turn {
                0 => &mut Seen::default(),
                _ => &mut runtimes[number].times,
            };
            contestants[number].turn(probe::clock, times)?;
        }
    }
    for (contestant, runtime) in contestants.iter().zip(&mut runtimes) {
        for _ in 0..MEMORY_TURNS {
            contestant.turn(|words| probe::memory(words, place), &mut runtime.memory)?;
        }
        contestant.turn_of_whole_calls(|words| probe::calls(words, place), &mut runtime.calls)?;
    }
    Ok(Measured { floor, runtimes })
}

/// What there would be without a runtime: util-linux's unshare and coreutils' chroot.
fn bare(bundles: &Bundles) -> Words {
    let mut words: Words = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts"]
        .iter()
        .chain(&["--cgroup", "--fork", "chroot"])
        .map(Into::into)
        .collect();
    words.extend([bundles.root.clone().into(), "/bin/true".into()]);
    words
}

/// The file's name and the version.
fn name(program: &Path, version: &str) -> String {
    let file = program.file_name().unwrap_or(program.as_os_str());
    let number = version
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or_default();
    format!("{} {number}", file.to_string_lossy())
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_called_by_its_file_and_version() {
        for (version, expected) in [
            ("crun version 1.8.1", "crun 1.8.1"),
            ("runtime 0.1.0", "crun 0.1.0"),
            ("", "crun"),
        ] {
            assert_eq!(name(Path::new("/usr/bin/crun"), version), expected);
        }
    }
}
