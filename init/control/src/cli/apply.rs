//! `orlop apply`.

use std::path::PathBuf;

use super::check;
use super::failure::{Failure, Outcome};
use super::output::{Format, show};
use super::table::table;
use crate::client::Client;
use crate::types::{ApplyReport, UnitFile};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only check, and say what would change
    #[arg(long)]
    dry_run: bool,
    /// Unit files, or directories of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) async fn run(
    client: impl FnOnce() -> Result<Client, Failure>,
    args: &Args,
    format: Format,
) -> Outcome {
    let checked = check::read(&args.files)?;
    if !checked.diagnostics.is_empty() {
        return Err(checked.failure("nothing applied"));
    }
    let files = checked
        .units
        .into_iter()
        .map(|(unit, content)| UnitFile {
            name: unit.value.name.to_string(),
            content,
        })
        .collect();
    let report = client()?.apply(files, args.dry_run).await?;
    show(format, &report, text)
}

fn text(report: &ApplyReport) -> String {
    let rows = report
        .units
        .iter()
        .map(|unit| vec![unit.name.clone(), unit.change.as_str().to_owned()])
        .collect();
    let header = if report.dry_run { "WOULD BE" } else { "CHANGE" };
    let mut text = table(&["NAME", header], rows);
    for warning in &report.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Change, UnitChange};

    #[test]
    fn says_what_changed() {
        let change = |name: &str, change| UnitChange {
            name: name.into(),
            change,
        };
        let units = vec![
            change("web", Change::Added),
            change("db", Change::Unchanged),
        ];
        let report = ApplyReport {
            dry_run: false,
            units,
            warnings: Vec::new(),
        };
        assert_eq!(
            text(&report),
            "NAME   CHANGE\nweb    added\ndb     unchanged\n"
        );
    }
}
