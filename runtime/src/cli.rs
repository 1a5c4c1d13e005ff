//! The command line, as runc has it.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;

use anyhow::{Result, bail, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use orlop_sys::clone::Child;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::activation::Activation;
use crate::cgroup::Manager;
use crate::commands::create::{self, Terminal};
use crate::commands::spec::{self, OCI_VERSION};
use crate::commands::{delete, events, exec, features, kill, list, pause, ps, start, update};
use crate::console::receive_fd;
use crate::failure;
use crate::log;
use crate::relay;
use crate::selfexe;
use crate::standing;

/// Three lines that podman and containerd take apart, after the program's name.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let commit = option_env!("ORLOP_COMMIT").unwrap_or("unknown");
    format!(
        "version {}\ncommit: {commit}\nspec: {OCI_VERSION}",
        env!("CARGO_PKG_VERSION")
    )
});

#[derive(Debug, Parser)]
#[command(name = "orlop-runtime", version = VERSION.as_str(), about = "Runs OCI containers")]
#[command(disable_version_flag = true)]
struct Cli {
    /// Print version
    #[arg(long, short, visible_short_alias = 'V', action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// Where the state of containers is kept
    /// [default: orlop-runtime in $XDG_RUNTIME_DIR, for the machine's root in /run]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Also write errors, and warnings, to this file
    #[arg(long, global = true, value_name = "[file:]FILE")]
    log: Option<PathBuf>,
    /// What is told at least; the runtime has no debug messages
    #[arg(long, global = true, value_enum, default_value_t = log::Level::Warning)]
    log_level: log::Level,
    /// Form of the lines in --log
    #[arg(long, global = true, value_enum, default_value_t = log::Format::Text)]
    log_format: log::Format,
    /// The cgroups are systemd's, if that runs the host
    #[arg(long, global = true, conflicts_with = "cgroup_manager")]
    systemd_cgroup: bool,
    /// Who makes the cgroups
    #[arg(long, global = true, value_enum, default_value_t = Manager::Cgroupfs)]
    cgroup_manager: Manager,
    /// Accepted for compatibility: what a user may do is asked of the kernel
    #[arg(long, hide = true, value_name = "BOOL", value_parser = ["true", "false", "auto"])]
    rootless: Option<String>,
    /// Accepted for compatibility
    #[arg(long, global = true, hide = true)]
    debug: bool,
    #[command(subcommand)]
    command: Command,
}

/// As `list` and `ps` have it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ListFormat {
    Table,
    Json,
}

/// What a new process is given, and where it is told of.
#[derive(Debug, clap::Args)]
struct ProcessArgs {
    /// Write the process's id to this file once it is there, for exec once it runs its program
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Unix socket that receives the master of the process's terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Unix socket that receives a pidfd of the process
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Descriptors that the process gets: from 3 on, in create and run after those of LISTEN_FDS
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=1024))]
    preserve_fds: i32,
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Directory with config.json
    #[arg(long, short, default_value = ".", value_name = "DIR")]
    bundle: PathBuf,
    #[command(flatten)]
    process: ProcessArgs,
    /// Read this instead of the bundle's config.json
    #[arg(long, short = 'f', value_name = "FILE")]
    config: Option<PathBuf>,
    /// Stay in the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    #[arg(long, hide = true)]
    no_pivot: bool,
    id: String,
}

#[derive(Debug, clap::Args)]
struct ExecArgs {
    /// The process as a JSON file
    #[arg(long, short, value_name = "FILE")]
    process: Option<PathBuf>,
    #[command(flatten)]
    common: ProcessArgs,
    /// Give the process a terminal
    #[arg(long, short)]
    tty: bool,
    /// Size of the terminal from its beginning
    #[arg(long, value_name = "ROWSxCOLS", value_parser = exec::parse_size)]
    console_size: Option<(u16, u16)>,
    /// Do not wait for the process
    #[arg(long, short)]
    detach: bool,
    /// UID[:GID]
    #[arg(long, short)]
    user: Option<String>,
    /// Directory in the container
    #[arg(long)]
    cwd: Option<PathBuf>,
    /// NAME=VALUE, may be repeated
    #[arg(long, short)]
    env: Vec<String>,
    /// One more capability, may be repeated
    #[arg(long, short, value_name = "CAP")]
    cap: Vec<String>,
    /// One more group, may be repeated
    #[arg(long, short = 'g', value_name = "GID", value_delimiter = ',')]
    additional_gids: Vec<u32>,
    /// Never gain privileges by executing a file
    #[arg(long)]
    no_new_privs: bool,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// A cgroup in the container's
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// In a paused container too: wait until it is resumed
    #[arg(long)]
    ignore_paused: bool,
    id: String,
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    args: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a container, up to executing its program
    Create(CreateArgs),
    /// Execute the program of a created container
    Start { id: String },
    /// Make a container, start it, wait for its end and delete it
    Run {
        #[command(flatten)]
        create: CreateArgs,
        /// Do not wait, do not delete
        #[arg(long, short)]
        detach: bool,
        /// Do not delete it in the end
        #[arg(long)]
        keep: bool,
        /// As it is in any case
        #[arg(long, hide = true)]
        no_subreaper: bool,
    },
    /// Show a container's state as JSON
    State { id: String },
    /// Send a signal to a container
    Kill {
        /// To all its processes
        #[arg(long, short)]
        all: bool,
        id: String,
        #[arg(default_value = "TERM")]
        signal: String,
    },
    /// Take a stopped container away
    Delete {
        /// Even when it runs, or does not exist
        #[arg(long, short)]
        force: bool,
        id: String,
    },
    /// List containers
    List {
        #[arg(long, short, value_enum, default_value_t = ListFormat::Table)]
        format: ListFormat,
        /// Only the ids
        #[arg(long, short)]
        quiet: bool,
    },
    /// Run one more process in a container
    Exec(ExecArgs),
    /// Stop all processes of a container for a while
    Pause { id: String },
    /// Let them run again
    Resume { id: String },
    /// List a container's processes
    Ps(ps::Args),
    /// Change a container's limits
    Update(update::Args),
    /// Show what a container uses, and when it runs out of memory
    Events(events::Args),
    /// Write a config.json to begin with
    Spec(spec::Args),
    /// Show what this runtime supports
    Features,
    #[command(hide = true)]
    Checkpoint(Refused),
    #[command(hide = true)]
    Restore(Refused),
    /// Print the default seccomp profile
    #[command(hide = true)]
    DefaultSeccomp,
}

