//! The API from outside, by clients that are not ours or not welcome.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::{Timestamp, ToSpan as _};
use orlop_control::pki::files;
use orlop_control::types::{ProcessList, Role, UnitState};
use orlop_qemu::guest::Guest;

use crate::fixture::{self, PATIENCE};

const SLEEPER: &str = "[container]\nimage = \"localhost/busybox:1\"\n";

/// More than the host keeps connections and handshakes for.
const CROWD: u32 = 200;

/// curl with the client's certificate; then clients with none, with another
/// authority's, with an expired one, with too low a role, with garbage, and
/// with nothing at all.
pub(crate) fn curl_and_strangers() -> Result<()> {
    let image = fixture::host_image("plain", "", &[])?;
    let mut guest = fixture::boot(fixture::disk_of(&image, "api")?)?;
    fixture::apply(&guest, &[("sleeper", SLEEPER)])?;
    let before = fixture::wait_state(&guest, "sleeper", UnitState::Running)?;

    let units: serde_json::Value = serde_json::from_str(&fixture::curl(&guest, "/v1/units")?)?;
    ensure!(units[0]["name"] == "sleeper", "{units}");
    let document: serde_json::Value =
        serde_json::from_str(&fixture::curl(&guest, "/v1/openapi.json")?)?;
    ensure!(
        document["paths"]["/v1/units"].is_object(),
        "the document lacks /v1/units"
    );

    processes(&guest, before.pid)?;

    let naked = curl(&guest, None)?;
    ensure!(!naked.status.success(), "without a certificate: {naked:?}");
    for stranger in strangers()? {
        stranger.is_refused(&guest)?;
    }
    reader_only_reads(&guest)?;

    let crowd = crowd(guest.operator().address())?;
    // Strangers may hold the handshakes of their address (here everybody's) for
    // as long as the server is patient with them, and no longer.
    let units = guest.wait_units("an answer beside the strangers", PATIENCE, |_| true)?;
    let after = units
        .into_iter()
        .find(|unit| unit.name == "sleeper")
        .context("no sleeper")?;
    ensure!(after.pid == before.pid && after.restarts == 0, "{after:?}");
    drop(crowd);
    guest.power_off(PATIENCE)
}

/// The host's own processes and the units' are told apart, with their memory.
fn processes(guest: &Guest, sleeper: Option<i32>) -> Result<()> {
    let all: ProcessList = serde_json::from_str(&fixture::curl(guest, "/v1/host/processes")?)?;
    let one = |name: &str| {
        let mut found = all
            .processes
            .iter()
            .filter(|one| one.name.starts_with(name));
        found.next().with_context(|| format!("no {name}: {all:?}"))
    };
    for own in [one("init")?, one("orlop-manager")?] {
        ensure!(own.unit.is_none(), "{own:?}");
        ensure!(own.memory.is_some_and(|bytes| bytes > 1 << 18), "{own:?}");
    }
    let of_unit: ProcessList = guest.operator().json(&["top", "sleeper"])?;
    let pids: Vec<u32> = of_unit.processes.iter().map(|one| one.pid).collect();
    let expected = sleeper.and_then(|pid| u32::try_from(pid).ok());
    ensure!(
        expected.is_some_and(|pid| pids.contains(&pid)) && !pids.contains(&1),
        "{of_unit:?} without {expected:?}"
    );
    let kernel = all.processes.iter().find(|one| one.name == "kthreadd");
    ensure!(kernel.is_none(), "{kernel:?}");
    Ok(())
}

/// A client whose certificate the host does not take.
struct Stranger {
    folder: PathBuf,
    /// The name of its certificate and key.
    name: &'static str,
    /// What `orlop` and curl say of the host's refusal.
    orlop: &'static str,
    curl: &'static str,
}

