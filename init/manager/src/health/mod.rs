//! Whether a container does its work: probes, and what they add up to.

pub mod machine;
mod probe;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use orlop_control::types::HealthState;
use orlop_unit::{Health, Probe};
use tokio::sync::mpsc;
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
    /// A directory for files of the calls.
    pub scratch: PathBuf,
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

/// Probes until dropped. Each change is put into `changes`, with what the last
/// probe said when it failed; while there is no room no further probe is made,
/// so that none is lost.
pub fn watch<T: Send + 'static>(
    health: Health,
    target: Target,
    changes: mpsc::Sender<T>,
    change: impl Fn(HealthState, Option<String>) -> T + Send + 'static,
) -> Watch {
    Watch(tokio::spawn(async move {
        let began = tokio::time::Instant::now();
        let mut machine = Machine::new(&health);
        loop {
            let result = probe::run(&health.probe, &target, health.timeout).await;
            let before = machine.state();
            machine = machine.step(result.is_ok(), began.elapsed());
            if machine.state() != before {
                let change = change(machine.state(), result.err());
                if changes.send(change).await.is_err() {
                    return;
                }
            }
            let pause = match machine.state() {
                HealthState::Starting => health.interval.min(eager(&health.probe)),
                HealthState::Healthy | HealthState::Unhealthy => health.interval,
            };
            tokio::time::sleep(pause).await;
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_waits_for_room() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let health = Health {
            probe: Probe::Tcp(server.local_addr().unwrap().port()),
            interval: Duration::from_millis(1),
            timeout: Duration::from_secs(60),
            retries: 1,
            start_period: Duration::ZERO,
            gate: false,
        };
        let target = Target {
            runtime: Runtime::new("/none".into(), "/none".into()),
            container: String::new(),
            address: Some(Ipv4Addr::LOCALHOST),
            scratch: "/none".into(),
        };
        let (changes, mut heard) = mpsc::channel(1);
        changes.try_send(None).unwrap();
        let _watch = watch(health, target, changes, |health, _| Some(health));
        // The probe has been answered, and the change has nowhere to go.
        server.accept().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(heard.recv().await, Some(None));
        let told = tokio::time::timeout(Duration::from_secs(60), heard.recv()).await;
        assert_eq!(told, Ok(Some(Some(HealthState::Healthy))));
    }
}
