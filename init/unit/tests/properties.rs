//! Whatever comes in, a parser answers; and what it accepts can be written and read again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers are tests"
)]

use orlop_unit::{Diagnostic, Host, Unit, diagnostic};
use proptest::prelude::*;

/// A unit file with every key there is.
const FULL: &str = r#"
[unit]
description = "Shop front"
enabled = false
requires = ["db", "cache"]
after = ["log"]

[container]
image = "registry.example.com:5000/shop:4"
entrypoint = ["/bin/shop"]
command = ["serve", "--port", "8000", "a \"quoted\" wörd"]
user = "1000:shop"
working-dir = "/srv"
environment = { TZ = "UTC", MOTTO = "a\nb" }
ports = ["80:8000", "127.0.0.1:53:5353/udp"]
volumes = ["shop-data:/data", "/srv/pages:/www:ro"]
tmpfs = ["/run:size=1M,mode=755"]
secrets = ["db-password"]
network = "default"
read-only = true
cap-add = ["NET_ADMIN"]
cap-drop = ["ALL"]
devices = ["/dev/ttyS1:/dev/gps:r"]
hostname = "shop-1"
bus = "operator"
ulimits = { nofile = "1024:4096", core = 0 }

[resources]
memory = "256M"
memory-swap = 0
cpus = 0.5
pids = 200
io = [{ device = "/dev/vda", read-bps = "10M", write-iops = 100 }]

[health]
http = ":8000/healthz?full=1"
interval = "5s"
timeout = "1s"
retries = 2
start-period = "1m30s"
gate = true

[restart]
policy = "on-failure"
backoff-min = "1s"
backoff-max = "5m"

[stop]
signal = "SIGRTMIN+3"
timeout = "0s"

[logs]
max-size = "1M"
"#;

/// Every place lies in the text, and both forms can be made of every error.
fn sound(text: &str, found: &[Diagnostic]) {
    assert!(!found.is_empty());
    for d in found {
        assert!(
            d.line >= 1 && d.line as usize <= text.split('\n').count(),
            "{d}"
        );
        assert!(!d.message.is_empty() && !d.message.contains('\n'), "{d}");
    }
    diagnostic::render_all(found, Some(text), true);
}

fn feed(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(found) = Unit::parse_bytes("web.toml", bytes) {
        sound(&text, &found);
    }
    if let Err(found) = Host::parse_bytes("host.toml", bytes) {
        sound(&text, &found);
    }
}

#[test]
fn every_key_survives_being_written() {
    let unit = Unit::parse("web.toml", FULL).unwrap().value;
    let again = Unit::parse("web", &unit.to_toml()).unwrap().value;
    assert_eq!(again, unit);
}

#[test]
fn every_cut_is_answered() {
    for end in 0..FULL.len() {
        feed(&FULL.as_bytes()[..end]);
    }
}

#[test]
fn deep_nesting_is_answered() {
    for open in ["[", "{a=", "[[a.b]]\nx=["] {
        feed(format!("a = {}", open.repeat(100_000)).as_bytes());
    }
    feed("a.".repeat(400_000).as_bytes());
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        feed(&bytes);
    }

    #[test]
    fn any_tokens(tokens in prop::collection::vec("[\\[\\]{}=.,\"'#\n a-z0-9_-]{1,4}|\\PC", 0..60)) {
        feed(tokens.concat().as_bytes());
    }

    #[test]
    fn a_mutated_unit(at in 0..FULL.len(), cut in 0usize..20, put in prop::collection::vec(any::<u8>(), 0..8)) {
        let mut bytes = FULL.as_bytes().to_vec();
        bytes.splice(at..(at + cut).min(FULL.len()), put);
        feed(&bytes);
    }

    /// A key given any value of any type is read or refused, never a panic.
    #[test]
    fn any_value_for_any_key(line in 0..FULL.lines().count(), value in prop::sample::select(vec![
        "1", "-1", "0", "1e400", "nan", "inf", "true", "\"\"", "\"\\u0000\"", "[]", "{}", "[[]]", "[{}]",
        "1979-05-27", "99999999999999999999", "0xffffffffffffffffff", "'''\n'''", "\"/\"", "\":\"",
    ])) {
        let lines = FULL.lines().enumerate().map(|(n, text)| match text.split_once(" = ") {
            Some((key, _)) if n == line => format!("{key} = {value}"),
            Some(_) | None => text.to_owned(),
        });
        feed(lines.collect::<Vec<_>>().join("\n").as_bytes());
    }

    #[test]
    fn what_is_accepted_can_be_read_again(
        words in prop::collection::vec("\\PC{0,12}", 1..5),
        variable in "[A-Z_]{1,8}", value in any::<String>(),
        memory in 4u64 << 20..1 << 50, cpus in 0.01f64..1024.0, millis in 100u64..86_400_000,
    ) {
        let mut unit = Unit::parse("web.toml", FULL).unwrap().value;
        unit.container.command = Some(words);
        unit.container.environment.insert(variable, value.replace('\0', ""));
        unit.resources.memory = Some(orlop_unit::Bytes(memory));
        unit.resources.cpus = Some(cpus);
        if let Some(health) = &mut unit.health {
            health.interval = std::time::Duration::from_millis(millis);
        }
        let again = Unit::parse("web", &unit.to_toml()).unwrap().value;
        prop_assert_eq!(again, unit);
    }
}

/// Large files, made to be slow: each is answered, and holds no more than its bounds.
#[test]
fn large_files_are_answered_within_bounds() {
    let fill = |head: &str, part: &dyn Fn(usize) -> String, tail: &str| {
        let mut text = head.to_owned();
        let mut n = 0;
        while text.len() < orlop_unit::MAX_FILE_BYTES / 8 {
            text.push_str(&part(n));
            n += 1;
        }
        text + tail
    };
    let key = |n: usize| format!("k{n}=1,");
    let image = "container={image=\"a\",";
    let files = [
        fill("", &|n| format!("k{n}=1\n"), ""),
        fill(image, &key, "}"),
        fill(&format!("{image}environment={{"), &key, "}}"),
        fill(&format!("{image}ulimits={{"), &key, "}}"),
        fill(&format!("{image}ports=["), &|_| "1,".to_owned(), "]}"),
        fill("name=\"", &|_| "ä".to_owned(), "\""),
        fill("", &|_| "=\n".to_owned(), ""),
        fill("", &|_| "[[resources.io]]\n".to_owned(), ""),
    ];
    for text in files {
        feed(text.as_bytes());
        let found = Unit::parse("web.toml", &text).unwrap_err();
        assert!(found.len() <= 101);
    }
}
