//! What a foreground `exec` moves between two terminals, when one side does not read.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Bench, bench, started};

/// Long enough for any machine.
const LONG: Duration = Duration::from_secs(60);

/// Its exit status, if it ends; it is called for again and again meanwhile.
fn ends(child: &mut Child, mut meanwhile: impl FnMut()) -> Option<i32> {
    let began = Instant::now();
    while began.elapsed() < LONG {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        meanwhile();
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

fn exec(bench: &Bench, id: &str, script: &str) -> Command {
    let mut command = bench.command(&["exec", "--tty", id, "sh", "-c", script]);
    command.stdout(Stdio::piped());
    command
}

/// How much comes, until all who can write have ended; read no faster than `pace` lets.
fn counted(child: &mut Child, pace: Duration) -> std::thread::JoinHandle<usize> {
    let mut stdout = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        let (mut count, mut buffer) = (0, [0; 8192]);
        while let Ok(got @ 1..) = stdout.read(&mut buffer) {
            count += got;
            std::thread::sleep(pace);
        }
        count
    })
}

/// What it is sent waits in the terminal, and it reads none of that until all is written.
#[test]
fn who_writes_before_reading_is_read() {
    let Some(mut bench) = bench("both") else {
        return;
    };
    let id = bench.id("both");
    started(&mut bench, &id);
    let input = bench.path("input");
    std::fs::write(&input, "0123456\n".repeat(1 << 17)).unwrap();
    let script = "/bin/busybox stty raw -echo; sleep 1; \
                  /bin/busybox head -c 300000 /dev/zero; exit 5";
    let mut command = exec(&bench, &id, script);
    command.stdin(std::fs::File::open(input).unwrap());
    let mut child = command.spawn().unwrap();
    let count = counted(&mut child, Duration::ZERO);
    assert_eq!(ends(&mut child, || {}), Some(5));
    // Before the echo is off, some of the input comes back.
    assert!(count.join().unwrap() >= 300_000);
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// Nobody takes its output; signals reach it all the same, and its end is seen.
#[test]
fn who_is_not_read_gets_signals() {
    let Some(mut bench) = bench("unread") else {
        return;
    };
    let id = bench.id("unread");
    started(&mut bench, &id);
    let script = "/bin/busybox yes & trap 'exit 7' TERM; while :; do wait; done";
    let mut child = exec(&bench, &id, script).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let status = format!("/proc/{}/status", child.id());
    let takes_signals = || {
        let text = std::fs::read_to_string(&status).unwrap();
        let blocked = text.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        u64::from_str_radix(blocked.unwrap().trim(), 16).unwrap() & (1 << 14) != 0
    };
    let began = Instant::now();
    while !takes_signals() {
        assert!(began.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(10));
    }
    // Until the pipe and the terminal are full.
    std::thread::sleep(Duration::from_secs(1));
    let term = || {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    };
    assert_eq!(ends(&mut child, term), Some(7));
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// The process has ended; others, who opened the terminal anew, write on and on.
#[test]
fn others_who_write_on_are_not_waited_for() {
    let Some(mut bench) = bench("writers") else {
        return;
    };
    let id = bench.id("writers");
    started(&mut bench, &id);
    for script in [
        "trap '' HUP; /bin/busybox yes & sleep 0.1; exit 3",
        "trap '' HUP; /bin/busybox setsid sh -c 'while :; do /bin/busybox yes > /dev/pts/0; done' \
         & sleep 0.5; exit 3",
    ] {
        let mut child = exec(&bench, &id, script).spawn().unwrap();
        // Slower than they write, so that there is always more.
        let count = counted(&mut child, Duration::from_millis(50));
        assert_eq!(ends(&mut child, || {}), Some(3), "{script}");
        let count = count.join().unwrap();
        assert!((1..1 << 20).contains(&count), "{script}: {count}");
    }
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}

/// What it wrote last comes whole, however slowly it is read.
#[test]
fn the_last_of_the_output_comes_through() {
    let Some(mut bench) = bench("last") else {
        return;
    };
    let id = bench.id("last");
    started(&mut bench, &id);
    let script = "/bin/busybox stty raw -echo; /bin/busybox head -c 100000 /dev/zero; exit 6";
    let mut child = exec(&bench, &id, script).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let count = counted(&mut child, Duration::ZERO);
    assert_eq!(ends(&mut child, || {}), Some(6));
    assert_eq!(count.join().unwrap(), 100_000);
    bench.quiet(&["delete", "--force", &id]);
    bench.assert_nothing_left();
}
