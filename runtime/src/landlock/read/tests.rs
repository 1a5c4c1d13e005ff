//! What annotations come to, and what is said of wrong ones.

use super::*;
use serde_json::json;

fn ruleset(text: &Value) -> Ruleset {
    match asked(&text.to_string()).unwrap() {
        Asked::Given(ruleset) => ruleset,
        Asked::Default => panic!("{text} is not the default"),
    }
}

fn refusal(text: &str) -> String {
    format!("{:#}", asked(text).unwrap_err())
}

#[test]
fn all_that_can_be_said() {
    let got = ruleset(&json!({
        "ruleset": {
            "handledAccessFS": ["execute", "read_file", "execute"],
            "handledAccessNet": ["bind_tcp", "connect_tcp"],
            "scoped": ["signal"],
        },
        "rules": {
            "pathBeneath": [
                {"allowedAccess": ["read_file"], "paths": ["/a", "/b"]},
                {"allowedAccess": ["execute", "read_file"], "paths": ["/"]},
            ],
            "netPort": [{"allowedAccess": ["connect_tcp"], "ports": [0, 65535]}],
        },
        "disableBestEffort": true,
    }));
    let beneath = |allowed, path: &str, place: &str| Beneath {
        allowed,
        path: path.into(),
        place: place.into(),
    };
    let port = |port| Port { allowed: 2, port };
    let (first, second) = ("rules.pathBeneath[0].paths", "rules.pathBeneath[1].paths");
    let expected = Ruleset {
        handled: Handled {
            files: 0b101,
            ports: 0b11,
            scopes: 0b10,
        },
        beneath: vec![
            beneath(0b100, "/a", first),
            beneath(0b100, "/b", first),
            beneath(0b101, "/", second),
        ],
        ports: vec![port(0), port(65535)],
        best_effort: false,
    };
    assert_eq!(got, expected);
}

#[test]
fn what_may_be_left_out() {
    assert_eq!(asked("default").unwrap(), Asked::Default);
    let plain = ruleset(&json!({"ruleset": {"scoped": ["signal"]}}));
    assert!(plain.best_effort && plain.beneath.is_empty() && plain.ports.is_empty());
    // As programs write what they have nothing for.
    let nulls = json!({
        "ruleset": {"handledAccessFS": null, "scoped": ["signal"]},
        "rules": {"pathBeneath": null}, "disableBestEffort": false,
    });
    assert_eq!(ruleset(&nulls), plain);
    let file = json!({"handledAccessFS": ["read_file"]});
    assert!(
        ruleset(&json!({"ruleset": file, "rules": null}))
            .beneath
            .is_empty()
    );
}

#[test]
fn what_no_ruleset_is() {
    let key = "annotation org.orlop.landlock: ";
    for (text, expected) in [
        ("", "expected \"default\""),
        (
            "defualt",
            "ruleset, rules and disableBestEffort, not \"defualt\"",
        ),
        ("[]", "expected \"default\""),
        ("{", "not JSON"),
        ("{} {}", "not JSON"),
        ("{}", "ruleset: restricts nothing"),
        (r#"{"ruleset": []}"#, "ruleset: expected an object, not []"),
        (
            r#"{"rulset": {}}"#,
            "\"rulset\" is not known; did you mean \"ruleset\"?",
        ),
        (r#"{"Ruleset": {}}"#, "did you mean \"ruleset\"?"),
        (
            r#"{"a": {}}"#,
            "\"a\" is not known; give one of ruleset, rules, disableBest",
        ),
        (
            r#"{"ruleset": {"scoped": ["signal"]}, "disableBestEffort": "yes"}"#,
            "disableBestEffort: expected true or false, not \"yes\"",
        ),
    ] {
        let said = refusal(text);
        assert!(
            said.starts_with(key) && said.contains(expected),
            "{text}: {said}"
        );
    }
}

#[test]
fn what_no_right_is() {
    for (handled, expected) in [
        (
            json!("x"),
            "ruleset.handledAccessFS: expected a list, not \"x\"",
        ),
        (
            json!([1]),
            "ruleset.handledAccessFS: expected strings, not 1",
        ),
        (
            json!(["read_fil"]),
            "ruleset.handledAccessFS: \"read_fil\" is not known; did you mean \"read_file\"?",
        ),
        (
            json!(["LANDLOCK_ACCESS_FS_IOCTL_DEV"]),
            "did you mean \"ioctl_dev\"?",
        ),
        // Of another list.
        (
            json!(["bind_tcp"]),
            "\"bind_tcp\" is not known; give one of execute, write_file",
        ),
    ] {
        let text = json!({"ruleset": {"handledAccessFS": handled}}).to_string();
        let said = refusal(&text);
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn what_no_rule_is() {
    let beneath = |rule: Value| json!({"pathBeneath": [rule]});
    let allowed = |right: &str, path: &str| json!({"pathBeneath": [{"allowedAccess": [right], "paths": [path]}]});
    let port = |port: Value| {
        let rule = json!({"allowedAccess": ["bind_tcp"], "ports": [port]});
        json!({"netPort": [rule]})
    };
    let numbers = "rules.netPort[0].ports: expected numbers from 0 to 65535";
    for (rules, expected) in [
        (json!([]), "rules: expected an object"),
        (
            json!({"pathsBeneath": []}),
            "rules: \"pathsBeneath\" is not known; did you mean",
        ),
        (
            beneath(json!(1)),
            "rules.pathBeneath[0]: expected an object",
        ),
        (
            beneath(json!({"paths": ["/"]})),
            "rules.pathBeneath[0].allowedAccess: is empty",
        ),
        (
            beneath(json!({"allowedAccess": ["read_file"]})),
            "rules.pathBeneath[0].paths: is empty",
        ),
        (
            allowed("read_file", "usr"),
            "rules.pathBeneath[0].paths: expected absolute paths, not \"usr\"",
        ),
        (allowed("read_file", "/a\u{0}"), "expected absolute paths"),
        (allowed("execute", "/"), "execute is denied nowhere"),
        (
            json!({"netPort": [{"allowedAccess": ["connect_tcp"], "ports": [1]}]}),
            "or name it in ruleset.handledAccessNet too",
        ),
        (port(json!(65536)), numbers),
        (port(json!(-1)), numbers),
        (port(json!("1")), numbers),
        (port(json!(1.5)), numbers),
    ] {
        let handled = json!({"handledAccessFS": ["read_file"], "handledAccessNet": ["bind_tcp"]});
        let text = json!({"ruleset": handled, "rules": rules}).to_string();
        let said = refusal(&text);
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn near_words() {
    let known = ["read_file", "read_dir", "refer"];
    for (word, near) in [
        ("READ_FILE", Some("read_file")),
        ("LANDLOCK_ACCESS_FS_READ_DIR", Some("read_dir")),
        ("LANDLOCK_SCOPE_REFER", Some("refer")),
        ("reffer", Some("refer")),
        ("write", None),
        ("", None),
        ("x", None),
    ] {
        assert_eq!(nearest(word, &known), near, "{word}");
    }
    assert_eq!(nearest(&"refer".repeat(1000), &known), None);
}
