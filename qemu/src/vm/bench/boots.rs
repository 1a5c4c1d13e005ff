//! Boots: how long until the demo's page answers, where in the boot the time
//! goes, and what memory the host then holds.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use orlop_control::types::{HostStatus, ProcessList, UnitStatus};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::{files, up};
use super::conditions::Conditions;
use super::report::{Row, as_f64, mebibytes};
use crate::accel::Accel;
use crate::guest::{API_PORT, Guest};
use crate::machine::{self, Config, Firmware, Forward};
use crate::{build, paths};

/// How long one boot may take.
const LIMIT: Duration = Duration::from_secs(240);
/// How often the page is asked for, and how long one question may take: a
/// packet that comes before the guest's network is up is lost.
const ASK_EVERY: Duration = Duration::from_millis(50);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long a host is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(30);

/// One way to boot.
pub(super) struct Kind {
    pub(super) name: &'static str,
    firmware: Firmware,
    /// What share of another host's time it is to take at most.
    pub(super) aim: f64,
}

/// The disk that every boot starts from, and how to boot it.
pub(super) struct Boots {
    config: Config,
    direct: Firmware,
    web: u16,
}

/// What a host says of its own boot.
pub(super) struct Seen {
    host: HostStatus,
    units: Vec<UnitStatus>,
}

impl Boots {
    /// Makes a disk of the image and boots it once, which grows the state
    /// partition and makes the host's key: no boot that is timed does that.
    pub(super) fn prepare(image: &Path) -> Result<Boots> {
        let folder = paths::vm().join("bench");
        std::fs::create_dir_all(&folder)?;
        let disk = folder.join("disk.img");
        machine::copy_disk(image, &disk)?;
        machine::grow_disk(&disk, up::DISK_BYTES)?;
        let mut config = Config::new(&disk, &folder);
        config.accel = Accel::Tcg;
        let web = machine::free_port(None)?;
        let api = machine::free_port(None)?;
        config.forwards = [(web, 80), (api, API_PORT)]
            .map(|(host, guest)| Forward { host, guest })
            .into();
        let direct = Firmware::Direct(build::boot_files(image));
        config.firmware = direct.clone();
        let mut guest = Guest::boot(config.clone(), &files::operator())?;
        guest.trust(LIMIT)?;
        guest.wait_units("healthy units", LIMIT, up::all_healthy)?;
        guest.power_off(LIMIT)?;
        config.snapshot = true;
        Ok(Boots {
            config,
            direct,
            web,
        })
    }

    /// The ways to boot, with what each is to take of a Debian host's time.
    pub(super) fn kinds(&self) -> [Kind; 2] {
        [
            Kind {
                name: "direct",
                firmware: self.direct.clone(),
                aim: 0.25,
            },
            Kind {
                name: "OVMF",
                firmware: Firmware::Uefi,
                aim: 0.45,
            },
        ]
    }

    /// Seconds from starting QEMU to the first HTTP 200 of the demo's page, and
    /// what the host then says of its boot.
    pub(super) fn to_first_answer(&self, kind: &Kind) -> Result<(f64, Seen)> {
        let mut config = self.config.clone();
        config.firmware = kind.firmware.clone();
        let started = Instant::now();
        let mut guest = Guest::boot(config, &files::operator())?;
        if !first_answer(self.web)? {
            bail!(
                "no answer within {} s; the console's end:\n{}",
                LIMIT.as_secs(),
                guest.machine().console().tail(30)
            );
        }
        let seconds = started.elapsed().as_secs_f64();
        let units = guest.wait_units("a unit that runs", LIMIT, |units| {
            units.iter().any(|unit| unit.started_at.is_some())
        })?;
        let host = guest.operator().status()?;
        Ok((seconds, Seen { host, units }))
    }

