//! What `strace -c` says of a call.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// How often each system call was made, and how long the kernel worked on it; the costliest
/// first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Calls(pub(super) Vec<Call>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) ms: f64,
}

impl Calls {
    /// Reads the table: a heading, lines of `% time`, `seconds`, `usecs/call`, `calls`, perhaps
    /// `errors`, and the name, and a total.
    pub(super) fn parse(table: &str) -> Result<Calls> {
        let rules = |line: &&str| line.starts_with("------");
        let lines = table.lines().skip_while(|line| !rules(line)).skip(1);
        let calls: Vec<Call> = lines
            .take_while(|line| !rules(line))
            .map(|line| call(line).with_context(|| format!("strace wrote the line {line:?}")))
            .collect::<Result<_>>()?;
        anyhow::ensure!(!calls.is_empty(), "strace wrote no table but {table:?}");
        Ok(Calls(calls))
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|call| call.count).sum()
    }
}

fn call(line: &str) -> Option<Call> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let seconds: f64 = words.get(1)?.parse().ok()?;
    Some(Call {
        name: (*words.last()?).to_owned(),
        count: words.get(3)?.parse().ok()?,
        ms: seconds * 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 50.00    0.001500         750         2           execve
 12.00    0.000036           1        36         2 unlinkat
  0.00    0.000000           0         1           umask
------ ----------- ----------- --------- --------- ----------------
100.00    0.001536          39        39         2 total
";
        let calls = Calls::parse(table).expect("a table");
        assert_eq!(calls.count(), 39);
        let names: Vec<&str> = calls.0.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["execve", "unlinkat", "umask"]);
        assert_eq!((calls.0[1].count, calls.0[0].ms), (36, 1.5));
        for bad in ["", "------\n------\n", "------\nwhat\n"] {
            assert!(Calls::parse(bad).is_err(), "{bad:?}");
        }
    }
}
