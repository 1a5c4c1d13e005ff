//! Kernel modules, loaded in the order that the image's builder worked out.

use crate::console::Console;
use crate::files;
use rustix::io::Errno;
use std::fs::File;
use std::path::Path;

/// The most modules in one list.
const MAX_MODULES: usize = 512;
/// Loaded only when the machine has no watchdog of its own.
pub(crate) const SOFTDOG: &str = "softdog.ko";

/// Loads what `directory/order` lists, one file name a line, but softdog. A
/// module that does not load is said and left out: what needed it says so later.
pub(crate) fn load_all(console: &Console, directory: &Path) {
    let order = match files::read(directory.join("order")) {
        Ok(order) => order,
        Err(error) => {
            console.say(&format!(
                "{}/order: {error}: no modules loaded",
                directory.display()
            ));
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
pub(crate) fn load(directory: &Path, name: &str) -> std::io::Result<()> {
    let file = File::open(directory.join(name))?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        // The kernel says ENOENT, which reads as if the file were missing.
        Err(Errno::NOENT) => Err(std::io::Error::other(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_kept_and_softdog_waits() {
        let order = "# made by the builder\nvirtio.ko\n\n softdog.ko \n ext.ko\n../x.ko\n";
        assert_eq!(names(order).collect::<Vec<_>>(), ["virtio.ko", "ext.ko"]);
    }
}
