//! `cargo vm bench runtime`: what our OCI runtime costs beside Debian's crun and runc.
//!
//! ```text
//! this process        builds, asks for packages, makes the table
//!   └ measuring one   root, in a mount namespace where /sys/fs/cgroup is cgroup v2 alone
//!       └ turns       in each, every runtime does everything once, first another one each turn
//! ```
//!
//! The namespace is there because a machine may have cgroup v1 beside v2: each runtime would
//! then do something else. Where v2 is alone already, nothing is different in it.

mod bundle;
mod calls;
mod contestant;
mod measure;
mod probe;
mod rows;

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use self::measure::Measured;
use super::conditions::Machine;
use super::output::Output;
use super::report::Report;
use crate::{build, debian};

#[derive(clap::Args)]
pub(super) struct Options {
    /// How many turns; the table shows medians
    #[arg(long, default_value_t = 50)]
    runs: usize,
    /// One more runtime to measure, by its path; may be repeated
    #[arg(long, value_name = "PROGRAM")]
    beside: Vec<PathBuf>,
    /// Be the process that measures: a plan comes on standard input
    #[arg(long, hide = true)]
    measure: bool,
    #[command(flatten)]
    output: Output,
}

/// What the measuring process is told.
#[derive(Serialize, Deserialize)]
struct Plan {
    runs: usize,
    /// Ours is the first, the one to compare with the second.
    programs: Vec<PathBuf>,
}

/// What the figures were measured on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    #[serde(flatten)]
    machine: Machine,
    container: &'static str,
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machine, quiet) = (self.machine.name(), self.machine.quiet());
        write!(f, "Medians on {machine}; {}. {quiet}", self.container)
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    if options.measure {
        return measure::from_stdin();
    }
    debian::ensure(debian::FOR_RUNTIME_BENCH)?;
    build::binaries_of("orlop-runtime")?;
    let mut programs = vec![
        build::binary("orlop-runtime"),
        PathBuf::from("/usr/bin/crun"),
        PathBuf::from("/usr/sbin/runc"),
    ];
    for program in &options.beside {
        let found = program
            .canonicalize()
            .with_context(|| format!("--beside {}: no such program", program.display()))?;
        programs.push(found);
    }
    let mut machine = Machine::now()?;
    for line in machine.warnings() {
        eprintln!("{line}");
    }
    let measured = measured(&Plan {
        runs: options.runs.max(1),
        programs,
    })?;
    machine.at_end()?;
    let conditions = Conditions {
        machine,
        container: "the container is busybox's true as `runc spec` sets it up, without a \
                    terminal and limits, cgroup v2 alone",
    };
    let rows = rows::all(&measured)?;
    let report = Report { conditions, rows };
    options.output.give(&report, "bench-runtime.json")
}

/// Runs this program once more, as the measuring process.
fn measured(plan: &Plan) -> Result<Measured> {
    const VIEW: &str = "umount --recursive --lazy /sys/fs/cgroup && \
                        mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";
    let prefix = debian::as_root().context(
        "measuring runtimes needs root: this is neither root nor is there sudo; run it as root",
    )?;
    // Ahead of whatever else runs: a call that waits for a processor measures others.
    let ahead = ["chrt", "--fifo", "1"];
    let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c"];
    let mut words = [prefix, &ahead, &words, &[VIEW, "sh"]].concat().into_iter();
    let first = words.next().context("an empty command")?;
    let mut child = Command::new(first)
        .args(words)
        .arg(std::env::current_exe().context("this program's own path")?)
        .args(["bench", "runtime", "--measure"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {first}"))?;
    let mut stdin = child.stdin.take().context("no pipe to it")?;
    stdin.write_all(&serde_json::to_vec(plan)?)?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "the measuring process ended with {}; see its messages above",
            output.status
        );
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