fn strangers() -> Result<Vec<Stranger>> {
    let elsewhere = fixture::folder("stories/api/elsewhere")?;
    orlop_qemu::build::pki(&elsewhere)?;
    let ours = fixture::folder("stories/api/ours")?;
    for name in ["ca.crt", "ca.key"] {
        fs::copy(fixture::pki()?.join(name), ours.join(name))?;
    }
    let long_ago = Timestamp::now().checked_sub(240.hours())?;
    files::client(&ours, "expired", Role::Admin, long_ago, 1)?;
    Ok(vec![
        Stranger {
            folder: elsewhere,
            name: "client",
            orlop: "not from the authority that the host trusts",
            curl: "alert decrypt error",
        },
        Stranger {
            folder: ours,
            name: "expired",
            orlop: "it has expired",
            curl: "certificate expired",
        },
    ])
}

impl Stranger {
    fn is_refused(&self, guest: &Guest) -> Result<()> {
        let answer = curl(guest, Some((&self.folder, self.name)))?;
        let said = String::from_utf8_lossy(&answer.stderr);
        ensure!(
            !answer.status.success() && said.contains(self.curl),
            "curl with {}: {answer:?}",
            self.name
        );
        let answer = orlop(guest, &self.folder, self.name, &["ps"])?;
        let said = String::from_utf8_lossy(&answer.stderr);
        ensure!(
            answer.status.code() == Some(1)
                && said.contains(self.orlop)
                && said.contains("help: ")
                && said.contains("orlop pki client"),
            "orlop with {}: {answer:?}",
            self.name
        );
        Ok(())
    }
}

/// A client that may look, and nothing else.
fn reader_only_reads(guest: &Guest) -> Result<()> {
    let ours = fixture::folder("stories/api/ours")?;
    files::client(&ours, "reader", Role::Reader, Timestamp::now(), 1)?;
    let looked = orlop(guest, &ours, "reader", &["ps"])?;
    ensure!(looked.status.success(), "{looked:?}");
    let tried = orlop(guest, &ours, "reader", &["rm", "sleeper"])?;
    let said = String::from_utf8_lossy(&tried.stderr);
    ensure!(
        tried.status.code() == Some(1) && said.contains("reader") && said.contains("admin"),
        "{tried:?}"
    );
    Ok(())
}

/// `orlop`, as the client of a certificate in `folder`.
fn orlop(guest: &Guest, folder: &Path, name: &str, arguments: &[&str]) -> Result<Output> {
    let own = guest.operator().config_file();
    let trusted: toml::Table = fs::read_to_string(&own)?.parse()?;
    let host = trusted["hosts"]
        .as_table()
        .and_then(|all| all.values().next());
    let fingerprint = host
        .and_then(|host| host["fingerprint"].as_str())
        .context("no fingerprint")?;
    let config = folder.join(format!("{name}.toml"));
    let address = guest.operator().address();
    fs::write(
        &config,
        format!(
            "[hosts.guest]\naddress = \"{address}\"\ncertificate = \"{name}.crt\"\n\
             key = \"{name}.key\"\nfingerprint = \"{fingerprint}\"\n"
        ),
    )?;
    let mut command = guest.operator().command();
    command.env("ORLOP_CONFIG", config).args(arguments);
    command.output().context("cannot run the orlop command")
}

/// curl, as the client of a certificate or of none.
fn curl(guest: &Guest, certificate: Option<(&Path, &str)>) -> Result<Output> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--insecure", "--max-time", "60"]);
    if let Some((folder, name)) = certificate {
        command
            .arg("--cert")
            .arg(folder.join(format!("{name}.crt")));
        command.arg("--key").arg(folder.join(format!("{name}.key")));
    }
    command.arg(format!("https://{}/v1/units", guest.operator().address()));
    command.output().context("cannot run curl")
}

/// Garbage, half a handshake, and silence, many at once.
fn crowd(address: &str) -> Result<Vec<TcpStream>> {
    // The head of a handshake's record, of which nothing more comes.
    let half = [0x16, 3, 1, 2, 0];
    let mut all = Vec::new();
    for number in 0..CROWD {
        let mut one = TcpStream::connect(address)?;
        one.set_read_timeout(Some(Duration::from_millis(20)))?;
        // The host may have turned it away by now.
        let _ = match number % 4 {
            0 => one.write_all(&[0xa5; 700]),
            1 => one.write_all(&half),
            _ => Ok(()),
        };
        let _ = one.read(&mut [0; 16]);
        all.push(one);
    }
    Ok(all)
}
