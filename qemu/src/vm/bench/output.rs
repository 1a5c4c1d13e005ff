//! Where a report goes: the terminal, and files.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::report::Report;
use crate::paths;

#[derive(clap::Args)]
pub(super) struct Output {
    /// Write the table in Markdown, too
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Where the figures go as JSON, `-` being standard output [default: a file
    /// in target/vm, which is named]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Output {
    /// Shows `report`, and writes it; as JSON to the file `name` unless another
    /// was asked for.
    pub(super) fn give<C: Display + Serialize>(
        &self,
        report: &Report<C>,
        name: &str,
    ) -> Result<()> {
        println!("\n{}", report.table());
        let json = serde_json::to_string_pretty(report)?;
        match &self.json {
            Some(file) if file.as_os_str() == "-" => println!("{json}"),
            Some(file) => write(file, &json)?,
            None => {
                let folder = paths::vm();
                std::fs::create_dir_all(&folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
                let file = folder.join(name);
                write(&file, &json)?;
                println!("As JSON: {}", file.display());
            }
        }
        if let Some(file) = &self.markdown {
            write(file, &report.markdown())?;
            println!("As Markdown: {}", file.display());
        }
        Ok(())
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
