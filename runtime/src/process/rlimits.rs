//! Resource limits, set by the parent on the child: it may raise a hard limit, the child may
//! not.

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::{PosixRlimit, PosixRlimitType as Type};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

pub(crate) fn apply(pid: Pid, limits: &[PosixRlimit]) -> Result<()> {
    for limit in limits {
        let (name, soft, hard) = (limit.typ(), limit.soft(), limit.hard());
        ensure!(
            soft <= hard,
            "rlimits: {name}: the soft limit {soft} is above the hard {hard}"
        );
        let finite = |value: u64| (value != u64::MAX).then_some(value);
        let new = Rlimit {
            current: finite(soft),
            maximum: finite(hard),
        };
        prlimit(Some(pid), resource(name), new).map_err(|errno| match errno {
            rustix::io::Errno::PERM => anyhow::anyhow!(
                "rlimits: {name}: raising the hard limit to {hard} needs CAP_SYS_RESOURCE, \
                 which this process lacks (and RLIMIT_NOFILE may not pass fs.nr_open)"
            ),
            errno => anyhow::Error::from(errno).context(format!("rlimits: {name}")),
        })?;
    }
    Ok(())
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
