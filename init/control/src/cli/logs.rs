//! `orlop logs`.

use std::io::{self, Write};

use jiff::Timestamp;

use super::failure::{Failure, Outcome};
use super::output::{Format, print};
use crate::client::Client;
use crate::types::{LogLine, LogQuery, LogStream};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Go on printing as the unit writes
    #[arg(long, short)]
    follow: bool,
    /// Only the last N lines
    #[arg(long, short = 'n', value_name = "N")]
    tail: Option<u64>,
    /// Only lines from this time on: 2026-11-21T10:00:00Z, or 90s, 5m, 2h, 1d ago
    #[arg(long, value_parser = since)]
    since: Option<Timestamp>,
    /// Print when each line was written
    #[arg(long, short)]
    timestamps: bool,
    /// The unit
    unit: String,
}

pub(super) async fn run(client: &Client, args: &Args, format: Format) -> Outcome {
    let query = LogQuery {
        cursor: None,
        follow: args.follow,
        tail: args.tail,
        stream: None,
        since: args.since,
    };
    let mut lines = client.logs(&args.unit, query).await?;
    while let Some(line) = lines.next().await? {
        match format {
            Format::Json => {
                let json = serde_json::to_string(&line)
                    .map_err(|error| Failure::new(error.to_string()))?;
                print(&format!("{json}\n"))?;
            }
            Format::Table => write(&line, args.timestamps)?,
        }
    }
    Ok(())
}

/// Prints a line to the stream that it was written to.
fn write(line: &LogLine, timestamps: bool) -> Outcome {
    let mut text = String::new();
    if timestamps {
        text.push_str(&format!("{} ", line.time));
    }
    text.push_str(&line.line);
    if !line.partial {
        text.push('\n');
    }
    match line.stream {
        LogStream::Stdout => print(&text),
        LogStream::Stderr => match io::stderr().write_all(text.as_bytes()) {
            Ok(()) => Ok(()),
            Err(error) => Err(Failure::new(format!("cannot print: {error}"))),
        },
    }
}

/// A time, or how long ago it was.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let wrong = || "expected a time such as 2026-11-21T10:00:00Z, or 90s, 5m, 2h, 1d".to_owned();
    let last = text.chars().last().ok_or_else(wrong)?;
    let seconds = match last {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: i64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let ago = count
        .checked_mul(seconds)
        .filter(|ago| *ago >= 0)
        .ok_or_else(wrong)?;
    Timestamp::from_second(Timestamp::now().as_second().saturating_sub(ago)).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_ages() {
        assert!(since("2026-11-21T10:00:00Z").is_ok());
        let age = Timestamp::now().as_second() - since("2h").unwrap().as_second();
        assert!((7199..=7201).contains(&age), "{age}");
        for text in [
            "",
            "h",
            "5",
            "5y",
            "-5m",
            "5é",
            "99999999999999999999d",
            "tomorrow",
        ] {
            assert!(since(text).is_err(), "{text:?}");
        }
    }
}
