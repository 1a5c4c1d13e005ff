//! `orlop-image oci` seen from outside: by this project's reader, and by
//! skopeo and umoci where they are installed.
#![allow(missing_docs, reason = "a test")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::Parser;
use orlop_image::oci::{OciArgs, run};
use orlop_images::source::Source;
use orlop_images::tree::{Kind, Tree};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    oci: OciArgs,
}

fn oci(dir: &Path, words: &[&str]) -> anyhow::Result<()> {
    let dir = dir.display().to_string();
    let words = words.iter().map(|word| word.replace("DIR", &dir));
    let cli = Cli::try_parse_from(std::iter::once("oci".to_owned()).chain(words))?;
    run(&cli.oci)
}

fn inputs(dir: &Path) {
    fs::create_dir_all(dir.join("www/sub")).unwrap();
    fs::write(dir.join("www/index.html"), "<p>hello").unwrap();
    fs::write(dir.join("www/sub/big"), vec![7; 200_000]).unwrap();
    std::os::unix::fs::symlink("index.html", dir.join("www/link")).unwrap();
    fs::write(dir.join("run"), "#!/bin/sh\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.join("run"), mode).unwrap();
}

const ARGS: &[&str] = &[
    "--reference=localhost/demo:1",
    "--file=DIR/www:/srv/www",
    "--file=DIR/run:/bin/",
    "--file=DIR/run:/bin/su:4755",
    "--entrypoint=/bin/run",
    "--cmd=-x",
    "--cmd=two words",
    "--env=PATH=/bin",
    "--env=A=b=c",
    "--user=1000:1000",
    "--label=b=2",
    "--label=a=1",
    "--label=c=3",
    "--workdir=/srv",
    "--expose=80",
    "--expose=53/udp",
    "--stop-signal=SIGINT",
];

fn file<'a>(tree: &'a Tree, path: &str) -> &'a orlop_images::tree::Node {
    tree.node(
        tree.lookup(path.as_bytes())
            .unwrap_or_else(|| panic!("no {path}")),
    )
}

