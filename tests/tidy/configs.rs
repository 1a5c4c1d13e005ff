//! Every example config parses: host TOMLs at the top of `configs/` or named
//! `host.toml`, unit files elsewhere.

use orlop_unit::{Host, Unit};

use crate::{files, none, repository};

#[test]
fn every_example_parses() {
    let configs = repository().join("configs");
    let mut complaints = Vec::new();
    let mut seen = 0;
    for path in files(&configs, ".toml") {
        seen += 1;
        let text = std::fs::read_to_string(&path).expect("a config");
        let place = path
            .strip_prefix(repository())
            .expect("below")
            .to_string_lossy()
            .into_owned();
        let of_host = path.parent() == Some(configs.as_path()) || path.ends_with("host.toml");
        let findings = if of_host {
            Host::parse(&place, &text).err()
        } else {
            Unit::parse(&place, &text).err()
        };
        complaints.extend(
            findings
                .into_iter()
                .flatten()
                .map(|finding| finding.to_string()),
        );
    }
    assert!(seen > 3, "no examples found");
    none(&complaints);
}
