//! `orlop pki`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;

use super::failure::{Failure, Outcome};
use super::output::print;
use crate::pki::{CLIENT_DAYS, files};
use crate::types::Role;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an authority, a host's certificate and an admin's
    Init {
        /// Where to: ca, host and client, each a .crt and a .key
        dir: PathBuf,
        /// The names and IP addresses under which the host is reached
        // The id is the one of the option for all commands: here it is another.
        #[arg(id = "host", long = "host", required = true, value_name = "NAME|IP")]
        hosts: Vec<String>,
    },
    /// Make one more client certificate
    Client {
        /// The directory that `pki init` made
        dir: PathBuf,
        /// The client's name: NAME.crt and NAME.key are made
        name: String,
        /// What the client may do
        #[arg(long, value_enum)]
        role: RoleArg,
        /// For how many days it is valid
        #[arg(long, default_value_t = CLIENT_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RoleArg {
    /// Looks only
    Reader,
    /// Starts, stops and restarts units
    Operator,
    /// Everything
    Admin,
}

pub(super) fn run(command: &Command) -> Outcome {
    let now = Timestamp::now();
    match command {
        Command::Init { dir, hosts } => {
            files::init(dir, hosts, now).map_err(failure)?;
            let dir = dir.display();
            print(&format!(
                "{dir}/ca.crt, ca.key          the authority; keep ca.key away from hosts\n\
                 {dir}/host.crt, host.key      the host's own: `orlop-image build --pki {dir}`\n\
                 {dir}/client.crt, client.key  for you: an admin\n\
                 A host takes clients of this authority with `client-ca` in [api] of its TOML.\n\
                 Clients know one built with host.crt by `ca = \"ca.crt\"` in their config.toml;\n\
                 any other makes its own at its first boot, which `orlop trust HOST` pins.\n"
            ))
        }
        Command::Client {
            dir,
            name,
            role,
            days,
        } => {
            let role = match role {
                RoleArg::Reader => Role::Reader,
                RoleArg::Operator => Role::Operator,
                RoleArg::Admin => Role::Admin,
            };
            files::client(dir, name, role, now, *days).map_err(failure)?;
            print(&format!(
                "{}/{name}.crt, {name}.key: {role}\n",
                dir.display()
            ))
        }
    }
}

fn failure(error: files::FilesError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        files::FilesError::Exists(_) => failure.help("give another directory or name"),
        files::FilesError::Pki(_) => {
            failure.help("names are host names or IP addresses, such as demo.example or 192.0.2.1")
        }
        files::FilesError::Io { .. } | files::FilesError::Name(_) => failure,
    }
}
