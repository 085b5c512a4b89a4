//! Foreign keys: the order that the target's impose on migrations, and what the
//! source's do by themselves.

use super::columns::column_of;
use super::{Finding, Weight};
use crate::shape::{Layout, References};
use crate::store::{InspectedColumn, InspectedTable, Inspection};

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
    let mut later: Vec<String> = Vec::new();
    for (table, other) in layout.references() {
        let alone = other.columns.len() == 1;
        let place: &[&str] = match other.columns.first() {
            Some(column) if alone => &["fields", column, "references"],
            _ => &["target", "foreign_keys"],
        };
        let own = table.eq_ignore_ascii_case(&other.table);
        let Some(there) = look.and_then(|look| find(look, &other.table)) else {
            if !own && !later.contains(&other.table) {
                later.push(other.table);
            }
            continue;
        };
        if let Some(message) = unfit(layout, table, &other, there) {
            findings.push(Finding::new("plan/references", Weight::Problem, message).at(place));
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

/// Why columns cannot refer to those of a table that is there.
fn unfit(layout: &Layout, table: &str, asked: &References, there: &InspectedTable) -> Option<String> {
    let found: Vec<&InspectedColumn> = asked.others.iter().map_while(|name| column_of(there, name)).collect();
    if let Some(missing) = asked.others.get(found.len()) {
        return Some(format!("the target's table `{}` has no column `{missing}`", asked.table));
    }
    let these = |columns: &Vec<String>| {
        columns.len() == asked.others.len()
            && columns.iter().all(|name| asked.others.iter().any(|other| other.eq_ignore_ascii_case(name)))
    };
    if !these(&there.key) && !there.unique.iter().any(these) {
        return Some(format!(
            "nothing keeps `{}` unique in `{}`, so no row can refer to it",
            asked.others.join("`, `"),
            asked.table
        ));
    }
    asked.columns.iter().zip(found).find_map(|(name, found)| {
        let own = layout.column_type(table, name)?;
        found.ty.is_some_and(|ty| ty != own).then(|| {
            format!(
                "`{name}` is {}, and `{}` of `{}`, which it refers to, is {}",
                own.name(),
                found.name,
                asked.table,
                found.declared
            )
        })
    })
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
