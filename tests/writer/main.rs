//! A container's only process in the crash test: writes numbered lines, then
//! ends with a code that its life's number decides.
//!
//! `writer FOLDER LINES WIDTH BURST PAUSE`: FOLDER is a volume where `life`
//! numbers the lives; each life writes LINES lines of WIDTH bytes, BURST at a
//! time with PAUSE milliseconds between. Even lines go to standard output, odd
//! ones to standard error, and at last a line to each says how many there were
//! and how long it took to write them. A file `end` in FOLDER ends the life early.

use std::io::{Error, Result, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What the command line says.
struct Orders {
    folder: PathBuf,
    lines: u64,
    width: usize,
    burst: u64,
    pause: Duration,
}

fn main() -> ExitCode {
    match orders().and_then(|orders| live(&orders)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("writer: {error}");
            ExitCode::from(250)
        }
    }
}

fn orders() -> Result<Orders> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, numbers @ ..] = words.as_slice() else {
        return Err(Error::other("no folder"));
    };
    let numbers: Vec<u64> = numbers
        .iter()
        .map(|word| word.parse().map_err(Error::other))
        .collect::<Result<_>>()?;
    let [lines, width, burst, pause] = numbers[..] else {
        return Err(Error::other("expected FOLDER LINES WIDTH BURST PAUSE"));
    };
    Ok(Orders {
        folder: folder.into(),
        lines,
        width: usize::try_from(width).map_err(Error::other)?,
        burst,
        pause: Duration::from_millis(pause),
    })
}

fn live(orders: &Orders) -> Result<u8> {
    let life = next_life(orders)?;
    let began = Instant::now();
    let mut outputs: [(Box<dyn Write>, Vec<u8>); 2] = [
        (Box::new(std::io::stdout().lock()), Vec::new()),
        (Box::new(std::io::stderr().lock()), Vec::new()),
    ];
    let mut number = 0;
    while number < orders.lines && std::fs::remove_file(orders.folder.join("end")).is_err() {
        let next = orders.lines.min(number + orders.burst);
        for line in number..next {
            let (_, text) = &mut outputs[usize::from(line % 2 == 1)];
            let start = text.len();
            write!(text, "life {life:06} line {line:08} ")?;
            text.resize((start + orders.width).saturating_sub(1), b'x');
            text.push(b'\n');
        }
        for (output, text) in &mut outputs {
            output.write_all(text)?;
            output.flush()?;
            text.clear();
        }
        number = next;
        std::thread::sleep(orders.pause);
    }
    let took = began.elapsed().as_micros();
    for (output, _) in &mut outputs {
        writeln!(output, "life {life:06} end {number:08} {took}")?;
        output.flush()?;
    }
    Ok(u8::try_from(life % 200).unwrap_or(0))
}

/// Takes the next number and leaves the one after it.
fn next_life(orders: &Orders) -> Result<u64> {
    let counter = orders.folder.join("life");
    let life = match std::fs::read_to_string(&counter) {
        Ok(text) => text.parse().map_err(Error::other)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    std::fs::write(&counter, (life + 1).to_string())?;
    Ok(life)
}
