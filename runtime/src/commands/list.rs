//! `state` and `list`.

use std::path::Path;

use anyhow::{Context, Result};

use super::print;
use crate::state::{Dir, Record, Status};

pub(crate) fn state(root: &Path, id: &str) -> Result<()> {
    let dir = Dir::open_unlocked(root, id)?;
    let record = now(&dir, dir.any_record()?)?;
    print(&serde_json::to_string_pretty(&record)?)
}

/// The record with the status of this moment. A stopped container has no process.
fn now(dir: &Dir, mut record: Record) -> Result<Record> {
    record.status = dir.status(&record)?;
    if record.status == Status::Stopped {
        record.pid = 0;
    }
    Ok(record)
}

/// How containers are listed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    Table,
    Json,
    Ids,
}

pub(crate) fn list(root: &Path, form: Form) -> Result<()> {
    let mut records = Vec::new();
    match std::fs::read_dir(root) {
        Ok(entries) => {
            for entry in entries {
                let name = entry?.file_name();
                // Without a record it is being made, or removed, at this moment.
                if let Some(name) = name.to_str()
                    && let Ok(dir) = Dir::open_unlocked(root, name)
                    && let Ok(Some(record)) = dir.record()
                {
                    records.push(now(&dir, record)?);
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| root.display().to_string()),
    }
    records.sort_by(|a, b| a.id.cmp(&b.id));
    match form {
        Form::Table => print(&table(&records)?),
        Form::Json => print(&serde_json::to_string(&records)?),
        Form::Ids => records.iter().try_for_each(|record| print(&record.id)),
    }
}

fn table(records: &[Record]) -> Result<String> {
    let width = records
        .iter()
        .map(|record| record.id.len())
        .max()
        .unwrap_or(0)
        .max(2);
    let mut table = format!("{:width$}  {:>8}  {:8}  BUNDLE", "ID", "PID", "STATUS");
    for record in records {
        let status = serde_json::to_value(record.status)?;
        let status = status.as_str().unwrap_or_default();
        let (id, pid, bundle) = (&record.id, record.pid, record.bundle.display());
        table.push_str(&format!("\n{id:width$}  {pid:>8}  {status:8}  {bundle}"));
    }
    Ok(table)
}
