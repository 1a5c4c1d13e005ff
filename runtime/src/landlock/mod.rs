//! Landlock: what a container's process may not do any more, nor whatever it becomes or makes,
//! as whoever it runs and whatever capabilities it has.
//!
//! The OCI runtime spec has no word for it yet, so it is asked for by the annotation
//! `org.orlop.landlock`. Its value is `default`, or in JSON what the spec's proposal of 2024
//! (pull request 1241) would have at `process.landlock`; for what Landlock can by now beyond
//! that, in the words of the kernel's structures:
//!
//! ```json
//! { "ruleset": { "handledAccessFS": ["read_file", "refer"], "handledAccessNet": ["bind_tcp"],
//!                "scoped": ["signal"] },
//!   "rules": { "pathBeneath": [{ "allowedAccess": ["read_file"], "paths": ["/usr", "/etc"] },
//!                              { "allowedAccess": ["refer"], "paths": ["/"] }],
//!              "netPort": [{ "allowedAccess": ["bind_tcp"], "ports": [8080] }] },
//!   "disableBestEffort": false }
//! ```
//!
//! What the ruleset handles is denied wherever no rule allows it, and nothing takes away what a
//! rule allows further up. With any right of files, `refer` is denied where it is not allowed,
//! and mounts cannot be changed at all. Paths are looked up in the container once it is in its
//! root, links followed; one that is not there is an error. Its stdio is often on the host's
//! file system: `/dev/stdout` names it. What the running kernel lacks is left out with a
//! warning, or with `disableBestEffort` an error. Hooks of `startContainer` run as the container's
//! process, and so under its ruleset.
//!
//! **The default** is what no container should need that cannot mount: no device nodes are made,
//! by whatever file system; mounts stay as they are, even for who finds a way to CAP_SYS_ADMIN;
//! nothing outside can be traced or looked into through /proc, though it shares the pid
//! namespace; and, from Linux 6.12 on, no abstract socket outside is reached, of which the
//! host's are else open to whoever shares its network namespace (CVE-2020-15257). It leaves
//! alone what people do: renames and links between directories (`refer` on all), stdio opened
//! again (nothing else of files is handled, and beneath an allowed `/` nothing could be denied),
//! signals between containers that share a pid namespace for that.
//!
//! **`exec`** makes a process that is no descendant of the container's first, so a ruleset of
//! its own makes the two strangers, who may not look into each other: no `/proc/1/environ`, no
//! line written to `/proc/1/fd/1`, as health checks and operators do. So a process of `exec` has
//! no part in the default, and can do both; the container cannot look into it. A ruleset that
//! was written out is meant for all that runs in there, and holds for it, too. Its paths are
//! then looked up in what the container has made of its root; what is gone, or cannot be opened
//! for whatever reason, is allowed nothing. Else it could forbid every `exec`.
//!
//! A health check that is run by `exec` is a program of the image's, at times that the image
//! can wait for: what a hostile one may do there, the default does not say. Namespaces, the
//! capabilities and the filter do, which hold for `exec` as for all. The manager's containers
//! have seven namespaces of their own, so in what `exec` makes there the host's abstract sockets
//! and processes are out of reach, no device node can be made, and mounts want a capability that
//! none of them has who is under the default. Where a container is in the host's network or pid
//! namespace and has health checks, the default is not enough: write out a ruleset, as
//! `{"ruleset": {"scoped": ["abstract_unix_socket"]}}`.

mod read;
mod rights;

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use orlop_sys::landlock::{Handled, abi};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::log;
use rights::{FILES, PORTS, Right, SCOPES, known, named};

/// The annotation's key.
pub(crate) const ANNOTATION: &str = "org.orlop.landlock";

/// What an annotation asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Default,
    Given(Ruleset),
}

/// What is denied, and where it is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ruleset {
    handled: Handled,
    beneath: Vec<Beneath>,
    ports: Vec<Port>,
    /// What the kernel lacks is left out.
    best_effort: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Beneath {
    allowed: u64,
    path: PathBuf,
    /// Where the annotation has it.
    place: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    allowed: u64,
    port: u16,
}

/// What a process is to be restricted by.
#[derive(Debug)]
pub(crate) struct Restriction {
    ruleset: Ruleset,
    /// Paths may be missing by now, or lead nowhere.
    late: bool,
}

/// What these annotations ask for.
pub(crate) fn asked(annotations: Option<&HashMap<String, String>>) -> Result<Option<Asked>> {
    let text = annotations.and_then(|annotations| annotations.get(ANNOTATION));
    text.map(|text| read::asked(text)).transpose()
}

impl Asked {
    /// What the container's first process gets on this kernel. What that lacks is a warning.
    pub(crate) fn of_first(&self) -> Result<Option<Restriction>> {
        let settled = self.on_this_kernel()?;
        if let Some(warning) = settled.warning {
            log::warn(&format!("annotation {ANNOTATION}: {warning}"));
        }
        let late = false;
        Ok(settled.ruleset.map(|ruleset| Restriction { ruleset, late }))
    }

    /// What one beside it gets. The warning was the first one's.
    pub(crate) fn of_further(&self) -> Result<Option<Restriction>> {
        let late = true;
        match self {
            Asked::Default => Ok(None),
            Asked::Given(_) => Ok(self
                .on_this_kernel()?
                .ruleset
                .map(|ruleset| Restriction { ruleset, late })),
        }
    }

    fn on_this_kernel(&self) -> Result<Settled> {
        let settled = self.on(abi());
        settled.with_context(|| format!("annotation {ANNOTATION}"))
    }

