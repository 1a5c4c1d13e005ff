//! Who makes the cgroups of containers.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, ensure};
use oci_spec::runtime::Linux;

use super::{Cgroup, limits, systemd as scopes};
use crate::standing::Standing;

/// As `--cgroup-manager` names them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Manager {
    /// This runtime does.
    #[default]
    Cgroupfs,
    /// systemd does, if it runs the host; else this runtime.
    Systemd,
    /// Nobody: the container stays in its caller's. Then nothing limits it, nothing pauses it,
    /// and devices are kept from it by the capability to make them alone.
    Disabled,
}

impl Manager {
    /// `note` hears of its path before it is there.
    pub(crate) fn create(
        self,
        linux: &Linux,
        id: &str,
        annotations: Option<&HashMap<String, String>>,
        standing: Standing,
        note: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Option<Cgroup>> {
        let systemd = Path::new("/run/systemd/system").is_dir();
        self.create_on(linux, id, annotations, standing, note, systemd)
    }

    /// `systemd`: whether systemd runs the host. (The directory is how sd_booted(3) tells.)
    fn create_on(
        self,
        linux: &Linux,
        id: &str,
        annotations: Option<&HashMap<String, String>>,
        standing: Standing,
        note: impl FnOnce(&Path) -> Result<()>,
        systemd: bool,
    ) -> Result<Option<Cgroup>> {
        match self {
            Manager::Systemd if systemd => {
                scopes::promise(linux, id, annotations, standing, note).map(Some)
            }
            Manager::Systemd | Manager::Cgroupfs => super::create(linux, id, standing, note),
            Manager::Disabled => {
                let writes = match linux.resources() {
                    Some(resources) => limits::writes(resources)?,
                    None => Vec::new(),
                };
                ensure!(
                    writes.is_empty(),
                    "{}: --cgroup-manager=disabled leaves nothing to limit it by",
                    writes[0].limit
                );
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        let linux = |json: &str| serde_json::from_str::<Linux>(json).unwrap();
        let limited = linux(r#"{"resources":{"pids":{"limit":5}}}"#);
        let free = linux(r#"{"resources":{"pids":{"limit":-1}}}"#);
        let said = |manager: Manager, linux: &Linux, systemd| {
            let created =
                manager.create_on(linux, "none", None, Standing::Root, |_| Ok(()), systemd);
            created.map_or_else(
                |error| format!("{error:#}"),
                |cgroup| format!("{}", cgroup.is_some()),
            )
        };
        assert!(said(Manager::Disabled, &limited, false).contains("pids.limit"));
        assert_eq!(said(Manager::Disabled, &free, true), "false");
    }
}
