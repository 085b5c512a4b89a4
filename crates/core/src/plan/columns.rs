//! Fields against the columns that are there: their types, and what the store
//! fills in by itself.

use super::{Finding, Weight};
use crate::shape::{ChildShape, ColumnShape, FieldType, Layout};
use crate::store::{InspectedColumn, InspectedTable, Inspection};

/// Checks every column of the source's tables.
pub(super) fn check_source(layout: &Layout, look: &Inspection, findings: &mut Vec<Finding>) {
    each_column(layout, look, &["source", "columns"], &mut |column, found, place| {
        check_type("source", column, found, place, findings);
        if found.generated {
            let message =
                format!("the source computes column `{}` itself: it can be read, but not written back", found.name);
            findings.push(
                Finding::new("plan/generated", Weight::Problem, message)
                    .hint("leave it out of [source.columns]; nothing is lost, for it can be computed again")
                    .at_owned(place),
            );
        }
    });
}

/// Checks every column of the target's tables.
pub(super) fn check_target(layout: &Layout, look: &Inspection, findings: &mut Vec<Finding>) {
    each_column(layout, look, &["fields"], &mut |column, found, place| {
        check_type("target", column, found, place, findings);
        check_identity(found, place, findings);
        if column.nullable && !found.nullable && found.default.is_none() {
            let message =
                format!("the target's column `{}` takes no NULL, and the field may be without a value", found.name);
            findings.push(
                Finding::new("plan/nullable", Weight::Hazard, message)
                    .hint("records without a value are refused: say required = true, or what stands for them: default = …")
                    .at_owned(place),
            );
        }
    });
}

fn check_identity(found: &InspectedColumn, place: &[String], findings: &mut Vec<Finding>) {
    if let Some(statement) = found.renumber.as_ref().filter(|_| found.identity) {
        let message =
            format!("the target numbers `{}` by itself, and does not count what is written there", found.name);
        findings.push(
            Finding::new("plan/identity", Weight::Hazard, message)
                .hint(format!("after complete, before others insert without a number, run: {statement}"))
                .at_owned(place),
        );
    }
}

type Each<'a> = dyn FnMut(&ColumnShape, &InspectedColumn, &[String]) + 'a;

/// Every column of a layout that is there, and its place in the spec. Columns
/// that their table does not have are told elsewhere.
fn each_column(layout: &Layout, look: &Inspection, place: &[&str], each: &mut Each<'_>) {
    let Layout::Rows(shape) = layout else { return };
    let place: Vec<String> = place.iter().map(|key| (*key).to_owned()).collect();
    of_table(&shape.table, &shape.columns, &shape.children, look, &place, each);
}

fn of_table(
    table: &str,
    columns: &[ColumnShape],
    children: &[ChildShape],
    look: &Inspection,
    place: &[String],
    each: &mut Each<'_>,
) {
    let there = look.tables.iter().find(|t| t.name.eq_ignore_ascii_case(table));
    for column in columns {
        if let Some(found) = there.and_then(|table| column_of(table, &column.name)) {
            each(column, found, &[place, std::slice::from_ref(&column.name)].concat());
        }
    }
    for child in children {
        let here = [place, &[child.field.clone(), "fields".to_owned()]].concat();
        of_table(&child.table, &child.columns, &child.children, look, &here, each);
    }
}

pub(super) fn column_of<'a>(table: &'a InspectedTable, name: &str) -> Option<&'a InspectedColumn> {
    let exact = table.columns.iter().find(|column| column.name == name);
    exact.or_else(|| table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
}

/// Whether a column can hold a field of a type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Every one of its values.
    Yes,
    /// Some of its values, or in some stores.
    Some,
    /// None of them.
    No,
}

/// Whether a column of a type can hold a field of another.
pub(crate) fn holds(column: FieldType, field: FieldType) -> Holds {
    use FieldType::*;
    match (column, field) {
        (column, field) if column == field => Holds::Yes,
        // As texts that core prints and reads.
        (Text, Float | Decimal | Date | Time | Timestamp | Instant | Uuid | Json | Extended) => Holds::Yes,
        // With its tag.
        (Json, Extended) | (Decimal, Int) => Holds::Yes,
        (Int, Bool | Float | Decimal) | (Float, Int | Decimal) | (Bytes, Text | Uuid) => Holds::Some,
        // What a store's own calendar says beyond ours, for example a zero date.
        (Date | Time | Timestamp | Instant, Extended) => Holds::Some,
        _ => Holds::No,
    }
}

fn check_type(
    side: &str,
    column: &ColumnShape,
    found: &InspectedColumn,
    place: &[String],
    findings: &mut Vec<Finding>,
) {
    let declared = &found.declared;
    let Some(ty) = found.ty else {
        let message = format!("the {side}'s column `{}` is {declared}, which cannot be read exactly", found.name);
        findings.push(
            Finding::new("plan/type", Weight::Problem, message)
                .hint("change the column's type in the store, or move a view without it")
                .at_owned(place),
        );
        return;
    };
    let (weight, what) = match holds(ty, column.ty) {
        Holds::Yes => return,
        Holds::Some => (Weight::Hazard, "which may not hold every"),
        Holds::No => (Weight::Problem, "which does not hold"),
    };
    let message = format!("the {side}'s column `{}` is {declared}, {what} {}", found.name, column.ty.name());
    findings.push(
        Finding::new("plan/type", weight, message)
            .hint(match side {
                "source" => format!("declare the column as \"{}\"", ty.name()),
                _ => format!(
                    "declare the field as type = \"{}\", with cast = true where its values are of another type",
                    ty.name()
                ),
            })
            .at_owned(place),
    );
}
