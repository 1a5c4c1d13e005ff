//! The host's own `resolv.conf`.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use super::super::addresses::write_beside;
use super::super::error::{NetError, Result};

/// Resolvers read no more name servers than this (resolv.conf(5), MAXNS).
const SERVERS_MAX: usize = 3;

/// The file's text.
pub(super) fn render(dns: &[IpAddr]) -> String {
    let mut text = String::from("# By orlop-manager, from the uplinks.\n");
    for server in dns.iter().take(SERVERS_MAX) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    text
}

/// The servers that the file names; none without one.
pub(super) fn read(path: &Path) -> Vec<IpAddr> {
    parse(&std::fs::read_to_string(path).unwrap_or_default())
}

fn parse(text: &str) -> Vec<IpAddr> {
    let servers = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver ")?.trim().parse().ok());
    servers.take(SERVERS_MAX).collect()
}

/// Replaces the file as a whole.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    write_beside(path, text.as_bytes()).map_err(|source| NetError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_three_servers() {
        let servers: Vec<IpAddr> = (1..=4).map(|n| IpAddr::from([192, 0, 2, n])).collect();
        let text = render(&servers);
        assert!(
            text.ends_with("nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n")
        );
        assert_eq!(render(&[]).lines().count(), 1);
        assert_eq!(parse(&text), servers[..3]);
        assert_eq!(parse("nameserver x\n\nsearch y\n"), [] as [IpAddr; 0]);
    }
}
