//! The process's terminal: made inside the container, its master sent to whoever asked.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::Box as Size;
use rustix::fs::{FileType, Gid, OFlags, Uid, makedev};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, socket_with,
};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::rootfs::{bind_fd, path};

/// Where terminals come from.
const MULTIPLEXER: &str = "/dev/pts/ptmx";

/// Where the master of the container's terminal is to be sent.
#[derive(Debug)]
pub(crate) struct Console {
    socket: OwnedFd,
    size: Option<Winsize>,
    owner: u32,
    slave: std::cell::OnceCell<OwnedFd>,
}

impl Console {
    /// Connects to the socket of `--console-socket`.
    pub(crate) fn connect(at: &Path, size: Option<Size>, owner: u32) -> Result<Console> {
        let connected = SocketAddrUnix::new(at).and_then(|address| {
            let socket = socket_with(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )?;
            connect(&socket, &address)?;
            Ok(socket)
        });
        let socket = connected.with_context(|| format!("console socket {}", at.display()))?;
        Ok(Console::over(socket, size, owner))
    }

    pub(crate) fn over(socket: OwnedFd, size: Option<Size>, owner: u32) -> Console {
        let size = size.map(|size| Winsize {
            ws_row: u16::try_from(size.height()).unwrap_or(u16::MAX),
            ws_col: u16::try_from(size.width()).unwrap_or(u16::MAX),
            ws_xpixel: 0,
            ws_ypixel: 0,
        });
        Console {
            socket,
            size,
            owner,
            slave: std::cell::OnceCell::new(),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Makes the terminal from the devpts of `root`, shows it as /dev/console there, and
    /// sends its master away. Only descriptors are used: no name under /dev/pts is believed.
    pub(crate) fn open_in(&self, root: &OwnedFd) -> Result<()> {
        let slave = self.open(root)?;
        let target = path::make(root.as_fd(), Path::new("/dev/console"), path::Kind::File)?;
        bind_fd(slave, &target).context("/dev/console")
    }

    /// As `open_in`, without /dev/console (which belongs to the container's first process).
    pub(crate) fn open(&self, root: &OwnedFd) -> Result<&OwnedFd> {
        let master = open_multiplexer(root).with_context(|| {
            format!("{MULTIPLEXER} (a terminal needs a devpts mount on /dev/pts)")
        })?;
        unlockpt(&master)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags).context("open the terminal's other end")?;
        if let Some(size) = self.size {
            tcsetwinsize(&slave, size)?;
        }
        let owner = Uid::from_raw(self.owner);
        rustix::fs::fchown(&slave, Some(owner), None::<Gid>)
            .with_context(|| format!("give the terminal to user {}", self.owner))?;
        send_fd(&self.socket, master.as_fd()).context("send the terminal to the console socket")?;
        Ok(self.slave.get_or_init(|| slave))
    }

    /// Makes the terminal the process's own: its session's, and descriptors 0, 1 and 2.
    pub(crate) fn take_over(&self) -> Result<()> {
        let slave = self.slave.get().context("the terminal was not opened")?;
        rustix::process::ioctl_tiocsctty(slave).context("controlling terminal")?;
        for fd in 0..=2 {
            orlop_sys::fd::replace_stdio(slave, fd)?;
        }
        Ok(())
    }
}

/// What is there is looked at before it is opened, and asked nothing unless it is the kernel's:
/// who may mount in the container could have put a file there that answers with a descriptor
/// number of ours.
fn open_multiplexer(root: &OwnedFd) -> Result<OwnedFd> {
    let name = Path::new(MULTIPLEXER);
    let check = |file: &OwnedFd| -> Result<()> {
        let found = rustix::fs::fstat(file)?;
        ensure!(
            FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice
                && found.st_rdev == makedev(5, 2),
            "is not the kernel's: it has to be character device 5:2"
        );
        Ok(())
    };
    check(&path::locate(root, name)?)?;
    let master = path::open(root, name, OFlags::RDWR | OFlags::NOCTTY)?;
    check(&master)?;
    Ok(master)
}

fn send_fd(socket: &OwnedFd, fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let name = [IoSlice::new(b"/dev/ptmx")];
    sendmsg(socket, &name, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// Takes the one descriptor that `send_fd` sent.
pub(crate) fn receive_fd(socket: &OwnedFd) -> Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0_u8; 64];
    let mut slices = [std::io::IoSliceMut::new(&mut name)];
    recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut messages = ancillary.drain();
    messages
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .context("the container sent no terminal")
}
