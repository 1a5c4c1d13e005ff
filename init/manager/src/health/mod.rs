//! Whether a container does its work: probes, and what they add up to.

pub mod machine;
mod probe;

use std::net::Ipv4Addr;
use std::time::Duration;

use orlop_control::types::HealthState;
use orlop_unit::{Health, Probe};
use tokio::task::JoinHandle;

use crate::container::runtime::Runtime;
use machine::Machine;

/// What a probe needs to know of its container.
#[derive(Debug, Clone)]
pub struct Target {
    /// The runtime, to run commands with.
    pub runtime: Runtime,
    /// The container's id.
    pub container: String,
    /// The container's address, if it has one.
    pub address: Option<Ipv4Addr>,
}

/// A task that probes; dropping it ends it.
#[derive(Debug)]
pub struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// While a container starts it is asked this often, so that what waits for it
/// need not wait for a whole interval. A command costs more than a connection.
fn eager(probe: &Probe) -> Duration {
    match probe {
        Probe::Exec(_) => Duration::from_secs(1),
        Probe::Http { port: _, path: _ } | Probe::Tcp(_) => Duration::from_millis(100),
    }
}

/// Probes until dropped. `changed` hears of each change, with what the last
/// probe said when it failed.
pub fn watch(
    health: Health,
    target: Target,
    mut changed: impl FnMut(HealthState, Option<String>) + Send + 'static,
) -> Watch {
    Watch(tokio::spawn(async move {
        let began = tokio::time::Instant::now();
        let mut machine = Machine::new(health.retries);
        loop {
            let result = probe::run(&health.probe, &target, health.timeout).await;
            let in_grace = began.elapsed() < health.start_period;
            let before = machine.state();
            machine = machine.step(result.is_ok(), in_grace);
            if machine.state() != before {
                changed(machine.state(), result.err());
            }
            let pause = match machine.state() {
                HealthState::Starting => health.interval.min(eager(&health.probe)),
                HealthState::Healthy | HealthState::Unhealthy => health.interval,
            };
            tokio::time::sleep(pause).await;
        }
    }))
}
