//! Kernel modules, loaded in the order that the image's builder worked out.
//!
//! The builder makes a list for each of those who wait for modules, and each is
//! whole: it names all that its modules need. So lists can be loaded side by
//! side; of a module that is in two of them, the kernel loads one and has the
//! other wait for it.

use crate::console::Console;
use crate::files;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Where the root keeps its modules.
pub(crate) const DIRECTORY: &str = "/usr/lib/orlop/modules";
/// The list that finding the disk waits for.
pub(crate) const FOR_DISK: &str = "disk.order";
/// The list that opening the root waits for.
pub(crate) const FOR_ROOT: &str = "root.order";
/// The list that the boot on the root waits for.
pub(crate) const FOR_BOOT: &str = "boot.order";
/// The list that the manager waits for.
const FOR_MANAGER: &str = "manager.order";
/// The list that nobody waits for.
const FOR_NOBODY: &str = "rest.order";
/// The lowest priority of a thread.
const IDLEST: i32 = 19;
/// The most modules in one list.
const MAX_MODULES: usize = 512;
/// Loaded only when the machine has no watchdog of its own.
pub(crate) const SOFTDOG: &str = "softdog.ko";

/// Loads what `list` in `directory` names, one file name a line, but softdog. A
/// module that does not load is said and left out: what needed it says so later.
pub(crate) fn load_list(console: &Console, directory: &Path, list: &str) {
    let path = directory.join(list);
    let order = match files::read(&path) {
        Ok(order) => order,
        Err(error) => {
            console.say(&format!("{}: {error}: no modules loaded", path.display()));
            return;
        }
    };
    for name in names(&order) {
        match load(directory, name) {
            Ok(()) => {}
            // A driver of what this machine does not have.
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {
                console.log("orlop-init", &format!("module {name}: {error}"));
            }
            Err(error) => console.say(&format!("module {name}: {error}")),
        }
    }
}

/// Loads one module; one that is loaded already is no error.
pub(crate) fn load(directory: &Path, name: &str) -> io::Result<()> {
    let file = File::open(directory.join(name))?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        // The kernel says ENOENT, which reads as if the file were missing.
        Err(Errno::NOENT) => Err(io::Error::other(
            "unknown symbol: expected the modules that it needs before it in the order",
        )),
        Err(errno) => Err(errno.into()),
    }
}

fn names(order: &str) -> impl Iterator<Item = &str> {
    order
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !line.contains('/'))
        .filter(|line| *line != SOFTDOG)
        .take(MAX_MODULES)
}

/// How far the modules are that are loaded beside everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// All that the manager and containers need.
    Manager,
    /// All.
    All,
}

/// Modules that PID 1 does not wait for, being loaded on a thread of their own:
/// a module takes milliseconds to check and link, and there are dozens.
#[derive(Debug)]
pub(crate) struct Loading {
    /// A byte comes after the manager's list; the end after the last.
    news: OwnedFd,
}

impl Loading {
    /// Begins with the manager's list. Signals that PID 1 reads must be blocked
    /// before, or the thread takes them.
    ///
    /// # Errors
    /// No pipe or no thread.
    pub(crate) fn begin() -> io::Result<Self> {
        let (news, teller) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        std::thread::Builder::new()
            .name("modules".into())
            .spawn(move || load_rest(&teller))?;
        Ok(Self { news })
    }

    /// What has been loaded since the last call.
    pub(crate) fn news(&self) -> Option<Loaded> {
        match rustix::io::read(&self.news, &mut [0; 1]) {
            Ok(1..) => Some(Loaded::Manager),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Ok(0) | Err(_) => Some(Loaded::All),
        }
    }
}

impl AsFd for Loading {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

fn load_rest(teller: &OwnedFd) {
    let (console, directory) = (Console::open(), Path::new(DIRECTORY));
    load_list(&console, directory, FOR_MANAGER);
    console.log("orlop-init", "the manager's modules are loaded");
    // Nobody is told when this fails, but then comes the end.
    let _ = rustix::io::write(teller, &[1]);
    // The rest only takes processor time that the first containers leave. Linux
    // sets this of the calling thread alone.
    let _ = rustix::process::setpriority_process(None, IDLEST);
    load_list(&console, directory, FOR_NOBODY);
    console.log("orlop-init", "all modules are loaded");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_kept_and_softdog_waits() {
        let order = "# made by the builder\nvirtio.ko\n\n softdog.ko \n ext.ko\n../x.ko\n";
        assert_eq!(names(order).collect::<Vec<_>>(), ["virtio.ko", "ext.ko"]);
    }

    #[test]
    fn news_come_once_and_the_end_is_all() {
        let (news, teller) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK).unwrap();
        let loading = Loading { news };
        assert_eq!(loading.news(), None);
        rustix::io::write(&teller, &[1]).unwrap();
        assert_eq!(loading.news(), Some(Loaded::Manager));
        assert_eq!(loading.news(), None);
        drop(teller);
        assert_eq!(loading.news(), Some(Loaded::All));
    }
}
