//! The OOM score that a process is to have.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};

use anyhow::Result;

use crate::standing::Standing;

const OWN: &str = "/proc/self/oom_score_adj";

/// For a process that is about to be made: who has no power over it gives it the score at its
/// birth, until the value is dropped.
pub(crate) fn lend(standing: Standing, score: Option<i32>) -> Result<Option<Lent>> {
    let score = score.filter(|_| !standing.reaches_hidden());
    score.map(Lent::new).transpose()
}

/// For one that was made: who has power over it sets the score.
pub(crate) fn set(standing: Standing, pid: i32, score: Option<i32>) -> Result<()> {
    let Some(score) = score.filter(|_| standing.reaches_hidden()) else {
        return Ok(());
    };
    let path = format!("/proc/{pid}/oom_score_adj");
    std::fs::write(path, score.to_string()).map_err(|error| explain(score, error))
}

/// Our own score, that a process of ours is born with it: the file of one that hides is the
/// machine's root's. When dropped, it is as before, which the kernel always allows.
#[derive(Debug)]
pub(crate) struct Lent {
    file: File,
    before: String,
}

impl Lent {
    fn new(score: i32) -> Result<Lent> {
        let lent = (|| {
            let mut file = OpenOptions::new().read(true).write(true).open(OWN)?;
            let mut before = String::new();
            file.read_to_string(&mut before)?;
            let mut lent = Lent { file, before };
            lent.write(&score.to_string())?;
            Ok(lent)
        })();
        lent.map_err(|error| explain(score, error))
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let before = std::mem::take(&mut self.before);
        // At worst we are chosen, for the short time that is left, as the container is.
        let _ = self.write(before.trim());
    }
}

fn explain(score: i32, error: std::io::Error) -> anyhow::Error {
    let why = match error.kind() {
        ErrorKind::PermissionDenied => {
            ": only who has CAP_SYS_RESOURCE may have a process killed later than itself"
        }
        _ => "",
    };
    anyhow::Error::from(error).context(format!("process.oomScoreAdj {score}{why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_only_lent() {
        let now = || std::fs::read_to_string(OWN).unwrap();
        let before = now();
        let raised = before.trim().parse::<i32>().unwrap().max(0) + 7;
        let lent = lend(Standing::User, Some(raised)).unwrap();
        assert_eq!(now().trim(), raised.to_string());
        drop(lent);
        assert_eq!(now(), before);
        assert!(lend(Standing::User, None).unwrap().is_none());
        assert!(lend(Standing::Root, Some(raised)).unwrap().is_none());
        let error = lend(Standing::User, Some(5000)).unwrap_err();
        assert!(
            format!("{error:#}").contains("oomScoreAdj 5000"),
            "{error:#}"
        );
        assert_eq!(now(), before);
    }
}
