//! A container's only process in the crash test: writes numbered lines, then
//! ends with a code that its life's number decides.
//!
//! `writer COUNTER LINES BURST`: COUNTER is a file on a volume that numbers the
//! lives; LINES is how many lines of 64 bytes each life writes, BURST at a time,
//! 200 times a second. Even lines go to standard output, odd ones to standard
//! error.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    match live() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("writer: {error}");
            ExitCode::from(250)
        }
    }
}

fn live() -> std::io::Result<u8> {
    let mut arguments = std::env::args().skip(1);
    let counter = arguments.next().unwrap_or_default();
    let lines: u64 = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let burst: u64 = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let life: u64 = std::fs::read_to_string(&counter)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    std::fs::write(&counter, (life + 1).to_string())?;
    let (mut output, mut errors) = (std::io::stdout().lock(), std::io::stderr().lock());
    let mut number = 0;
    while number < lines {
        let (mut even, mut odd) = (Vec::new(), Vec::new());
        for line in number..lines.min(number + burst) {
            let stream = if line % 2 == 0 { &mut even } else { &mut odd };
            writeln!(stream, "life {life:06} line {line:08} {}", "x".repeat(35))?;
        }
        output.write_all(&even)?;
        output.flush()?;
        errors.write_all(&odd)?;
        number += burst;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(u8::try_from(life % 200).unwrap_or(0))
}
