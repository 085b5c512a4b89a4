//! Foreign keys: the order that the target's impose on migrations, and what the
//! source's do by themselves.

use super::columns::column_of;
use super::{Finding, Weight};
use crate::shape::Layout;
use crate::store::{InspectedTable, Inspection};

fn find<'a>(look: &'a Inspection, name: &str) -> Option<&'a InspectedTable> {
    look.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name))
}

/// Foreign keys that the target's tables have already.
pub(super) fn check_existing(layout: &Layout, look: &Inspection, findings: &mut Vec<Finding>) {
    let Layout::Rows(shape) = layout else { return };
    let Some(table) = find(look, &shape.table) else { return };
    let written = |name: &String| shape.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    for key in table.foreign_keys.iter().filter(|key| key.columns.iter().any(written)) {
        let columns = key.columns.join(", ");
        let place = ["fields", key.columns.first().map_or("", String::as_str)];
        if key.table.eq_ignore_ascii_case(&table.name) {
            let message = format!(
                "the target's rows refer to rows of the same table ({columns}): one may come before the one that it needs"
            );
            findings.push(
                Finding::new("plan/foreign-key", Weight::Hazard, message)
                    .hint("such a record may become a dead letter, which is tried again when the other is there")
                    .at(&place),
            );
            continue;
        }
        let rows = find(look, &key.table).map_or(0, |other| other.estimate.records);
        let there = match rows {
            0 => "has no rows yet",
            _ => "has rows already",
        };
        let message = format!(
            "the target's rows need their row in `{}` ({columns}), which {there}: move `{}` first",
            key.table, key.table
        );
        findings.push(
            Finding::new("plan/foreign-key", Weight::Hazard, message)
                .hint("a record that comes before the row that it needs may become a dead letter, which is tried again")
                .at(&place),
        );
    }
}

/// Foreign keys that the spec asks for.
pub(super) fn check_asked(layout: &Layout, look: Option<&Inspection>, findings: &mut Vec<Finding>) {
    let mut later: Vec<&str> = Vec::new();
    for (table, column, other) in layout.references() {
        let place = ["fields", column.name.as_str(), "references"];
        let own = table.eq_ignore_ascii_case(&other.table);
        let Some(there) = look.and_then(|look| find(look, &other.table)) else {
            if !own && !later.contains(&other.table.as_str()) {
                later.push(&other.table);
            }
            continue;
        };
        let problem = match column_of(there, &other.column) {
            None => Some(format!("the target's table `{}` has no column `{}`", other.table, other.column)),
            Some(found) => {
                let alone =
                    |columns: &Vec<String>| columns.len() == 1 && columns[0].eq_ignore_ascii_case(&other.column);
                let is_unique = alone(&there.key) || there.unique.iter().any(alone);
                match found.ty {
                    _ if !is_unique => Some(format!(
                        "nothing keeps `{}` unique in `{}`, so no row can refer to it",
                        other.column, other.table
                    )),
                    Some(ty) if ty != column.ty => Some(format!(
                        "`{}` is {}, and `{}` of `{}`, which it refers to, is {}",
                        column.name,
                        column.ty.name(),
                        other.column,
                        other.table,
                        found.declared
                    )),
                    _ => None,
                }
            }
        };
        if let Some(message) = problem {
            findings.push(Finding::new("plan/references", Weight::Problem, message).at(&place));
        }
    }
    for table in later {
        let message = format!(
            "the target has no table `{table}` yet, which rows are to refer to: move it before this migration completes"
        );
        findings.push(
            Finding::new("plan/references", Weight::Hazard, message)
                .hint("complete is refused while a row lacks the row that it needs"),
        );
    }
}

/// Rows of the source that change by themselves when another row does.
pub(super) fn check_cascades(layout: &Layout, look: &Inspection, findings: &mut Vec<Finding>) {
    let Layout::Rows(shape) = layout else { return };
    let Some(table) = find(look, &shape.table) else { return };
    for key in table.foreign_keys.iter().filter(|key| key.cascades) {
        let message = format!(
            "rows of `{}` change by themselves when their row in `{}` does ({}); the target's will not",
            table.name,
            key.table,
            key.columns.join(", ")
        );
        findings.push(
            Finding::new("plan/cascade", Weight::Hazard, message)
                .hint("until the cutover the target follows such changes; after it, whoever deletes the other row must do it")
                .at(&["source", "table"]),
        );
    }
}
