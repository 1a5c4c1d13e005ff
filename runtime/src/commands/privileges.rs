//! What `exec` is told of its process's privileges.

use anyhow::{Result, bail};
use oci_spec::runtime::{Capabilities, Process};

use super::exec::Request;

/// What the command line gives to the process, or takes from it.
pub(super) fn privileges(process: &mut Process, request: &Request) -> Result<()> {
    if !request.capabilities.is_empty() {
        let mut sets = process.capabilities().clone().unwrap_or_default();
        let added = more_capabilities(&request.capabilities)?;
        let with = |set: &Option<Capabilities>| {
            let mut set = set.clone().unwrap_or_default();
            set.extend(&added);
            Some(set)
        };
        // Not into the inheritable set: what a program's file then asks for, it would get.
        let (bounding, effective) = (with(sets.bounding()), with(sets.effective()));
        let permitted = with(sets.permitted());
        sets.set_bounding(bounding)
            .set_effective(effective)
            .set_permitted(permitted);
        process.set_capabilities(Some(sets));
    }
    if !request.additional_gids.is_empty() {
        let mut user = process.user().clone();
        let mut gids = user.additional_gids().clone().unwrap_or_default();
        gids.extend(&request.additional_gids);
        user.set_additional_gids(Some(gids));
        process.set_user(user);
    }
    if request.no_new_privileges {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(profile) = &request.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = &request.label {
        process.set_selinux_label(Some(label.clone()));
    }
    Ok(())
}

/// By the names that config.json has, in either case, with or without "CAP_".
fn more_capabilities(names: &[String]) -> Result<Capabilities> {
    let parse = |name: &String| {
        let known: std::result::Result<Capabilities, _> =
            crate::document::part(&serde_json::json!([full_name(name)]));
        known.map_err(|_| anyhow::anyhow!("--cap {name}: there is no such capability"))
    };
    let mut all = Capabilities::new();
    for name in names {
        all.extend(parse(name)?);
    }
    Ok(all)
}

fn full_name(given: &str) -> String {
    let upper = given.to_ascii_uppercase();
    format!("CAP_{}", upper.strip_prefix("CAP_").unwrap_or(&upper))
}

impl Request {
    /// Whether it asks for this capability itself, by the name that config.json has.
    pub(super) fn asks_for(&self, capability: &str) -> bool {
        let mut added = self.capabilities.iter();
        self.process.is_some() || added.any(|given| full_name(given) == capability)
    }

    /// All of these are in the JSON, which other runtimes let win without a word. (--tty may be
    /// beside it, as conmon has it, where both say the same.)
    pub(super) fn ensure_process_alone(&self) -> Result<()> {
        let given = [
            ("--console-size", self.console_size.is_some()),
            ("--user", self.user.is_some()),
            ("--cwd", self.cwd.is_some()),
            ("--env", !self.env.is_empty()),
            ("--cap", !self.capabilities.is_empty()),
            ("--additional-gids", !self.additional_gids.is_empty()),
            ("--no-new-privs", self.no_new_privileges),
            ("--apparmor", self.apparmor.is_some()),
            ("--process-label", self.label.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => bail!("{option} beside --process: put it into the file"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        let json = r#"{"user":{"uid":0,"gid":0,"additionalGids":[3]},"args":["x"],"cwd":"/",
            "capabilities":{"bounding":["CAP_KILL"],"inheritable":[],"ambient":[]}}"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn capabilities_are_added_to_three_sets() {
        let mut process = process();
        let request = Request {
            capabilities: vec!["CAP_CHOWN".into(), "net_raw".into()],
            additional_gids: vec![7],
            no_new_privileges: true,
            apparmor: Some("a".into()),
            label: Some("l".into()),
            ..Request::default()
        };
        privileges(&mut process, &request).unwrap();
        let sets = process.capabilities().clone().unwrap();
        let count = |set: &Option<Capabilities>| set.as_ref().map_or(0, Capabilities::len);
        assert_eq!(count(sets.bounding()), 3);
        assert_eq!((count(sets.effective()), count(sets.permitted())), (2, 2));
        assert_eq!((count(sets.inheritable()), count(sets.ambient())), (0, 0));
        assert_eq!(process.user().additional_gids(), &Some(vec![3, 7]));
        assert_eq!(process.no_new_privileges(), Some(true));
        assert_eq!(process.apparmor_profile().as_deref(), Some("a"));
        assert_eq!(process.selinux_label().as_deref(), Some("l"));
        assert!(more_capabilities(&["CAP_NOPE".into()]).is_err());
    }
}
