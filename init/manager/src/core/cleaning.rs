//! Giving back what a container held.

use std::time::Duration;

use orlop_handover::ToInit;

use super::owner::{Owner, Report, Unclean};
use super::state::Event;
use crate::container::Tools;
use crate::logs::Collector;

/// The pause before what could not be given back is tried again.
const CLEAN_AGAIN: Duration = Duration::from_secs(2);

impl Owner {
    /// Gives back what a unit's container held.
    pub(super) fn clean(&mut self, name: &str) {
        let reports = self.reports.clone();
        let Some(entry) = self.units.get_mut(name) else {
            return;
        };
        entry.watch = None;
        entry.health = None;
        let mut collector = entry.collector.take();
        entry.uncollected = None;
        entry.trouble = None;
        let id = entry
            .container
            .as_ref()
            .map(|container| container.id.clone());
        let (tools, unit) = (self.tools.clone(), name.to_owned());
        tokio::spawn(async move {
            let id = id.unwrap_or_default();
            let result = give_back(&tools, &unit, &id, &mut collector).await;
            if result.is_err() {
                tokio::time::sleep(CLEAN_AGAIN).await;
            }
            let result = result.map_err(|error| (error.to_string(), collector));
            let _ = reports.send(Report::Cleaned(unit, id, result)).await;
        });
    }

    pub(super) fn cleaned(&mut self, name: &str, id: &str, result: Result<(), Unclean>) {
        if let Err((error, collector)) = result {
            tracing::warn!("what {id} held cannot be given back yet: {error}");
            if let Some(entry) = self.units.get_mut(name) {
                entry.collector = collector;
            }
            self.clean(name);
            if let Some(entry) = self.units.get_mut(name) {
                entry.trouble = Some(format!("what it held cannot be given back yet: {error}"));
            }
            return self.show(name);
        }
        if !id.is_empty() {
            let key = id.to_owned();
            self.init.say(ToInit::Forget { key }, Vec::new());
        }
        self.keeping.remove(id);
        if let Some(entry) = self.units.get_mut(name) {
            entry.trouble = None;
            entry.container = None;
            entry.current = None;
            entry.address = None;
        }
        self.sort_unclaimed();
        self.step(name, Event::Cleaned);
    }
}

/// Ends a container and gives back what it held: first whatever of it may still
/// write, as a container whose start failed late may run, then its last words,
/// then the rest.
async fn give_back(
    tools: &Tools,
    unit: &str,
    id: &str,
    collector: &mut Option<Collector>,
) -> std::io::Result<()> {
    if !id.is_empty() {
        tools.end(id).await?;
    }
    if let Some(collector) = collector.take() {
        collector.finish().await;
    }
    match id.is_empty() {
        true => Ok(()),
        false => tools.clean(unit, id).await,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Arc, Mutex};

    use tokio::sync::watch;

    use super::*;
    use crate::container::runtime::Runtime;
    use crate::container::{ids, image, stdio};
    use crate::logs::{Limits, collect};
    use crate::paths::Paths;

    /// What the container writes until the runtime has killed it.
    #[tokio::test]
    async fn the_last_words_of_what_still_runs_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let dir = paths.container("web-1");
        std::fs::create_dir_all(&dir).unwrap();
        let me = (rustix::process::getuid(), rustix::process::getgid());
        let fifos: [OwnedFd; 2] = stdio::make(&dir, me.0.as_raw(), me.1.as_raw()).unwrap();
        // PID 1's.
        let _kept = stdio::open_ends(&dir).unwrap();
        let [stdout, _stderr] = stdio::container_ends(&dir).unwrap();
        let fifo = std::os::fd::AsRawFd::as_raw_fd(&stdout);
        let fifo = format!("/proc/{}/fd/{fifo}", std::process::id());
        let binary = root.path().join("runtime");
        let script = format!("#!/bin/sh\nexec /bin/echo last words >{fifo}\n");
        std::fs::write(&binary, script).unwrap();
        std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).unwrap();
        let ranges = ids::Ranges::open(root.path().join("ids.json"));
        let tools = Tools {
            runtime: Runtime::new(binary, paths.runtime_root()),
            network: None,
            images: image::Images::new(&paths),
            ranges: Arc::new(Mutex::new(ranges)),
            paths: Arc::new(paths),
        };
        let log = tools.paths.logs("web");
        let limits = Limits { total: 1 << 20 };
        let counts = [watch::Sender::new(0), watch::Sender::new(0)];
        let [grown, dropped] = counts;
        let collector = collect(&log, fifos, limits, true, grown, dropped).unwrap();
        let mut collector = Some(collector);
        give_back(&tools, "web", "web-1", &mut collector)
            .await
            .unwrap();
        assert!(collector.is_none() && !dir.exists());
        let text = std::fs::read_to_string(log.join("stdout.0000000001.log")).unwrap();
        assert_eq!(text, "last words\n");
    }
}
