//! Work inside a container's network namespace.
//!
//! A thread of its own enters the namespace, opens a netlink socket and ends:
//! the socket stays in the namespace, and no thread of the manager that does
//! anything else is ever in the wrong one. The namespace belongs to the
//! container's user namespace; root outside may enter and administer it.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use rtnetlink::packet_route::route::RouteProtocol;
use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::oneshot;

use super::error::{NetError, Result};
use super::links::{Link, Links, Route};
use super::wiring::CONTAINER_LINK;

/// A process's network namespace, held open.
pub(super) struct Namespace {
    pid: Pid,
    file: File,
}

impl Namespace {
    /// The network namespace of a running process.
    pub(super) fn of(pid: Pid) -> Result<Namespace> {
        let path = format!("/proc/{}/ns/net", pid.as_raw_nonzero());
        let file = File::open(path).map_err(|source| failed(pid, source))?;
        Ok(Namespace { pid, file })
    }

    /// A netlink socket inside.
    pub(super) async fn links(&self) -> Result<Links> {
        let file = self
            .file
            .try_clone()
            .map_err(|source| failed(self.pid, source))?;
        let runtime = tokio::runtime::Handle::current();
        let (reply, answer) = oneshot::channel();
        let pid = self.pid;
        let enter = move || {
            let _context = runtime.enter();
            let entered = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
            let links = match entered {
                Ok(()) => Links::open(),
                Err(error) => Err(failed(pid, error.into())),
            };
            // Nobody waits any more when the caller was dropped.
            drop(reply.send(links));
        };
        std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn(enter)
            .map_err(|source| failed(pid, source))?;
        answer
            .await
            .map_err(|_| NetError::Ended("the thread in the container's network"))?
    }

    /// Gives the container its loopback, address and way out. Whether packets
    /// pass its link already.
    pub(super) async fn configure(
        &self,
        address: (Ipv4Addr, u8),
        gateway: Ipv4Addr,
    ) -> Result<bool> {
        let links = self.links().await?;
        let inside = links.list().await?;
        let named = |name: &str| -> Result<&Link> {
            inside
                .iter()
                .find(|link| link.name == name)
                .ok_or_else(|| NetError::Link {
                    doing: format!("set up link {name} in the container"),
                    why: "it is not there".to_owned(),
                })
        };
        links.set_up(named("lo")?).await?;
        let link = named(CONTAINER_LINK)?;
        links.add_address(link, address, None).await?;
        links.set_up(link).await?;
        let default = Route {
            destination: (Ipv4Addr::UNSPECIFIED, 0),
            gateway: Some(gateway),
        };
        links
            .set_routes(link, &[default], RouteProtocol::Static, 0)
            .await?;
        links.settled(&[CONTAINER_LINK]).await
    }

    pub(super) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn failed(pid: Pid, source: std::io::Error) -> NetError {
    NetError::Namespace {
        pid: pid.as_raw_nonzero().get(),
        source,
    }
}
