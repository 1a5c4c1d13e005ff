//! What a process finds in its environment that its configuration does not say.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{bench, started, text};

#[test]
fn a_home_is_the_users_in_the_container() {
    let Some(mut bench) = bench("home") else {
        return;
    };
    let etc = bench.rootfs().join("etc");
    std::fs::create_dir_all(&etc).unwrap();
    let passwd = "root:x:0:0::/at/root:/bin/sh\napp:x:77:77::/home/app:/bin/sh\n";
    std::fs::write(etc.join("passwd"), passwd).unwrap();
    let id = bench.id("home");
    started(&mut bench, &id);
    let home = |user: &str, more: &[&str]| {
        let args = [&["exec", "--user", user], more, &[&id, "sh", "-c"]].concat();
        text(&bench.call(&[&args[..], &["echo $HOME"]].concat()))
    };
    assert_eq!(home("0", &[]), (0, "/at/root\n".to_owned()));
    assert_eq!(home("77", &[]), (0, "/home/app\n".to_owned()));
    assert_eq!(home("78", &[]), (0, "/\n".to_owned()));
    assert_eq!(home("77", &["--env", "HOME=/a"]), (0, "/a\n".to_owned()));
    // Whatever else is there is neither waited for nor believed.
    std::fs::remove_file(etc.join("passwd")).unwrap();
    let made = Command::new("mkfifo").arg(etc.join("passwd")).status();
    assert!(made.unwrap().success());
    assert_eq!(home("0", &[]), (0, "/root\n".to_owned()));
    bench.quiet(&["delete", "--force", &id]);
    bench.config["process"]["user"] = json!({"uid": 77, "gid": 77});
    std::fs::remove_file(etc.join("passwd")).unwrap();
    std::fs::write(etc.join("passwd"), passwd).unwrap();
    assert_eq!(bench.sh("echo $HOME"), (0, "/home/app\n".to_owned()));
    bench.assert_nothing_left();
}

/// As podman does for a container with a socket unit.
#[test]
fn sockets_of_a_service_manager_are_the_processs() {
    let Some(mut bench) = bench("activation") else {
        return;
    };
    let show = "echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; cat <&3; cat <&4";
    let run = |bench: &mut crate::support::Bench, variables: &str, more: &[&str]| {
        bench.args(&["sh", "-c", show]);
        let id = bench.id("activation");
        let command = bench.command(&[&["run"], more, &[&id]].concat());
        let args: Vec<_> = command
            .get_args()
            .map(|arg| arg.to_str().unwrap())
            .collect();
        let script = format!(
            "exec 3<one 4<two; export {variables}; exec {} {}",
            command.get_program().to_str().unwrap(),
            args.join(" "),
        );
        for (name, word) in [("one", "first\n"), ("two", "second\n")] {
            let mut file = std::fs::File::create(bench.path("bundle").join(name)).unwrap();
            file.write_all(word.as_bytes()).unwrap();
        }
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &script])
            .current_dir(bench.path("bundle"));
        text(&shell.stdin(Stdio::null()).output().unwrap())
    };
    let all = "LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=web:api";
    let expected = (0, "2 1 web:api\nfirst\nsecond\n".to_owned());
    assert_eq!(run(&mut bench, all, &[]), expected);
    let one = "LISTEN_FDS=1 LISTEN_PID=$$";
    let expected = (0, "1 1\nfirst\nsecond\n".to_owned());
    assert_eq!(run(&mut bench, one, &["--preserve-fds", "1"]), expected);
    // They are somebody else's, who left the variables to us.
    let (status, said) = run(&mut bench, "LISTEN_FDS=2 LISTEN_PID=1", &[]);
    assert!(status != 0 && !said.contains("first"), "{said}");
    for (variables, wanted) in [
        (
            "LISTEN_FDS=two LISTEN_PID=$$",
            "LISTEN_FDS=two: not 0 to 1024",
        ),
        (
            "LISTEN_FDS=3 LISTEN_PID=$$",
            "LISTEN_FDS 3: descriptor 5 is not open",
        ),
    ] {
        let (status, said) = run(&mut bench, variables, &[]);
        assert!(status == 1 && said.contains(wanted), "{said}");
    }
    bench.assert_nothing_left();
}
