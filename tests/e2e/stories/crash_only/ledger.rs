//! What the writers wrote, and what the tormentor did, by their own accounts.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

use super::Writer;

/// One life of a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// Its lines on both streams.
    pub(super) lines: u64,
    /// What they took, in microseconds.
    pub(super) took_us: u64,
}

/// The lives in the text of one stream, in which each line must be exactly
/// once and in order. Even lines are in one stream, odd ones in the other:
/// `parity` says which.
pub(super) fn lives(writer: &Writer, text: &str, parity: u64) -> Result<Vec<Life>> {
    let mut lives = Vec::new();
    let mut next = parity;
    for line in text.lines() {
        let at = || {
            let begin: String = line.chars().take(60).collect();
            format!("life {}: {begin:?}, expected line {next}", lives.len())
        };
        let (life, word, number, rest) =
            parse(line).with_context(|| format!("a torn line, {}", at()))?;
        ensure!(life == lives.len() as u64, "{}", at());
        if word == "line" {
            let whole = line.len() + 1 == writer.width && rest.bytes().all(|byte| byte == b'x');
            ensure!(number == next && whole, "{}", at());
            next += 2;
        } else {
            // The lines below `number` with this parity have all been there.
            ensure!(word == "end" && number <= writer.lines, "{}", at());
            ensure!(next == number + (number + parity) % 2, "{}", at());
            let took_us = rest.parse().with_context(at)?;
            lives.push(Life {
                lines: number,
                took_us,
            });
            next = parity;
        }
    }
    ensure!(next == parity, "life {} has no end", lives.len());
    Ok(lives)
}

/// `life LIFE WORD NUMBER REST`
fn parse(line: &str) -> Option<(u64, &str, u64, &str)> {
    let mut words = line.strip_prefix("life ")?.splitn(4, ' ');
    let life = words.next()?.parse().ok()?;
    let word = words.next()?;
    Some((life, word, words.next()?.parse().ok()?, words.next()?))
}

/// What the tormentor put on the console.
#[derive(Debug)]
pub(super) struct Torment {
    /// The kills of each kind: how long after what they were to meet, in
    /// microseconds, rising.
    pub(super) kills: BTreeMap<String, Vec<u64>>,
    /// The times without a manager, from a kill to the next one's start, in
    /// milliseconds since 1970.
    pub(super) gaps: Vec<(i64, i64)>,
}

impl Torment {
    pub(super) fn read(console: &str) -> Result<Torment> {
        let mut begins: Vec<i64> = Vec::new();
        let mut falls: Vec<i64> = Vec::new();
        let mut kills: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for said in console.split("chaos: ").skip(1) {
            let said = said.lines().next().unwrap_or_default().trim_end();
            let words: Vec<&str> = said.split(' ').collect();
            match words[..] {
                // One that died by itself would make two begin at one number.
                ["manager", number, "begins", "at", time] => {
                    let told = numbered(begins.len(), number, time);
                    begins.push(told.context(said.to_owned())?);
                }
                ["kill", number, "at", moment, "at", time, "after", late_us] => {
                    let told = numbered(falls.len() + 1, number, time);
                    falls.push(told.context(said.to_owned())?);
                    let late_us = late_us.parse().context(said.to_owned())?;
                    kills.entry(moment.to_owned()).or_default().push(late_us);
                }
                _ => ensure!(words[0] == "rests", "the tormentor said {said:?}"),
            }
        }
        kills.values_mut().for_each(|kind| kind.sort_unstable());
        ensure!(begins.len() == falls.len() + 1, "{begins:?} {falls:?}");
        let gaps = falls.into_iter().zip(begins.into_iter().skip(1)).collect();
        Ok(Torment { kills, gaps })
    }
}

/// The time, if the number is the one that is due.
fn numbered(due: usize, number: &str, time: &str) -> Result<i64> {
    ensure!(usize::from_str(number)? == due, "expected number {due}");
    Ok(time.parse()?)
}
