//! Commands over the WebSocket.

use std::time::Duration;

use orlop_control::client::{ClientError, ExecFrame};
use orlop_control::types::{ExecRequest, ExitStatus};

use super::Fixture;

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
}
