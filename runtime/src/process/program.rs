//! Finding the program in the container, and executing it.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use oci_spec::runtime::Process;
use orlop_sys::exec::Program;
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use super::{denied, home};
use crate::activation::Activation;
use crate::failure::{Failure, NOT_EXECUTABLE, NOT_FOUND};

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) struct Executable {
    name: String,
    search: String,
    program: Program,
    /// The user for whom a home has to be found.
    homeless: Option<u32>,
    /// What it is handed.
    pub(super) activation: Option<Activation>,
    found: Option<CString>,
}

impl Executable {
    pub(super) fn new(process: &Process) -> Result<Executable> {
        let args = process.args().as_deref().unwrap_or_default();
        let name = args
            .first()
            .context("process.args: no program is named")?
            .clone();
        let env = process.env().clone().unwrap_or_default();
        let search = env
            .iter()
            .rev()
            .find_map(|entry| entry.strip_prefix("PATH="));
        let search = search.unwrap_or(DEFAULT_PATH).to_owned();
        let has_home = env.iter().any(|entry| entry.starts_with("HOME="));
        let c = |what: &str, text: String| {
            CString::new(text).map_err(|_| anyhow!("process.{what}: contains a NUL byte"))
        };
        let args = args
            .iter()
            .map(|arg| c("args", arg.clone()))
            .collect::<Result<_>>()?;
        let env = env
            .into_iter()
            .map(|entry| c("env", entry))
            .collect::<Result<_>>()?;
        Ok(Executable {
            name,
            search,
            program: Program::new(args, env),
            homeless: (!has_home).then(|| process.user().uid()),
            activation: None,
            found: None,
        })
    }

    /// Gives a program whose environment has no HOME that of its user in the container, and tells
    /// it what it is handed.
    pub(super) fn complete_environment(&mut self) -> Result<()> {
        if let Some(activation) = self.activation.take() {
            for variable in activation.variables()? {
                self.program.add_variable(variable);
            }
        }
        if let Some(uid) = self.homeless.take() {
            self.program.add_variable(home::variable(uid)?);
        }
        Ok(())
    }

    /// Looks the program up as the process's user, in the process's directory.
    pub(super) fn find(&mut self) -> Result<()> {
        let candidates: Vec<PathBuf> = if self.name.contains('/') {
            vec![PathBuf::from(&self.name)]
        } else {
            let dirs = self
                .search
                .split(':')
                .map(|dir| if dir.is_empty() { "." } else { dir });
            dirs.map(|dir| Path::new(dir).join(&self.name)).collect()
        };
        let mut denied = None;
        for candidate in candidates {
            match runnable(&candidate) {
                Ok(()) => {
                    let path = candidate.into_os_string().into_encoded_bytes();
                    self.found = Some(CString::new(path)?);
                    return Ok(());
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(errno) => denied = denied.or(Some((candidate, errno))),
            }
        }
        match denied {
            Some((path, errno)) => Err(explain(&path, errno)),
            None => Err(self.missing()),
        }
    }

    /// The error when there is no such program.
    fn missing(&self) -> anyhow::Error {
        let name = &self.name;
        let text = if name.contains('/') {
            format!(
                "exec {name:?}: no such file or directory in the container; the command's first word must name one"
            )
        } else {
            let search = &self.search;
            format!(
                "exec {name:?}: executable file not found in the container's PATH ({search}); \
                 the command's first word must name a program there"
            )
        };
        let status = NOT_FOUND;
        Failure { status, text }.into()
    }

    /// Returns only if execve failed.
    pub(super) fn run(&self) -> anyhow::Error {
        let Some(path) = &self.found else {
            return anyhow!("exec {:?}: was not looked up", self.name);
        };
        let errno = self.program.exec(path);
        explain(Path::new(&*path.to_string_lossy()), errno)
    }
}

fn runnable(path: &Path) -> rustix::io::Result<()> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::ISDIR);
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // By the container's filter, whose profile may be older than the call. What the mode
        // does not rule out, execve answers.
        Err(Errno::PERM | Errno::NOSYS) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(Errno::PERM | Errno::NOSYS) => Err(Errno::ACCESS),
        answered => answered,
    }
}

/// Why a program that exists cannot be executed.
fn explain(path: &Path, errno: Errno) -> anyhow::Error {
    let why = match errno {
        Errno::ISDIR => "permission denied: is not a regular file".to_owned(),
        Errno::ACCESS => format!("permission denied: {}", denied::why(path)),
        Errno::NOENT => "exists, but its interpreter (the #! line, or the dynamic loader) does \
             not exist in the container"
            .to_owned(),
        Errno::NOEXEC => "is in no format that this machine executes (another architecture, or \
             a script without #! line?)"
            .to_owned(),
        errno => errno.to_string(),
    };
    let failure = Failure {
        status: NOT_EXECUTABLE,
        text: format!("exec {}: {why}", path.display()),
    };
    failure.into()
}
