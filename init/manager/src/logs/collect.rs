//! The task that moves a container's output to its unit's log.

use std::io::{ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use orlop_control::types::LogStream;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};

use super::write::{Limits, StreamWriter, Taken};

/// How often the end of a container's output is tried to be written, and the
/// pause between.
const DRAIN_TRIES: u32 = 10;
const DRAIN_PAUSE: Duration = Duration::from_millis(50);

/// A running collection; dropping it ends it at once.
#[derive(Debug)]
pub struct Collector {
    finish: mpsc::Sender<oneshot::Sender<()>>,
    limits: watch::Sender<Limits>,
    task: tokio::task::JoinHandle<()>,
}

impl Collector {
    /// Has the log keep to other limits from now on.
    pub fn limit(&self, limits: Limits) {
        self.limits.send_replace(limits);
    }

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
    let (limited, mut limits) = watch::channel(limits);
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
                Ok(()) = limits.changed() => {
                    let limits = *limits.borrow_and_update();
                    out.limit(limits);
                    err.limit(limits);
                }
                taken = once(&fifos[0], out) => report(taken),
                taken = once(&fifos[1], err) => report(taken),
            }
            tokio::task::yield_now().await;
        }
    });
    Ok(Collector {
        finish,
        limits: limited,
        task,
    })
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
                tokio::time::sleep(Duration::from_secs(1)).await;
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

/// Takes all that is left. What the log does not take, after some tries, is
/// dropped: the container is gone, and what it held is to be given back.
async fn drain(fifo: &pipe::Receiver, writer: &mut StreamWriter, report: &impl Fn(Taken)) {
    let mut tries = DRAIN_TRIES;
    loop {
        let taken = if tries > 0 {
            writer.take(fifo, now_us())
        } else {
            writer.discard(fifo, now_us())
        };
        match taken {
            Ok(Taken::Nothing) => break,
            Ok(taken) => report(taken),
            Err(error) if tries > 0 => {
                tries -= 1;
                if tries == 0 {
                    tracing::error!("the end of a log cannot be written: {error}");
                } else {
                    tokio::time::sleep(DRAIN_PAUSE).await;
                }
            }
            Err(error) => {
                tracing::error!("the end of a container's output is lost: {error}");
                break;
            }
        }
        tokio::task::yield_now().await;
    }
    writer.settle(now_us());
}

/// The host's clock in microseconds since 1970.
pub(super) fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn fifo_with(bytes: &[u8]) -> (pipe::Receiver, std::io::PipeWriter) {
        let (read, mut write) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&read, true).unwrap();
        write.write_all(bytes).unwrap();
        (wrap(read.into()).unwrap(), write)
    }

    #[tokio::test]
    async fn a_log_that_takes_nothing_has_the_end_dropped_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { total: 1 << 20 };
        let mut writer = StreamWriter::open(dir.path(), LogStream::Stdout, limits, 1).unwrap();
        writer.break_data().unwrap();
        let (fifo, _write) = fifo_with(b"last words\n");
        let taken = std::cell::RefCell::new(Vec::new());
        drain(&fifo, &mut writer, &|some| taken.borrow_mut().push(some)).await;
        assert_eq!(taken.into_inner(), [Taken::Dropped(11)]);
        let index = std::fs::read_dir(dir.path()).unwrap().find_map(|entry| {
            let path = entry.unwrap().path();
            path.extension().is_some_and(|e| e == "idx").then_some(path)
        });
        let entries = super::super::index::load(&index.unwrap()).unwrap();
        let marks: Vec<_> = entries.iter().map(|entry| entry.mark).collect();
        assert_eq!(marks, [super::super::index::Mark::Dropped(11)]);
    }

    #[tokio::test]
    async fn a_log_keeps_to_the_limits_that_it_was_given_last() {
        let dir = tempfile::tempdir().unwrap();
        let (out, mut write) = std::io::pipe().unwrap();
        let (err, _write) = std::io::pipe().unwrap();
        let fifos = [OwnedFd::from(out), OwnedFd::from(err)];
        for fifo in &fifos {
            rustix::io::ioctl_fionbio(fifo, true).unwrap();
        }
        let (grown, mut total) = watch::channel(0);
        let much = Limits { total: 1 << 20 };
        let collector = collect(dir.path(), fifos, much, true, grown, watch::Sender::new(0));
        let collector = collector.unwrap();
        let mut put = async |until: u64| {
            write.write_all(&[b'x'; 32 * 1024]).unwrap();
            total
                .wait_for(|total| *total == until * 1024)
                .await
                .unwrap();
        };
        put(32).await;
        put(64).await;
        collector.limit(Limits { total: 64 * 1024 });
        put(96).await;
        let segments = super::super::segment::list(dir.path(), LogStream::Stdout).unwrap();
        assert_eq!(segments, [2], "the older one is over the bound");
    }

    #[tokio::test]
    async fn all_that_is_left_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { total: 1 << 20 };
        let mut writer = StreamWriter::open(dir.path(), LogStream::Stdout, limits, 1).unwrap();
        let (fifo, _write) = fifo_with(b"last words\n");
        let taken = std::cell::RefCell::new(Vec::new());
        drain(&fifo, &mut writer, &|some| taken.borrow_mut().push(some)).await;
        assert_eq!(taken.into_inner(), [Taken::Bytes(11)]);
    }
}
