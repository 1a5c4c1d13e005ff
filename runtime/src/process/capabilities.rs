//! The five capability sets.
//!
//! What a configuration names and nobody could grant is left out with a warning, as the spec has
//! it. A container never has more for that, only less.

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};
use rustix::io::{Errno, Result};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// What the process may keep. Nothing is in a set unless the configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sets {
    bounding: CapabilitySet,
    effective: CapabilitySet,
    permitted: CapabilitySet,
    inheritable: CapabilitySet,
    ambient: CapabilitySet,
}

impl Sets {
    pub(crate) fn new(config: Option<&LinuxCapabilities>) -> Sets {
        let set = |pick: fn(&LinuxCapabilities) -> &Option<Capabilities>| {
            config
                .and_then(|config| pick(config).as_ref())
                .map_or(CapabilitySet::empty(), mask)
        };
        Sets {
            bounding: set(LinuxCapabilities::bounding),
            effective: set(LinuxCapabilities::effective),
            permitted: set(LinuxCapabilities::permitted),
            inheritable: set(LinuxCapabilities::inheritable),
            ambient: set(LinuxCapabilities::ambient),
        }
    }

    /// Those that can be had of these, and which are lost. With a user namespace of its own a
    /// process has whatever the kernel knows; else what we have.
    pub(crate) fn grantable(self, in_user_namespace: bool) -> Result<(Sets, CapabilitySet)> {
        let (bounding, permitted) = had(self.union(), in_user_namespace)?;
        let granted = Sets {
            bounding: self.bounding & bounding,
            permitted: self.permitted & permitted,
            // The kernel takes the whole of what is asked for, or nothing.
            effective: self.effective & self.permitted & permitted,
            inheritable: self.inheritable & self.bounding & bounding,
            ambient: self.ambient,
        };
        let lost = [
            self.bounding - granted.bounding,
            self.permitted - granted.permitted,
            self.effective - granted.effective,
            self.inheritable - granted.inheritable,
            self.ambient - permitted,
        ];
        let lost = lost
            .into_iter()
            .fold(CapabilitySet::empty(), |all, set| all | set);
        Ok((granted, lost))
    }

    fn union(&self) -> CapabilitySet {
        self.bounding | self.effective | self.permitted | self.inheritable | self.ambient
    }

    /// The bounding set as the kernel's bits.
    #[cfg(test)]
    pub(crate) fn bounding_mask(&self) -> u64 {
        self.bounding.bits()
    }

