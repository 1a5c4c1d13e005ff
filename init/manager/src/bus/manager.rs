//! `org.orlop.Manager1`: the host and all its units.

use orlop_control::types::{HealthState, Role};
use zbus::OwnedObjectPath;
use zbus::object_server::SignalEmitter;
use zbus::{fdo, interface};

use super::error::{BusError, allow};
use super::names::unit_path;
use crate::handle::Handle;

/// The manager's object.
pub(super) struct Manager {
    handle: Handle,
    role: Role,
}

impl Manager {
    pub(super) fn new(handle: Handle, role: Role) -> Self {
        Self { handle, role }
    }
}

/// A unit in a list: name, state, health or nothing, reason or nothing, object.
type Listed = (String, String, String, String, OwnedObjectPath);

#[interface(name = "org.orlop.Manager1")]
impl Manager {
    /// All units, by name.
    async fn list_units(&self) -> Result<Vec<Listed>, BusError> {
        let units = self.handle.units().await?;
        Ok(units
            .into_iter()
            .map(|unit| {
                let path = unit_path(&unit.name);
                let health = unit.health.map_or("", HealthState::as_str).to_owned();
                let state = unit.state.as_str().to_owned();
                (
                    unit.name,
                    state,
                    health,
                    unit.reason.unwrap_or_default(),
                    path,
                )
            })
            .collect())
    }

    /// A unit's object.
    async fn get_unit(&self, name: &str) -> Result<OwnedObjectPath, BusError> {
        Ok(unit_path(&self.handle.unit(name).await?.name))
    }

    /// Asks for a unit to run; returns its state once that is recorded.
    async fn start_unit(&self, name: &str) -> Result<String, BusError> {
        allow(self.role, Role::Operator)?;
        Ok(self.handle.start(name).await?.state.as_str().to_owned())
    }

    /// Asks for a unit not to run; returns its state once that is recorded.
    async fn stop_unit(&self, name: &str) -> Result<String, BusError> {
        allow(self.role, Role::Operator)?;
        Ok(self.handle.stop(name).await?.state.as_str().to_owned())
    }

    /// Asks for a unit to be stopped and started again.
    async fn restart_unit(&self, name: &str) -> Result<String, BusError> {
        allow(self.role, Role::Operator)?;
        Ok(self.handle.restart(name).await?.state.as_str().to_owned())
    }

    /// The manager's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    /// What this client may do: `reader`, `operator` or `admin`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn role(&self) -> &str {
        self.role.as_str()
    }

    /// The host's name.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn host_name(&self) -> fdo::Result<String> {
        self.handle
            .status()
            .await
            .map(|status| status.name)
            .map_err(failed)
    }

    /// The version of the host image.
    #[zbus(property(emits_changed_signal = "const"))]
    async fn host_version(&self) -> fdo::Result<String> {
        self.handle
            .status()
            .await
            .map(|status| status.version)
            .map_err(failed)
    }

    /// A unit entered another state; the reason is empty while it runs.
    #[zbus(signal)]
    pub(super) async fn unit_state_changed(
        emitter: &SignalEmitter<'_>,
        name: &str,
        state: &str,
        reason: &str,
    ) -> zbus::Result<()>;
}

fn failed(error: orlop_control::types::ApiError) -> fdo::Error {
    fdo::Error::Failed(error.message)
}
