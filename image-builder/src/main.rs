//! The `orlop-image` command.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use orlop_image::inspect::{self, SlotContent};
use orlop_image::{BuildReport, BuildRequest, Compression, Format, Progress, build, bundle, oci};

/// 2025-01-01: the time of all files unless SOURCE_DATE_EPOCH says otherwise.
const TIME: u64 = 1_735_689_600;

/// Builds disk images and small OCI images for Orlop.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build a disk image from a host TOML
    Build(BuildArgs),
    /// Show what a disk image or an update bundle holds, and check it
    Inspect {
        /// The disk image, raw; or a bundle, or a published head of one
        file: PathBuf,
        /// A bundle or head of another version: show what an update from that moves
        #[arg(long, value_name = "BUNDLE")]
        against: Option<PathBuf>,
    },
    /// Make a key that update bundles are signed with
    Keygen(bundle::KeygenArgs),
    /// Let an old key vouch for a new one
    Endorse(bundle::EndorseArgs),
    /// Put an update bundle into a directory that a web server serves
    Publish(bundle::PublishArgs),
    /// Make a small OCI image from files, a static binary or a root tar
    Oci(Box<oci::OciArgs>),
}

#[derive(Debug, Args)]
struct BuildArgs {
    /// The host TOML
    host: PathBuf,
    /// The disk image to write [default: NAME.img, from the host TOML's file name]
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Form of the disk image
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Where packages are kept between builds
    #[arg(long, default_value = "target/cache")]
    cache: PathBuf,
    /// Where orlop-init, orlop-manager, orlop-runtime and orlop-loader are [default:
    /// beside this program]
    #[arg(long)]
    binaries: Option<PathBuf>,
    /// Directory that `orlop pki init` made: its host.crt and host.key become this
    /// host's own, and the disk image is readable by you alone
    #[arg(long, value_name = "DIR")]
    pki: Option<PathBuf>,
    /// Private key (`orlop-image keygen`): NAME-VERSION.orlop is written beside the disk
    /// image, signed with it. May be given several times
    #[arg(long, value_name = "KEY")]
    sign: Vec<PathBuf>,
    /// An old key's word for a new one (`orlop-image endorse`), to go into the bundle
    #[arg(long = "endorsement", value_name = "FILE")]
    endorsements: Vec<PathBuf>,
    /// How the initramfs is packed
    #[arg(long, value_enum, default_value_t)]
    compress: Compression,
    /// Print the closing summary as JSON
    #[arg(long)]
    json: bool,
    /// Time that all files carry, in seconds since 1970
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = TIME, hide_env_values = true)]
    time: u64,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Verb::Build(args) => run_build(args),
        Verb::Inspect { file, against } => run_inspect(file, against),
        Verb::Keygen(args) => bundle::keygen(&args).map(|()| ExitCode::SUCCESS),
        Verb::Endorse(args) => bundle::endorse(&args).map(|()| ExitCode::SUCCESS),
        Verb::Publish(args) => bundle::run_publish(&args).map(|()| ExitCode::SUCCESS),
        Verb::Oci(args) => oci::run(&args).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!(
            "error: {}",
            format!("{error:#}").trim_start_matches("error: ")
        );
        ExitCode::FAILURE
    })
}

fn run_build(args: BuildArgs) -> Result<ExitCode> {
    let extension = match args.format {
        Format::Raw => "img",
        Format::Qcow2 => "qcow2",
    };
    let binaries = match args.binaries {
        Some(dir) => dir,
        None => std::env::current_exe()
            .context("finding this program")?
            .with_file_name(""),
    };
    let output = args.output.unwrap_or_else(|| {
        PathBuf::from(args.host.file_name().unwrap_or_default()).with_extension(extension)
    });
    let request = BuildRequest {
        host: args.host,
        output,
        format: args.format,
        cache: args.cache,
        binaries,
        pki: args.pki,
        sign: args.sign,
        endorsements: args.endorsements,
        compression: args.compress,
        time: args.time,
    };
    let started = Instant::now();
    let mut progress = Bar::new();
    let outcome = build(&request, &mut progress);
    progress.bar.finish_and_clear();
    let report = outcome?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print_report(&report, started.elapsed().as_secs_f64());
    }
    Ok(ExitCode::SUCCESS)
}

fn print_report(report: &BuildReport, seconds: f64) {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    println!("{}  built in {seconds:.1} s", report.output.display());
    for part in &report.parts {
        let room = part
            .room
            .map(|room| format!("of {}", mib(room)))
            .unwrap_or_default();
        println!("  {:<22}{:>12}  {room}", part.name, mib(part.bytes));
    }
    println!("  {:<22}{}", "root hash", report.root_hash);
    println!("  {:<22}{}", "for direct boot", report.direct.display());
    match &report.bundle {
        Some(bundle) => println!("  {:<22}{}", "to update with", bundle.display()),
        None => println!(
            "  {:<22}no bundle; --sign KEY writes one (`orlop-image keygen` makes a key)",
            "to update with"
        ),
    }
}

fn run_inspect(file: PathBuf, against: Option<PathBuf>) -> Result<ExitCode> {
    if bundle::is_bundle(&file) {
        bundle::show(&file, against.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::ensure!(
        against.is_none(),
        "{}: --against is for update bundles, and this is none",
        file.display()
    );
    let found = inspect::inspect(&file)?;
    for (name, extent) in &found.partitions {
        println!(
            "{name:<10}{:>10} MiB at {} MiB",
            extent.len >> 20,
            extent.start >> 20
        );
    }
    for entry in &found.entries {
        println!(
            "\n{}  {} bytes\n  {}",
            entry.name, entry.size, entry.command_line
        );
        for (name, size) in &entry.sections {
            println!("  {name:<10}{size:>12} bytes");
        }
    }
    println!();
    for (slot, content) in &found.slots {
        match content {
            SlotContent::Empty => println!("slot {slot}: empty"),
            SlotContent::Good { root_hash, size } => {
                println!("slot {slot}: good, {size} bytes, root hash {root_hash}");
            }
            SlotContent::Bad(why) => println!("slot {slot}: BAD: {why}"),
        }
    }
    let code = if found.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    if !found.is_good() {
        eprintln!("error: a slot is bad, or a boot entry leads to no good slot");
    }
    Ok(code)
}

/// A line that says what goes on; on anything but a terminal, nothing but notes.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new() -> Bar {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        Bar { bar }
    }
}

impl Progress for Bar {
    fn step(&mut self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| eprintln!("note: {text}"));
    }
}
