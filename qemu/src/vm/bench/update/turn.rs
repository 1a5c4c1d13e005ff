//! One update of a fresh host, measured.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::releases::{Release, STORE, folder};
use super::stages::Course;
use super::watched::Watched;
use super::web::Web;
use crate::guest::Operator;
use crate::machine;

/// How long the manager's memory is looked at before an update.
const BEFORE: Duration = Duration::from_secs(4);
/// What `dd` writes, in MiB: enough to be timed.
const DD_MIB: u32 = 256;

/// The disk that every turn begins with.
pub(super) struct Start {
    disk: PathBuf,
}

/// What an update of a turn came to.
pub(super) struct Turn {
    pub(super) course: Course,
    /// MiB that `dd` wrote in a second, before.
    pub(super) dd: f64,
    /// Seconds from the beginning of the reboot to healthy gate units on the new version.
    pub(super) down: f64,
    /// The same of a plain reboot after that.
    pub(super) plain: f64,
    /// All that the console showed, each kernel with its own times: where seconds went.
    pub(super) console: PathBuf,
    /// The kernel that the host ran before.
    pub(super) guest_kernel: String,
}

/// How a bundle gets to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The operator sends the file.
    File,
    /// The host fetches it from a web server.
    Web,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Way::File => "sent as a file",
            Way::Web => "fetched from a web server",
        })
    }
}

impl Start {
    /// Boots the old version once, which grows the state partition and makes the host's key.
    pub(super) fn prepare(old: &Release) -> Result<Start> {
        let disk = old.disk("start.img")?;
        Watched::boot(&disk, &guest_folder()?)?.power_off()?;
        Ok(Start { disk })
    }

    fn boot(&self) -> Result<Watched> {
        let disk = folder()?.join("turn.img");
        machine::copy_disk(&self.disk, &disk)?;
        Watched::boot(&disk, &guest_folder()?)
    }

    /// Updates to `new` by file, and reboots once more when that version is kept. The console is
    /// kept under `name`.
    pub(super) fn turn(&self, new: &Release, name: &str) -> Result<Turn> {
        let host = self.boot()?;
        let operator = host.operator();
        let before = operator.status()?;
        let dd = write_plainly(operator)?;
        let watch = host.watch(false)?;
        let going_down = host.going_down()?;
        let began = Instant::now();
        let asked = update(operator, "--no-wait", &new.bundle.display().to_string());
        let course = Course::new(began, watch.end(asked)?)?;
        let down = joined(going_down)?;
        let (up, after) = host.healthy_after(&before.boot_id)?;
        if after.version == before.version {
            bail!("the host came up with {} again", after.version);
        }
        let down = seconds(down, up);
        host.wait_good()?;
        let going_down = host.going_down()?;
        operator.run(&["reboot"])?;
        let plain = joined(going_down)?;
        let (up, _) = host.healthy_after(&after.boot_id)?;
        let plain = seconds(plain, up);
        let console = keep_console(&host, name)?;
        host.power_off()?;
        Ok(Turn {
            course,
            dd,
            down,
            plain,
            console,
            guest_kernel: before.kernel,
        })
    }

    /// Updates to `new` without a reboot, and looks at the manager's memory, too, meanwhile.
    pub(super) fn memory(&self, new: &Release, way: Way) -> Result<Course> {
        let web = match way {
            Way::File => None,
            Way::Web => Some(Web::start(&new.published)?),
        };
        let host = self.boot()?;
        let watch = host.watch(true)?;
        std::thread::sleep(BEFORE);
        let source = match &web {
            None => new.bundle.display().to_string(),
            Some(web) => web.url(),
        };
        let began = Instant::now();
        let asked = update(host.operator(), "--no-reboot", &source);
        let course = Course::new(began, watch.end(asked)?)?;
        host.power_off()?;
        Ok(course)
    }
}

/// Writes what the console showed where the next turn does not.
fn keep_console(host: &Watched, name: &str) -> Result<PathBuf> {
    let place = folder()?.join("consoles");
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let file = place.join(format!("{name}.log"));
    std::fs::write(&file, host.console_text())
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn guest_folder() -> Result<PathBuf> {
    Ok(folder()?.join("guest"))
}

fn update(operator: &Operator, how: &str, source: &str) -> Result<()> {
    operator.run(&["update", how, source]).map(drop)
}

fn joined(thread: std::thread::JoinHandle<Result<Instant>>) -> Result<Instant> {
    let ended = thread.join();
    ended.map_err(|_| anyhow::anyhow!("who waited for the shutdown broke off"))?
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

/// MiB a second that `dd` writes to the host's disk, through a unit's volume.
fn write_plainly(operator: &Operator) -> Result<f64> {
    let size = format!("count={DD_MIB}");
    // Debian's `dd` does not say how long it took.
    let dd = ["exec", STORE, "busybox", "time", "busybox", "dd"];
    let what = ["if=/dev/zero", "of=/data/x", "bs=1M", &size, "conv=fsync"];
    let told = operator.run_apart(&[&dd[..], &what].concat())?;
    let told = String::from_utf8_lossy(&told.stderr);
    let seconds = real(&told).with_context(|| format!("busybox time printed {told:?}"))?;
    operator.run(&["exec", STORE, "busybox", "rm", "/data/x"])?;
    Ok(f64::from(DD_MIB) / seconds)
}

/// The seconds in what `time` prints: a line `real`, a tab, and `0m 2.53s`.
fn real(told: &str) -> Option<f64> {
    let real = told.lines().find_map(|line| line.strip_prefix("real"))?;
    let (minutes, seconds) = real.trim().strip_suffix('s')?.split_once("m ")?;
    let minutes: f64 = minutes.parse().ok()?;
    let seconds: f64 = seconds.parse().ok()?;
    let sum = minutes * 60.0 + seconds;
    (sum > 0.0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::real;

    #[test]
    fn the_time_that_passed_is_read() {
        let told = |real: &str| format!("64+0 records out\n{real}\nuser\t0m 9.00s\n");
        assert_eq!(real(&told("real\t0m 2.50s")), Some(2.5));
        assert_eq!(real(&told("real\t1m 2.50s")), Some(62.5));
        for other in ["real\t0m 0.00s", "real", "real\t2.5s", ""] {
            assert_eq!(real(&told(other)), None, "{other:?}");
        }
    }
}
