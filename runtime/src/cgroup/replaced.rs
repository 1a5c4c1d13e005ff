//! Another device program for a cgroup in use, and the old one again.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::LinuxDeviceCgroup;
use orlop_sys::bpf::{
    attach_device_program, detach_device_program, device_programs, load_device_program,
    replace_device_program,
};

use super::{Cgroup, describe, devices};

/// The device programs that were attached before, and are now.
#[derive(Debug)]
pub(super) struct Replaced {
    old: Option<OwnedFd>,
    new: Option<OwnedFd>,
}

impl Replaced {
    pub(super) fn put_back(&self, cgroup: &Cgroup) -> Result<()> {
        cgroup.swap(self.new.as_ref(), self.old.as_ref())
    }
}

impl Cgroup {
    pub(super) fn replace_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<Replaced> {
        let what = || format!("linux.resources.devices: {}", describe(self.path()));
        let new = devices::program(rules)?
            .map(|program| load_device_program(&program))
            .transpose()
            .with_context(what)?;
        let mut attached = device_programs(self.fd()?).with_context(what)?;
        let old = attached.pop();
        ensure!(
            attached.is_empty(),
            "{}: somebody attached a second device program, so which one is to go?",
            what()
        );
        self.swap(old.as_ref(), new.as_ref())?;
        Ok(Replaced { old, new })
    }

    /// One program for the other, with no moment between them in which neither or both hold.
    fn swap(&self, old: Option<&OwnedFd>, new: Option<&OwnedFd>) -> Result<()> {
        let fd = self.fd()?;
        match (old, new) {
            (None, None) => Ok(()),
            (Some(old), None) => detach_device_program(fd, old),
            (None, Some(new)) => attach_device_program(fd, new),
            (Some(old), Some(new)) => replace_device_program(fd, old, new),
        }
        .with_context(|| format!("linux.resources.devices: {}", describe(self.path())))
    }
}
