//! The layouts against the tables that are there.

use super::{Finding, Weight};
use crate::shape::{ChildShape, ColumnShape, Layout, TableShape};
use crate::spec::{Spec, did_you_mean};
use crate::store::{Estimate, Form, InspectedTable, Inspection};

/// Checks the source's tables; answers the root table's size.
pub(super) fn check_source(
    spec: &Spec,
    layout: &Layout,
    look: &Inspection,
    findings: &mut Vec<Finding>,
) -> Option<Estimate> {
    let Some(table) = find(look, layout.table()) else {
        findings.push(absent("source", layout.table(), look).at(&["source", "table"]));
        return None;
    };
    match layout {
        Layout::Document(document) => {
            let names = document.key.iter().chain(document_column(table, &document.document));
            for name in names {
                has_column(
                    "source",
                    table,
                    name,
                    &["source", if *name == document.document { "document" } else { "key" }],
                    findings,
                );
            }
        }
        Layout::Rows(shape) => {
            rows_of_source(shape, table, findings);
            children_of_source(&shape.children, look, findings);
        }
    }
    key_is_unique("source", &spec.source.key, table, findings);
    Some(table.estimate)
}

/// Checks what stands in the place of the tables to be.
pub(super) fn check_target(spec: &Spec, layout: &Layout, look: Option<&Inspection>, findings: &mut Vec<Finding>) {
    let Some(look) = look else {
        let message = "the target's database is not there yet; the start makes it";
        findings.push(Finding::new("plan/target-new", Weight::Note, message).at(&["target", "url"]));
        return;
    };
    let Some(table) = find(look, layout.table()) else {
        let message = format!("the target has no table `{}` yet; the start makes it", layout.table());
        findings.push(Finding::new("plan/target-new", Weight::Note, message).at(&["target", "table"]));
        child_tables_of_target(layout, look, findings);
        return;
    };
    match layout {
        // A collection takes whatever fields its documents have.
        Layout::Document(_) if table.form == Form::Documents => {}
        Layout::Document(document) => {
            for name in document.key.iter().chain([&document.document]) {
                has_column("target", table, name, &["target", "table"], findings);
            }
        }
        Layout::Rows(shape) => {
            let names: Vec<&str> = names_of(&shape.columns, shape.residue.as_deref());
            columns_fit(table, &names, findings);
        }
    }
    key_is_unique("target", &spec.target.key, table, findings);
    not_empty(table, findings);
    child_tables_of_target(layout, look, findings);
}

/// The column with the documents, where they stand in one.
fn document_column<'a>(table: &InspectedTable, name: &'a String) -> Option<&'a String> {
    (table.form == Form::Columns).then_some(name)
}

fn child_tables_of_target(layout: &Layout, look: &Inspection, findings: &mut Vec<Finding>) {
    let Layout::Rows(shape) = layout else { return };
    let mut open: Vec<&ChildShape> = shape.children.iter().collect();
    while let Some(child) = open.pop() {
        open.extend(&child.children);
        let Some(table) = find(look, &child.table) else { continue };
        let names: Vec<&str> =
            ["id", "position"].into_iter().chain(names_of(&child.columns, child.residue.as_deref())).collect();
        let own = |column: &str| column == "parent_id" || column.starts_with("record_");
        let known: Vec<&str> =
            names.iter().copied().chain(table.columns.iter().map(|c| c.name.as_str()).filter(|c| own(c))).collect();
        columns_fit(table, &known, findings);
        not_empty(table, findings);
    }
}

fn names_of<'a>(columns: &'a [ColumnShape], residue: Option<&'a str>) -> Vec<&'a str> {
    columns.iter().map(|column| column.name.as_str()).chain(residue).collect()
}

fn find<'a>(look: &'a Inspection, name: &str) -> Option<&'a InspectedTable> {
    look.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name))
}

fn absent(side: &str, name: &str, look: &Inspection) -> Finding {
    let names: Vec<&str> = look.tables.iter().map(|table| table.name.as_str()).collect();
    let hint = match (did_you_mean(name, &names), names.is_empty()) {
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, true) => "the database has no tables".to_owned(),
        (None, false) => format!("tables there: {}", names.join(", ")),
    };
    Finding::new("plan/table-absent", Weight::Problem, format!("the {side} has no table `{name}`")).hint(hint)
}

fn has_column(side: &str, table: &InspectedTable, name: &str, place: &[&str], findings: &mut Vec<Finding>) -> bool {
    if table.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name)) {
        return true;
    }
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let hint = match did_you_mean(name, &names) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("columns there: {}", names.join(", ")),
    };
    let message = format!("the {side}'s table `{}` has no column `{name}`", table.name);
    findings.push(Finding::new("plan/column-absent", Weight::Problem, message).hint(hint).at(place));
    false
}

