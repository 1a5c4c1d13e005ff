//! Updates of a running host: by file, from a web server, and back.

use anyhow::{Context as _, Result, ensure};
use orlop_control::types::{UpdatePhase, UpdateStatus};
use orlop_qemu::build;
use orlop_qemu::guest::Guest;
use orlop_qemu::machine::{Config, Firmware};
use orlop_web::{Manner, Server};

use super::trials::wait_good;
use crate::esp_files::{self, ENTRIES};
use crate::fixture::{self, PATIENCE};
use crate::releases::{Recipe, Release, release};

/// A unit that counts its starts in a volume, and decides.
pub(super) const COUNTS: &str = "[container]\nimage = \"localhost/busybox:1\"\n\
    command = [\"busybox\", \"sh\", \"-c\", \"echo start >> /data/starts; exec busybox sleep 1000000\"]\n\
    volumes = [\"counts:/data\"]\n\
    [health]\nexec = [\"busybox\", \"test\", \"-s\", \"/data/starts\"]\ninterval = \"1s\"\ngate = true\n";

/// A trial that passes, however long a busy machine takes for its units.
pub(super) const PASSES: &str = "settle = \"3s\"";

/// Version 1, which stories update.
pub(super) fn old() -> Result<Release> {
    release(Recipe {
        file: "update-old",
        version: "1.0.0",
        update: PASSES,
        extra: "",
        units: &[("web", COUNTS)],
    })
}

/// Version 2, which is good.
pub(super) fn good() -> Result<Release> {
    release(Recipe {
        file: "update-good",
        version: "2.0.0",
        update: PASSES,
        extra: "",
        units: &[("web", COUNTS)],
    })
}

/// A version between the two, which failed once.
pub(super) fn between() -> Result<Release> {
    release(Recipe {
        file: "update-between",
        version: "1.5.0",
        update: PASSES,
        extra: "",
        units: &[("web", COUNTS)],
    })
}

/// A disk with version 1 that boots as real ones do.
pub(super) fn disk(story: &str) -> Result<Config> {
    let mut config = fixture::disk_of(&old()?.image, story)?;
    config.firmware = Firmware::Uefi;
    // Its web server is on the loopback of this machine.
    config.isolated = false;
    Ok(config)
}

/// A web server with `release`, and the URL by which a guest reaches it.
pub(super) fn serve(release: &Release, story: &str) -> Result<(Server, String)> {
    let folder = fixture::folder("stories")?.join(format!("{story}.web"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    build::publish(&release.bundle, &folder)?;
    let server = Server::start(&folder)?;
    let url = format!("http://10.0.2.2:{}", server.port());
    Ok((server, url))
}

/// How the host's update is.
pub(super) fn update_status(guest: &Guest) -> Result<UpdateStatus> {
    guest.operator().json(&["update", "--status"])
}

fn starts(guest: &Guest) -> Result<usize> {
    let told = guest
        .operator()
        .run(&["exec", "web", "busybox", "cat", "/data/starts"])?;
    Ok(told.lines().count())
}

/// By file to version 2, back, and there again: the units' data and the host's own
/// are read by each version after the other.
pub(crate) fn there_and_back() -> Result<()> {
    let new = good()?;
    let bundle = new.bundle.display().to_string();
    let config = disk("update-there-and-back")?;
    let mut guest = fixture::boot(config.clone())?;
    wait_good(&guest, 1)?;
    guest.wait_units("a healthy web", PATIENCE, |units| {
        units.iter().any(|unit| fixture::is_healthy(unit, "web"))
    })?;
    fixture::apply(
        &guest,
        &[("beside", "[container]\nimage = \"localhost/busybox:1\"\n")],
    )?;

    let plan: UpdateStatus = guest.operator().json(&["update", "--dry-run", &bundle])?;
    let plan = plan.plan.context("a dry run without a plan")?;
    ensure!(
        plan.missing_size * 20 < plan.size,
        "more than 5 % is moved for another version number: {plan:?}"
    );
    ensure!(update_status(&guest)?.phase == UpdatePhase::Idle);

    let told = guest.operator().run(&["update", &bundle])?;
    ensure!(told.contains("2.0.0"), "{told}");
    let status = wait_good(&guest, 2)?;
    ensure!(
        status.version == "2.0.0" && status.slot == "b",
        "{status:?}"
    );
    ensure!(starts(&guest)? == 2, "web did not start once more");
    let again = guest.operator().try_run(&["update", &bundle])?;
    let refusal = String::from_utf8_lossy(&again.stderr).into_owned();
    ensure!(
        !again.status.success() && refusal.contains("is not newer than 2.0.0"),
        "{refusal}"
    );

    let told = guest.operator().run(&["rollback"])?;
    ensure!(told.contains("1.0.0"), "{told}");
    let status = wait_good(&guest, 1)?;
    ensure!(
        status.version == "1.0.0" && status.slot == "a",
        "{status:?}"
    );
    ensure!(starts(&guest)? == 3, "web did not start once more");
    let units = guest.operator().units()?;
    ensure!(units.iter().any(|unit| unit.name == "beside"), "{units:?}");
    let nowhere = guest.operator().try_run(&["rollback"])?;
    let refusal = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    ensure!(
        !nowhere.status.success() && refusal.contains("no version to go back to"),
        "{refusal}"
    );

    guest.operator().run(&["update", "--no-reboot", &bundle])?;
    ensure!(guest.operator().status()?.version == "1.0.0");
    guest.operator().run(&["reboot"])?;
    wait_good(&guest, 3)?;
    ensure!(starts(&guest)? == 4, "web did not start once more");
    guest.power_off(PATIENCE)?;
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(
        names == ["orlop_1_1.0.0.efi", "orlop_3_2.0.0.efi"],
        "{names:?}"
    );
    Ok(())
}

/// Power goes while a host fetches: the next boot goes on by itself, and fetches
/// little of it again.
pub(crate) fn power_cut_while_fetching() -> Result<()> {
    // Of another kernel image than the old one: there is enough to fetch.
    let new = release(Recipe {
        file: "update-large",
        version: "2.0.0",
        update: PASSES,
        extra: "[kernel]\npackage = \"linux-image-amd64\"\n",
        units: &[("web", COUNTS)],
    })?;
    let (server, url) = serve(&new, "update-power-cut")?;
    let config = disk("update-power-cut")?;
    let mut guest = fixture::boot(config.clone())?;
    wait_good(&guest, 1)?;
    server.choose(|number, _| match number {
        0..150 => Manner::Well,
        // What is under way then was sent for nothing, and counts.
        _ => Manner::Stalls,
    });
    let mut asking = guest.operator().command().args(["update", &url]).spawn()?;
    let some = fixture::wait("some of it", || Ok(server.requests() > 150));
    asking.kill()?;
    asking.wait()?;
    some?;
    let plan = update_status(&guest)?.plan.context("no plan")?;
    guest.machine().cut_power()?;
    let first = server.sent();
    ensure!(first > 1 << 20, "only {first} bytes were fetched");

    server.choose(|_, _| Manner::Well);
    let mut guest = fixture::boot(config.clone())?;
    wait_good(&guest, 2)?;
    let again = server.sent().saturating_sub(plan.missing_size);
    ensure!(again <= 1 << 20, "{again} bytes were fetched again");
    ensure!(guest.operator().status()?.version == "2.0.0");
    guest.power_off(PATIENCE)?;
    let names = esp_files::names(&config.disk, ENTRIES)?;
    ensure!(
        names == ["orlop_1_1.0.0.efi", "orlop_2_2.0.0.efi"],
        "{names:?}"
    );
    Ok(())
}
