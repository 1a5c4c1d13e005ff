//! Hooks that end well, badly, late, and with streams nobody serves.

use super::*;

fn hook(script: &str, timeout: Option<i64>) -> Hook {
    let mut hook: Hook = serde_json::from_value(serde_json::json!({
        "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin", "A=b"]
    }))
    .unwrap();
    hook.set_timeout(timeout);
    hook
}

fn call(script: &str, timeout: Option<i64>, input: &[u8]) -> String {
    let hook = hook(script, timeout);
    let call = Call {
        hook: &hook,
        directory: Some(Path::new("/tmp")),
        input,
        process: None,
    };
    call.run()
        .map_or_else(|error| format!("{error:#}"), |()| "ok".into())
}

#[test]
fn what_it_gets() {
    let script = r#"test "$(cat)" = input && test "$A" = b && test "$PWD" = /tmp &&
        test "$(env | grep -c -v -E '^(PATH|A|PWD|SHLVL|_|OLDPWD)=')" = 0"#;
    assert_eq!(call(script, None, b"input"), "ok");
    assert_eq!(call("exit 3", None, b""), "exited with status 3");
    let said = call("echo no >&2; echo way; exit 1", None, b"");
    assert!(said.contains("no") && said.contains("way"), "{said}");
    assert_eq!(call("kill -9 $$", None, b""), "was killed by signal 9");
    let mut missing = hook("", None);
    missing.set_path("/no/such".into());
    let call = Call {
        hook: &missing,
        directory: None,
        input: b"",
        process: None,
    };
    let error = format!("{:#}", call.run().unwrap_err());
    assert!(
        error.contains("cannot be executed: No such file"),
        "{error}"
    );
}

/// Also not what our own caller left open for anybody.
#[test]
fn it_gets_no_descriptor() {
    use std::os::fd::AsRawFd;
    let file = tempfile::tempfile().unwrap();
    let loose = rustix::io::fcntl_dupfd_cloexec(&file, 60).unwrap();
    rustix::io::fcntl_setfd(&loose, rustix::io::FdFlags::empty()).unwrap();
    let script = format!("test ! -e /proc/self/fd/{}", loose.as_raw_fd());
    assert_eq!(call(&script, None, b""), "ok");
}

#[test]
fn no_stream_holds_it_up() {
    // More than any pipe has room for.
    let long = vec![b'x'; 4 << 20];
    assert_eq!(call("exit 0", None, &long), "ok");
    assert_eq!(call("test $(wc -c) = 4194304", None, &long), "ok");
    let said = call(
        "head -c 3000000 /dev/zero | tr '\\0' y; echo end; exit 1",
        None,
        b"",
    );
    assert!(said.len() < 2 * SHOWN && said.ends_with("end"), "{said}");
    // Somebody it leaves behind has its streams, and is not waited for.
    let began = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!("sleep 100 & echo $! > {}", file.display());
    assert_eq!(call(&script, None, b""), "ok");
    assert!(began.elapsed() < Duration::from_secs(20));
    let pid = std::fs::read_to_string(file).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn its_time_is_limited() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pids");
    for script in [
        "sleep 100 & echo $$ $! > FILE; wait",
        // Neither deaf ones nor those that never stop talking get more.
        "trap '' TERM; echo $$ $$ > FILE; exec cat /dev/zero",
    ] {
        let began = Instant::now();
        let said = call(
            &script.replace("FILE", path.to_str().unwrap()),
            Some(1),
            b"",
        );
        assert!(
            said.contains("within its timeout of 1 s and was killed"),
            "{said}"
        );
        assert!(began.elapsed() < Duration::from_secs(20));
        for pid in std::fs::read_to_string(&path).unwrap().split_whitespace() {
            // Whoever adopted it may not have reaped it yet.
            let gone = || {
                std::fs::read_to_string(format!("/proc/{pid}/stat"))
                    .map_or(true, |stat| stat.contains(") Z"))
            };
            let until = Instant::now() + Duration::from_secs(20);
            while !gone() {
                assert!(Instant::now() < until, "process {pid} lives on");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Nobody waits for what a container needed that is no more.
#[test]
fn it_ends_with_the_process_it_is_for() {
    let hook = hook("exec sleep 100", None);
    let mut process = Command::new("sleep").arg("0.3").spawn().unwrap();
    let pidfd = pidfd_open(Pid::from_child(&process), PidfdFlags::empty()).unwrap();
    let call = Call {
        hook: &hook,
        directory: None,
        input: b"",
        process: Some(pidfd.as_fd()),
    };
    let began = Instant::now();
    let said = format!("{:#}", call.run().unwrap_err());
    assert_eq!(said, "was killed, because the container's process had been");
    assert!(began.elapsed() < Duration::from_secs(20));
    process.wait().unwrap();
}
