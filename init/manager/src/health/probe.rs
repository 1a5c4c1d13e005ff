//! One question to a container.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use orlop_unit::Probe;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

use super::Target;
use crate::exec::Call;

/// How much of what a command says is kept, in bytes.
const SAID_MAX: usize = 4096;

/// Asks; an error says what came instead of the answer.
pub(super) async fn run(probe: &Probe, target: &Target, timeout: Duration) -> Result<(), String> {
    let asked = async {
        match probe {
            Probe::Exec(command) => exec(target, command).await,
            Probe::Http { port, path } => http(address(target, *port)?, path).await,
            Probe::Tcp(port) => connect(address(target, *port)?).await.map(|_| ()),
        }
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {timeout:?}")),
    }
}

fn address(target: &Target, port: u16) -> Result<SocketAddr, String> {
    match target.address {
        Some(ip) => Ok(SocketAddr::from((ip, port))),
        None => Err("the container has no address; use an exec probe".to_owned()),
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address)
        .await
        .map_err(|error| format!("cannot connect to {address}: {error}"))
}

async fn http(address: SocketAddr, path: &str) -> Result<(), String> {
    let stream = connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = hyper::Request::get(path)
        .header("host", address.to_string())
        .header("user-agent", "orlop")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request);
    tokio::pin!(connection, answer);
    let response = tokio::select! {
        biased;
        response = &mut answer => response,
        // The server may close as it answers: the answer is then there already.
        ended = &mut connection => {
            ended.map_err(|error| error.to_string())?;
            answer.await
        }
    }
    .map_err(|error| error.to_string())?;
    match response.status().as_u16() {
        200..=399 => Ok(()),
        status => Err(format!("GET {path} was answered with status {status}")),
    }
}

async fn exec(target: &Target, command: &[String]) -> Result<(), String> {
    let (binary, root) = target.runtime.parts();
    let mut call = Call::new(&binary, &root, &target.scratch);
    call.command.arg("--").arg(&target.container).args(command);
    call.command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut attached = call.spawn().map_err(|error| error.to_string())?;
    let stderr = attached.child.stderr.take();
    let (status, said) = tokio::join!(attached.wait(), tail(stderr));
    let status = status.map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let said: String = said
        .lines()
        .last()
        .unwrap_or("")
        .chars()
        .take(200)
        .collect();
    Err(format!("the command ended with {status}: {said}"))
}

/// The last of what is to be read, however much there is.
async fn tail(from: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut last, mut buffer) = (Vec::new(), [0; SAID_MAX]);
    let Some(mut from) = from else {
        return last;
    };
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        last.extend_from_slice(&buffer[..size]);
        last.drain(..last.len().saturating_sub(SAID_MAX));
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::runtime::Runtime;

    fn target(dir: &std::path::Path) -> Target {
        let binary = crate::api::tests::runtime(dir);
        Target {
            runtime: Runtime::new(binary, dir.to_owned()),
            container: "web".to_owned(),
            address: None,
            scratch: dir.to_owned(),
        }
    }

    fn shell(script: &str) -> Probe {
        Probe::Exec(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[tokio::test]
    async fn a_command_says_why_it_fails() {
        let dir = tempfile::tempdir().unwrap();
        let (target, minute) = (target(dir.path()), Duration::from_secs(60));
        let script = "head -c 1000000 /dev/zero >&2; echo >&2; echo out of cheese >&2; exit 3";
        let said = run(&shell(script), &target, minute).await.unwrap_err();
        assert!(said.ends_with("exit status: 3: out of cheese"), "{said}");
        run(&shell("exit 0"), &target, minute).await.unwrap();
    }

    #[tokio::test]
    async fn of_what_a_command_says_only_the_end_is_kept() {
        let much = tokio::io::repeat(b'x').take(10_000_000);
        let said = tail(Some(much.chain(&b"why"[..]))).await;
        assert!(said.ends_with(b"xwhy"));
        assert_eq!(said.len(), SAID_MAX);
        assert!(said.capacity() <= 4 * SAID_MAX, "{}", said.capacity());
    }

    #[tokio::test]
    async fn a_probe_that_is_given_up_leaves_no_process() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script = format!(
            "sleep 1000 & echo $$ $! >{0}.new; mv {0}.new {0}; wait",
            pids.display()
        );
        let target = target(dir.path());
        let asked = async move { run(&shell(&script), &target, Duration::from_secs(600)).await };
        let asked = tokio::spawn(asked);
        let began = std::time::Instant::now();
        let pause = async || {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "it takes for ever"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        while !pids.exists() {
            pause().await;
        }
        asked.abort();
        for pid in std::fs::read_to_string(&pids).unwrap().split_whitespace() {
            // Empty for what has ended, even before that is asked for.
            let command = format!("/proc/{pid}/cmdline");
            while std::fs::read(&command).is_ok_and(|command| !command.is_empty()) {
                pause().await;
            }
        }
    }
}
