//! sched_setattr(2), ioprio_set(2) and personality(2): how a process is run.

#![allow(unsafe_code)]

use rustix::io::Result;
use rustix::process::Pid;

use crate::syscall::check;

/// What [`set_scheduler`] gives a process; see sched_setattr(2).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`, without those about utilisation clamps.
    pub flags: u64,
    /// For the policies that share time.
    pub nice: i32,
    /// For the real-time policies.
    pub priority: u32,
    /// Nanoseconds; for the deadline policy, as the next two.
    pub runtime: u64,
    /// See `runtime`.
    pub deadline: u64,
    /// See `runtime`.
    pub period: u64,
}

/// Sets how `pid` is scheduled.
///
/// # Errors
/// EPERM without CAP_SYS_NICE for more than the process had; EINVAL for values that do not go
/// together; EBUSY when there is no room for another deadline.
pub fn set_scheduler(pid: Pid, scheduler: &Scheduler) -> Result<()> {
    let raw = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: scheduler.policy,
        sched_flags: scheduler.flags,
        sched_nice: scheduler.nice,
        sched_priority: scheduler.priority,
        sched_runtime: scheduler.runtime,
        sched_deadline: scheduler.deadline,
        sched_period: scheduler.period,
    };
    let pid = pid.as_raw_pid();
    // SAFETY: `raw` lives across the call, says its own size, and the kernel only reads it.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const raw, 0) }).map(drop)
}

/// Sets the I/O priority of `pid`: a class (1 real time, 2 best effort, 3 idle) and a level in
/// it, 0 to 7.
///
/// # Errors
/// EPERM for the real-time class without privilege; EINVAL for another class or level.
pub fn set_io_priority(pid: Pid, class: u16, level: u16) -> Result<()> {
    const WHO_PROCESS: i32 = 1;
    const CLASS_SHIFT: u32 = 13;
    let value = libc::c_int::from(class) << CLASS_SHIFT | libc::c_int::from(level);
    let pid = pid.as_raw_pid();
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, pid, value) }).map(drop)
}

/// What programs take the machine for: uname(2) tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// What it is.
    Linux,
    /// One of 32 bits.
    Linux32,
}

/// Sets the execution domain of this process and those it becomes or makes.
///
/// # Errors
/// EINVAL when the kernel takes no such domain.
pub fn set_personality(domain: Domain) -> Result<()> {
    // linux/personality.h.
    let value = match domain {
        Domain::Linux => 0,
        Domain::Linux32 => 8,
    };
    // SAFETY: an integer; without flags, nothing that is about memory changes.
    check(unsafe { libc::personality(value) }.into()).map(drop)
}
