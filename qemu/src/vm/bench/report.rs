//! Figures, and the table that they make.

use std::fmt::Display;

use anyhow::{Result, bail};
use comfy_table::{CellAlignment, Table, TableStyle, presets};
use serde::Serialize;

/// The conditions, then one row a figure.
#[derive(Serialize)]
pub(super) struct Report<C> {
    pub(super) conditions: C,
    pub(super) rows: Vec<Row>,
}

/// One figure.
#[derive(Serialize)]
pub(super) struct Row {
    what: String,
    unit: &'static str,
    median: f64,
    least: f64,
    most: f64,
    runs: usize,
    /// What the median is to be at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    aim: Option<f64>,
}

impl Row {
    /// The median of `values`, of which there is at least one.
    pub(super) fn new(
        what: impl Into<String>,
        unit: &'static str,
        mut values: Vec<f64>,
    ) -> Result<Row> {
        let what = what.into();
        values.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (values.first(), values.last()) else {
            bail!("{what}: nothing was measured");
        };
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Ok(Row {
            unit,
            median,
            least: *least,
            most: *most,
            runs: values.len(),
            aim: None,
            what,
        })
    }

    /// A figure that is the same whenever it is measured.
    pub(super) fn once(what: impl Into<String>, unit: &'static str, value: f64) -> Row {
        Row {
            what: what.into(),
            unit,
            median: value,
            least: value,
            most: value,
            runs: 1,
            aim: None,
        }
    }

    /// With what it is to be at most.
    pub(super) fn aim(mut self, aim: f64) -> Row {
        self.aim = Some(aim);
        self
    }

    /// This median as a share of another's.
    pub(super) fn over(&self, other: &Row, aim: f64) -> Row {
        let what = format!("{}, as a share of that", self.what);
        Row::once(what, "", self.median / other.median).aim(aim)
    }

    fn cells(&self) -> [String; 4] {
        let number = |value: f64| match self.unit {
            "ms" if value < 100.0 => format!("{value:.2}"),
            "ms" | "calls" => format!("{value:.0}"),
            "MiB" | "MiB/s" => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        };
        let with_unit = |value: f64| format!("{} {}", number(value), self.unit);
        let spread = match self.runs {
            0 | 1 => String::new(),
            runs => format!("{} to {}, n={runs}", number(self.least), number(self.most)),
        };
        [
            self.what.clone(),
            with_unit(self.median).trim_end().to_owned(),
            spread,
            self.aim.map_or_else(String::new, |aim| {
                let verdict = if self.median <= aim { "met" } else { "missed" };
                format!("{} ({verdict})", with_unit(aim).trim_end())
            }),
        ]
    }
}

impl<C: Display> Report<C> {
    /// For a terminal.
    pub(super) fn table(&self) -> String {
        format!(
            "{}\n\n{}\n",
            self.conditions,
            self.rows_as(presets::NOTHING)
        )
    }

    /// For a page.
    pub(super) fn markdown(&self) -> String {
        let table = self.rows_as(presets::ASCII_MARKDOWN);
        format!("{}\n\n{table}\n", self.conditions)
    }

    fn rows_as(&self, style: TableStyle) -> String {
        let mut table = Table::new();
        table.load_style(style);
        table.set_header(["", "median", "from, to", "at most"]);
        for row in &self.rows {
            table.add_row(row.cells());
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let lines = table.lines().map(|line| line.trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    }
}

pub(super) fn mebibytes(bytes: u64) -> f64 {
    as_f64(bytes) / 1_048_576.0
}

/// Sizes and milliseconds here stay far below 2^53.
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::Row;

    #[test]
    fn medians() {
        for (values, median) in [
            (vec![3.0], 3.0),
            (vec![9.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 2.0, 9.0], 3.0),
        ] {
            assert_eq!(Row::new("x", "s", values).expect("a row").median, median);
        }
        assert!(Row::new("x", "s", Vec::new()).is_err());
    }

    #[test]
    fn a_row_says_whether_it_meets_its_aim() {
        let own = Row::new("boot", "s", vec![3.0, 4.0, 3.5]).expect("a row");
        let other = Row::new("boot", "s", vec![14.0]).expect("a row");
        assert_eq!(own.cells(), ["boot", "3.50 s", "3.00 to 4.00, n=3", ""]);
        let share = own.over(&other, 0.25);
        assert_eq!(
            share.cells(),
            ["boot, as a share of that", "0.25", "", "0.25 (met)"]
        );
        let ms = Row::once("start", "ms", 701.0).aim(700.0);
        assert_eq!(ms.cells()[3], "700 ms (missed)");
        assert_eq!(Row::once("exec", "ms", 3.456).cells()[1], "3.46 ms");
        assert_eq!(Row::once("run", "calls", 7.0).cells()[1], "7 calls");
    }
}
