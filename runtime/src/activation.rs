//! Sockets that a service manager hands to us by sd_listen_fds(3): they are the container's
//! process's, as a socket unit of a container means them to be.

use std::env::{VarError, var};
use std::ffi::CString;

use anyhow::{Context, Result, anyhow};
use rustix::process::getpid;

/// More are not taken.
const MOST: i32 = 1024;

/// Open descriptors from 3 on.
#[derive(Debug, Clone)]
pub(crate) struct Activation {
    pub(crate) count: i32,
    /// What they are called, with colons between.
    names: Option<String>,
}

impl Activation {
    /// `None` if there are none, or they are for another process: then the variables were left
    /// to us by mistake.
    pub(crate) fn of_caller() -> Result<Option<Activation>> {
        let own = getpid().as_raw_pid().to_string();
        let Some(count) = variable("LISTEN_FDS")? else {
            return Ok(None);
        };
        if variable("LISTEN_PID")?.as_ref() != Some(&own) {
            return Ok(None);
        }
        let number = count
            .parse()
            .ok()
            .filter(|number| (0..=MOST).contains(number));
        let count = number.with_context(|| format!("LISTEN_FDS={count}: not 0 to {MOST}"))?;
        let names = variable("LISTEN_FDNAMES")?;
        Ok((count > 0).then_some(Activation { count, names }))
    }

    /// What tells the process of them. Called in it.
    pub(crate) fn variables(&self) -> Result<Vec<CString>> {
        let mut all = vec![
            format!("LISTEN_FDS={}", self.count),
            format!("LISTEN_PID={}", getpid().as_raw_pid()),
        ];
        all.extend(
            self.names
                .iter()
                .map(|names| format!("LISTEN_FDNAMES={names}")),
        );
        let all = all.into_iter().map(CString::new);
        Ok(all.collect::<std::result::Result<_, _>>()?)
    }
}

fn variable(name: &str) -> Result<Option<String>> {
    match var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(value)) => Err(anyhow!("{name}={value:?}: not UTF-8")),
    }
}
