//! Host TOMLs: what they say, what is refused and where, and one laid over another.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers are tests"
)]

use orlop_unit::{Addressing, Authority, Diagnostic, Host};

const HEAD: &str = "name = \"demo\"\nversion = \"1.0.0\"\n";

fn host(rest: &str) -> Host {
    match Host::parse("host.toml", &format!("{HEAD}{rest}")) {
        Ok(host) => host.value,
        Err(found) => panic!("{found:#?}"),
    }
}

fn lines(found: &[Diagnostic]) -> String {
    let lines = found
        .iter()
        .map(|d| d.to_string().replace("host.toml:", ""));
    lines.collect::<Vec<_>>().join("\n")
}

/// The errors of a host TOML whose `rest` begins on line 3.
fn errors(rest: &str) -> String {
    match Host::parse("host.toml", &format!("{HEAD}{rest}")) {
        Ok(_) => panic!("accepted:\n{rest}"),
        Err(found) => lines(&found),
    }
}

#[test]
fn defaults() {
    let host = host("");
    assert_eq!(host.hostname(), "demo");
    assert_eq!(host.kernel.package, "linux-image-cloud-amd64");
    assert_eq!(host.disk.esp.to_string(), "512M");
    assert_eq!(host.network.uplink.addressing, Addressing::Dhcp);
    assert_eq!(host.network.bridge.subnet.to_string(), "10.89.0.0/16");
    assert_eq!(host.api.address(), None);
    assert!(host.console.screen);
    assert_eq!(host.update.settle.as_secs(), 10);
    assert_eq!(host.update.deadline.as_secs(), 300);
}

/// Values from line 3 on, and what is said of them.
const REFUSED: &[(&str, &str)] = &[
    (
        "[kernel]\npakage = \"x\"",
        "4:1: unknown key \"pakage\" in [kernel] (did you mean `package`?)",
    ),
    (
        "[kernel]\npackage = \"nginx\"",
        "4:11: package = \"nginx\": expected a Debian package with a kernel \
             (\"linux-image-cloud-amd64\" for virtual machines, \"linux-image-amd64\" for metal)",
    ),
    (
        "[kernel]\nmodules = [\"virtio_net.ko\"]",
        "4:12: modules[0] = \"virtio_net.ko\": expected a module's name, without its directory \
             and .ko (for example \"i6300esb\")",
    ),
    (
        "[kernel]\ncommand-line = \"quiet orlop.root=00\"",
        "4:16: command-line = \"quiet orlop.root=00\": `orlop.root` is set by the image itself",
    ),
    (
        "[disk]\nesp = \"1M\"",
        "4:7: esp = \"1M\": expected a size from 64M to 4G",
    ),
    (
        "[disk]\nesp = \"64M\"\nstate = \"159M\"",
        "5:9: state = \"159M\": expected a size from 160M to 16T",
    ),
    (
        "[disk]\nroot = 104857601",
        "4:8: root = 104857601: partitions begin and end on whole MiB (write \"101M\")",
    ),
    (
        "[image]\nunits = [\"web\"]",
        "4:10: units[0] = \"web\": \"web\" does not end in .toml, as unit files do",
    ),
    (
        "[image]\ncontainers = [{ reference = \"a\" }]",
        "4:15: [image.containers[0]] has no `source` (add source = \"demo-oci.tar\")",
    ),
    (
        "[network.uplink]\naddress = \"192.0.2.10\"",
        "4:11: address = \"192.0.2.10\": \"192.0.2.10\" is not an IPv4 address with its prefix \
             (for example \"192.0.2.10/24\")",
    ),
    (
        "[network.uplink]\naddress = \"192.0.2.0/24\"",
        "4:11: address = \"192.0.2.0/24\": \"192.0.2.0/24\" is not an address that a host can \
             have (for example \"192.0.2.10/24\")",
    ),
    (
        "[network.uplink]\naddress = \"192.0.2.10/24\"\ngateway = \"198.51.100.1\"",
        "5:11: gateway = \"198.51.100.1\": not another address within the uplink's network \
             192.0.2.10/24",
    ),
    (
        "[network.uplink]\ngateway = \"192.0.2.1\"",
        "4:11: gateway = \"192.0.2.1\": with DHCP the gateway comes from the server \
             (remove it, or add address = \"192.0.2.10/24\")",
    ),
    (
        "[network.uplink]\ndhcp = true\naddress = \"192.0.2.10/24\"",
        "4:8: dhcp = true: an address that is written too would not be used \
             (remove `dhcp` or `address`)",
    ),
    (
        "[network.uplink]\ndhcp = false",
        "4:8: dhcp = false: without DHCP the uplink needs an address \
             (add address = \"192.0.2.10/24\")",
    ),
    (
        "[network.uplink]\naddress = \"10.89.1.1/24\"",
        "3:2: the uplink's network 10.89.1.1/24 overlaps the bridge's 10.89.0.0/16 \
             (give [network.bridge] subnet another range)",
    ),
    (
        "[network.bridge]\nsubnet = \"10.89.0.1/16\"",
        "4:10: subnet = \"10.89.0.1/16\": the address is not the network's first \
             (write \"10.89.0.0/16\")",
    ),
    (
        "[network.bridge]\nsubnet = \"10.0.0.0/30\"",
        "4:10: subnet = \"10.0.0.0/30\": prefix 30 is out of range 8-28",
    ),
    (
        "[api]\nlisten = \"7470\"",
        "4:10: listen = \"7470\": expected ADDRESS:PORT, or \"none\" \
             (for example \"0.0.0.0:7470\" for every address)",
    ),
    (
        "[api]\nlisten = \"[::]:7470\"",
        "4:10: listen = \"[::]:7470\": a host has no IPv6 address to listen on \
             (\"0.0.0.0:7470\" is every address that it has)",
    ),
    (
        "[api]\nlisten = \"0.0.0.0:0\"",
        "4:10: listen = \"0.0.0.0:0\": port 0 is out of range 1-65535",
    ),
    (
        "[update]\nkeys = [\n  \"ed25519:12\"]",
        "5:3: keys[0] = \"ed25519:12\": expected 64 hexadecimal digits after \"ed25519:\", found \
             2 characters (as `orlop-image keygen FILE` prints it)",
    ),
    (
        "[update]\nminimum-version = \"1_0\"",
        "4:19: minimum-version = \"1_0\": expected 1 to 64 letters, digits, `.`, `~`, `^` and `-` \
             (for example \"1.0.0\"; `_` and `+` separate the parts of a boot entry's name)",
    ),
    (
        "[update]\nserver = \"https://example\"",
        "4:1: unknown key \"server\" in [update] (known here: apply, ca, check, deadline, keys, \
             minimum-version, settle, url)",
    ),
    (
        "[update]\nurl = \"ftp://example\"",
        "4:7: url = \"ftp://example\": expected a URL of at most 2048 characters \
             (for example \"https://updates.example/edge\")",
    ),
    (
        "[update]\napply = \"atuo\"",
        "4:9: apply = \"atuo\": \"atuo\" is not one of \"auto\", \"download\", \"never\" \
             (did you mean \"auto\"?)",
    ),
    (
        "[console]\nscreen = 1",
        "4:10: screen = 1: expected true or false, found an integer",
    ),
    (
        "[update]\nsettle = 10",
        "4:10: settle = 10: expected a time with its unit, found an integer \
             (write \"10s\" for seconds)",
    ),
    (
        "[update]\ndeadline = \"2d\"",
        "4:12: deadline = \"2d\": expected a time from 1s to 1d",
    ),
    (
        "[update]\nsettle = \"5m\"",
        "3:1: no trial could pass: settle 5m, deadline 5m (give `deadline` more than `settle`)",
    ),
];

