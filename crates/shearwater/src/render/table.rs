//! Tables that fit a terminal and stay readable in a file.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};

/// Columns used where there is no terminal to ask and `COLUMNS` does not say.
const WIDTH_DEFAULT: u16 = 100;

/// Rows under a header, columns two spaces apart; long cells wrap.
pub fn with_header(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = plain();
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    text(&table)
}

/// Names on the left, what they stand for on the right.
pub fn pairs(rows: &[(&str, String)]) -> String {
    let mut table = plain();
    let widest = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, what) in rows {
        table.add_row([*name, what.as_str()]);
    }
    // Without this a long value squeezes the names.
    let width = u16::try_from(widest + 2).unwrap_or(WIDTH_DEFAULT);
    if let Some(column) = table.column_mut(0) {
        column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
    }
    text(&table)
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        table.set_width(asked.unwrap_or(WIDTH_DEFAULT));
    }
    table
}

/// Without the spaces at the ends of lines, which tests and diffs trip over.
fn text(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_cells_wrap_and_lines_end_clean() {
        let long = "word ".repeat(60);
        let table = pairs(&[("phase", "dual-write".to_owned()), ("next", long)]);
        assert!(table.lines().count() > 3, "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= usize::from(WIDTH_DEFAULT)), "{table}");
        assert!(table.lines().all(|line| line.trim_end() == line), "{table}");
        assert!(table.starts_with(" phase"), "{table}");
    }
}
