//! Every state of a disk that power could leave, from a trace of its writes, and which version
//! boots from it: the half of the proof of invariant I4 that needs no machine.
//!
//! QEMU's `blklogwrites` driver records what a guest did to its disk during an update, a blessing
//! or a rollback. From the disk before and that log:
//!
//! ```text
//! log      reads it into a Trace: writes and flushes, in the order of their completion
//! states   names the States: each prefix, each last write torn, random parts of what was not flushed
//! view     makes the disk in a State, as a table of which write each sector comes from
//! check    says which version boots from it, whole, or why none does
//! run      all of that, for as many states as are wanted
//! record   says whether the state partition has the record of a trial before that can boot
//! ```
//!
//! A trace's order can be broken on purpose ([`Trace::without_flush`], [`Trace::swapped`]), to show
//! that this finds what it looks for.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use orlop_crash::{Disk, Known, State, View, log, run, versions};
//! let trace = log::read("update.log".as_ref())?;
//! let disk = Disk::open("before.raw".as_ref())?;
//! let mut view = View::new(&disk, &trace);
//! let old = versions(&view)?.remove(0).1;
//! view.enter(State::Prefix { events: trace.events().len() });
//! let images = versions(&view)?.into_iter().map(|(_, version)| version);
//! let new = images.into_iter().find(|version| *version != old).ok_or("no new version")?;
//! let report = run(&trace, &disk, &Known { old, new }, 1, 2000)?;
//! assert_eq!(report.broken, 0, "{report}");
//! view.enter("subset 1234 seed 5f".parse()?);
//! view.write_to("state.raw".as_ref())?;
//! # Ok(())
//! # }
//! ```
//!
//! It must not know how an update is done: only what has to be true whenever power goes.

mod boot_order;
mod check;
mod disk;
mod esp;
pub mod log;
mod plan;
mod random;
mod raw;
mod record;
mod run;
mod slot;
mod state;
mod states;
mod table;
mod trace;
mod uki;
mod view;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod update;

pub use check::{BaseError, Checker, Known, Verdict, Which, versions};
pub use disk::{Disk, DiskError};
pub use log::LogError;
pub use record::{Recorded, Unrecorded, recorded};
pub use run::{Report, RunError, run};
pub use state::{NoState, State};
pub use states::states;
pub use table::TableError;
pub use trace::{Event, SECTOR, Trace};
pub use uki::{Digest, UkiError, Version};
pub use view::View;
