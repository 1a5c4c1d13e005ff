//! The task that moves a container's output to its unit's log.

use std::io::{ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::path::Path;

use jiff::Timestamp;
use orlop_control::types::LogStream;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};

use super::write::{Limits, StreamWriter, Taken};

/// A running collection; dropping it ends it at once.
#[derive(Debug)]
pub struct Collector {
    finish: mpsc::Sender<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Collector {
    /// Takes what is still in the FIFOs, then ends. Call it once the container
    /// is gone.
    pub async fn finish(self) {
        let (done, is_done) = oneshot::channel();
        if self.finish.send(done).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins to collect `stdout` and `stderr`, the FIFOs' ends that PID 1 keeps
/// too, into `dir`. `fresh` says that the container has not written before.
/// Bytes dropped for lack of space are added to `dropped`.
pub fn collect(
    dir: &Path,
    fifos: [OwnedFd; 2],
    limits: Limits,
    fresh: bool,
    grown: watch::Sender<u64>,
    dropped: watch::Sender<u64>,
) -> Result<Collector> {
    let now = now_us();
    let mut writers = [
        StreamWriter::open(dir, LogStream::Stdout, limits, now)?,
        StreamWriter::open(dir, LogStream::Stderr, limits, now)?,
    ];
    if fresh {
        writers.iter_mut().for_each(|writer| writer.begin(now));
    }
    let [stdout, stderr] = fifos;
    let fifos = [wrap(stdout)?, wrap(stderr)?];
    let (finish, mut finished) = mpsc::channel::<oneshot::Sender<()>>(1);
    let task = tokio::spawn(async move {
        let [out, err] = &mut writers;
        let report = |taken| match taken {
            Taken::Bytes(count) => grown.send_modify(|bytes| *bytes += count),
            Taken::Dropped(count) => dropped.send_modify(|bytes| *bytes += count),
            Taken::Nothing => {}
        };
        loop {
            tokio::select! {
                biased;
                Some(done) = finished.recv() => {
                    for (fifo, writer) in [(&fifos[0], &mut *out), (&fifos[1], &mut *err)] {
                        drain(fifo, writer, &report).await;
                    }
                    let _ = done.send(());
                    return;
                }
                taken = once(&fifos[0], out) => report(taken),
                taken = once(&fifos[1], err) => report(taken),
            }
            tokio::task::yield_now().await;
        }
    });
    Ok(Collector { finish, task })
}

fn wrap(fifo: OwnedFd) -> Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(fifo)
}

/// Waits until there is something and takes one chunk of it.
async fn once(fifo: &pipe::Receiver, writer: &mut StreamWriter) -> Taken {
    loop {
        if fifo.readable().await.is_err() {
            return std::future::pending().await;
        }
        match take(fifo, writer) {
            Ok(Taken::Nothing) => {}
            Ok(taken) => return taken,
            Err(error) => {
                tracing::warn!("a log cannot be written: {error}");
                // The bytes wait in the FIFO; what is wrong may pass.
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

/// Takes one chunk, and has tokio wait again when the FIFO is empty.
fn take(fifo: &pipe::Receiver, writer: &mut StreamWriter) -> Result<Taken> {
    let taken = fifo.try_io(|| match writer.take(fifo, now_us())? {
        Taken::Nothing => Err(ErrorKind::WouldBlock.into()),
        taken @ (Taken::Bytes(_) | Taken::Dropped(_)) => Ok(taken),
    });
    match taken {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Taken::Nothing),
        taken => taken,
    }
}

async fn drain(fifo: &pipe::Receiver, writer: &mut StreamWriter, report: &impl Fn(Taken)) {
    loop {
        match writer.take(fifo, now_us()) {
            Ok(Taken::Nothing) | Err(_) => return,
            Ok(taken) => report(taken),
        }
        tokio::task::yield_now().await;
    }
}

/// The host's clock in microseconds since 1970.
pub(super) fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}
