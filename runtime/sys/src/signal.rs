//! Gives a program to be executed the signal state that it expects.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// Sets every signal to its default action and blocks none. (Rust's start-up code ignores
/// SIGPIPE, and ignored signals stay ignored over execve.)
pub fn reset() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is no handler of ours; for SIGKILL, SIGSTOP and the C library's own
        // the call fails and changes nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    unblock();
}

/// Blocks no signal any more, for a process that has what its parent blocked.
pub fn unblock() {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that sigprocmask then reads.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Sends `signal`, by number and real-time ones too, to the process that `pidfd` refers to.
///
/// # Errors
/// ESRCH when it has ended, EINVAL for a number that is no signal, EPERM.
pub fn send(pidfd: impl std::os::fd::AsFd, signal: i32) -> rustix::io::Result<()> {
    use std::os::fd::AsRawFd;
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: integers and a null pointer, which the call allows.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            signal,
            std::ptr::null_mut::<libc::siginfo_t>(),
            0,
        )
    };
    crate::syscall::check(ret).map(drop)
}
