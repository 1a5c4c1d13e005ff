//! The few commands of QEMU's machine protocol that are needed here.
//!
//! Source: QEMU's QMP reference manual.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// A connection to a running QEMU.
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to QEMU's QMP socket and negotiates.
    ///
    /// # Errors
    ///
    /// When nobody listens there or the greeting does not come.
    pub fn connect(socket: &Path) -> Result<Qmp> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot reach QEMU at {}", socket.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut qmp = Qmp {
            reader: BufReader::new(stream),
        };
        qmp.line()?;
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs `command`, skipping events, and returns what it returned.
    ///
    /// # Errors
    ///
    /// When QEMU refuses it or goes away.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut request = serde_json::to_vec(&json!({"execute": command, "arguments": arguments}))?;
        request.push(b'\n');
        self.reader.get_mut().write_all(&request)?;
        loop {
            let mut answer = self.line()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self
            .reader
            .read_line(&mut line)
            .context("no answer from QEMU")?
            == 0
        {
            bail!("QEMU closed its control socket");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU sent {line:?}"))
    }
}