    /// Drops everything else from the bounding set; needs CAP_SETPCAP, so it comes first.
    pub(crate) fn limit_bounding(&self) -> Result<()> {
        for bit in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            match capability_is_in_bounding_set(one) {
                Ok(true) if !self.bounding.contains(one) => {
                    remove_capability_from_bounding_set(one)?;
                }
                Ok(_) => {}
                // One past the last capability that this kernel knows.
                Err(Errno::INVAL) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Sets the other four, once the process has its user.
    pub(crate) fn apply(&self) -> Result<()> {
        let sets = CapabilitySets {
            effective: self.effective,
            permitted: self.permitted,
            inheritable: self.inheritable,
        };
        set_capabilities(None, sets)?;
        clear_ambient_capability_set()?;
        // The kernel keeps no capability in this set that is not in both of these. Such are
        // named in configurations all the same (runc's own default has three), to no effect.
        for one in (self.ambient & self.permitted & self.inheritable).iter() {
            configure_capability_in_ambient_set(one, true)?;
        }
        Ok(())
    }
}

/// Of the asked, those that may be in a bounding set, and in a permitted one.
fn had(asked: CapabilitySet, in_user_namespace: bool) -> Result<(CapabilitySet, CapabilitySet)> {
    let (mut known, mut bounding) = (CapabilitySet::empty(), CapabilitySet::empty());
    for one in asked.iter() {
        match capability_is_in_bounding_set(one) {
            Ok(is_in) => {
                known |= one;
                bounding.set(one, is_in);
            }
            // This kernel has no such capability.
            Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    if in_user_namespace {
        return Ok((known, known));
    }
    Ok((bounding, known & capabilities(None)?.permitted))
}

/// By the names that a configuration has for them.
pub(crate) fn names(config: &LinuxCapabilities, of: CapabilitySet) -> Vec<String> {
    let sets = [
        config.bounding(),
        config.effective(),
        config.permitted(),
        config.inheritable(),
        config.ambient(),
    ];
    let mut names: Vec<String> = sets
        .into_iter()
        .flatten()
        .flatten()
        .filter(|name| of.contains(bit(**name)))
        .map(|name| format!("CAP_{name}"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn mask(names: &Capabilities) -> CapabilitySet {
    names
        .iter()
        .fold(CapabilitySet::empty(), |set, &name| set | bit(name))
}

/// Numbers of linux/capability.h; an exhaustive match, so none can be missing.
fn bit(name: Capability) -> CapabilitySet {
    use Capability as C;
    let number = match name {
        C::Chown => 0,
        C::DacOverride => 1,
        C::DacReadSearch => 2,
        C::Fowner => 3,
        C::Fsetid => 4,
        C::Kill => 5,
        C::Setgid => 6,
        C::Setuid => 7,
        C::Setpcap => 8,
        C::LinuxImmutable => 9,
        C::NetBindService => 10,
        C::NetBroadcast => 11,
        C::NetAdmin => 12,
        C::NetRaw => 13,
        C::IpcLock => 14,
        C::IpcOwner => 15,
        C::SysModule => 16,
        C::SysRawio => 17,
        C::SysChroot => 18,
        C::SysPtrace => 19,
        C::SysPacct => 20,
        C::SysAdmin => 21,
        C::SysBoot => 22,
        C::SysNice => 23,
        C::SysResource => 24,
        C::SysTime => 25,
        C::SysTtyConfig => 26,
        C::Mknod => 27,
        C::Lease => 28,
        C::AuditWrite => 29,
        C::AuditControl => 30,
        C::Setfcap => 31,
        C::MacOverride => 32,
        C::MacAdmin => 33,
        C::Syslog => 34,
        C::WakeAlarm => 35,
        C::BlockSuspend => 36,
        C::AuditRead => 37,
        C::Perfmon => 38,
        C::Bpf => 39,
        C::CheckpointRestore => 40,
    };
    CapabilitySet::from_bits_retain(1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_match_the_kernel_names() {
        for (name, expected) in [
            (Capability::Chown, CapabilitySet::CHOWN),
            (Capability::NetBindService, CapabilitySet::NET_BIND_SERVICE),
            (Capability::SysAdmin, CapabilitySet::SYS_ADMIN),
            (Capability::Mknod, CapabilitySet::MKNOD),
            (Capability::AuditRead, CapabilitySet::AUDIT_READ),
            (
                Capability::CheckpointRestore,
                CapabilitySet::CHECKPOINT_RESTORE,
            ),
        ] {
            assert_eq!(bit(name), expected, "{name:?}");
        }
    }

    /// With nothing that the process, the kernel or the sets themselves do not allow; what is
    /// named in a set that the kernel would not take it in is lost too.
    #[test]
    fn what_cannot_be_granted_is_lost() {
        let config: LinuxCapabilities = serde_json::from_str(
            r#"{"bounding":["CAP_CHOWN","CAP_KILL"],"permitted":["CAP_CHOWN","CAP_KILL"],
                "effective":["CAP_CHOWN","CAP_FOWNER"],"inheritable":["CAP_FOWNER","CAP_KILL"],
                "ambient":["CAP_KILL"]}"#,
        )
        .unwrap();
        let asked = Sets::new(Some(&config));
        let (granted, lost) = asked.grantable(true).unwrap();
        assert_eq!(
            (granted.bounding, granted.permitted),
            (asked.bounding, asked.permitted)
        );
        assert_eq!(granted.effective, CapabilitySet::CHOWN);
        assert_eq!(granted.inheritable, CapabilitySet::KILL);
        assert_eq!(lost, CapabilitySet::FOWNER);
        assert_eq!(names(&config, lost), ["CAP_FOWNER"]);
        let own = capabilities(None).unwrap().permitted;
        let (granted, lost) = asked.grantable(false).unwrap();
        assert!(own.contains(granted.permitted | granted.effective));
        assert!((granted.permitted | lost).contains(asked.permitted));
        let unknown = Sets {
            bounding: CapabilitySet::from_bits_retain(1 << 63),
            ..Sets::new(None)
        };
        let (granted, lost) = unknown.grantable(true).unwrap();
        assert_eq!((granted, lost), (Sets::new(None), unknown.bounding));
    }

    #[test]
    fn nothing_unless_named() {
        let config: LinuxCapabilities =
            serde_json::from_str(r#"{"bounding":["CAP_CHOWN","CAP_KILL"]}"#).unwrap();
        let sets = Sets::new(Some(&config));
        assert_eq!(sets.bounding, CapabilitySet::CHOWN | CapabilitySet::KILL);
        assert!(sets.inheritable.is_empty() && sets.effective.is_empty());
        assert!(Sets::new(None).bounding.is_empty());
    }
}
