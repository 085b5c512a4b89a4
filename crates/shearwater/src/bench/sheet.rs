//! The bench's result: figures, ratios, goals.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

/// What the sheet does not say.
const LIMITS: &str = "One run on this machine, nothing repeated: figures vary by some percent, ratios less. \
Stores, clients and gateway share its cores and its disk. \"Plain batches\" are the very rows that the backfill \
wrote, read back into memory and inserted into the same tables by prepared statements, 1,000 records in a \
transaction, same durability. \"A bare handler\" reads the same row with the same SQL on its own connections and \
answers the text as it is.";

/// Columns of the table.
const TABLE_COLUMNS: u16 = 100;

/// What a figure must keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Nothing.
    None,
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Goal {
    fn kept(self, figure: f64) -> bool {
        match self {
            Goal::None => true,
            Goal::AtMost(most) => figure <= most,
            Goal::AtLeast(least) => figure >= least,
        }
    }

    fn text(self) -> String {
        match self {
            Goal::None => String::new(),
            Goal::AtMost(most) => format!("≤ {most}"),
            Goal::AtLeast(least) => format!("≥ {least}"),
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    what: String,
    ours: f64,
    against: Option<(String, f64)>,
    goal: Goal,
}

impl Line {
    /// A figure alone.
    pub fn figure(what: &str, ours: f64, goal: Goal) -> Line {
        Line { what: what.to_owned(), ours, against: None, goal }
    }

    /// A figure against another; the goal is for their ratio.
    pub fn ratio(what: &str, ours: f64, other: &str, theirs: f64, least: f64) -> Line {
        Line { what: what.to_owned(), ours, against: Some((other.to_owned(), theirs)), goal: Goal::AtLeast(least) }
    }

    /// A figure against another, where less is better; the goal is for their ratio.
    pub fn ratio_at_most(what: &str, ours: f64, other: &str, theirs: f64, most: f64) -> Line {
        Line { what: what.to_owned(), ours, against: Some((other.to_owned(), theirs)), goal: Goal::AtMost(most) }
    }

    fn ratio_of(&self) -> Option<f64> {
        self.against.as_ref().map(|(_, theirs)| self.ours / theirs)
    }

    fn kept(&self) -> bool {
        self.goal.kept(self.ratio_of().unwrap_or(self.ours))
    }
}

/// All lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    lines: Vec<Line>,
}

impl Sheet {
    /// Adds a line.
    pub fn add(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// How many goals were missed.
    pub fn missed(&self) -> usize {
        self.lines.iter().filter(|line| !line.kept()).count()
    }

    /// The table, with what it does not say.
    pub fn text(&self) -> String {
        format!("{}\n{LIMITS}\n", self.table())
    }

    /// The table alone.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(TABLE_COLUMNS);
        table.set_header(vec!["what", "ours", "against", "theirs", "ratio", "goal", ""]);
        for line in &self.lines {
            let (against, theirs) = line.against.clone().unzip();
            table.add_row(vec![
                line.what.clone(),
                number(line.ours),
                against.unwrap_or_default(),
                theirs.map(number).unwrap_or_default(),
                line.ratio_of().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                line.goal.text(),
                if line.kept() { String::new() } else { "missed".to_owned() },
            ]);
        }
        for column in [1, 3, 4] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        format!("{table}\n")
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|line| {
                let (against, theirs) = line.against.clone().unzip();
                json!({
                    "what": line.what, "ours": line.ours, "against": against, "theirs": theirs,
                    "ratio": line.ratio_of(), "goal": line.goal.text(), "kept": line.kept(),
                })
            })
            .collect();
        json!({ "lines": lines, "missed": self.missed(), "limits": LIMITS })
    }
}

fn number(figure: f64) -> String {
    if figure >= 1_000.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_for_ratios_where_there_is_one() {
        let check = |line: Line, kept: bool| assert_eq!(line.kept(), kept, "{line:?}");
        check(Line::ratio("a", 60.0, "b", 100.0, 0.5), true);
        check(Line::ratio("a", 40.0, "b", 100.0, 0.5), false);
        check(Line::figure("a", 40.0, Goal::AtMost(50.0)), true);
        check(Line::figure("a", 60.0, Goal::AtMost(50.0)), false);
        check(Line::figure("a", 60.0, Goal::None), true);
    }

    #[test]
    fn both_forms_tell_what_was_missed_and_the_limits() {
        let mut sheet = Sheet::default();
        sheet.add(Line::ratio("backfill", 40.0, "plain", 100.0, 0.5));
        sheet.add(Line::figure("memory", 10.0, Goal::AtMost(128.0)));
        assert_eq!(sheet.missed(), 1);
        assert!(sheet.text().contains("missed") && sheet.text().contains("One run"));
        assert_eq!(sheet.json()["lines"][0]["ratio"], 0.4);
        assert!(sheet.json()["limits"].as_str().is_some());
    }
}
