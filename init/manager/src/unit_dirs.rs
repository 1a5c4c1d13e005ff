//! Says when the unit directories have changed.
//!
//! Only that, not what: whoever hears it reads them anew, so that no event can
//! be lost or misread. A directory that is not there is watched for in its
//! parent.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// After a change, further ones within so long are taken together: an editor
/// makes several.
const CALM: Duration = Duration::from_millis(50);

/// Watches in a thread of its own, which sleeps all the time. The receiver
/// hears of changes; several may be told as one, none is lost.
pub fn watch(dirs: Vec<PathBuf>) -> std::io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(1);
    let queue = inotify::init(CreateFlags::CLOEXEC)?;
    add(&queue, &dirs);
    let (wake, mut woken) = wake_pipe()?;
    std::thread::Builder::new()
        .name("unit-dirs".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || {
            let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
            loop {
                match rustix::io::read(&queue, &mut buffer) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
                // A watch whose directory went away is gone: set them again.
                add(&queue, &dirs);
                match rustix::io::write(&wake, b"!") {
                    Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        })?;
    tokio::spawn(async move {
        let mut bytes = [0; 64];
        loop {
            match tokio::io::AsyncReadExt::read(&mut woken, &mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            tokio::time::sleep(CALM).await;
            // Full means that it has not been heard yet: it will read after
            // this change.
            if let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                return;
            }
        }
    });
    Ok(receiver)
}

fn wake_pipe() -> std::io::Result<(OwnedFd, pipe::Receiver)> {
    let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
    let (read, write) = rustix::pipe::pipe_with(flags)?;
    Ok((write, pipe::Receiver::from_owned_fd(read)?))
}

fn add(queue: &OwnedFd, dirs: &[PathBuf]) {
    let inside = WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ATTRIB
        | WatchFlags::ONLYDIR;
    for dir in dirs {
        if inotify::add_watch(queue, dir, inside).is_err() {
            let parent = dir.parent().unwrap_or(Path::new("/"));
            let there = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            // Of a read-only root nothing will come.
            let _ = inotify::add_watch(queue, parent, there);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for a change to be told; for none that does not come, however slow
    /// the machine.
    async fn heard(receiver: &mut mpsc::Receiver<()>, what: &str) {
        let wait = tokio::time::timeout(Duration::from_secs(120), receiver.recv());
        assert_eq!(wait.await, Ok(Some(())), "{what}");
    }

    /// Something that happens to a watched directory.
    type Change = fn(&Path);

    /// Each has a directory and a watcher of its own: nothing of another can be
    /// taken for it.
    const CHANGES: &[(&str, Change)] = &[
        ("a new file", |dir| {
            std::fs::write(dir.join("b.toml"), "1").unwrap();
        }),
        ("a file written again", |dir| {
            std::fs::write(dir.join("a.toml"), "2").unwrap();
        }),
        ("a rename, as editors do", |dir| {
            std::fs::rename(dir.join("a.toml~"), dir.join("a.toml")).unwrap();
        }),
        ("a link", |dir| {
            std::os::unix::fs::symlink("nowhere", dir.join("b.toml")).unwrap();
        }),
        ("a file that goes", |dir| {
            std::fs::remove_file(dir.join("a.toml")).unwrap();
        }),
        ("a file that moves away", |dir| {
            std::fs::rename(dir.join("a.toml"), dir.with_extension("away")).unwrap();
        }),
        ("the directory itself goes", |dir| {
            std::fs::remove_dir_all(dir).unwrap();
        }),
    ];

    #[tokio::test]
    async fn whatever_changes_is_heard() {
        for (what, change) in CHANGES {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("units");
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("a.toml"), "1").unwrap();
            std::fs::write(dir.join("a.toml~"), "2").unwrap();
            let mut receiver = watch(vec![dir.clone()]).unwrap();
            change(&dir);
            heard(&mut receiver, what).await;
        }
    }

    #[tokio::test]
    async fn a_missing_directory_is_watched_once_it_is_there() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("units");
        let mut receiver = watch(vec![dir.clone()]).unwrap();
        std::fs::create_dir(&dir).unwrap();
        heard(&mut receiver, "the directory").await;
        std::fs::write(dir.join("a.toml"), "1").unwrap();
        heard(&mut receiver, "a file in it").await;
    }
}
