//! What belongs to an ordinary user, and the command as he starts it.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{Bench, bench, skipped, text};

/// A user and group that no machine has.
pub const USER: u32 = 61_234;
/// First of the ids that are lent to him.
pub const LENT: u32 = 700_000;

/// How the command is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// By the user.
    User,
    /// As root of the user's namespace, with a mount namespace that belongs to it.
    NamespaceRoot,
    /// The same without the mount namespace.
    Unmounted,
    /// By the user, where /etc/subuid and /etc/subgid lend him ids.
    Lender,
}

/// What belongs to a user: a bundle with a configuration of `spec --rootless`, a directory for
/// state. The program is root's, as it would be installed.
pub struct Home {
    pub bench: Bench,
    pub user: u32,
    who: As,
    /// Keeps the namespaces that commands are started in.
    holder: Option<Child>,
}

/// A process in namespaces of the user's; `None` where he can make none.
fn hold(who: As) -> Option<Child> {
    let flags = if who == As::NamespaceRoot {
        "-Urm"
    } else {
        "-Ur"
    };
    let mut holder = Command::new("unshare")
        .args([flags, "sh", "-c", "echo in; exec sleep 1000"])
        .uid(USER)
        .gid(USER)
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut said = String::new();
    let mut out = BufReader::new(holder.stdout.take().unwrap());
    out.read_line(&mut said).unwrap();
    if said == "in\n" {
        return Some(holder);
    }
    holder.wait().unwrap();
    None
}

pub fn home(name: &str, who: As) -> Option<Home> {
    home_of(USER, name, who)
}

/// That of a user whom the machine has.
pub fn home_of(user: u32, name: &str, who: As) -> Option<Home> {
    let bench = bench(name)?;
    let top = bench.path("");
    let held = matches!(who, As::NamespaceRoot | As::Unmounted);
    let holder = held.then(|| hold(who)).flatten();
    let home = Home {
        bench,
        user,
        who,
        holder,
    };
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_orlop-runtime"))
        .arg(home.program())
        .status();
    assert!(copied.unwrap().success());
    std::fs::create_dir(top.join("run")).unwrap();
    std::fs::write(
        top.join("passwd"),
        format!("lender:x:{USER}:{USER}::/:/bin/sh\n"),
    )
    .unwrap();
    std::fs::write(top.join("subids"), format!("lender:{LENT}:65536\n")).unwrap();
    for name in ["bundle", "run"] {
        let owner = format!("{user}:{user}");
        let status = Command::new("chown")
            .args(["-hR", &owner])
            .arg(top.join(name))
            .status();
        assert!(status.unwrap().success());
    }
    std::fs::set_permissions(&top, PermissionsExt::from_mode(0o755)).unwrap();
    if (held && home.holder.is_none()) || !home.can_unshare() {
        skipped("this machine lets no ordinary user make a user namespace, or lacks util-linux");
        return None;
    }
    Some(home)
}

impl Home {
    fn can_unshare(&self) -> bool {
        let mut probe = self.start("unshare", &["-Ur", "true"]);
        probe.output().is_ok_and(|output| output.status.success())
    }

    pub fn program(&self) -> PathBuf {
        self.bench.path("orlop-runtime")
    }

    /// A program with arguments, started as whoever this is.
    pub fn start(&self, program: &str, args: &[&str]) -> Command {
        let here = self.bench.path("bundle");
        let mut command = match (self.who, &self.holder) {
            (As::Lender, _) => {
                let script = "for at in subuid subgid; do mount --bind ../subids /etc/$at; done \
                    && mount --bind ../passwd /etc/passwd && exec setpriv \"$@\"";
                let mut command = Command::new("unshare");
                command.args(["-m", "sh", "-c", script, "sh", "--clear-groups"]);
                let user = self.user;
                command.args([format!("--reuid={user}"), format!("--regid={user}")]);
                command.arg(program);
                command
            }
            (_, None) => {
                let mut command = Command::new(program);
                command.uid(self.user).gid(self.user);
                command
            }
            (who, Some(holder)) => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &holder.id().to_string()]);
                command.args(["--user", "--preserve-credentials"]);
                if who == As::NamespaceRoot {
                    command.arg("--mount");
                }
                command.args(["sh", "-c", "cd \"$0\" && exec \"$@\""]);
                command.arg(&here).arg(program);
                command.uid(self.user).gid(self.user);
                command
            }
        };
        command
            .args(args)
            .env("XDG_RUNTIME_DIR", self.bench.path("run"))
            .current_dir(here)
            .stdin(Stdio::null());
        command
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.start(self.program().to_str().unwrap(), args)
    }

    pub fn call(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// With nothing of the container's holding our pipes.
    pub fn quiet(&self, args: &[&str]) {
        let log = self.bench.path("said");
        let file = std::fs::File::create(&log).unwrap();
        let status = self
            .command(args)
            .stdout(Stdio::null())
            .stderr(file)
            .status()
            .unwrap();
        let said = std::fs::read_to_string(log).unwrap();
        assert!(status.success(), "{:?} {args:?}: {said}", self.who);
    }

    fn config(&self) -> PathBuf {
        self.bench.path("bundle/config.json")
    }

    /// What `spec --rootless` writes, without a terminal and for one program.
    pub fn spec(&self, args: &[&str]) -> Value {
        let _ = std::fs::remove_file(self.config());
        self.quiet(&["spec", "--rootless"]);
        let mut config: Value =
            serde_json::from_slice(&std::fs::read(self.config()).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(args);
        config["process"]["env"] = json!(["PATH=/bin"]);
        self.write(&config);
        config
    }

    pub fn write(&self, config: &Value) {
        std::fs::write(self.config(), config.to_string()).unwrap();
    }

    pub fn run(&self, config: &Value) -> (i32, String) {
        self.write(config);
        text(&self.call(&["run", &self.bench.id("run")]))
    }

    pub fn state(&self, id: &str) -> Value {
        serde_json::from_slice(&self.call(&["state", id]).stdout).unwrap()
    }

    pub fn assert_nothing_left(&self) {
        let left = std::fs::read_dir(self.bench.path("run/orlop-runtime")).unwrap();
        assert_eq!(left.count(), 0, "state");
        self.bench.assert_nothing_left();
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let state = self.bench.path("run/orlop-runtime");
        for entry in std::fs::read_dir(state).into_iter().flatten().flatten() {
            let _ = self.call(&["delete", "--force", entry.file_name().to_str().unwrap()]);
        }
        if let Some(holder) = &mut self.holder {
            let _ = holder.kill().and_then(|()| holder.wait());
        }
    }
}
