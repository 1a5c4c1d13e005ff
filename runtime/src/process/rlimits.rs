//! Resource limits. The parent raises hard ones, as it may and the child may not; the child sets
//! them all once it needs no more than its program will, so that a low one does not keep it from
//! setting itself up.

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType as Type};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// Raises those hard limits of our child `pid`, which has ours yet, that are too low.
pub(crate) fn raise(pid: Pid, limits: &[PosixRlimit]) -> Result<()> {
    for limit in limits {
        let (name, soft, hard) = (limit.typ(), limit.soft(), limit.hard());
        ensure!(
            soft <= hard,
            "rlimits: {name}: the soft limit {soft} is above the hard {hard}"
        );
        let now = getrlimit(resource(name));
        if now.maximum.is_some_and(|maximum| maximum < hard) {
            let maximum = finite(hard);
            let raised = Rlimit { maximum, ..now };
            prlimit(Some(pid), resource(name), raised).map_err(|errno| explain(errno, limit))?;
        }
    }
    Ok(())
}

/// Sets our own, whose hard ones were raised.
pub(crate) fn apply(limits: &[PosixRlimit]) -> Result<()> {
    for limit in limits {
        let new = Rlimit {
            current: finite(limit.soft()),
            maximum: finite(limit.hard()),
        };
        setrlimit(resource(limit.typ()), new).map_err(|errno| explain(errno, limit))?;
    }
    Ok(())
}

fn finite(value: u64) -> Option<u64> {
    (value != u64::MAX).then_some(value)
}

fn explain(errno: rustix::io::Errno, limit: &PosixRlimit) -> anyhow::Error {
    let (name, hard) = (limit.typ(), limit.hard());
    match errno {
        rustix::io::Errno::PERM => anyhow::anyhow!(
            "rlimits: {name}: raising the hard limit to {hard} needs CAP_SYS_RESOURCE, \
             which this process lacks (and RLIMIT_NOFILE may not pass fs.nr_open)"
        ),
        errno => anyhow::Error::from(errno).context(format!("rlimits: {name}")),
    }
}

fn resource(name: Type) -> Resource {
    match name {
        Type::RlimitCpu => Resource::Cpu,
        Type::RlimitFsize => Resource::Fsize,
        Type::RlimitData => Resource::Data,
        Type::RlimitStack => Resource::Stack,
        Type::RlimitCore => Resource::Core,
        Type::RlimitRss => Resource::Rss,
        Type::RlimitNproc => Resource::Nproc,
        Type::RlimitNofile => Resource::Nofile,
        Type::RlimitMemlock => Resource::Memlock,
        Type::RlimitAs => Resource::As,
        Type::RlimitLocks => Resource::Locks,
        Type::RlimitSigpending => Resource::Sigpending,
        Type::RlimitMsgqueue => Resource::Msgqueue,
        Type::RlimitNice => Resource::Nice,
        Type::RlimitRtprio => Resource::Rtprio,
        Type::RlimitRttime => Resource::Rttime,
    }
}

/// The pid of a child as rustix takes it.
pub(crate) fn pid(raw: i32) -> Result<Pid> {
    Pid::from_raw(raw).context("a process id below 1")
}
