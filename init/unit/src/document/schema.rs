//! Which schema a file is written in: `schema = 1`, above all tables.
//!
//! New keys do not make a schema: a host that lacks one refuses it by its name. A new number is for
//! what an older host would take for something else, and that host then says so of the file as a
//! whole, instead of finding fault with lines that are right.

use super::Section;
use crate::expected::Expected;

/// The schema of the unit files and host TOMLs that this version reads; what a file that does not
/// say is written in. Versions read all schemas from 1 to their own.
pub const SCHEMA: u64 = 1;

/// Whether the file is written in a schema that is known here. If not that is noted, and nothing
/// else in the file can be judged.
pub(crate) fn is_known(root: &Section) -> bool {
    let Some(field) = root.get("schema") else {
        return true;
    };
    let refusal = match field.integer("schema", 0..=u64::MAX) {
        Some(1..=SCHEMA) => return true,
        Some(0) => Expected::new("schemas are counted from 1").help(format!("say {SCHEMA}")),
        Some(_) => Expected::new(format!(
            "the file is written for a newer version; this one knows schema {SCHEMA}"
        ))
        .help("update, or write the file as this version's reference says"),
        None => return false,
    };
    field.refuse(&refusal);
    false
}
