//! Going back to the version before, because somebody asks for it.

use orlop_control::types::{ApiError, FailedUpdate, InstalledVersion};
use orlop_slot::trial::fallback;

use super::{Case, NO_REPORT, Seen};
use crate::handle::Handle;
use crate::host::Host;
use crate::paths::Paths;

/// Why a version is given up by hand, as it is put on record.
const REASON: &str = "it was given up by `orlop rollback`";

/// Goes back to the other good install and reboots; answers with that install.
///
/// # Errors
/// There is no other good install, or it is not whole; the boot partition cannot be read.
pub async fn roll_back(
    handle: &Handle,
    host: &Host,
    paths: &Paths,
) -> Result<InstalledVersion, ApiError> {
    let case = Case::new(handle, host, paths).ok_or_else(|| ApiError::conflict(NO_REPORT))?;
    let listing = case.esp.list_once_there().await;
    let listing = listing.map_err(|error| {
        ApiError::unavailable(format!("the boot partition cannot be read: {error}"))
    })?;
    let record = case.records.trial().unwrap_or_default();
    let nowhere = |why: &str| {
        let message = format!("there is no version to go back to: {why}");
        ApiError::conflict(message).with_help("`orlop versions` lists what is installed")
    };
    let serial = case.running.serial(record.as_ref());
    let serial = serial.ok_or_else(|| nowhere("no boot loader started the one that runs"))?;
    let back = fallback(serial, &listing.files);
    let back = back.ok_or_else(|| nowhere("no other one is installed that is good"))?;
    let whole = case.check_whole(&back, &listing.files).await;
    whole.map_err(|damage| nowhere(&damage))?;
    case.look(record.as_ref()).await;
    let all = case.shown.versions()?;
    let goes_to = all.into_iter().find(|v| v.serial == u64::from(back.serial));
    let goes_to = goes_to.ok_or_else(|| nowhere("it is gone"))?;
    let report = FailedUpdate {
        version: case.running.version.clone(),
        serial: serial.into(),
        reason: REASON.to_owned(),
        at: jiff::Timestamp::now(),
        boot_id: case.boot.boot_id.clone(),
        units: Vec::new(),
    };
    case.shown.leave();
    let steps = orlop_slot::after_failing(serial, &case.running, &listing.files);
    match case.take(serial, steps, Some(report)).await {
        Seen::Leaving => Ok(goes_to),
        Seen::Decided(_) => {
            // What runs is what it was before, or a later reboot would go back unasked.
            let installed = case.look(None).await;
            let steps = orlop_slot::after_passing(serial, &case.running, &installed);
            case.take(serial, steps, None).await;
            case.shown.settle();
            Err(ApiError::internal(
                "the boot partition cannot be written, so the host stays with what runs",
            )
            .with_help("`orlop status` has the cause"))
        }
    }
}
