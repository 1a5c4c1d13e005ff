//! `state` and `list`.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::print;
use crate::log::rfc3339;
use crate::state::{Dir, Record, Status};

/// What is printed of a container: the spec's fields, and what runc has beside them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    oci_version: String,
    id: String,
    /// A stopped container has none, which is 0.
    pid: i32,
    status: Status,
    bundle: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    rootfs: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<HashMap<String, String>>,
    owner: String,
}

impl Shown {
    /// The record with the status of this moment.
    fn now(dir: &Dir, record: Record, users: &Users) -> Result<Shown> {
        let status = dir.status(&record)?;
        Ok(Shown {
            pid: if status == Status::Stopped {
                0
            } else {
                record.pid
            },
            status,
            owner: users.name(dir.owner()?),
            oci_version: record.oci_version,
            id: record.id,
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created.map(rfc3339),
            annotations: record.annotations,
        })
    }
}

/// The host's users, as its /etc/passwd has them.
struct Users(String);

impl Users {
    fn read() -> Users {
        Users(std::fs::read_to_string("/etc/passwd").unwrap_or_default())
    }

    /// One without a name is `#` and the number.
    fn name(&self, uid: u32) -> String {
        let name = self.0.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
        });
        name.map_or_else(|| format!("#{uid}"), str::to_owned)
    }
}

pub(crate) fn state(root: &Path, id: &str) -> Result<()> {
    let dir = Dir::open_unlocked(root, id)?;
    let shown = Shown::now(&dir, dir.any_record()?, &Users::read())?;
    print(&serde_json::to_string_pretty(&shown)?)
}

/// How containers are listed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    Table,
    Json,
    Ids,
}

pub(crate) fn list(root: &Path, form: Form) -> Result<()> {
    let (mut all, users) = (Vec::new(), Users::read());
    match std::fs::read_dir(root) {
        Ok(entries) => {
            for entry in entries {
                let name = entry?.file_name();
                let Some(name) = name.to_str() else { continue };
                match shown(root, name, &users) {
                    Ok(shown) => all.extend(shown),
                    // The others are there all the same.
                    Err(error) => warn(name, &error),
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| root.display().to_string()),
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    match form {
        Form::Table => print(&table(&all)?),
        Form::Json => print(&serde_json::to_string(&all)?),
        Form::Ids => all.iter().try_for_each(|shown| print(&shown.id)),
    }
}

/// `None` for one that is being created or deleted at this moment.
fn shown(root: &Path, id: &str, users: &Users) -> Result<Option<Shown>> {
    let Ok(dir) = Dir::open_unlocked(root, id) else {
        return Ok(None);
    };
    let record = dir.record()?;
    let now = |record| Shown::now(&dir, record, users);
    record.map(now).transpose()
}

fn warn(id: &str, error: &anyhow::Error) {
    let line = format!("container {id} is not listed: {error:#}").replace('\n', " ");
    // If that is closed, there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "orlop-runtime: {line}");
}

fn table(all: &[Shown]) -> Result<String> {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    for shown in all {
        let status = serde_json::to_value(shown.status)?;
        rows.push([
            shown.id.clone(),
            shown.pid.to_string(),
            status.as_str().unwrap_or_default().to_owned(),
            shown.bundle.display().to_string(),
            shown.created.clone().unwrap_or_default(),
            shown.owner.clone(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_have_names() {
        let users = "+\n:x:5:\nroot:x:0:0::/root:/bin/sh\na:x:5:5::/:/bin/sh\nb:x:50:5:::\n";
        let users = Users(users.to_owned());
        assert_eq!(users.name(0), "root");
        assert_eq!(users.name(5), "a");
        assert_eq!(users.name(7), "#7");
        assert_eq!(users.name(4_000_000_000), "#4000000000");
    }
}
