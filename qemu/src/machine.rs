//! One QEMU process: its life and its end.

mod config;
mod port;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::console::Console;
use crate::qmp::Qmp;

use config::OVMF_VARS;
pub use config::{Config, Firmware, Forward, Segment};
pub use port::free_port;

const QEMU: &str = "qemu-system-x86_64";
const INSTALLED: &str = "are the packages qemu-system-x86 and util-linux installed?";

/// A running guest; dropped, it is switched off hard.
pub struct Machine {
    child: Child,
    config: Config,
    console: Console,
    detached: bool,
}

impl Machine {
    /// Starts QEMU. Firmware variables are made fresh unless the folder has them.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started or leaves at once (its own words are quoted).
    pub fn start(config: Config) -> Result<Machine> {
        std::fs::create_dir_all(&config.folder)
            .with_context(|| format!("cannot make {}", config.folder.display()))?;
        if config.firmware == Firmware::Uefi && !config.variables_file().exists() {
            std::fs::copy(OVMF_VARS, config.variables_file()).with_context(|| {
                format!("cannot copy {OVMF_VARS}: is the package ovmf installed?")
            })?;
        }
        let _ = std::fs::remove_file(config.qmp_socket());
        let console = Console::new(config.console_file());
        console.clear()?;
        let messages = std::fs::File::create(config.messages_file())?;
        if let Some(log) = &config.log_writes {
            // QEMU does not make it.
            std::fs::File::create(log)?;
        }
        let mut qemu = if config.lives_on {
            on_its_own()
        } else {
            with_this_thread()
        };
        let child = qemu
            .args(config.arguments()?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(messages)
            .spawn()
            .with_context(|| format!("cannot start QEMU; {INSTALLED}"))?;
        let mut machine = Machine {
            child,
            config,
            console,
            detached: false,
        };
        machine.wait_for_qmp()?;
        Ok(machine)
    }

    fn wait_for_qmp(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.config.qmp_socket().exists() {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "QEMU ended at once ({status}): {}; {INSTALLED}",
                    self.words()
                );
            }
            if Instant::now() > deadline {
                bail!("QEMU made no control socket within 60 s");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The serial console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// QEMU's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the guest was made of.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A control connection to QEMU.
    ///
    /// # Errors
    ///
    /// When QEMU does not answer.
    pub fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.config.qmp_socket())
    }

    /// Whether QEMU still runs.
    ///
    /// # Errors
    ///
    /// When its state cannot be asked for.
    pub fn running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for QEMU to leave by itself (power-off, or a reset with
    /// `stop_on_reset`).
    ///
    /// # Errors
    ///
    /// After `limit`, with the end of the console; and when QEMU failed or was
    /// killed, with its own words.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                bail!(
                    "the guest did not go off within {} s; its console's end:\n{}",
                    limit.as_secs(),
                    self.console.tail(30)
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        if !status.success() {
            bail!(
                "the guest did not go off: QEMU ended ({status}): {}; its console's end:\n{}",
                self.words(),
                self.console.tail(30)
            );
        }
        Ok(())
    }

    /// What QEMU itself has printed.
    fn words(&self) -> String {
        let log = std::fs::read_to_string(self.config.messages_file());
        log.unwrap_or_default().trim().to_owned()
    }

    /// Cuts the power: QEMU is killed at once, whatever it does.
    ///
    /// # Errors
    ///
    /// When the process cannot be killed or waited for.
    pub fn cut_power(&mut self) -> Result<()> {
        if self.running()? {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }

    /// Leaves the guest running when this value goes, and if it
    /// [lives on](Config::lives_on) also when this process does.
    pub fn detach(mut self) {
        self.detached = true;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !self.detached {
            let _ = self.cut_power();
        }
    }
}

/// QEMU, which ends with the thread that starts it, however that one ends: also
/// by SIGKILL, when nothing here can clean up.
pub(crate) fn with_this_thread() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", QEMU]);
    command
}

/// QEMU as the leader of a process group, so that a terminal's Ctrl-C reaches
/// `cargo vm` alone, which then shuts the guest down in order.
fn on_its_own() -> Command {
    let mut command = Command::new(QEMU);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// Copies a disk image, keeping its holes.
///
/// # Errors
///
/// When `cp` fails.
pub fn copy_disk(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.args(["--sparse=always", "--reflink=auto"])
        .arg(from)
        .arg(to);
    crate::build::run(&mut copy)
}

/// Grows a raw disk image to `bytes`, as a larger machine's disk would be.
///
/// # Errors
///
/// When the file cannot be opened or grown.
pub fn grow_disk(disk: &Path, bytes: u64) -> Result<()> {
    let file = std::fs::File::options().write(true).open(disk)?;
    if file.metadata()?.len() < bytes {
        file.set_len(bytes)?;
    }
    Ok(())
}
