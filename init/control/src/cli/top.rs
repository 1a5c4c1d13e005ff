//! `orlop top`.

use super::failure::Outcome;
use super::output::{Format, show};
use super::table::{bytes, table};
use crate::client::Client;
use crate::types::{ProcessList, ProcessStatus};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this unit's processes
    unit: Option<String>,
}

pub(super) async fn run(client: &Client, args: &Args, format: Format) -> Outcome {
    let mut list = client.processes().await?;
    if let Some(name) = &args.unit {
        // A unit that does not exist is an error, not one without processes.
        let unit = client.unit(name).await?;
        list.processes
            .retain(|process| process.unit.as_ref() == Some(&unit.name));
    }
    show(format, &list, text)
}

fn text(list: &ProcessList) -> String {
    let rows = list.processes.iter().map(row).collect();
    let mut text = table(&["PID", "PARENT", "UNIT", "CPU", "MEMORY", "NAME"], rows);
    let memory = list.processes.iter().filter_map(|process| process.memory);
    let count = list.processes.len();
    text.push_str(&format!("\n{count} shown, {}", bytes(memory.sum())));
    if list.dropped > 0 {
        text.push_str(&format!("; {} more are not shown", list.dropped));
    }
    text.push('\n');
    text
}

fn row(process: &ProcessStatus) -> Vec<String> {
    vec![
        process.pid.to_string(),
        process.parent.to_string(),
        process.unit.clone().unwrap_or_else(|| "-".to_owned()),
        format!(
            "{}.{:02} s",
            process.cpu_ms / 1000,
            process.cpu_ms % 1000 / 10
        ),
        process.memory.map(bytes).unwrap_or_default(),
        process.name.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_processes() {
        let list = ProcessList {
            processes: vec![
                ProcessStatus {
                    pid: 1,
                    name: "init".into(),
                    cpu_ms: 2340,
                    memory: Some(1 << 20),
                    ..ProcessStatus::default()
                },
                ProcessStatus {
                    pid: 120,
                    parent: 1,
                    name: "httpd".into(),
                    unit: Some("web".into()),
                    ..ProcessStatus::default()
                },
            ],
            dropped: 3,
        };
        let expected = "\
PID   PARENT   UNIT   CPU      MEMORY    NAME
1     0        -      2.34 s   1.0 MiB   init
120   1        web    0.00 s             httpd

2 shown, 1.0 MiB; 3 more are not shown
";
        assert_eq!(text(&list), expected);
    }
}
