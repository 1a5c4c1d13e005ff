//! `cargo vm up`: from a checkout to a page in the browser.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use orlop_control::types::{HealthState, Protocol, UnitStatus};

use super::down;
use super::files::{self, Running};
use super::host;
use crate::guest::{API_PORT, Guest};
use crate::machine::{self, Config, Firmware, Forward};
use crate::{accel, build, debian, paths};

/// How long nothing new may happen while the host boots and its containers
/// become healthy. How long they may take in all depends on the machine.
const NEWS_WITHIN: Duration = Duration::from_secs(240);

/// What counts as new, at the most: a host that fails in the same way for ever
/// also does so in ever new words.
const NEWS_MAX: usize = 2000;

/// The disk's size in the guest, larger than the image so that the state
/// partition grows at first boot as it would on a real machine.
pub(super) const DISK_BYTES: u64 = 4 << 30;

#[derive(clap::Args)]
pub(super) struct Options {
    /// Leave the guest running and return once it is healthy
    #[arg(long)]
    detach: bool,
    /// Boot the kernel without firmware, from the same disk
    #[arg(long)]
    direct: bool,
    /// The host TOML to build and boot; its API must trust target/vm/operator/ca.crt
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
    /// The guest's memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// The port of this machine's loopback that leads to the guest's port 80
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    if let Some(running) = Running::load()? {
        bail!(
            "a guest is running already (process {}); `cargo vm down` ends it",
            running.pid
        );
    }
    debian::ensure(debian::FOR_UP)?;
    let image = build_image(options.host.as_deref())?;
    let disk = prepare_disk(&image)?;
    let (accel, why) = accel::probe(&build::boot_files(&image).join("vmlinuz"));
    println!("Running under {why}.");

    let web = port_for(options.port)?;
    let api = machine::free_port(Some(API_PORT))?;
    let mut config = Config::new(disk, files::guest());
    config.accel = accel;
    config.memory_mib = options.memory;
    config.lives_on = true;
    config.forwards = vec![
        Forward {
            host: web,
            guest: 80,
        },
        Forward {
            host: api,
            guest: API_PORT,
        },
    ];
    if options.direct {
        config.firmware = Firmware::Direct(build::boot_files(&image));
    }
    let interrupted = on_interrupt()?;
    let mut guest = Guest::boot(config, &files::operator())?;
    let running = Running {
        pid: guest.machine().pid(),
        api_port: api,
    };
    running.save()?;
    let outcome = wait_until_healthy(&mut guest, &interrupted);
    let Some(units) = outcome.inspect_err(|_| Running::forget())? else {
        shut_down(&running, &interrupted)?;
        bail!("interrupted while booting");
    };
    print_welcome(&guest, web, &units);
    if options.detach {
        guest.detach();
        println!("\nThe guest runs on; `cargo vm down` shuts it down.");
        return Ok(());
    }
    println!("\nCtrl-C shuts it down.");
    wait_for_end(&mut guest, &interrupted, &running)
}

/// Builds binaries, the demo's container, certificates and the disk image.
pub(super) fn build_image(host: Option<&Path>) -> Result<PathBuf> {
    let demo = paths::repository().join("configs/demo.toml");
    let host = host.unwrap_or(&demo);
    host::admits_operator(host)?;
    println!("Building Orlop's binaries ...");
    build::binaries()?;
    std::fs::create_dir_all(paths::vm())?;
    ensure_pki()?;
    host::admits_operator(host)?;
    build::demo_container(&paths::vm().join("demo-container.tar"))?;
    let name = host
        .file_stem()
        .context("--host needs a file name")?
        .to_string_lossy();
    let image = paths::vm().join(format!("{name}.img"));
    println!("Building the host image {} ...", image.display());
    build::disk(host, &image)?;
    Ok(image)
}

/// Makes the operator's certificates once.
fn ensure_pki() -> Result<()> {
    let folder = files::operator();
    if folder.join("ca.crt").exists() {
        return Ok(());
    }
    std::fs::create_dir_all(&folder)?;
    build::pki(&folder)
}

/// A fresh disk for a new image; the one in use, with its state, for the same.
fn prepare_disk(image: &Path) -> Result<PathBuf> {
    let disk = image.with_extension("disk");
    let stamp = image.with_extension("disk-of");
    let root_hash = std::fs::read_to_string(build::boot_files(image).join("cmdline"))
        .context("the builder left no command line beside the image")?;
    if disk.exists() && std::fs::read_to_string(&stamp).is_ok_and(|made| made == root_hash) {
        println!("Booting the same disk as before; its state is kept.");
        return Ok(disk);
    }
    if disk.exists() {
        println!("The image has changed: starting from a fresh disk.");
    }
    machine::copy_disk(image, &disk)?;
    machine::grow_disk(&disk, DISK_BYTES)?;
    std::fs::write(&stamp, root_hash)?;
    Ok(disk)
}

