//! Writes the ids of a new user namespace, by whoever may.

use std::path::PathBuf;

use anyhow::{Context, Result};
use oci_spec::runtime::HookBuilder;
use orlop_sys::idmap::{IdRange, map_text};

use crate::hooks;
use crate::standing::{MapBy, find_program};

/// How long newuidmap or newgidmap may take, in seconds.
const HELPED_WITHIN_S: i64 = 30;

/// For the process `pid`, whose user namespace has no maps yet.
pub(crate) fn write(pid: i32, uids: &[IdRange], gids: &[IdRange]) -> Result<()> {
    let (users, groups) = (MapBy::users(uids)?, MapBy::groups(gids)?);
    write_one(pid, users, "uid_map", "newuidmap", uids).context("write uidMappings")?;
    if groups == MapBy::Own {
        // Or a group could be left that files deny something to.
        let path = format!("/proc/{pid}/setgroups");
        std::fs::write(&path, "deny").with_context(|| format!("write gidMappings: {path}"))?;
    }
    write_one(pid, groups, "gid_map", "newgidmap", gids).context("write gidMappings")
}

fn write_one(pid: i32, by: MapBy, file: &str, helper: &str, ranges: &[IdRange]) -> Result<()> {
    match by {
        MapBy::Power | MapBy::Own => {
            let path = format!("/proc/{pid}/{file}");
            std::fs::write(&path, map_text(ranges)).context(path)
        }
        MapBy::Helper => help(pid, helper, ranges),
    }
}

fn help(pid: i32, helper: &str, ranges: &[IdRange]) -> Result<()> {
    let path = find_program(helper, std::env::var_os("PATH")).with_context(|| {
        format!(
            "more than one's own id needs the program {helper}, and it is not found in PATH; \
             install it (the package is uidmap in Debian, shadow-utils or shadow elsewhere), or \
             map one's own id alone"
        )
    })?;
    run(path, helper, arguments(pid, ranges)).with_context(|| {
        format!("{helper} (the ids that one may use are in /etc/subuid and /etc/subgid)")
    })
}

fn run(path: PathBuf, name: &str, arguments: Vec<String>) -> Result<()> {
    let args = [vec![name.to_owned()], arguments].concat();
    let program = HookBuilder::default()
        .path(path)
        .args(args)
        .timeout(HELPED_WITHIN_S)
        .build()?;
    hooks::call(&program)
}

fn arguments(pid: i32, ranges: &[IdRange]) -> Vec<String> {
    let numbers = ranges
        .iter()
        .flat_map(|range| [range.inside, range.outside, range.count]);
    std::iter::once(pid.to_string())
        .chain(numbers.map(|number| number.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_is_told_all_and_what_it_says_is_told_on() {
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        let ranges = [range(0, 1000, 1), range(1, 100_000, 65_536)];
        assert_eq!(
            arguments(7, &ranges),
            ["7", "0", "1000", "1", "1", "100000", "65536"]
        );
        let script = ["-c".to_owned(), "echo not yours >&2; exit 1".to_owned()];
        let error = run("/bin/sh".into(), "sh", script.to_vec()).unwrap_err();
        let said = format!("{error:#}");
        assert!(
            said.contains("status 1") && said.contains("not yours"),
            "{said}"
        );
    }
}