#[test]
fn what_the_arguments_say_is_what_a_reader_finds() {
    let dir = tempfile::tempdir().unwrap();
    inputs(dir.path());
    for compression in ["none", "gzip", "zstd"] {
        for output in ["demo.tar", "demo"] {
            let output = format!("{compression}-{output}");
            let flags = [
                format!("--output=DIR/{output}"),
                format!("--compression={compression}"),
            ];
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            oci(dir.path(), &[ARGS, &flags].concat()).unwrap();
            let image = Source::open(&dir.path().join(output))
                .unwrap()
                .load(None)
                .unwrap();
            assert_eq!(image.reference, "localhost/demo:1");
            assert_eq!(
                image.config.created().as_deref(),
                Some("1970-01-01T00:00:00Z")
            );
            let config = image.config.config().clone().unwrap();
            assert_eq!(config.entrypoint().clone().unwrap(), ["/bin/run"]);
            assert_eq!(config.cmd().clone().unwrap(), ["-x", "two words"]);
            assert_eq!(config.env().clone().unwrap(), ["PATH=/bin", "A=b=c"]);
            assert_eq!(config.user().as_deref(), Some("1000:1000"));
            assert_eq!(config.labels().clone().unwrap()["b"], "2");
            assert_eq!(config.working_dir().as_deref(), Some("/srv"));
            assert_eq!(config.exposed_ports().clone().unwrap().len(), 2);
            assert_eq!(config.stop_signal().as_deref(), Some("SIGINT"));
            let tree = &image.tree;
            assert_eq!(file(tree, "bin/run").meta.mode, 0o755);
            assert_eq!(file(tree, "bin/su").meta.mode, 0o4755);
            assert_eq!(file(tree, "srv/www/index.html").meta.mode, 0o644);
            assert!(matches!(&file(tree, "srv/www/link").kind, Kind::Symlink(_)));
            match &file(tree, "srv/www/sub/big").kind {
                Kind::File(content) => assert_eq!(content.to_vec().unwrap(), vec![7; 200_000]),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn the_same_arguments_give_the_same_bytes_at_another_time_and_place() {
    let made = |compression: &str| {
        let dir = tempfile::tempdir().unwrap();
        inputs(dir.path());
        let flag = format!("--compression={compression}");
        oci(
            dir.path(),
            &[ARGS, &["--output=DIR/out.tar", &flag]].concat(),
        )
        .unwrap();
        fs::read(dir.path().join("out.tar")).unwrap()
    };
    for compression in ["none", "gzip", "zstd"] {
        let first = made(compression);
        // Files' own times have a grain of nanoseconds; any grain would show.
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(first, made(compression), "{compression}");
    }
}

#[test]
fn bad_arguments_say_what_is_wrong_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    inputs(dir.path());
    fs::create_dir(dir.path().join("taken")).unwrap();
    let before = fs::read_dir(dir.path()).unwrap().count();
    for (words, expected) in [
        (&["--output=DIR/o"][..], "nothing to put"),
        (&["--output=DIR/o", "--file=DIR/missing:/x"], "missing"),
        (&["--output=DIR/o", "--file=DIR/run:/../x"], ".."),
        (&["--output=DIR/o", "--binary=DIR/run"], "ELF"),
        (
            &["--output=DIR/o", "--rootfs=DIR/run"],
            "ends in the middle",
        ),
        (
            &["--output=DIR/o", "--file=DIR/run:/x", "--created=now"],
            "no time",
        ),
        (
            &["--output=DIR/taken", "--file=DIR/run:/x"],
            "already there",
        ),
        (
            &["--output=DIR/no/o.tar", "--file=DIR/run:/x"],
            "temporary file",
        ),
        (
            &["--output=DIR/o", "--file=DIR/run:/x", "--expose=http"],
            "port",
        ),
    ] {
        let error = oci(dir.path(), &[&["--reference=x"], words].concat()).unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            before,
            "{words:?}"
        );
    }
}

#[test]
fn a_dynamic_program_is_refused_and_a_static_one_is_the_entrypoint() {
    let dir = tempfile::tempdir().unwrap();
    let args = |path: &str| {
        oci(
            dir.path(),
            &[
                "--reference=x",
                "--output=DIR/o.tar",
                &format!("--binary={path}"),
            ],
        )
    };
    // Tests themselves are linked statically here.
    let own = std::env::current_exe().unwrap();
    args(own.to_str().unwrap()).unwrap();
    let image = Source::open(&dir.path().join("o.tar"))
        .unwrap()
        .load(None)
        .unwrap();
    let expected = format!("/{}", own.file_name().unwrap().to_str().unwrap());
    let config = image.config.config().clone().unwrap();
    assert_eq!(config.entrypoint().clone().unwrap(), [expected]);
    if Path::new("/bin/ls").exists() {
        let error = format!("{:#}", args("/bin/ls").unwrap_err());
        assert!(error.contains("dynamically linked"), "{error}");
    }
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let why = format!("{command:?}: not installed, so nothing is checked");
            assert!(std::env::var_os("ORLOP_TESTS_COMPLETE").is_none(), "{why}");
            eprintln!("skipped: {why}");
            return None;
        }
        Err(error) => panic!("{command:?}: {error}"),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn skopeo_and_umoci_read_it() {
    let dir = tempfile::tempdir().unwrap();
    inputs(dir.path());
    oci(dir.path(), &[ARGS, &["--output=DIR/layout"]].concat()).unwrap();
    oci(dir.path(), &[ARGS, &["--output=DIR/archive.tar"]].concat()).unwrap();
    let path = dir.path().display();
    for name in [
        format!("oci:{path}/layout"),
        format!("oci-archive:{path}/archive.tar"),
    ] {
        let inspect = &mut Command::new("skopeo");
        inspect.args(["inspect", &format!("{name}:localhost/demo:1")]);
        let Some(text) = output_of(inspect) else {
            return;
        };
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["Labels"]["a"], "1");
        assert_eq!(told["Architecture"], "amd64");
        // A copy reads the layers and checks their digests.
        let copy = &mut Command::new("skopeo");
        copy.args(["copy", &format!("{name}:localhost/demo:1")]);
        copy.arg(format!("oci:{path}/copy:1"));
        output_of(copy);
    }
    let unpack = &mut Command::new("umoci");
    unpack
        .args(["unpack", "--rootless", "--image"])
        .arg(format!("{path}/copy:1"));
    unpack.arg(dir.path().join("bundle"));
    if output_of(unpack).is_some() {
        let page = dir.path().join("bundle/rootfs/srv/www/index.html");
        assert_eq!(fs::read_to_string(page).unwrap(), "<p>hello");
    }
}
