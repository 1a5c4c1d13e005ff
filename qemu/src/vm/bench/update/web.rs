//! A web server for guests: busybox, as a host with nothing else would have it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::machine;

/// It serves until this value goes.
pub(super) struct Web {
    child: Child,
    port: u16,
}

impl Web {
    /// Serves `folder` on this machine's loopback.
    pub(super) fn start(folder: &Path) -> Result<Web> {
        let port = machine::free_port(None)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "busybox", "httpd", "-f"]);
        command.arg("-p").arg(format!("127.0.0.1:{port}"));
        command.arg("-h").arg(folder);
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .context("cannot run busybox: is the package busybox-static installed?")?;
        Ok(Web { child, port })
    }

    /// The URL by which a guest reaches it.
    pub(super) fn url(&self) -> String {
        format!("http://10.0.2.2:{}", self.port)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
