//! Taking a cgroup away, with those that were made below it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::io::Errno;

use super::{EMPTY_WITHIN, Watched, describe};

/// Removes the cgroup with whatever cgroups the container made below it, waiting a while for
/// processes that are just ending.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let deadline = Instant::now() + EMPTY_WITHIN;
    loop {
        match remove_tree(path, 0) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if Instant::now() < deadline => wait_for_change(path),
            Err(errno) => {
                return Err(
                    anyhow::Error::from(errno).context(format!("remove {}", describe(path)))
                );
            }
        }
    }
}

/// Waits for systemd to remove the cgroup of a scope, as it does once it has seen that nothing is
/// in it. Of a cgroup that is gone before it has looked it never learns that, and the scope stays.
pub(crate) fn leave_to_systemd(path: &Path) {
    let deadline = Instant::now() + EMPTY_WITHIN;
    while path.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a line of cgroup.events to change, a twentieth of a second at most.
fn wait_for_change(path: &Path) {
    // A failure only means that we look again sooner.
    let _ = Watched::open(path, "cgroup.events").and_then(|events| {
        // Before it is read it counts as changed.
        let populated = events.value("populated")? == Some(1);
        events.wait(Duration::from_millis(if populated { 50 } else { 1 }))
    });
}

/// Deepest first; a container cannot make them deeper than the kernel's limits allow, and
/// past ours we say busy.
fn remove_tree(path: &Path, depth: usize) -> rustix::io::Result<()> {
    match rustix::fs::rmdir(path) {
        Err(Errno::BUSY) if depth < 64 => {}
        other => return other,
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            match remove_tree(&entry.path(), depth + 1) {
                // Gone meanwhile by somebody else's hand; those above it are still there.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    rustix::fs::rmdir(path)
}

#[cfg(test)]
mod tests {
    use super::super::{make_new, mount_point};
    use super::*;

    /// As root, on a machine with cgroup v2.
    #[test]
    fn what_others_remove_is_in_nobodys_way() {
        let Some(mount) = mount_point() else {
            return;
        };
        let path = mount.join(format!("orlop-unit-test-{}-removed", std::process::id()));
        for _ in 0..50 {
            let Ok(mut made) = make_new(&path) else {
                return;
            };
            made.keep = true;
            let children: Vec<_> = (0..20).map(|n| path.join(n.to_string())).collect();
            for child in &children {
                std::fs::create_dir(child).unwrap();
            }
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for child in &children {
                        // Whoever comes first.
                        let _ = std::fs::remove_dir(child);
                    }
                });
                remove(&path).unwrap();
            });
            assert!(!path.exists());
        }
    }
}
