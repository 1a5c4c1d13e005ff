//! The `orlop` command: one file a subcommand.
//!
//! Exit codes: 0 success, 1 error, 2 wrong usage. `orlop exec` passes the
//! command's own code on; 125 says that exec itself failed, 126 that the command
//! cannot be run, 127 that there is none.

mod apply;
mod check;
mod config;
mod exec;
mod failure;
mod images;
mod info;
mod load;
mod logs;
mod output;
mod pki;
mod power;
mod ps;
mod rollback;
mod status;
mod table;
mod terminal;
mod top;
mod trust;
mod units;
mod update;
mod version;
mod versions;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client::Client;
use config::Config;
use failure::Failure;
use output::Format;

/// Drives hosts that run containers from unit files.
#[derive(Debug, Parser)]
#[command(name = "orlop", version, propagate_version = true, after_help = AFTER_HELP)]
struct Args {
    /// The host: a name from the configuration, HOST[:PORT], or unix:PATH
    #[arg(
        long,
        short = 'H',
        global = true,
        env = "ORLOP_HOST",
        value_name = "HOST"
    )]
    host: Option<String>,
    /// How to print answers
    #[arg(long, short = 'o', global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 success, 1 error, 2 wrong usage; exec passes the command's own on \
(125: exec failed, 126: the command cannot be run, 127: there is no such command).
Configuration: $ORLOP_CONFIG, or ~/.config/orlop/config.toml. Without --host: its `default`, its \
only host, or this machine's own /run/orlop/api.sock.";

#[derive(Debug, Subcommand)]
enum Command {
    /// List the units and how they are
    Ps(ps::Args),
    /// Say how the host or a unit is, and why a unit is not running
    Status(status::Args),
    /// List the processes of the host or a unit, with the memory that they hold
    Top(top::Args),
    /// Print what a unit wrote
    Logs(logs::Args),
    /// Have units run
    Start(units::Args),
    /// Have units not run
    Stop(units::Args),
    /// Stop units and start them again
    Restart(units::Args),
    /// Check unit files, without a host
    Check(check::Args),
    /// Put unit files into effect: all of them, or none
    Apply(apply::Args),
    /// Remove units and their containers
    Rm(units::Args),
    /// Run a command in a unit's container
    Exec(exec::Args),
    /// Load container images from an OCI archive
    Load(load::Args),
    /// List the container images
    Images,
    /// Describe the host
    Info,
    /// Print the versions of this command and the host
    Version,
    /// List the installed host images and how they are
    Versions,
    /// Update the host image
    Update(update::Args),
    /// Go back to the last good host image
    Rollback(rollback::Args),
    /// Stop the containers and start the host again
    Reboot,
    /// Stop the containers and power the host off
    Poweroff,
    /// Trust a host by the fingerprint that its console shows
    Trust(trust::Args),
    /// Make keys and certificates
    #[command(subcommand)]
    Pki(pki::Command),
}

/// Runs the command that the arguments ask for.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(args));
            // A thread that waits for the keyboard must not keep us.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure::new(format!("cannot start: {error}"))),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

async fn run(args: Args) -> Result<ExitCode, Failure> {
    let Args {
        host,
        output,
        command,
    } = args;
    let client = || -> Result<Client, Failure> {
        Ok(Client::new(Config::load()?.endpoint(host.as_deref())?))
    };
    match command {
        Command::Check(args) => return check::run(&args, output),
        Command::Trust(args) => trust::run(&args).await,
        Command::Pki(command) => pki::run(&command),
        Command::Exec(args) => return Ok(exec::run(&client()?, &args).await),
        Command::Ps(args) => ps::run(&client()?, &args, output).await,
        Command::Status(args) => return status::run(&client()?, &args, output).await,
        Command::Top(args) => top::run(&client()?, &args, output).await,
        Command::Logs(args) => logs::run(&client()?, &args, output).await,
        Command::Start(args) => units::start(&client()?, &args).await,
        Command::Stop(args) => units::stop(&client()?, &args).await,
        Command::Restart(args) => units::restart(&client()?, &args).await,
        Command::Rm(args) => units::remove(&client()?, &args).await,
        Command::Apply(args) => apply::run(client, &args, output).await,
        Command::Load(args) => load::run(&client()?, &args, output).await,
        Command::Images => images::run(&client()?, output).await,
        Command::Info => info::run(&client()?, output).await,
        Command::Version => version::run(client, output).await,
        Command::Versions => versions::run(&client()?, output).await,
        Command::Update(args) => update::run(&client()?, &args, output).await,
        Command::Rollback(args) => rollback::run(&client()?, &args, output).await,
        Command::Reboot => power::reboot(&client()?).await,
        Command::Poweroff => power::poweroff(&client()?).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn arguments_are_taken_as_in_docker() {
        for line in [
            "orlop ps",
            "orlop ps -q --host demo",
            "orlop --host 192.0.2.1:7470 --output json ps",
            "orlop status",
            "orlop versions",
            "orlop status web -o json",
            "orlop top",
            "orlop top web",
            "orlop logs -f --tail 10 --since 5m -t web",
            "orlop start web db",
            "orlop check a.toml b.toml",
            "orlop apply --dry-run a.toml",
            "orlop exec -it web sh -c ls -la",
            "orlop exec -e A=1 -u 0:0 -w / web env",
            "orlop load demo.tar",
            "orlop update",
            "orlop update demo-2.0.0.orlop --allow-downgrade --no-reboot",
            "orlop update http://192.0.2.1/demo --dry-run -o json",
            "orlop update --no-wait",
            "orlop update --status -o json",
            "orlop update --cancel",
            "orlop rollback",
            "orlop rollback --no-wait",
            "orlop trust 192.0.2.1 --fingerprint SHA256:00",
            "orlop pki init keys --host demo --host 192.0.2.1",
            "orlop pki client keys ann --role reader",
        ] {
            assert!(Args::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "orlop",
            "orlop frobnicate",
            "orlop start",
            "orlop check",
            "orlop exec web",
            "orlop logs",
            "orlop logs --tail x web",
            "orlop pki init keys",
            "orlop pki client keys ann --role king",
            "orlop ps -o yaml",
            "orlop update a.orlop b.orlop",
            "orlop update --status --cancel",
            "orlop update --status a.orlop",
            "orlop update --cancel --dry-run",
            "orlop rollback 1.0.0",
        ] {
            let error = Args::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn hosts_of_a_certificate_are_not_the_host_to_ask() {
        let line = "orlop --host far pki init keys --host demo --host 192.0.2.1";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        let Command::Pki(pki::Command::Init { hosts, .. }) = args.command else {
            panic!("not init")
        };
        assert_eq!(hosts, ["demo", "192.0.2.1"]);
        assert!(Args::try_parse_from("orlop --host far pki init keys".split(' ')).is_err());
    }

    #[test]
    fn a_command_keeps_its_own_flags() {
        let args = Args::try_parse_from(["orlop", "exec", "-i", "web", "ls", "-t", "--host", "x"]);
        let Command::Exec(exec) = args.unwrap().command else {
            panic!("not exec")
        };
        assert_eq!(exec.command, ["ls", "-t", "--host", "x"]);
        assert!(!exec.tty);
    }
}
