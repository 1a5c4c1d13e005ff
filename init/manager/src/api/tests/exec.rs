//! Commands over the WebSocket.

use std::time::Duration;

use axum::extract::ws::Message;
use futures_util::{Sink, SinkExt};
use orlop_control::client::{ClientError, ExecFrame};
use orlop_control::types::{ExecRequest, ExitStatus};
use tokio::sync::mpsc;

use super::super::exec::{Pings, ends, give_output};
use super::{Fixture, runtime};
use crate::exec::{ExecTarget, start};

fn command(words: &[&str]) -> ExecRequest {
    let command = words.iter().map(|&word| word.to_owned()).collect();
    ExecRequest {
        command,
        ..ExecRequest::default()
    }
}

async fn run(fixture: &Fixture, request: &ExecRequest) -> (String, String, ExitStatus) {
    let mut session = fixture.local().exec("web", request).await.unwrap();
    if request.stdin {
        session.input.stdin(b"hello ").await.unwrap();
        session.input.stdin(b"there").await.unwrap();
        session.input.close_stdin().await.unwrap();
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match session.next().await.unwrap() {
            ExecFrame::Stdout(bytes) => out.extend(bytes),
            ExecFrame::Stderr(bytes) => err.extend(bytes),
            ExecFrame::Exit(status) => {
                return (
                    String::from_utf8(out).unwrap(),
                    String::from_utf8(err).unwrap(),
                    status,
                );
            }
        }
    }
}

#[tokio::test]
async fn output_errors_and_code_come_back() {
    let fixture = Fixture::new().await;
    let request = command(&["sh", "-c", "echo out; echo err >&2; exit 3"]);
    let (out, err, status) = run(&fixture, &request).await;
    assert_eq!(
        (out.as_str(), err.as_str(), status.shell_code()),
        ("out\n", "err\n", 3)
    );
    // More than any buffer holds.
    let request = command(&["sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x"]);
    assert_eq!(run(&fixture, &request).await.0.len(), 5_000_000);
}

#[tokio::test]
async fn input_goes_in_and_ends() {
    let fixture = Fixture::new().await;
    let request = ExecRequest {
        stdin: true,
        ..command(&["cat"])
    };
    assert_eq!(run(&fixture, &request).await.0, "hello there");
    // Without input a command reads its end.
    assert_eq!(run(&fixture, &command(&["cat"])).await.0, "");
}

#[tokio::test]
async fn what_is_left_behind_does_not_hold_the_session() {
    let fixture = Fixture::new().await;
    let request = command(&["sh", "-c", "sleep 30 & echo left"]);
    let running = run(&fixture, &request);
    let (out, _, status) = tokio::time::timeout(Duration::from_secs(10), running)
        .await
        .unwrap();
    assert_eq!((out.as_str(), status.code), ("left\n", Some(0)));
}

#[tokio::test]
async fn a_client_that_leaves_hangs_the_command_up() {
    let fixture = Fixture::new().await;
    let gone = fixture.dir.path().join("gone");
    let script = format!(
        "trap 'touch {}; exit' HUP; echo up; while :; do sleep 0.1; done",
        gone.display()
    );
    let mut session = fixture
        .local()
        .exec("web", &command(&["sh", "-c", &script]))
        .await
        .unwrap();
    assert_eq!(
        session.next().await.unwrap(),
        ExecFrame::Stdout("up\n".into())
    );
    drop(session);
    for _ in 0..100 {
        if gone.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the command was not hung up");
}

#[tokio::test]
async fn a_connection_that_went_silent_ends_at_both_ends() {
    let fixture = Fixture::new().await;
    let gone = fixture.dir.path().join("gone");
    let script = format!(
        "trap 'touch {}; exit' HUP; echo up; while :; do sleep 0.1; done",
        gone.display()
    );
    let (client, link) = fixture.over_a_link();
    let mut session = client
        .exec("web", &command(&["sh", "-c", &script]))
        .await
        .unwrap();
    let up = session.next().await.unwrap();
    assert_eq!(up, ExecFrame::Stdout("up\n".into()));
    tokio::time::pause();
    // Silence alone is no end, as long as signs of life come.
    let day = Duration::from_secs(86_400);
    tokio::time::timeout(day, session.next()).await.unwrap_err();
    link.cut();
    let error = tokio::time::timeout(day, session.next()).await.unwrap();
    assert!(error.is_err_and(|error| error.is_transport()));
    tokio::time::sleep(day).await;
    tokio::time::resume();
    for _ in 0..600 {
        if gone.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the host goes on");
}

#[tokio::test]
async fn what_cannot_run_is_an_error() {
    let fixture = Fixture::new().await;
    let error = fixture
        .local()
        .exec("none", &command(&["ls"]))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(&error, ClientError::Api(error) if error.status == 404),
        "{error}"
    );
    let error = fixture
        .local()
        .exec("web", &command(&[]))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ClientError::Api(_)), "{error}");
    for tty in [false, true] {
        let request = ExecRequest {
            tty,
            ..command(&["no-such-command"])
        };
        let refused = fixture.local().exec("web", &request).await;
        let Err(ClientError::Api(error)) = refused else {
            panic!("it started");
        };
        assert_eq!(error.code, "commandNotFound");
        assert_eq!(error.message, "exec no-such-command: no such file");
    }
    let left = std::fs::read_dir(fixture.dir.path()).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| name.starts_with("exec-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Where frames go; each takes `pause` until the client has it.
fn client(
    pause: Duration,
) -> (
    impl Sink<Message, Error = axum::Error> + Unpin,
    mpsc::UnboundedReceiver<Message>,
) {
    let (sender, frames) = mpsc::unbounded_channel();
    let sink = futures_util::sink::unfold(sender, move |sender, message| async move {
        tokio::time::sleep(pause).await;
        sender.send(message).map_err(axum::Error::new)?;
        Ok(sender)
    });
    (Box::pin(sink), frames)
}

#[tokio::test]
async fn a_slow_client_gets_all_that_a_command_wrote_before_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let target = ExecTarget {
        runtime: runtime(dir.path()),
        runtime_root: dir.path().to_owned(),
        container_id: "web".to_owned(),
        rootfs: dir.path().to_owned(),
        scratch: dir.path().to_owned(),
    };
    // As much as pipes hold, so that the command has ended before any is read.
    let script = "head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2; : >done";
    let script = format!("cd {}; {script}", dir.path().display());
    let mut session = start(target, command(&["sh", "-c", &script]))
        .await
        .unwrap();
    while !dir.path().join("done").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ends = ends(&mut session).unwrap();
    let (mut sink, mut frames) = client(Duration::from_millis(600));
    let (_resize, sizes) = mpsc::channel(1);
    give_output(&mut sink, session, ends.1, sizes, &Pings::default()).await;
    sink.close().await.unwrap();
    drop(sink);
    let mut bytes = 0;
    while let Some(frame) = frames.recv().await {
        if let Message::Binary(frame) = frame {
            bytes += frame.len() - 1;
        }
    }
    assert_eq!(bytes, 120_000);
}
