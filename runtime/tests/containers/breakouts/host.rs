//! A namespace that is joined by path and turns out to be the host's own: what would be set in
//! it, would be set for the host.

use serde_json::{Value, json};

use crate::support::bench;

use super::without_user_namespace;

#[test]
fn what_is_the_hosts_is_not_set_for_a_container() {
    let Some(mut bench) = bench("hosts") else {
        return;
    };
    without_user_namespace(&mut bench);
    let usual = bench.config.clone();
    // What is there already, so that nothing is harmed when this fails.
    let ttl = std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
    let ours = |config: &mut Value, kind: &str, file: &str| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == kind {
                namespace["path"] = json!(format!("/proc/{}/ns/{file}", std::process::id()));
            }
        }
    };
    ours(&mut bench.config, "network", "net");
    bench.config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": ttl.trim()});
    let (status, said) = bench.run();
    let expected = "the container has no network namespace of its own";
    assert!(status == 1 && said.contains(expected), "{status}: {said}");

    bench.config = usual;
    ours(&mut bench.config, "uts", "uts");
    bench.config["hostname"] = json!(rustix::system::uname().nodename().to_str().unwrap());
    let (status, said) = bench.run();
    let expected = "the uts namespace is the host's own";
    assert!(status == 1 && said.contains(expected), "{status}: {said}");
    bench.assert_nothing_left();
}
