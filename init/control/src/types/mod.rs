//! The API's documents, as they travel: JSON with camelCase keys.
//!
//! Clients must take unknown keys (a newer host may send more) and the server
//! takes requests that leave optional keys out. These types know nothing of
//! HTTP beyond the status that an [`ApiError`] is sent with.

mod apply;
mod error;
mod event;
mod exec;
mod flag;
mod host;
mod image;
mod log;
mod process;
mod role;
mod unit;
mod update;
mod updating;

pub use apply::{ApplyQuery, ApplyReport, ApplyRequest, Change, Diagnostic, UnitChange, UnitFile};
pub use error::{ApiError, ErrorBody, ErrorDetail, MAKE_ROOM};
pub use event::{Event, EventKind, EventQuery, EventRecord};
pub use exec::{
    EXEC_STDERR, EXEC_STDIN, EXEC_STDOUT, ExecControl, ExecReport, ExecRequest, ExitStatus,
};
pub use host::{BootPhase, HostStatus, ShutdownMode, UnitCounts, UplinkStatus, Version};
pub use image::{ImageInfo, LoadQuery, Upload, UploadRequest};
pub use log::{LogLine, LogQuery, LogStream};
pub use process::{ProcessList, ProcessStatus};
pub use role::Role;
pub use unit::{Desired, HealthState, LastExit, PortStatus, Protocol, UnitState, UnitStatus};
pub use update::{
    FailedUnit, FailedUpdate, InstalledVersion, TrialOutcome, TrialStatus, VersionState,
};
pub use updating::{
    CHUNKS_SIZE_MAX, ChannelStatus, MissingChunks, NOT_RECEIVING, UpdatePhase, UpdatePlan,
    UpdateQuery, UpdateRequest, UpdateStatus,
};
