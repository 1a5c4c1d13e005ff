//! What a value should have been: the catalogue of wordings that all messages share.
//!
//! One place for them keeps the voice the same ("expected ..., for example ...") and lets a test
//! read them all. Nothing here knows where in a file the value stood.

use std::fmt;

/// Why a single value was refused, without its place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What is wrong and what was expected, as the second half of a sentence
    /// (`expected a number with K, M, G or T`).
    pub message: String,
    /// How to mend it, where there is one obvious way.
    pub help: Option<String>,
}

impl Expected {
    /// A refusal that says only what was expected.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Expected {}

/// A number outside its range: `port 70000 is out of range 1-65535`.
pub fn out_of_range(
    what: &str,
    value: impl fmt::Display,
    low: impl fmt::Display,
    high: impl fmt::Display,
) -> Expected {
    Expected::new(format!("{what} {value} is out of range {low}-{high}"))
}

/// A size that is not one.
pub fn bytes() -> Expected {
    Expected::new("expected a number with K, M, G or T (powers of 1024)")
        .help("for example \"256M\"")
}

/// A span of time that is not one.
pub fn duration() -> Expected {
    Expected::new("expected a time with its unit: ms, s, m or h")
        .help("for example \"5s\" or \"1m30s\"")
}

/// A port that is not a number.
pub fn port(text: &str) -> Expected {
    Expected::new(format!(
        "{} is not a port; expected a number from 1 to 65535",
        shown(text)
    ))
}

/// A published port in no known form.
pub fn port_map() -> Expected {
    Expected::new("expected HOST:CONTAINER, ADDRESS:HOST:CONTAINER, either with /tcp or /udp")
        .help("for example \"80:8000\" or \"127.0.0.1:53:5353/udp\"")
}

/// A volume in no known form.
pub fn volume() -> Expected {
    Expected::new("expected SOURCE:/TARGET with an optional :ro")
        .help("for example \"data:/var/lib/data\" (a named volume) or \"/etc/orlop/pages:/www:ro\"")
}

/// A path that is not absolute, or that climbs.
pub fn absolute_path(text: &str) -> Expected {
    Expected::new(format!(
        "{} is not an absolute path without `.` and `..`",
        shown(text)
    ))
    .help("write the whole path, beginning with /")
}

/// A word that is not one of a few.
pub fn one_of(text: &str, words: &[&str]) -> Expected {
    let list = words
        .iter()
        .map(|w| format!("\"{w}\""))
        .collect::<Vec<_>>()
        .join(", ");
    let refusal = Expected::new(format!("{} is not one of {list}", shown(text)));
    match crate::suggest::nearest(text, words.iter().copied()) {
        Some(near) => refusal.help(format!("did you mean \"{near}\"?")),
        None => refusal,
    }
}

/// A text as messages show it: quoted, control characters escaped, cut when it is long.
pub fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut out: String = text
        .chars()
        .take(MAX_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        out.push('…');
    }
    format!("\"{out}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wordings() {
        let cases = [
            (
                out_of_range("port", 70000, 1, 65535),
                "port 70000 is out of range 1-65535",
            ),
            (
                bytes(),
                "expected a number with K, M, G or T (powers of 1024) (for example \"256M\")",
            ),
            (
                one_of("alwys", &["always", "never"]),
                "\"alwys\" is not one of \"always\", \"never\" (did you mean \"always\"?)",
            ),
            (one_of("x", &["always"]), "\"x\" is not one of \"always\""),
        ];
        for (refusal, text) in cases {
            assert_eq!(refusal.to_string(), text);
        }
    }

    #[test]
    fn shown_escapes_and_cuts() {
        assert_eq!(shown("a\u{1b}[2J"), "\"a\\u{1b}[2J\"");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), 63);
    }
}
