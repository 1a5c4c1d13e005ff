//! `orlop exec`.

use std::io::{self, IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::failure::Failure;
use super::terminal::{self, Raw};
use crate::client::{Client, ClientError, ExecFrame, ExecSession};
use crate::types::{ExecRequest, ExitStatus};

/// How much is read from standard input at once, in bytes.
const INPUT_SIZE: usize = 16 * 1024;
/// How many of these may wait to be sent.
const INPUTS_MAX: usize = 4;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Send our standard input to the command
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(long, short)]
    pub(super) tty: bool,
    /// Set an environment variable
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Run as another user of the container
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Run in another directory
    #[arg(long, short, value_name = "DIR")]
    workdir: Option<String>,
    /// The unit
    unit: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
}

pub(super) async fn run(client: &Client, args: &Args) -> ExitCode {
    match session(client, args).await {
        Ok(status) => ExitCode::from(status.shell_code()),
        Err(failure) => failure.report(),
    }
}

async fn session(client: &Client, args: &Args) -> Result<ExitStatus, Failure> {
    if args.tty && args.interactive && !io::stdin().is_terminal() {
        return Err(Failure::new("standard input is not a terminal")
            .help("leave -t out, or run this from a terminal")
            .code(125));
    }
    let (rows, cols) = terminal::size();
    let request = ExecRequest {
        command: args.command.clone(),
        tty: args.tty,
        rows,
        cols,
        env: args.env.clone(),
        user: args.user.clone(),
        cwd: args.workdir.clone(),
        stdin: args.interactive,
    };
    let mut session = client.exec(&args.unit, &request).await.map_err(refused)?;
    let local = |error: io::Error| Failure::new(format!("the terminal: {error}")).code(125);
    let raw = if args.tty && args.interactive {
        Some(Raw::enter().map_err(local)?)
    } else {
        None
    };
    let outcome = carry(&mut session, args).await;
    drop(raw);
    outcome
}

/// Carries bytes both ways until the command ends.
async fn carry(session: &mut ExecSession, args: &Args) -> Result<ExitStatus, Failure> {
    let local = |error: io::Error| Failure::new(error.to_string()).code(125);
    let mut resized = signal(SignalKind::window_change()).map_err(local)?;
    let mut ended = Endings::new().map_err(local)?;
    let mut keys = if args.interactive {
        Some(read_stdin())
    } else {
        None
    };
    let (input, mut output) = session.split();
    let sending = async {
        loop {
            let sent = tokio::select! {
                bytes = next(&mut keys) => match bytes {
                    Some(bytes) => input.stdin(&bytes).await,
                    None => {
                        keys = None;
                        input.close_stdin().await
                    }
                },
                Some(()) = resized.recv(), if args.tty => {
                    let (rows, cols) = terminal::size();
                    if rows == 0 { Ok(()) } else { input.resize(rows, cols).await }
                }
            };
            // The other direction says what is wrong.
            if sent.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let receiving = async {
        loop {
            match output.next().await.map_err(broken)? {
                ExecFrame::Stdout(bytes) => {
                    if put(io::stdout().lock(), &bytes)?.is_break() {
                        return Ok(ExitStatus {
                            code: Some(0),
                            signal: None,
                        });
                    }
                }
                // The output may still be wanted where the errors are not.
                ExecFrame::Stderr(bytes) => put(io::stderr().lock(), &bytes).map(drop)?,
                ExecFrame::Exit(status) => return Ok(status),
            }
        }
    };
    tokio::select! {
        () = sending => Err(Failure::new("the connection ended").code(125)),
        status = receiving => status,
        number = ended.next() => Ok(ExitStatus { code: None, signal: Some(number) }),
    }
}

/// The signals that end us: the terminal has to be put right first.
struct Endings {
    terminate: Signal,
    hangup: Signal,
}

impl Endings {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.hangup.recv() => SignalKind::hangup().as_raw_value(),
        }
    }
}

/// Prints; breaks off when whoever read has what it wanted, as `head` does.
fn put(mut out: impl Write, bytes: &[u8]) -> Result<ControlFlow<()>, Failure> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Failure::new(format!("cannot print: {error}")).code(125)),
    }
}

/// Standard input, read by a thread of its own: it cannot be waited for without
/// one that blocks.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(INPUTS_MAX);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; INPUT_SIZE];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(size) => {
                    if sender.blocking_send(buffer[..size].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// The next input; none at its end, and never when there is none to come.
async fn next(keys: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match keys {
        Some(keys) => keys.recv().await,
        None => std::future::pending().await,
    }
}

/// The codes that docker gives when the command did not run.
fn refused(error: ClientError) -> Failure {
    let code = match &error {
        ClientError::Api(error) => match error.code.as_str() {
            "commandNotExecutable" => 126,
            "commandNotFound" => 127,
            _ => 125,
        },
        ClientError::Connect { .. }
        | ClientError::Resolve { .. }
        | ClientError::Credentials { .. }
        | ClientError::Broken { .. }
        | ClientError::Timeout { .. }
        | ClientError::Protocol(_)
        | ClientError::File { .. }
        | ClientError::Bundle { .. } => 125,
    };
    Failure::from(error).code(code)
}

fn broken(error: ClientError) -> Failure {
    Failure::from(error).code(125)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_enough_is_no_failure() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert!(put(writer, b"more").unwrap().is_break());
        assert!(put(Vec::new(), b"more").unwrap().is_continue());
        // A disk that is full is one.
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        assert!(put(full.unwrap(), b"more").is_err());
    }
}
