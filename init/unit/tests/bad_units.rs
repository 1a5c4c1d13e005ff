//! Bad unit files: each case of a table gives exactly these errors, at exactly these places.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers are tests"
)]

use orlop_unit::{MAX_FILE_BYTES, Unit};

/// The errors of a unit file `web.toml`, one a line, without the file's name.
fn errors(text: &str) -> String {
    match Unit::parse("web.toml", text) {
        Ok(unit) => panic!("accepted:\n{text}\n{unit:?}"),
        Err(found) => {
            let lines = found.iter().map(|d| d.to_string().replace("web.toml:", ""));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(errors(text), *expected, "\n{text}");
    }
}

/// A unit with `rest` from line 3 on.
fn container(rest: &str) -> String {
    format!("[container]\nimage = \"a\"\n{rest}")
}

#[test]
fn whole_files() {
    check(&[
        (
            "",
            "1:1: the file is empty (remove it, or fill it: see the examples in configs/)",
        ),
        (
            "# x\n",
            "1:1: the file is empty (remove it, or fill it: see the examples in configs/)",
        ),
        (
            "[unit]\n",
            "1:1: the file has no `container` (add [container] with at least image = \"NAME\")",
        ),
        (
            "container = 5",
            "1:13: container = 5: expected a table, found an integer",
        ),
        (
            "[container]\n",
            "1:1: [container] has no `image` (add image = \"NAME:TAG\")",
        ),
    ]);
    let huge = "#".repeat(10_000_000);
    assert!(errors(&huge).starts_with("1:1: the file is larger than 1 MiB"));
    let fits = format!("{}\n", container("#")) + &"#".repeat(MAX_FILE_BYTES - 40);
    assert!(Unit::parse("web.toml", &fits).is_ok());
    let found = Unit::parse_bytes("web.toml", b"[container]\nimage = \"\xe9\"\n").unwrap_err();
    assert_eq!(
        found[0].to_string(),
        "web.toml:2:10: the file is not UTF-8 text: byte 0xe9 cannot stand here \
         (save it again as UTF-8)",
    );
}

#[test]
fn schemas() {
    assert!(Unit::parse("web.toml", &format!("schema = 1\n{}", container(""))).is_ok());
    check(&[
        // What else is in it may be right there.
        (
            "schema = 2\n[pod]\nimages = [1]\n",
            "1:10: schema = 2: the file is written for a newer version; this one knows schema 1 \
             (update, or write the file as this version's reference says)",
        ),
        (
            "schema = 0\n[pod]\n",
            "1:10: schema = 0: schemas are counted from 1 (say 1)",
        ),
        (
            "schema = \"1\"\n[pod]\n",
            "1:10: schema = \"1\": expected a whole number, found a string",
        ),
        (
            &format!("[unit]\nschema = 1\n{}", container("")),
            "2:1: unknown key \"schema\" in [unit] (`schema` stands at the top, above all tables)",
        ),
    ]);
}

#[test]
fn file_names() {
    for file in ["Web.toml", "my_web.toml", "web.d.toml", ".toml", "1.toml"] {
        let found = Unit::parse(file, &container("")).unwrap_err();
        assert!(
            found[0].message.contains("cannot name a unit"),
            "{}",
            found[0]
        );
    }
}

#[test]
fn keys_that_are_not() {
    let cases = [
        (
            "imgae = \"b\"",
            "3:1: unknown key \"imgae\" in [container] (did you mean `image`?)",
        ),
        (
            "read_only = true",
            "3:1: unknown key \"read_only\" in [container] (did you mean `read-only`?)",
        ),
        (
            "memory = \"1G\"",
            "3:1: unknown key \"memory\" in [container] (`memory` belongs in [resources])",
        ),
        (
            "publish = []",
            "3:1: unknown key \"publish\" in [container] (here that is [container] ports)",
        ),
        (
            "[unit]\ndepends_on = [\"db\"]",
            "4:1: unknown key \"depends_on\" in [unit] (here that is [unit] requires)",
        ),
        (
            "[helth]\n",
            "3:2: unknown key or table \"helth\" (did you mean `health`?)",
        ),
        (
            "[stop]\nfrobnicate = 1",
            "4:1: unknown key \"frobnicate\" in [stop] (known here: signal, timeout)",
        ),
        (
            "[[resources.io]]\ndevice = \"/dev/vda\"\nread-bps = \"1M\"\nspeed = 1",
            "6:1: unknown key \"speed\" in [resources.io[0]] (known here: device, read-bps, \
             read-iops, write-bps, write-iops)",
        ),
    ];
    for (rest, expected) in cases {
        assert_eq!(errors(&container(rest)), expected, "{rest}");
    }
}

/// Values of `[container]`, from line 3 on, and what is said of them.
const CONTAINER: &[(&str, &str)] = &[
    (
        "ports = 80",
        "3:9: ports = 80: expected an array, found an integer",
    ),
    (
        "ports = \"80:80\"",
        "3:9: ports = \"80:80\": expected an array, found a string \
             (write ports = [\"80:80\"])",
    ),
    (
        "ports = [\"70000:80\"]",
        "3:10: ports[0] = \"70000:80\": port 70000 is out of range 1-65535",
    ),
    (
        "ports = [\"80:1\", \"80:2\"]",
        "3:18: ports[1] = \"80:2\": host port 80 is published twice, by \"80:1\" too \
             (give one of them another host port)",
    ),
    (
        "network = \"none\"\nports = [\"80:1\"]",
        "4:9: ports: ports cannot be published with network = \"none\" (remove one of the two)",
    ),
    (
        "network = \"host\"",
        "3:11: network = \"host\": \"host\" is not one of \"default\", \"none\"",
    ),
    (
        "command = \"serve --port 80\"",
        "3:11: command = \"serve --port 80\": expected an array, found a string \
             (write command = [\"serve\", \"--port\", \"80\"])",
    ),
    (
        "command = []",
        "3:11: command: the list is empty (leave the key out instead)",
    ),
    (
        "command = [\"a\\u0000b\"]",
        "3:12: command[0] = \"a\\0b\": a NUL character is not allowed",
    ),
    (
        "environment = { TZ = 1 }",
        "3:22: TZ = 1: expected a string, found an integer (put it in quotes: \"1\")",
    ),
    (
        "environment = [\"TZ=UTC\"]",
        "3:15: environment: expected a table, found an array \
             (write environment = { NAME = \"value\" })",
    ),
    (
        "environment = { \"A=B\" = \"\" }",
        "3:17: \"A=B\" cannot name a variable",
    ),
    (
        "read-only = \"true\"",
        "3:13: read-only = \"true\": expected true or false, found a string \
             (write true without quotes)",
    ),
    (
        "volumes = [\"a:/x\", \"b:/x\"]",
        "3:20: volumes[1] = \"b:/x\": /x has a volume already",
    ),
    (
        "volumes = [\"a:/x\"]\ntmpfs = [\"/x\"]",
        "4:10: tmpfs[0] = \"/x\": /x is mounted already",
    ),
    (
        "cap-add = [\"ALL\"]",
        "3:12: cap-add[0] = \"ALL\": a unit names each capability that it needs \
             (replace \"ALL\" by their names)",
    ),
    (
        "cap-add = [\"NET_ADMN\"]",
        "3:12: cap-add[0] = \"NET_ADMN\": \"NET_ADMN\" is not a capability \
             (did you mean \"NET_ADMIN\"?)",
    ),
    (
        "working-dir = \"srv\"",
        "3:15: working-dir = \"srv\": \"srv\" is not an absolute path \
          without `.` and `..` (write the whole path, beginning with /)",
    ),
    (
        "secrets = [\"../x\"]",
        "3:12: secrets[0] = \"../x\": cannot name a secret: only letters, \
          digits, `.`, `_` and `-` are allowed",
    ),
    (
        "bus = \"root\"",
        "3:7: bus = \"root\": \"root\" is not one of \"reader\", \"operator\", \"admin\"",
    ),
    (
        "ulimits = { nofiles = 1 }",
        "3:13: \"nofiles\" is not one of \"as\", \"core\", \"cpu\", \"data\", \"fsize\", \
             \"locks\", \"memlock\", \"msgqueue\", \"nice\", \"nofile\", \"nproc\", \"rss\", \
             \"rtprio\", \"rttime\", \"sigpending\", \"stack\" (did you mean \"nofile\"?)",
    ),
];

#[test]
fn values_of_the_container() {
    for (rest, expected) in CONTAINER {
        assert_eq!(errors(&container(rest)), *expected, "{rest}");
    }
}

/// Values of the other tables, from line 3 on, and what is said of them.
const OTHERS: &[(&str, &str)] = &[
    (
        "[resources]\nmemory = \"256Q\"",
        "4:10: memory = \"256Q\": expected a number with K, M, G or T (powers of 1024) \
             (for example \"256M\")",
    ),
    (
        "[resources]\nmemory = 256",
        "4:10: memory = 256: no process starts with less than 4M of memory \
             (memory is in bytes when it has no letter: \"256M\")",
    ),
    (
        "[resources]\ncpus = 0",
        "4:8: cpus = 0: cpus 0 is out of range 0.01-1024",
    ),
    (
        "[resources]\ncpus = nan",
        "4:8: cpus = nan: cpus nan is out of range 0.01-1024",
    ),
    (
        "[resources]\ncpus = \"1\"",
        "4:8: cpus = \"1\": expected a number, found a string",
    ),
    (
        "[resources]\npids = -1",
        "4:8: pids = -1: pids -1 is out of range 1-4194304",
    ),
    (
        "[resources]\nio = [{ device = \"/dev/vda\" }]",
        "4:7: no limit is given (add read-bps, write-bps, read-iops, write-iops)",
    ),
    (
        "[health]\ngate = true",
        "3:1: [health] does not say what to ask \
             (add http = \":8000/healthz\", tcp = 8000 or exec = [...])",
    ),
    (
        "[health]\ntcp = 1\nhttp = \":1/\"",
        "3:1: [health] has more than one of exec, http and tcp (keep one)",
    ),
    (
        "[health]\ntcp = 70000",
        "4:7: tcp = 70000: port 70000 is out of range 1-65535",
    ),
    (
        "[health]\nhttp = \"http://localhost/\"",
        "4:8: http = \"http://localhost/\": expected :PORT/PATH, asked of the container's own \
             address (for example \":8000/healthz\")",
    ),
    (
        "[health]\ntcp = 1\ninterval = 5",
        "5:12: interval = 5: expected a time with its unit, found an integer \
             (write \"5s\" for seconds)",
    ),
    (
        "[health]\ntcp = 1\ninterval = \"1ms\"",
        "5:12: interval = \"1ms\": expected a time from 100ms to 1d",
    ),
    (
        "[restart]\npolicy = \"alwys\"",
        "4:10: policy = \"alwys\": \"alwys\" is not one of \"always\", \"on-failure\", \
             \"never\" (did you mean \"always\"?)",
    ),
    (
        "[restart]\nbackoff-min = \"2m\"",
        "4:15: backoff-min = \"2m\": it is longer than backoff-max, 1m",
    ),
    (
        "[stop]\nsignal = \"SIGTREM\"",
        "4:10: signal = \"SIGTREM\": \"SIGTREM\" is not a signal (did you mean \"SIGTERM\"?)",
    ),
    (
        "[logs]\nmax-size = \"1K\"",
        "4:12: max-size = \"1K\": expected a size from 64K to 1T",
    ),
    (
        "[unit]\nrequires = [\"web\"]",
        "4:12: requires: \"web\" is this unit itself (remove it)",
    ),
    (
        "[unit]\nrequires = [\"db\", \"db\"]",
        "4:19: requires[1] = \"db\": stands here twice (remove one)",
    ),
    (
        "[unit]\ndescription = \"a\\u001bb\"",
        "4:15: description = \"a\\u{1b}b\": expected one line of at most 200 characters",
    ),
];

#[test]
fn values_of_the_other_tables() {
    for (rest, expected) in OTHERS {
        assert_eq!(errors(&container(rest)), *expected, "{rest}");
    }
}

#[test]
fn all_errors_of_a_file_come_at_once_and_in_order() {
    let text = "[unit]\nenabled = 1\n\n[container]\nimage = \"A\"\nports = [\"0:1\", \"x\"]\n\
                usr = \"1\"\n\n[resources]\nmemory = \"1Q\"\n";
    let found = Unit::parse("web.toml", text).unwrap_err();
    let places: Vec<(u32, u32)> = found.iter().map(|d| (d.line, d.column)).collect();
    assert_eq!(
        places,
        [(2, 11), (5, 9), (6, 10), (6, 17), (7, 1), (10, 10)]
    );
}

#[test]
fn syntax_errors_hide_only_what_follows() {
    let text = "[container]\nimage = \"a\"\nprots = []\ncommand = [\"x\"\nuser = \"0\"\n";
    let found = errors(text);
    assert!(found.starts_with("3:1: unknown key \"prots\""), "{found}");
    assert!(found.contains("not valid TOML"), "{found}");
    assert!(!found.contains("user"), "{found}");
    assert!(errors("[container]\nimage = \"a\"\nimage = \"b\"\n").contains("3:1: not valid TOML"));
}

#[test]
fn the_number_of_errors_is_bounded() {
    let many: String = (0..5000).map(|n| format!("zzz{n} = 1\n")).collect();
    let found = Unit::parse("web.toml", &container(&many)).unwrap_err();
    assert_eq!(found.len(), 101);
    assert_eq!(found[100].message, "4900 more errors are not shown");
}

#[test]
fn columns_count_characters() {
    let found = errors("[container]\nimage = \"a\"\nenvironment = { \"ÄÖ\" = 1 }\n");
    assert!(
        found.starts_with("3:24: ÄÖ = 1: expected a string"),
        "{found}"
    );
}

#[test]
fn rendered_with_the_line_of_the_file() {
    let text = container("[resources]\nmemory = \"256Q\"\n");
    let found = Unit::parse("web.toml", &text).unwrap_err();
    assert_eq!(
        found[0].render(Some(&text), false),
        "error: memory = \"256Q\": expected a number with K, M, G or T (powers of 1024)\n \
         --> web.toml:4:10\n  |\n4 | memory = \"256Q\"\n  |          ^^^^^^\n  |\n  \
         = help: for example \"256M\"",
    );
    let alone = found[0].render(None, false);
    assert!(
        alone.contains("--> web.toml:4:10") && alone.contains("help"),
        "{alone}"
    );
    assert_eq!(found[0].render(Some("short"), false), alone);
    assert!(found[0].render(Some(&text), true).contains('\u{1b}'));
}
