//! `orlop versions`.

use super::failure::Outcome;
use super::output::{Format, show};
use super::table::table;
use crate::client::Client;
use crate::types::InstalledVersion;

pub(super) async fn run(client: &Client, format: Format) -> Outcome {
    show(format, &client.versions().await?, |all| text(all))
}

fn text(versions: &[InstalledVersion]) -> String {
    let state = |version: &InstalledVersion| {
        let word = version.state.as_str();
        let running = if version.running { "running, " } else { "" };
        match version.tries_left {
            Some(1) => format!("{running}{word}, 1 try left"),
            Some(tries) => format!("{running}{word}, {tries} tries left"),
            None => format!("{running}{word}"),
        }
    };
    let row = |version: &InstalledVersion| {
        vec![
            version.serial.to_string(),
            version.version.clone(),
            version.slot.clone().unwrap_or_else(|| "-".to_owned()),
            state(version),
        ]
    };
    table(
        &["INSTALLATION", "VERSION", "SLOT", "STATE"],
        versions.iter().map(row).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::VersionState;

    #[test]
    fn table_of_versions() {
        let version = |serial, state, running, tries_left| InstalledVersion {
            serial,
            version: format!("{serial}.0.0"),
            slot: Some("a".to_owned()),
            running,
            state,
            tries_left,
            file: String::new(),
        };
        let mut broken = version(4, VersionState::Broken, false, None);
        broken.slot = None;
        let all = [
            broken,
            version(3, VersionState::Trial, true, Some(1)),
            version(2, VersionState::Failed, false, None),
            version(1, VersionState::Good, false, None),
        ];
        let expected = "\
INSTALLATION   VERSION   SLOT   STATE
4              4.0.0     -      broken
3              3.0.0     a      running, on trial, 1 try left
2              2.0.0     a      failed
1              1.0.0     a      good
";
        assert_eq!(text(&all), expected);
    }
}