/// Whatever a command that does not exist here is given.
#[derive(Debug, clap::Args)]
struct Refused {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// The whole program. Its exit status is 0, that of the foreground process, or with one line
/// on stderr 1; `exec` and a foreground `run` say, as shells do, by 127 that the command does not
/// exist and by 126 that it cannot be executed.
#[must_use]
pub fn run() -> ExitCode {
    selfexe::protect_early();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => {
            // With both places closed there is nobody to tell.
            let _ = told.print();
            return ExitCode::from(if told.use_stderr() { failure::OTHER } else { 0 });
        }
    };
    let place = cli.log.as_deref().map(log::file).transpose();
    let done = place.and_then(|place| {
        log::configure(place, cli.log_format, cli.log_level);
        dispatch(&cli)
    });
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let line = format!("{error:#}").replace('\n', " ");
            // With both places closed there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "orlop-runtime: {line}");
            log::error(&line);
            ExitCode::from(failure_status(&cli.command, &error))
        }
    }
}

/// What an error exits with. `create`, `start` and a detached `run` never exit with their
/// process's status, so nothing but 1 is expected of them.
fn failure_status(command: &Command, error: &anyhow::Error) -> u8 {
    if matches!(
        command,
        Command::Exec(_) | Command::Run { detach: false, .. }
    ) {
        failure::status(error)
    } else {
        failure::OTHER
    }
}

/// Descriptors of the caller's that nobody asked for stay open as long as the call: a lock is
/// often among them, by which the caller, were it killed, can tell later that the call still
/// runs. The processes of containers close them, first of all.
fn dispatch(cli: &Cli) -> Result<u8> {
    let root = &cli.state_directory()?;
    if let Command::Create(args) | Command::Run { create: args, .. } = &cli.command {
        let handed = Activation::of_caller()?.map_or(0, |handed| handed.count);
        check_open("LISTEN_FDS", 0, handed)?;
        check_open("--preserve-fds", handed, args.process.preserve_fds)?;
    }
    if let Command::Exec(args) = &cli.command {
        check_open("--preserve-fds", 0, args.common.preserve_fds)?;
    }
    match &cli.command {
        Command::Create(args) => {
            let terminal = Terminal::Socket(args.process.console_socket.clone());
            create::create(root, &args.request(cli)?, terminal).map(|_| 0)
        }
        Command::Start { id } => start::start(root, id).map(|()| 0),
        Command::Run {
            create,
            detach,
            keep,
            ..
        } => run_container(cli, root, create, *detach, *keep),
        Command::State { id } => list::state(root, id).map(|()| 0),
        Command::Kill { all, id, signal } => kill::kill(root, id, signal, *all).map(|()| 0),
        Command::Delete { force, id } => delete::delete(root, id, *force).map(|()| 0),
        Command::List { format, quiet } => {
            let form = match format {
                _ if *quiet => list::Form::Ids,
                ListFormat::Table => list::Form::Table,
                ListFormat::Json => list::Form::Json,
            };
            list::list(root, form).map(|()| 0)
        }
        Command::Exec(args) => exec_process(root, args),
        Command::Pause { id } => pause::pause(root, id).map(|()| 0),
        Command::Resume { id } => pause::resume(root, id).map(|()| 0),
        Command::Ps(args) => ps::ps(root, args).map(|()| 0),
        Command::Update(args) => update::update(root, args).map(|()| 0),
        Command::Events(args) => events::events(root, args).map(|()| 0),
        Command::Spec(args) => spec::spec(args).map(|()| 0),
        Command::Features => features::features().map(|()| 0),
        Command::Checkpoint(_) | Command::Restore(_) => {
            bail!("checkpoint and restore: not supported by this runtime (it does without CRIU)")
        }
        Command::DefaultSeccomp => crate::commands::print(crate::DEFAULT_SECCOMP).map(|()| 0),
    }
}

