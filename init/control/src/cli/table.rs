//! Tables without lines, as docker prints them, and the words in their cells.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;

/// A table: headers in capitals, columns three spaces apart.
pub(super) fn table(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    trimmed(&table)
}

/// Names and values below each other; empty values are left out.
pub(super) fn list(rows: &[(&str, String)]) -> String {
    let shown = rows.iter().filter(|(_, value)| !value.is_empty());
    let width = shown
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0)
        + 1;
    let mut text = String::new();
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let mut lines = value.lines();
        let name = format!("{name}:");
        text.push_str(&format!(
            "{name:width$}  {}\n",
            lines.next().unwrap_or_default()
        ));
        for line in lines {
            text.push_str(&format!("{:width$}  {line}\n", ""));
        }
    }
    text
}

fn trimmed(table: &Table) -> String {
    table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// `5 minutes`: the largest unit only.
pub(super) fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (count, word) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    if count == 1 {
        format!("1 {word}")
    } else {
        format!("{count} {word}s")
    }
}

/// How long ago `then` was.
pub(super) fn since(then: Timestamp, now: Timestamp) -> String {
    duration(now.as_second() - then.as_second())
}

/// `1.5 GiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (u128::from(bytes) * 10 / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if tenths < 100 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells() {
        for (seconds, text) in [
            (-5, "0 seconds"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (7199, "1 hour"),
            (172_800, "2 days"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        for (size, text) in [
            (0, "0 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (20 << 20, "20 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn tables_have_no_lines_and_no_trailing_space() {
        let rows = vec![
            vec!["web".into(), "running".into()],
            vec!["database".into(), String::new()],
        ];
        assert_eq!(
            table(&["NAME", "STATE"], rows),
            "NAME       STATE\nweb        running\ndatabase\n"
        );
        assert_eq!(
            list(&[
                ("Name", "demo".into()),
                ("Empty", String::new()),
                ("Two", "a\nb".into())
            ]),
            "Name:  demo\nTwo:   a\n       b\n"
        );
    }
}