    /// On a kernel with this version of Landlock.
    fn on(&self, abi: rustix::io::Result<u32>) -> Result<Settled> {
        let (ruleset, best_effort) = match self {
            Asked::Default => (Ruleset::usual(), true),
            Asked::Given(ruleset) => (ruleset.clone(), ruleset.best_effort),
        };
        let (ruleset, lacking) = match abi {
            Ok(1) if ruleset.allows_refer() => (
                None,
                "this kernel's Landlock (ABI 1, before Linux 5.19) cannot but deny what refer \
                 would allow; nothing is restricted"
                    .to_owned(),
            ),
            Ok(abi) => {
                let lacking = ruleset.lacking(abi);
                let lacking = (!lacking.is_empty())
                    .then(|| format!("this kernel's Landlock (ABI {abi}) lacks {lacking}"));
                // It is what it is by the kernel that runs it.
                let lacking = lacking.filter(|_| *self != Asked::Default);
                (ruleset.carried(abi), lacking.unwrap_or_default())
            }
            Err(errno) => (
                None,
                format!(
                    "this kernel has no Landlock ({errno}), which Linux has since 5.13 unless it \
                     was built or started (lsm=) without; nothing is restricted"
                ),
            ),
        };
        if !best_effort && !lacking.is_empty() {
            bail!("{lacking}; leave out what it lacks, or disableBestEffort");
        }
        Ok(Settled {
            ruleset,
            warning: (!lacking.is_empty()).then_some(lacking),
        })
    }
}

/// What becomes of a ruleset on a kernel.
#[derive(Debug, PartialEq, Eq)]
struct Settled {
    ruleset: Option<Ruleset>,
    warning: Option<String>,
}

impl Ruleset {
    /// The default.
    fn usual() -> Ruleset {
        Ruleset {
            handled: Handled {
                files: rights::MAKE_CHAR | rights::MAKE_BLOCK | rights::REFER,
                ports: 0,
                scopes: rights::ABSTRACT_UNIX_SOCKET,
            },
            beneath: vec![Beneath {
                allowed: rights::REFER,
                path: PathBuf::from("/"),
                place: "default".to_owned(),
            }],
            ports: Vec::new(),
            best_effort: true,
        }
    }

    fn allows_refer(&self) -> bool {
        let mut all = self.beneath.iter();
        all.any(|rule| rule.allowed & rights::REFER != 0)
    }

    /// In words, what this version does not know; empty if it knows all.
    fn lacking(&self, abi: u32) -> String {
        let of = |table: &'static [Right], mask: u64| named(table, mask & !known(table, abi));
        of(FILES, self.handled.files)
            .chain(of(PORTS, self.handled.ports))
            .chain(of(SCOPES, self.handled.scopes))
            .map(|right| format!("{} (ABI {})", right.name, right.since))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// What this version knows of it, if that is anything.
    fn carried(mut self, abi: u32) -> Option<Ruleset> {
        let (files, ports) = (known(FILES, abi), known(PORTS, abi));
        self.handled.files &= files;
        self.handled.ports &= ports;
        self.handled.scopes &= known(SCOPES, abi);
        for rule in &mut self.beneath {
            rule.allowed &= files;
        }
        for rule in &mut self.ports {
            rule.allowed &= ports;
        }
        self.beneath.retain(|rule| rule.allowed != 0);
        self.ports.retain(|rule| rule.allowed != 0);
        (self.handled != Handled::default()).then_some(self)
    }
}

impl Beneath {
    /// Allows it by this ruleset, in the root that this process is in.
    fn allow_in(&self, made: &orlop_sys::landlock::Ruleset) -> rustix::io::Result<()> {
        // Magic links are followed, too: /dev/stdout leads over one.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let at = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&at)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        // The others are of directories, and mean nothing here.
        let can_be = if is_directory {
            u64::MAX
        } else {
            rights::OF_NO_DIRECTORY
        };
        if self.allowed & can_be == 0 {
            return Ok(());
        }
        match made.allow_beneath(&at, self.allowed & can_be) {
            // Of a pipe or a socket, as /dev/stdout often leads to one, nothing is denied.
            Err(Errno::BADFD) => Ok(()),
            other => other,
        }
    }

    fn place(&self) -> String {
        format!("{}: {}", self.place, self.path.display())
    }
}

impl Restriction {
    /// Restricts this thread, for good. It needs CAP_SYS_ADMIN in its user namespace, or no new
    /// privileges; and to be in the container's root.
    pub(crate) fn enforce(&self) -> Result<()> {
        let restricted = self.try_enforce();
        restricted.with_context(|| format!("annotation {ANNOTATION}"))
    }

    fn try_enforce(&self) -> Result<()> {
        let Restriction { ruleset, late } = self;
        let made = orlop_sys::landlock::Ruleset::new(ruleset.handled).context("make a ruleset")?;
        for rule in &ruleset.beneath {
            match rule.allow_in(&made) {
                Ok(()) => {}
                // By whatever error: it is the container's to choose, a link to itself for one.
                Err(_) if *late => {}
                Err(Errno::NOENT | Errno::NOTDIR) => bail!(
                    "{}: no such file or directory in the container; take it out, or have it \
                     made before",
                    rule.place()
                ),
                Err(errno) => return Err(anyhow::Error::from(errno).context(rule.place())),
            }
        }
        for Port { allowed, port } in &ruleset.ports {
            let added = made.allow_port(*port, *allowed);
            added.with_context(|| format!("rules.netPort: {port}"))?;
        }
        made.restrict_self().map_err(|errno| match errno {
            Errno::TOOBIG => anyhow::anyhow!(
                "16 rulesets are in force for this runtime already, which is the kernel's limit"
            ),
            errno => anyhow::Error::from(errno).context("put a ruleset in force"),
        })
    }
}

#[cfg(test)]
mod tests;
