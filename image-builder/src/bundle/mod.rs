//! Update bundles: made with the disk image, shown, and published for a web
//! server; and the keys that they are signed with.
//!
//! The format is `orlop-bundle`'s; here are the files.

mod keys;
mod make;
mod publish;
mod show;

pub use keys::{EndorseArgs, KeygenArgs, endorse, keygen};
pub(crate) use make::{Bundling, Contents, check_update, pack};
pub use publish::{PublishArgs, Published, publish, run_publish};
pub use show::{Shown, is_bundle, read, show};
