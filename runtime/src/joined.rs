//! The id mappings of a user namespace that exists already.
//!
//! A configuration that has a container join one need not repeat them, but what is made for the
//! container belongs to its root all the same. The kernel tells them of processes only, so one
//! is made there for as long as it takes.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};
use orlop_sys::clone::{CloneArgs, kill_and_reap, spawn};

use crate::config::Bundle;
use crate::failure::Failure;
use crate::handshake::{Channel, Message};
use crate::namespaces::{join, libc_flags};

/// Notes the mappings of the user namespace among `joins`, if the configuration has none.
pub(crate) fn note_mappings(bundle: &mut Bundle, joins: &[(i32, OwnedFd)]) -> Result<()> {
    let none = |maps: &Option<Vec<_>>| maps.as_ref().is_none_or(Vec::is_empty);
    let unknown = none(bundle.linux.uid_mappings()) && none(bundle.linux.gid_mappings());
    let user = joins.iter().position(|(flag, _)| *flag == libc_flags::USER);
    let Some(user) = user.filter(|_| unknown) else {
        return Ok(());
    };
    let (uids, gids) = mappings(&joins[user..=user]).context("the user namespace to join")?;
    bundle
        .linux
        .set_uid_mappings(Some(uids))
        .set_gid_mappings(Some(gids));
    Ok(())
}

type Mappings = Vec<LinuxIdMapping>;

fn mappings(user: &[(i32, OwnedFd)]) -> Result<(Mappings, Mappings)> {
    let (ours, theirs) = Channel::pair()?;
    let child = spawn(CloneArgs::default(), || {
        let said = match join(user) {
            Ok(()) => Message::Made,
            Err(error) => Message::Failed(Failure::new(None, &error)),
        };
        // Then it waits to be killed, or for our end.
        let _ = theirs.send(&said).map(|()| theirs.receive());
        0
    })?;
    drop(theirs);
    let read = |name: &str| {
        let path = format!("/proc/{}/{name}", child.pid);
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        parse(&text).with_context(|| format!("{path}: not as the kernel writes it"))
    };
    let found = ours
        .expect(&Message::Made)
        .and_then(|()| Ok((read("uid_map")?, read("gid_map")?)));
    kill_and_reap(&child)?;
    found
}

/// Lines of /proc/PID/uid_map: the first id inside, the first outside, how many.
fn parse(text: &str) -> Result<Mappings> {
    text.lines()
        .map(|line| {
            let numbers: Vec<u32> = line
                .split_ascii_whitespace()
                .map(str::parse)
                .collect::<Result<_, _>>()?;
            let [inside, outside, size] = numbers[..] else {
                anyhow::bail!("{line:?} is not of three numbers");
            };
            Ok(LinuxIdMappingBuilder::default()
                .container_id(inside)
                .host_id(outside)
                .size(size)
                .build()?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let text = "         0     200000      65536\n     70000          5          1\n";
        let got: Vec<_> = parse(text)
            .unwrap()
            .iter()
            .map(|map| (map.container_id(), map.host_id(), map.size()))
            .collect();
        assert_eq!(got, [(0, 200_000, 65_536), (70_000, 5, 1)]);
        assert!(parse("0 1").is_err() && parse("0 1 x").is_err());
        assert!(parse("").unwrap().is_empty());
    }
}