/// Captured by key: two rows under one key would be one record.
fn key_is_unique(side: &str, key: &[String], table: &InspectedTable, findings: &mut Vec<Finding>) {
    let same = |columns: &[String]| {
        columns.len() == key.len()
            && key.iter().all(|name| columns.iter().any(|column| column.eq_ignore_ascii_case(name)))
    };
    let there = key.iter().all(|name| table.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name)));
    if !there || same(&table.key) || table.unique.iter().any(|columns| same(columns)) {
        return;
    }
    if table.form == Form::Documents {
        // The collection's own key is made of ours; a document where it is not
        // is a record that cannot be read.
        return;
    }
    let message =
        format!("nothing in the {side} keeps the key ({}) unique over table `{}`", key.join(", "), table.name);
    let quoted: Vec<String> = key.iter().map(|name| format!("\"{name}\"")).collect();
    let hint =
        format!("CREATE UNIQUE INDEX \"{0}_key\" ON \"{0}\" ({1}), or name another key", table.name, quoted.join(", "));
    findings.push(Finding::new("plan/key-not-unique", Weight::Problem, message).hint(hint).at(&[side, "key"]));
}

fn rows_of_source(shape: &TableShape, table: &InspectedTable, findings: &mut Vec<Finding>) {
    let names = names_of(&shape.columns, shape.residue.as_deref());
    for name in &names {
        has_column("source", table, name, &["source", "columns", name], findings);
    }
    undeclared(table, &names, findings);
}

fn children_of_source(children: &[ChildShape], look: &Inspection, findings: &mut Vec<Finding>) {
    for child in children {
        let place = ["source", "columns", child.field.as_str()];
        match find(look, &child.table) {
            None => findings.push(absent("source", &child.table, look).at(&place)),
            Some(table) => {
                for name in ["id", "position"].into_iter().chain(names_of(&child.columns, child.residue.as_deref())) {
                    has_column("source", table, name, &place, findings);
                }
            }
        }
        children_of_source(&child.children, look, findings);
    }
}

/// Columns that the spec does not declare would be left behind.
fn undeclared(table: &InspectedTable, names: &[&str], findings: &mut Vec<Finding>) {
    let left: Vec<&str> = table
        .columns
        .iter()
        .filter(|column| !column.generated)
        .map(|column| column.name.as_str())
        .filter(|column| !names.iter().any(|name| name.eq_ignore_ascii_case(column)))
        .collect();
    if !left.is_empty() {
        let message =
            format!("the source's table `{}` has columns that the spec does not name: {}", table.name, left.join(", "));
        let hint = "what they hold would be left behind; declare them in [source.columns]";
        findings.push(Finding::new("plan/undeclared", Weight::Problem, message).hint(hint).at(&["source", "columns"]));
    }
}

/// An existing table of the target must take our columns and need no others.
fn columns_fit(table: &InspectedTable, names: &[&str], findings: &mut Vec<Finding>) {
    for name in names {
        has_column("target", table, name, &["fields", name], findings);
    }
    for column in &table.columns {
        if names.iter().any(|name| name.eq_ignore_ascii_case(&column.name)) {
            if column.generated {
                let message = format!("the target computes column `{}` of `{}` itself", column.name, table.name);
                findings.push(Finding::new("plan/generated", Weight::Problem, message).at(&["fields", &column.name]));
            }
            continue;
        }
        let optional = column.nullable || column.default.is_some() || column.generated || column.identity;
        let message = format!("the target's table `{}` has a column `{}` that no rule fills", table.name, column.name);
        findings.push(match optional {
            true => Finding::new("plan/other-column", Weight::Hazard, message)
                .hint("it keeps its default; what stands there already is not touched and not compared"),
            false => Finding::new("plan/other-column", Weight::Problem, message)
                .hint("it takes no NULL and has no default: add a rule for it, or a default to the column"),
        });
    }
}

fn not_empty(table: &InspectedTable, findings: &mut Vec<Finding>) {
    if table.estimate.records > 0 {
        let rows = match table.estimate.records {
            1 => "a row".to_owned(),
            rows => format!("{rows} rows"),
        };
        let message = format!("the target's table `{}` has {rows} already", table.name);
        let hint = "rows under keys of the source are overwritten; others are found by `verify` as extra, \
                    and `repair --apply` deletes them";
        findings.push(Finding::new("plan/not-empty", Weight::Hazard, message).hint(hint).at(&["target", "table"]));
    }
}