#[test]
fn refused() {
    for (rest, expected) in REFUSED {
        assert_eq!(errors(rest), *expected, "\n{rest}");
    }
    let found = Host::parse("host.toml", "name = \"My Host\"\nversion = \"1_0+2\"\n").unwrap_err();
    assert_eq!(found.len(), 2, "{}", lines(&found));
    let found = Host::parse("host.toml", "[api]\n").unwrap_err();
    assert_eq!(
        lines(&found),
        "1:1: the file has no `name` (add name = \"demo\")\n\
         1:1: the file has no `version` (add version = \"1.0.0\")",
    );
}

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

#[test]
fn certificates() {
    let ca = |value: &str| host(&format!("[api]\nclient-ca = {value}")).api.client_ca;
    assert_eq!(
        ca("\"pki/ca.crt\""),
        Some(Authority::File("pki/ca.crt".to_owned()))
    );
    assert_eq!(
        ca(&format!("'''\n{PEM}'''")),
        Some(Authority::Pem(PEM.to_owned()))
    );
    // As `openssl ca` and people write them.
    let talkative = format!("Certificate:\n    Data:\n{PEM}\n# the old one\n{PEM}bye\n");
    assert_eq!(
        ca(&format!("'''\n{talkative}'''")),
        Some(Authority::Pem(format!("{PEM}{PEM}")))
    );
    let key = PEM.replace("CERTIFICATE", "PRIVATE KEY");
    let whole = "expected one or more whole PEM certificates";
    let no_key = "expected PEM certificates, found a private key";
    for (wrong, expected) in [
        (format!("{PEM}{key}{PEM}"), no_key),
        (PEM.replace("CERTIFICATE", "EC PRIVATE KEY"), no_key),
        (key, no_key),
        (PEM.replace("-----END CERTIFICATE-----", ""), whole),
        (PEM.replace("\n-----END CERTIFICATE-----", PEM), whole),
        (PEM.replace("MIIB", "M?IB"), whole),
        (PEM.replace("CERTIFICATE", "PUBLIC KEY"), whole),
    ] {
        let found = errors(&format!("[api]\nclient-ca = '''{wrong}'''"));
        assert!(found.contains(expected), "{wrong}: {found}");
    }
}