    /// What memory an idle host holds.
    pub(super) fn idle(&self, conditions: &mut Conditions) -> Result<Vec<Row>> {
        let mut config = self.config.clone();
        config.firmware = self.direct.clone();
        let guest = Guest::boot(config, &files::operator())?;
        guest.wait_units("healthy units", LIMIT, up::all_healthy)?;
        std::thread::sleep(SETTLE);
        let host = guest.operator().status()?;
        let list: ProcessList = guest.operator().json(&["top"])?;
        conditions.guest_kernel(&host.kernel);
        let memory: Vec<(String, u64)> = list
            .processes
            .iter()
            .map(|process| {
                let place = process.unit.as_deref().unwrap_or("the host");
                let name = format!("of that, {} ({place})", process.name);
                (name, process.memory.unwrap_or(0))
            })
            .collect();
        let sum = memory.iter().map(|(_, bytes)| bytes).sum();
        let mut rows = vec![
            Row::once(
                "idle: memory in use, caches not counted",
                "MiB",
                mebibytes(host.memory_used),
            )
            .aim(45.0),
            Row::once("idle: userspace (PSS)", "MiB", mebibytes(sum)).aim(24.0),
        ];
        let each = memory.into_iter();
        rows.extend(each.map(|(name, bytes)| Row::once(name, "MiB", mebibytes(bytes))));
        Ok(rows)
    }
}

/// Asks for the page again and again; whether it came in time.
fn first_answer(port: u16) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(async {
        let asking = async {
            let mut questions = JoinSet::new();
            let mut next = tokio::time::interval(ASK_EVERY);
            loop {
                tokio::select! {
                    _ = next.tick() => {
                        questions.spawn(timeout(ANSWER_WITHIN, ask(port)));
                    }
                    Some(answer) = questions.join_next() => {
                        if matches!(answer, Ok(Ok(Ok(true)))) {
                            return;
                        }
                    }
                }
            }
        };
        timeout(LIMIT, asking).await.is_ok()
    }))
}

/// One request of its own connection: whether it is answered with 200.
async fn ask(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream
        .write_all(b"GET /index.html HTTP/1.0\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.") && answer[8..].starts_with(b" 200 "))
}

/// The boots' stages, by the guest's own clock.
#[derive(Default)]
pub(super) struct Stages(Vec<(String, Option<f64>, Vec<f64>)>);

impl Stages {
    /// Adds what one host said; of direct boots only, as firmware comes before
    /// the kernel's clock.
    pub(super) fn add(&mut self, kind: &Kind, seen: &Seen) -> Result<()> {
        if kind.firmware == Firmware::Uefi {
            return Ok(());
        }
        let host = &seen.host;
        let container = container_started_ms(seen)?;
        let (pid1, manager) = (host.pid1_start_ms, host.manager_start_ms);
        self.push("kernel's start to PID 1", None, pid1);
        self.push("PID 1 to manager", None, manager.saturating_sub(pid1));
        let mut before = 0;
        for phase in &host.boot_phases {
            let name = format!("of that, {}", phase.name);
            self.push(&name, None, phase.ms.saturating_sub(before));
            before = phase.ms;
        }
        let name = "manager to the container's process";
        self.push(name, None, container.saturating_sub(manager));
        let name = "PID 1 to the container's process";
        self.push(name, Some(700.0), container.saturating_sub(pid1));
        Ok(())
    }

    fn push(&mut self, name: &str, aim: Option<f64>, ms: u64) {
        let ms = as_f64(ms);
        match self.0.iter_mut().find(|(known, _, _)| known == name) {
            Some((_, _, values)) => values.push(ms),
            None => self.0.push((name.to_owned(), aim, vec![ms])),
        }
    }

    pub(super) fn rows(self) -> Result<Vec<Row>> {
        let rows = self.0.into_iter().map(|(name, aim, values)| {
            let row = Row::new(name, "ms", values)?;
            Ok(match aim {
                Some(aim) => row.aim(aim),
                None => row,
            })
        });
        rows.collect()
    }
}

/// When the first container ran, in milliseconds after the kernel started.
fn container_started_ms(seen: &Seen) -> Result<u64> {
    let started = seen.units.iter().filter_map(|unit| unit.started_at).min();
    let started = started.context("no unit has started")?;
    let ago = seen.host.time.as_millisecond() - started.as_millisecond();
    let ago = u64::try_from(ago).context("the unit started after it was asked about")?;
    Ok(seen.host.uptime_ms.saturating_sub(ago))
}
