//! One question to a container.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use orlop_unit::Probe;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::Target;

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
    let mut call = Command::new(binary);
    call.arg("--root").arg(root).arg("exec").arg("--");
    call.arg(&target.container).args(command);
    call.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = call.spawn().map_err(|error| error.to_string())?;
    let output = child
        .wait_with_output()
        .await
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said
        .lines()
        .last()
        .unwrap_or("")
        .chars()
        .take(200)
        .collect();
    Err(format!("the command ended with {}: {said}", output.status))
}
