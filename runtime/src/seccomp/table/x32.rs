//! System calls of x32 that have other numbers than on x86_64; without the bit that marks
//! them (arch/x86/entry/syscalls/syscall_64.tbl).

/// In the order of their names, by which they are looked up.
#[rustfmt::skip]
pub(super) const NAMES: &[(u32, &str)] = &[
    (520, "execve"), (545, "execveat"), (531, "get_robust_list"), (542, "getsockopt"),
    (543, "io_setup"), (544, "io_submit"), (514, "ioctl"), (528, "kexec_load"), (533, "move_pages"),
    (527, "mq_notify"), (534, "preadv"), (546, "preadv2"), (539, "process_vm_readv"),
    (540, "process_vm_writev"), (521, "ptrace"), (535, "pwritev"), (547, "pwritev2"),
    (515, "readv"), (517, "recvfrom"), (537, "recvmmsg"), (519, "recvmsg"), (512, "rt_sigaction"),
    (522, "rt_sigpending"), (524, "rt_sigqueueinfo"), (513, "rt_sigreturn"),
    (523, "rt_sigtimedwait"), (536, "rt_tgsigqueueinfo"), (538, "sendmmsg"), (518, "sendmsg"),
    (530, "set_robust_list"), (541, "setsockopt"), (525, "sigaltstack"), (526, "timer_create"),
    (532, "vmsplice"), (529, "waitid"), (516, "writev"),
];
