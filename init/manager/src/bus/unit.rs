//! `org.orlop.Unit1`: one unit.

use orlop_control::types::{HealthState, Role, UnitStatus};
use zbus::interface;
use zbus::object_server::SignalEmitter;

use super::error::{BusError, allow};
use crate::handle::Handle;

/// A unit's object: how the unit was when it was last heard of.
pub(super) struct Unit {
    handle: Handle,
    role: Role,
    status: UnitStatus,
}

impl Unit {
    pub(super) fn new(handle: Handle, role: Role, status: UnitStatus) -> Self {
        Self {
            handle,
            role,
            status,
        }
    }

    /// Takes a newer status and tells the client which properties changed.
    pub(super) async fn update(
        &mut self,
        status: UnitStatus,
        emitter: &SignalEmitter<'_>,
    ) -> zbus::Result<()> {
        let old = std::mem::replace(&mut self.status, status);
        let new = &self.status;
        if old.state != new.state {
            self.state_changed(emitter).await?;
        }
        if old.health != new.health {
            self.health_changed(emitter).await?;
        }
        if old.reason != new.reason {
            self.reason_changed(emitter).await?;
        }
        if old.image != new.image {
            self.image_changed(emitter).await?;
        }
        if old.address != new.address {
            self.address_changed(emitter).await?;
        }
        if old.pid != new.pid {
            self.pid_changed(emitter).await?;
        }
        if old.restarts != new.restarts {
            self.restarts_changed(emitter).await?;
        }
        if old.description != new.description {
            self.description_changed(emitter).await?;
        }
        Ok(())
    }
}

#[interface(name = "org.orlop.Unit1")]
impl Unit {
    /// Asks for the unit to run.
    async fn start(&self) -> Result<(), BusError> {
        allow(self.role, Role::Operator)?;
        self.handle.start(&self.status.name).await?;
        Ok(())
    }

    /// Asks for the unit not to run.
    async fn stop(&self) -> Result<(), BusError> {
        allow(self.role, Role::Operator)?;
        self.handle.stop(&self.status.name).await?;
        Ok(())
    }

    /// Asks for the unit to be stopped and started again.
    async fn restart(&self) -> Result<(), BusError> {
        allow(self.role, Role::Operator)?;
        self.handle.restart(&self.status.name).await?;
        Ok(())
    }

    /// Its name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        &self.status.name
    }

    /// Its file's description.
    #[zbus(property)]
    fn description(&self) -> &str {
        &self.status.description
    }

    /// What it is: `running`, `stopped` and so on, the words of the HTTP API.
    #[zbus(property)]
    fn state(&self) -> &str {
        self.status.state.as_str()
    }

    /// `starting`, `healthy` or `unhealthy`; empty without a probe or container.
    #[zbus(property)]
    fn health(&self) -> &str {
        self.status.health.map_or("", HealthState::as_str)
    }

    /// Why it is not running; empty while it is.
    #[zbus(property)]
    fn reason(&self) -> &str {
        self.status.reason.as_deref().unwrap_or_default()
    }

    /// The image that its file names.
    #[zbus(property)]
    fn image(&self) -> &str {
        &self.status.image
    }

    /// Its address on the bridge; empty without one.
    #[zbus(property)]
    fn address(&self) -> String {
        self.status
            .address
            .map(|address| address.to_string())
            .unwrap_or_default()
    }

    /// The container's first process as the host numbers it; 0 without one.
    #[zbus(property)]
    fn pid(&self) -> i32 {
        self.status.pid.unwrap_or(0)
    }

    /// How often it was started again without being asked.
    #[zbus(property)]
    fn restarts(&self) -> u32 {
        self.status.restarts
    }
}