#[test]
fn runtime_text_is_whole() {
    let mut host = host(
        "[network]\nhostname = \"h\"\n[network.uplink]\ninterface = \"en*\"\n\
         address = \"192.0.2.10/24\"\ngateway = \"192.0.2.1\"\ndns = [\"192.0.2.53\", \"::1\"]\n\
         [api]\nlisten = \"0.0.0.0:7470\"\nclient-ca = \"ca.crt\"\n[console]\nscreen = false\n\
         [update]\nkeys = [\"ed25519:000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f\"]\n\
         settle = \"500ms\"\ndeadline = \"1m30s\"\nurl = \"http://updates.example/\"\n\
         check = \"5m\"\napply = \"download\"\n",
    );
    host.api.client_ca = Some(Authority::Pem(PEM.to_owned()));
    host.update.ca = Some(Authority::Pem(PEM.to_owned()));
    let again = Host::parse("host.toml", &host.runtime_toml())
        .unwrap()
        .value;
    assert_eq!(again, host);
}

#[test]
fn overlays_go_key_by_key() {
    let base = host(
        "[network.uplink]\naddress = \"192.0.2.10/24\"\ngateway = \"192.0.2.1\"\n\
         dns = [\"192.0.2.53\"]\n[api]\nlisten = \"0.0.0.0:7470\"\nclient-ca = \"ca.crt\"",
    );
    let over = |text: &str| base.overlay("over.toml", text.as_bytes()).unwrap().value;
    let moved = over("[network.uplink]\naddress = \"192.0.2.11/24\"");
    let gateway = Some("192.0.2.1".parse().unwrap());
    let address = "192.0.2.11/24".parse().unwrap();
    assert_eq!(
        moved.network.uplink.addressing,
        Addressing::Static { address, gateway }
    );
    assert_eq!(moved.network.uplink.dns, base.network.uplink.dns);
    assert_eq!(moved.api, base.api);
    let elsewhere = over("[network.uplink]\naddress = \"198.51.100.7/24\"");
    let address = "198.51.100.7/24".parse().unwrap();
    let expected = Addressing::Static {
        address,
        gateway: None,
    };
    assert_eq!(elsewhere.network.uplink.addressing, expected);
    let dhcp = over("[network.uplink]\ndhcp = true");
    assert_eq!(dhcp.network.uplink.addressing, Addressing::Dhcp);
    assert_eq!(over("[api]\nlisten = \"none\"").api.address(), None);
    assert_eq!(over("[network]\nhostname = \"other\"").hostname(), "other");
    let patient = over("[update]\ndeadline = \"1h\"").update;
    assert_eq!(patient.deadline.as_secs(), 3600);
    assert_eq!(patient.settle, base.update.settle);
    let with = host("[update]\nurl = \"https://updates.example/edge\"");
    let closed = with.overlay("over.toml", b"[update]\nurl = \"\"").unwrap();
    assert_eq!(closed.value.update.url, None);
}

#[test]
fn an_authority_opens_the_api_unless_it_is_closed() {
    let of = |api: &str| host(&format!("[api]\n{api}")).api.address();
    let everywhere = "0.0.0.0:7470".parse().ok();
    assert_eq!(of("client-ca = \"ca.crt\""), everywhere);
    assert_eq!(of("client-ca = \"ca.crt\"\nlisten = \"none\""), None);
    let elsewhere = "192.0.2.1:7471";
    let there = of(&format!("client-ca = \"ca.crt\"\nlisten = \"{elsewhere}\""));
    assert_eq!(there, elsewhere.parse().ok());
}

#[test]
fn overlays_refuse_what_only_the_builder_reads() {
    let found = host("").overlay(
        "host.toml",
        b"version = \"2\"\n[kernel]\nmodules = []\n[api]\nx = 1\n[update]\nkeys = []",
    );
    assert_eq!(
        lines(&found.unwrap_err()),
        "1:1: `version` is fixed when the image is built \
         (change it in the host TOML and build a new image)\n\
         2:2: `kernel` is fixed when the image is built \
         (change it in the host TOML and build a new image)\n\
         5:1: unknown key \"x\" in [api] (known here: client-ca, listen)\n\
         7:1: `keys` is fixed when the image is built \
         (change it in the host TOML and build a new image)",
    );
}

#[test]
fn callers_can_point_at_a_value() {
    let text = format!("{HEAD}[image]\nunits = [\n  \"a.toml\",\n  \"b.toml\",\n]\n");
    let host = Host::parse("host.toml", &text).unwrap();
    let missing = host.diagnostic("image.units[1]", "no such file", None);
    assert_eq!(missing.to_string(), "host.toml:6:3: no such file");
    assert!(missing.render(Some(&text), false).contains("^^^^^^^^"));
    assert_eq!(
        host.diagnostic("disk.esp", "too small", None).to_string(),
        "host.toml:1:1: too small"
    );
}
