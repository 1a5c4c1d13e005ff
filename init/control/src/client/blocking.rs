//! The client for callers without a runtime of their own, such as tests.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};

use super::{Client, Endpoint};

/// A client and a runtime on which its requests are waited for.
pub struct Blocking {
    runtime: Runtime,
    client: Client,
}

impl Blocking {
    /// A client that will connect to `endpoint` when it is used.
    pub fn new(endpoint: Endpoint) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        Ok(Self {
            runtime,
            client: Client::new(endpoint),
        })
    }

    /// Waits for what `call` does with the client:
    /// `host.wait(|client| client.unit("web"))`.
    pub fn wait<'a, F: Future>(&'a self, call: impl FnOnce(&'a Client) -> F) -> F::Output {
        self.runtime.block_on(call(&self.client))
    }

    /// Waits for something that is not a method of the client, such as the next
    /// line of a stream.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}
