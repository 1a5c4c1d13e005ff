//! From the C library's `-1 and errno` to `rustix::io::Result`.

use rustix::io::{Errno, Result};

/// The result of a `libc` call that returns -1 and sets errno on failure.
pub(crate) fn check(ret: libc::c_long) -> Result<libc::c_long> {
    if ret >= 0 {
        return Ok(ret);
    }
    let code = std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO);
    Err(Errno::from_raw_os_error(code))
}
