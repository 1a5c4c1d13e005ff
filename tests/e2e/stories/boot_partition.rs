//! Boots from boot partitions that are not as they should be, by firmware that
//! knows nothing yet, and with nobody at the keyboard.

use anyhow::{Result, ensure};
use orlop_qemu::build;
use orlop_qemu::machine::{Config, Firmware, Machine};

use crate::esp_files;
use crate::fixture::{self, PATIENCE};

const GOOD: &str = "EFI/Linux/orlop_1_1.0.0.efi";
/// Our loader's first words, once for each boot that comes to nothing.
const CAME_BACK: &str = "orlop: cannot boot: systemd-boot came back from ";
/// The firmware's, once for each start.
const STARTED: &str = "BdsDxe: starting ";

/// A disk of the demo, whose variables have never been written.
fn fresh(story: &str) -> Result<Config> {
    let mut config = fixture::disk_of(&fixture::demo_image()?, story)?;
    config.firmware = Firmware::Uefi;
    Ok(config)
}

fn count(console: &str, words: &str) -> usize {
    console.matches(words).count()
}

/// The newest image is cut off, and another is noise: the try is counted, the
/// machine starts anew, and the old version comes up with its containers.
pub(crate) fn truncated_image() -> Result<()> {
    let config = fresh("truncated-image")?;
    let disk = config.disk.clone();
    let good = esp_files::read(&disk, GOOD)?;
    let cut = &good[..good.len() / 2];
    esp_files::write(&disk, "EFI/Linux/orlop_2_1.1.0+1.efi", cut)?;
    // systemd-boot does not take it for an image, and so does not count it.
    let noise: Vec<u8> = (0..1 << 20).map(|at: u32| (at * 7 / 3) as u8).collect();
    esp_files::write(&disk, "EFI/Linux/orlop_3_1.2.0+1.efi", &noise)?;

    let mut guest = fixture::boot(config)?;
    guest.wait_units("a healthy web", PATIENCE, |units| {
        units.iter().any(|unit| fixture::is_healthy(unit, "web"))
    })?;
    let host = guest.operator().status()?;
    ensure!(host.slot == "a" && host.serial == 1, "{host:?}");
    guest.power_off(PATIENCE)?;

    let console = guest.console_text();
    let cause = format!("{CAME_BACK}orlop_2_1.1.0+1.efi: it is damaged");
    ensure!(
        count(&console, &cause) == 1 && count(&console, CAME_BACK) == 1,
        "not one boot that came to nothing:\n{console}"
    );
    ensure!(
        console.contains("orlop: restarting in 5 s") && count(&console, STARTED) == 2,
        "not one reset:\n{console}"
    );
    let names = esp_files::names(&disk, "EFI/Linux")?;
    let wanted = [
        "orlop_1_1.0.0.efi",
        "orlop_2_1.1.0+0-1.efi",
        "orlop_3_1.2.0+1.efi",
    ];
    ensure!(names == wanted, "{names:?}");
    Ok(())
}

/// No image is good, or systemd-boot itself is gone: the machine says so and
/// tries again, and never asks for a person.
pub(crate) fn nothing_to_start() -> Result<()> {
    let mut config = fresh("nothing-to-start")?;
    let good = esp_files::read(&config.disk, GOOD)?;
    esp_files::write(&config.disk, GOOD, &good[..good.len() / 2])?;
    let mut machine = Machine::start(config.clone())?;
    let again = format!("{CAME_BACK}orlop_1_1.0.0.efi: ");
    machine.console().expect_times(&again, 2, PATIENCE)?;
    machine.cut_power()?;
    let console = machine.console().text();
    ensure!(count(&console, STARTED) == 2, "not one reset:\n{console}");

    esp_files::delete(&config.disk, "EFI/systemd/systemd-bootx64.efi")?;
    config.stop_on_reset = true;
    let mut machine = Machine::start(config)?;
    machine.wait_for_end(PATIENCE)?;
    let console = machine.console().text();
    let cause = "orlop: cannot boot: systemd-boot, EFI/systemd/systemd-bootx64.efi: \
                 it is not there (0x800000000000000e)";
    ensure!(console.contains(cause), "no {cause:?}:\n{console}");
    Ok(())
}

/// An interrupt may use the stack below the stack pointer at any time: the
/// loader keeps nothing there, and calls nothing of Linux that would.
pub(crate) fn leaves_the_stack_alone() -> Result<()> {
    let program = build::binary("orlop-loader");
    let output = std::process::Command::new("objdump")
        .args(["--disassemble", "--no-show-raw-insn"])
        .arg(&program)
        .output()?;
    let code = String::from_utf8(output.stdout)?;
    ensure!(output.status.success() && code.contains("call"), "{code}");
    for line in code.lines() {
        // As in `mov %rax,-0x8(%rsp)`; without frames of their own, functions
        // have no other way to what is there.
        for base in ["(%rsp", "(%rbp"] {
            let operand = line.split(base).next().unwrap_or_default();
            let offset = operand.rsplit([' ', ',']).next().unwrap_or_default();
            ensure!(
                operand == line || !offset.starts_with('-'),
                "{} keeps values below the stack pointer: {line}",
                program.display()
            );
        }
    }
    Ok(())
}
