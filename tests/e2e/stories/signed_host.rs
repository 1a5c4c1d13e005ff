//! A host whose certificate was signed by an authority, and given with the build.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::UnitStatus;
use orlop_qemu::guest::Guest;
use orlop_qemu::{build, paths};

use crate::fixture;

/// Nobody looks at its console: curl and `orlop` know it by the authority, and by
/// no name that its certificate lacks.
pub(crate) fn known_by_its_authority() -> Result<()> {
    // Its host TOML; the certificate is for this one host.
    fixture::host_image("plain", "", &[])?;
    let host = fixture::folder("shared/plain")?.join("host.toml");
    let pki = fixture::pki()?;
    let image = fixture::folder("signed")?.join("host.img");
    let mut builder = Command::new(build::binary("orlop-image"));
    builder.arg("build").arg(&host).arg("--output").arg(&image);
    builder.arg("--cache").arg(paths::cache());
    builder.arg("--pki").arg(&pki);
    build::run(&mut builder)?;

    let config = fixture::disk_of(&image, "signed-host")?;
    let operator = config.folder.join("operator");
    fixture::copy_folder(&pki, &operator)?;
    let mut guest = Guest::boot(config, &operator)?;
    let address = guest.operator().address().to_owned();
    let (_, port) = address.rsplit_once(':').context("no port")?;
    std::fs::write(
        guest.operator().config_file(),
        format!(
            "[hosts.signed]\naddress = \"localhost:{port}\"\nca = \"ca.crt\"\n\
             certificate = \"client.crt\"\nkey = \"client.key\"\n\
             [hosts.misnamed]\naddress = \"{address}\"\nca = \"ca.crt\"\n\
             certificate = \"client.crt\"\nkey = \"client.key\"\n"
        ),
    )?;

    fixture::wait(
        "an answer over a connection that the authority vouches for",
        || {
            Ok(guest
                .operator()
                .try_run(&["--host", "signed", "ps"])?
                .status
                .success())
        },
    )?;
    let misnamed = guest.operator().try_run(&["--host", "misnamed", "ps"])?;
    let said = String::from_utf8_lossy(&misnamed.stderr);
    ensure!(
        !misnamed.status.success() && said.contains("certificate"),
        "by a name that the certificate lacks: {misnamed:?}"
    );
    let authority = pki.join("ca.crt");
    let url = format!("https://localhost:{port}/v1/units");
    let units = fixture::curl_believing(&["--cacert".as_ref(), authority.as_os_str()], &url)?;
    let _: Vec<UnitStatus> = serde_json::from_str(&units)?;

    // Power off asks by the address alone, which needs the fingerprint.
    guest.trust(fixture::PATIENCE)?;
    guest.power_off(fixture::PATIENCE)
}
