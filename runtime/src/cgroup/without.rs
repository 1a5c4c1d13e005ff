//! What is asked for a container that has no cgroup.

use anyhow::{Result, ensure};
use oci_spec::runtime::{Capability, Linux, LinuxNamespaceType, Process};

use super::{devices, rules};
use crate::namespaces::has_new;

/// Refuses device rules where there is no cgroup for them to hold in. A container that can make
/// no nodes has those only that it is given: without CAP_MKNOD, or in a user namespace of its own.
pub(crate) fn check_devices_unlimited(linux: &Linux, process: &Process) -> Result<()> {
    let rules = rules(linux);
    let bounding = process.capabilities().as_ref();
    let bounding = bounding.and_then(|sets| sets.bounding().as_ref());
    let makes_nodes = bounding.is_some_and(|names| names.contains(&Capability::Mknod));
    ensure!(
        rules.is_empty()
            || has_new(linux, LinuxNamespaceType::User)
            || !makes_nodes
            || devices::program(rules)?.is_none(),
        "linux.resources.devices: the rules have no cgroup to hold in; leave them out, take \
         CAP_MKNOD away, or give the container a user namespace"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_rules_that_hold_nowhere() {
        let deny = r#"{"allow":false,"access":"rwm"}"#;
        let allow = r#"{"allow":true,"access":"rwm"}"#;
        for (rules, user, capability, refused) in [
            (deny, "", "CAP_MKNOD", true),
            (deny, "", "CAP_KILL", false),
            (deny, r#"{"type":"user"}"#, "CAP_MKNOD", false),
            (deny, r#"{"type":"user","path":""}"#, "CAP_MKNOD", false),
            (deny, r#"{"type":"user","path":"/x"}"#, "CAP_MKNOD", true),
            (allow, "", "CAP_MKNOD", false),
        ] {
            let linux = format!(r#"{{"resources":{{"devices":[{rules}]}},"namespaces":[{user}]}}"#);
            let process = format!(
                r#"{{"cwd":"/","user":{{"uid":0,"gid":0}},
                    "capabilities":{{"bounding":["{capability}"]}}}}"#
            );
            let linux: Linux = serde_json::from_str(&linux).unwrap();
            let process = crate::document::process(process.as_bytes()).unwrap().0;
            let got = check_devices_unlimited(&linux, &process);
            assert_eq!(got.is_err(), refused, "{rules} {user} {capability}");
        }
    }
}