fn port_for(wanted: Option<u16>) -> Result<u16> {
    let port = machine::free_port(Some(wanted.unwrap_or(8080)))?;
    match wanted {
        Some(wanted) if port != wanted => {
            bail!("port {wanted} of 127.0.0.1 is taken; give another --port")
        }
        _ => Ok(port),
    }
}

/// A channel that hears of each Ctrl-C or SIGTERM.
fn on_interrupt() -> Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut terminate) = signal(SignalKind::terminate()) else {
                return;
            };
            loop {
                tokio::select! {
                    heard = tokio::signal::ctrl_c() => if heard.is_err() { return },
                    _ = terminate.recv() => {}
                }
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
    });
    Ok(receiver)
}

/// The units of a host that is up; none when it was interrupted.
fn wait_until_healthy(
    guest: &mut Guest,
    interrupted: &mpsc::Receiver<()>,
) -> Result<Option<Vec<UnitStatus>>> {
    let started = Instant::now();
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template(
        "{spinner} {elapsed:>3} {msg}",
    )?);
    bar.enable_steady_tick(Duration::from_millis(120));
    let mut trusted = false;
    let mut seen = Err(anyhow::anyhow!("it was not asked yet"));
    let mut news = News::new(started);
    loop {
        if interrupted.try_recv().is_ok() {
            bar.finish_and_clear();
            return Ok(None);
        }
        if !guest.machine().running()? {
            bail!(
                "the guest went off while booting; its console's end:\n{}",
                guest.machine().console().tail(30)
            );
        }
        let line = guest.machine().console().tail(1);
        if news.is_over(&line, Instant::now()) {
            bail!(
                "the containers are not healthy after {} s, and nothing new happens: {}; \
                 the console's end:\n{}",
                started.elapsed().as_secs(),
                not_ready(&seen),
                guest.machine().console().tail(40)
            );
        }
        bar.set_message(line);
        if trusted {
            seen = guest.operator().units();
        } else {
            match guest.trust(Duration::ZERO) {
                Ok(_) => trusted = true,
                Err(error) => seen = Err(error),
            }
        }
        if let Ok(units) = &seen
            && all_healthy(units)
        {
            bar.finish_and_clear();
            println!(
                "Booted and healthy after {:.1} s.",
                started.elapsed().as_secs_f32()
            );
            return seen.map(Some);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether there is still something to wait for.
struct News {
    heard: BTreeSet<String>,
    last: Instant,
}

impl News {
    fn new(now: Instant) -> News {
        News {
            heard: BTreeSet::new(),
            last: now,
        }
    }

    /// Takes in the console's last line: whether the last one that was not there
    /// before is too long ago.
    fn is_over(&mut self, line: &str, now: Instant) -> bool {
        if self.heard.len() < NEWS_MAX && self.heard.insert(line.to_owned()) {
            self.last = now;
        }
        now.duration_since(self.last) > NEWS_WITHIN
    }
}

/// Whether every unit is what it should be, and the probe of none has yet to
/// succeed for the first time.
pub(super) fn all_healthy(units: &[UnitStatus]) -> bool {
    units.iter().all(is_ready)
}

fn is_ready(unit: &UnitStatus) -> bool {
    unit.is_well() && unit.health != Some(HealthState::Starting)
}

/// What there is to wait for yet, or what the host answered when asked.
fn not_ready(units: &Result<Vec<UnitStatus>>) -> String {
    let units = match units {
        Ok(units) => units,
        Err(error) => {
            // The console's end, which may come with it, is shown once.
            let said = format!("{error:#}");
            let first = said.lines().next().unwrap_or_default();
            return format!("the host does not answer: {first}");
        }
    };
    let waited: Vec<String> = units
        .iter()
        .filter(|unit| !is_ready(unit))
        .map(|unit| {
            let health = unit.health.map(|health| format!(", {}", health.as_str()));
            let reason = unit.reason.iter().map(|reason| format!(": {reason}"));
            let more: String = health.into_iter().chain(reason).collect();
            format!("{} is {}{more}", unit.name, unit.state)
        })
        .collect();
    waited.join("; ")
}

fn print_welcome(guest: &Guest, web: u16, units: &[UnitStatus]) {
    let config = guest.operator().config_file();
    println!("\n{}\n", where_it_answers(web, units));
    println!("Drive the host with the orlop command:\n");
    println!("  export ORLOP_CONFIG={}", config.display());
    println!("  export ORLOP_HOST={}", guest.operator().address());
    println!("  export PATH={}:$PATH\n", paths::binaries().display());
    println!("  orlop status\n  orlop ps");
    if let Some(first) = units.first() {
        println!("  orlop logs -f {}", first.name);
    }
    println!("  orlop apply FILE.toml\n  orlop --help");
}

/// Where this machine's port `web`, which leads to the guest's port 80, ends.
fn where_it_answers(web: u16, units: &[UnitStatus]) -> String {
    let published = |unit: &UnitStatus| {
        let mut ports = unit.ports.iter();
        ports.any(|port| port.host == 80 && port.protocol == Protocol::Tcp)
    };
    if units.iter().any(published) {
        format!("  http://localhost:{web}/")
    } else {
        format!("No unit publishes port 80, to which port {web} of localhost leads.")
    }
}

fn wait_for_end(
    guest: &mut Guest,
    interrupted: &mpsc::Receiver<()>,
    running: &Running,
) -> Result<()> {
    loop {
        if !guest.machine().running()? {
            Running::forget();
            println!("The guest went off.");
            return Ok(());
        }
        if interrupted.recv_timeout(Duration::from_millis(200)).is_ok() {
            return shut_down(running, interrupted);
        }
    }
}

fn shut_down(running: &Running, interrupted: &mpsc::Receiver<()>) -> Result<()> {
    println!("\nShutting down; Ctrl-C again cuts the power ...");
    down::shut_down(running, || interrupted.try_recv().is_ok())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use orlop_control::types::UnitStatus;

    use super::{NEWS_MAX, NEWS_WITHIN, News, all_healthy, not_ready, where_it_answers};

    const SECOND: Duration = Duration::from_secs(1);

    fn unit(more: &str) -> UnitStatus {
        let text = format!("{{\"name\": \"web\", \"enabled\": true, {more}}}");
        serde_json::from_str(&text).expect("a unit")
    }

    #[test]
    fn a_host_is_up_when_each_unit_is_as_it_should_be() {
        for (more, up) in [
            (r#""desired": "started", "state": "running""#, true),
            (
                r#""desired": "started", "state": "running", "health": "healthy""#,
                true,
            ),
            (
                r#""desired": "started", "state": "running", "health": "starting""#,
                false,
            ),
            (
                r#""desired": "started", "state": "running", "health": "unhealthy""#,
                false,
            ),
            (r#""desired": "started", "state": "exited""#, true),
            (r#""desired": "stopped", "state": "stopped""#, true),
            (r#""desired": "started", "state": "waiting""#, false),
            (r#""desired": "started", "state": "failed""#, false),
        ] {
            assert_eq!(all_healthy(&[unit(more)]), up, "{more}");
        }
        let failed = unit(r#""desired": "started", "state": "failed", "reason": "no image""#);
        let probed = unit(r#""desired": "started", "state": "running", "health": "starting""#);
        let said = not_ready(&Ok(vec![failed, probed]));
        assert_eq!(said, "web is failed: no image; web is running, starting");
    }

    #[test]
    fn a_page_is_promised_where_there_is_one() {
        let published = |host: u16, protocol: &str| {
            let port = format!(r#""host": {host}, "container": 8000, "protocol": "{protocol}""#);
            let unit = unit(&format!(
                r#""desired": "started", "state": "running", "ports": [{{{port}}}]"#
            ));
            where_it_answers(8080, &[unit])
        };
        assert_eq!(published(80, "tcp"), "  http://localhost:8080/");
        for said in [
            published(81, "tcp"),
            published(80, "udp"),
            where_it_answers(8080, &[]),
        ] {
            assert!(said.starts_with("No unit publishes port 80"), "{said}");
        }
    }

    #[test]
    fn a_slow_boot_is_waited_for_and_a_silent_one_is_not() {
        let mut now = Instant::now();
        let mut news = News::new(now);
        for step in 0..100 {
            now += NEWS_WITHIN;
            assert!(!news.is_over(&format!("step {step}"), now));
        }
        assert!(!news.is_over("step 99", now + NEWS_WITHIN));
        assert!(news.is_over("step 99", now + NEWS_WITHIN + SECOND));
        assert!(news.is_over("step 7", now + NEWS_WITHIN + SECOND), "again");
    }

    #[test]
    fn endless_news_come_to_an_end() {
        let mut now = Instant::now();
        let mut news = News::new(now);
        for step in 0..NEWS_MAX {
            now += SECOND;
            assert!(!news.is_over(&format!("boot {step}"), now));
        }
        assert!(news.is_over("one more", now + NEWS_WITHIN + SECOND));
    }
}
