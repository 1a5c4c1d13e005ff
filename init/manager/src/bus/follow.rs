//! Keeping one client's unit objects as the units are.

use std::collections::BTreeSet;

use orlop_control::types::{Event, EventKind, Role, UnitStatus};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use zbus::Connection;

use super::manager::Manager;
use super::names::{MANAGER_PATH, unit_path};
use super::unit::Unit;
use crate::handle::Handle;

/// Makes an object for each unit, and changes them as events come, until the
/// manager ends.
pub(super) async fn follow(
    connection: &Connection,
    handle: &Handle,
    role: Role,
    mut events: Receiver<Event>,
) -> zbus::Result<()> {
    let mut objects = Objects {
        connection,
        handle,
        role,
        names: BTreeSet::new(),
    };
    objects.list().await?;
    loop {
        match events.recv().await {
            Ok(event) => objects.apply(event.kind).await?,
            Err(RecvError::Lagged(_)) => objects.list().await?,
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

struct Objects<'a> {
    connection: &'a Connection,
    handle: &'a Handle,
    role: Role,
    names: BTreeSet<String>,
}

impl Objects<'_> {
    /// Brings all objects up to date.
    async fn list(&mut self) -> zbus::Result<()> {
        let Ok(units) = self.handle.units().await else {
            return Ok(());
        };
        let present: BTreeSet<String> = units.iter().map(|unit| unit.name.clone()).collect();
        let gone: Vec<String> = self.names.difference(&present).cloned().collect();
        for name in gone {
            self.remove(&name).await?;
        }
        for unit in units {
            self.put(unit).await?;
        }
        Ok(())
    }

    async fn apply(&mut self, kind: EventKind) -> zbus::Result<()> {
        match kind {
            EventKind::UnitState {
                unit,
                state,
                reason,
            } => {
                self.refresh(&unit).await?;
                let manager = self
                    .connection
                    .object_server()
                    .interface::<_, Manager>(MANAGER_PATH)
                    .await?;
                let reason = reason.as_deref().unwrap_or_default();
                Manager::unit_state_changed(manager.signal_emitter(), &unit, state.as_str(), reason)
                    .await
            }
            EventKind::UnitHealth { unit, health: _ } | EventKind::UnitExit { unit, exit: _ } => {
                self.refresh(&unit).await
            }
            EventKind::UnitRemoved { unit } => self.remove(&unit).await,
            EventKind::Dropped { count: _ } => self.list().await,
            EventKind::UnitBeganAnew { unit: _, image: _ }
            | EventKind::ImageLoaded { reference: _ }
            | EventKind::Trial {
                version: _,
                serial: _,
                outcome: _,
                reason: _,
            }
            | EventKind::Shutdown { mode: _ } => Ok(()),
        }
    }

    async fn refresh(&mut self, name: &str) -> zbus::Result<()> {
        match self.handle.unit(name).await {
            Ok(unit) => self.put(unit).await,
            Err(error) if error.status == 404 => self.remove(name).await,
            // Whatever it is, the next event tries again.
            Err(_) => Ok(()),
        }
    }

    async fn put(&mut self, unit: UnitStatus) -> zbus::Result<()> {
        let path = unit_path(&unit.name);
        let server = self.connection.object_server();
        if self.names.contains(&unit.name) {
            let object = server.interface::<_, Unit>(path).await?;
            let emitter = object.signal_emitter();
            return object.get_mut().await.update(unit, emitter).await;
        }
        self.names.insert(unit.name.clone());
        server
            .at(path, Unit::new(self.handle.clone(), self.role, unit))
            .await
            .map(drop)
    }

    async fn remove(&mut self, name: &str) -> zbus::Result<()> {
        if self.names.remove(name) {
            self.connection
                .object_server()
                .remove::<Unit, _>(unit_path(name))
                .await?;
        }
        Ok(())
    }
}