/// Where the caller has nothing open, a descriptor of our own would take its place later, and
/// the container would get that.
fn check_open(who: &str, before: i32, count: i32) -> Result<()> {
    for number in 3 + before..3 + before + count {
        ensure!(
            orlop_sys::fd::is_open(number),
            "{who} {count}: descriptor {number} is not open"
        );
    }
    Ok(())
}

impl Cli {
    fn state_directory(&self) -> Result<PathBuf> {
        match (&self.root, &self.command) {
            (Some(root), _) => Ok(root.clone()),
            // They have nothing to do with containers.
            (None, Command::Spec(_) | Command::Features | Command::DefaultSeccomp) => {
                Ok(PathBuf::new())
            }
            (None, _) => standing::state_directory(),
        }
    }
}

impl CreateArgs {
    fn request(&self, cli: &Cli) -> Result<create::Request> {
        ensure!(
            !self.no_pivot,
            "--no-pivot: not supported by this runtime: without pivot_root the host's root stays \
             mounted below the container's, for whoever in it may unmount; put the bundle on a \
             file system other than the initramfs"
        );
        let cgroups = if cli.systemd_cgroup {
            Manager::Systemd
        } else {
            cli.cgroup_manager
        };
        let activation = Activation::of_caller()?;
        let handed = activation.as_ref().map_or(0, |handed| handed.count);
        Ok(create::Request {
            bundle: self.bundle.clone(),
            pid_file: self.process.pid_file.clone(),
            pidfd_socket: self.process.pidfd_socket.clone(),
            preserve_fds: handed + self.process.preserve_fds,
            activation,
            id: self.id.clone(),
            config: self.config.clone(),
            no_new_keyring: self.no_new_keyring,
            cgroups,
        })
    }
}

fn run_container(
    cli: &Cli,
    root: &Path,
    args: &CreateArgs,
    detach: bool,
    keep: bool,
) -> Result<u8> {
    let console_socket = args.process.console_socket.clone();
    let relays = !detach && console_socket.is_none();
    let (terminal, master) = terminal(relays, console_socket)?;
    // From here on they wait for the relay: one that ended us would leave a container that runs.
    let signals = (!detach).then(relay::signals).transpose()?;
    let created = create::create(root, &args.request(cli)?, terminal)?;
    let started = start::begin(&created.dir, &created.record);
    // Others may work on it while it runs.
    drop(created.dir);
    let ran = started.and_then(|()| match signals {
        None => Ok(0),
        Some(signals) => {
            let master = master.filter(|_| created.terminal);
            foreground(&created.child, master, signals)
        }
    });
    if ran.is_ok() && (detach || keep) {
        return ran;
    }
    match (ran, delete::delete_same(root, &created.record)) {
        (ran, Ok(())) => ran,
        (Ok(_), Err(error)) => Err(error),
        (Err(first), Err(second)) => Err(first.context(format!(
            "container {} cannot be deleted either ({second:#}); what failed first",
            args.id
        ))),
    }
}

fn exec_process(root: &Path, args: &ExecArgs) -> Result<u8> {
    let request = exec::Request {
        id: args.id.clone(),
        process: args.process.clone(),
        args: args.args.clone(),
        tty: args.tty,
        console_size: args.console_size,
        user: args.user.clone(),
        cwd: args.cwd.clone(),
        env: args.env.clone(),
        pid_file: args.common.pid_file.clone(),
        pidfd_socket: args.common.pidfd_socket.clone(),
        preserve_fds: args.common.preserve_fds,
        detach: args.detach,
        ignore_paused: args.ignore_paused,
        capabilities: args.cap.clone(),
        additional_gids: args.additional_gids.clone(),
        no_new_privileges: args.no_new_privs,
        apparmor: args.apparmor.clone(),
        label: args.process_label.clone(),
        cgroup: args.cgroup.clone(),
    };
    let console_socket = args.common.console_socket.clone();
    let relays = !args.detach && console_socket.is_none();
    let (terminal, master) = terminal(relays, console_socket)?;
    let executed = exec::exec(root, &request, terminal)?;
    if args.detach {
        Ok(0)
    } else {
        let master = master.filter(|_| executed.terminal);
        foreground(&executed.child, master, relay::signals()?)
    }
}

/// Where a terminal goes, and our end of it if that is to us.
fn terminal(ours: bool, socket: Option<PathBuf>) -> Result<(Terminal, Option<OwnedFd>)> {
    if !ours {
        return Ok((Terminal::Socket(socket), None));
    }
    let kind = SocketType::STREAM;
    let (left, right) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    Ok((Terminal::Ours(left), Some(right)))
}

fn foreground(child: &Child, terminal: Option<OwnedFd>, signals: OwnedFd) -> Result<u8> {
    let master = terminal.map(|socket| receive_fd(&socket)).transpose()?;
    let ended = relay::foreground(&child.pidfd, master, signals)?;
    Ok(u8::try_from(ended.shell_status()).unwrap_or(u8::MAX))
}
