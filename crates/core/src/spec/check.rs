//! Checks across sections: keys among fields, tables apart, paths apart.

use super::read::{Reader, Span, did_you_mean};
use super::stores::{Draft, StorePlaces};
use super::{FieldRule, Kind, LayoutSpec, RuleFrom, Spec, StoreSpec, Unmapped};
use crate::expr::Expr;
use crate::path::{Path, Step};

/// Reports everything that only shows when the sections are seen together.
pub(super) fn check(reader: &mut Reader<'_>, draft: &Draft) {
    let spec = &draft.spec;
    keys(reader, spec.kind, (&spec.target, &draft.target), &spec.fields, "[fields]");
    if let LayoutSpec::Rows { columns, residue } = &spec.source.layout {
        keys(reader, spec.kind, (&spec.source, &draft.source), columns, "[source.columns]");
        residue_apart(reader, residue.as_deref(), draft.source.residue, columns);
        source_columns(reader, spec, columns, residue.as_deref());
    }
    if let Unmapped::KeepIn(residue) = &spec.unmapped {
        residue_apart(reader, Some(residue), draft.unmapped, &spec.fields);
    }
    unfit(reader, spec);
    super::extras::check(reader, &spec.target, &spec.fields);
    tables(reader, draft);
    origins_apart(reader, &spec.fields);
    back_fields(reader, &spec.fields);
}

/// The key fields must be plain fields of the list.
fn keys(
    reader: &mut Reader<'_>,
    kind: Kind,
    (store, places): (&StoreSpec, &StorePlaces),
    fields: &[FieldRule],
    place: &str,
) {
    if fields.is_empty() {
        return;
    }
    let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    for (key, span) in store.key.iter().zip(&places.key) {
        let Some(field) = fields.iter().find(|field| field.name == *key) else {
            let hint = match did_you_mean(key, &names) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("fields: {}", names.join(", ")),
            };
            reader.problem("spec/key", *span, format!("the key field `{key}` is not in {place}"), Some(hint));
            continue;
        };
        let unfit = match field.from {
            _ if field.child.is_some() => "an array",
            RuleFrom::Constant(_) => "the same for every record",
            // Then `[identity]` says how it is assigned.
            RuleFrom::TargetOnly if kind == Kind::Absorb => continue,
            RuleFrom::TargetOnly => "not made from the source",
            RuleFrom::Path(_) | RuleFrom::Sql { .. } => continue,
        };
        let message = format!("the field `{key}` cannot be in the key: it is {unfit}");
        reader.problem("spec/key", *span, message, None);
    }
}

/// The residue column shares its table with the fields, and each child table has one too.
fn residue_apart(reader: &mut Reader<'_>, residue: Option<&str>, place: Span, fields: &[FieldRule]) {
    let Some(residue) = residue else { return };
    let folded = residue.to_lowercase();
    let mut open: Vec<&FieldRule> = fields.iter().collect();
    while let Some(field) = open.pop() {
        if field.name.to_lowercase() == folded {
            let message = format!("`{residue}` is the column for unmapped fields, and a field too");
            let hint = "name the column otherwise: [unmapped] keep_in = \"rest\"".to_owned();
            let span = if place == (0, 0) { field.span } else { place };
            reader.problem("spec/duplicate", span, message, Some(hint));
        }
        open.extend(field.child.iter().flat_map(|child| &child.fields));
    }
}

/// What `unfit` takes away must be kept somewhere; and a key must stay itself.
fn unfit(reader: &mut Reader<'_>, spec: &Spec) {
    let mut open: Vec<(&FieldRule, bool)> =
        spec.fields.iter().map(|field| (field, spec.target.key.contains(&field.name))).collect();
    while let Some((field, is_key)) = open.pop() {
        if field.unfit.is_some() && is_key {
            let message = format!("the key field `{}` has `unfit`; two keys could become one", field.name);
            reader.problem("spec/key", field.span, message, None);
        }
        if field.unfit.is_some() && spec.unmapped == Unmapped::Refuse {
            let message = format!("the field `{}` has `unfit`, but nothing keeps what it takes away", field.name);
            let hint = "keep it beside the columns: [unmapped] keep_in = \"extra\"".to_owned();
            reader.problem("spec/conflict", field.span, message, Some(hint));
        }
        open.extend(
            field
                .child
                .iter()
                .filter(|child| child.scalar.is_none())
                .flat_map(|child| &child.fields)
                .map(|f| (f, false)),
        );
    }
}

/// With declared columns, every path and expression can be checked against them.
fn source_columns(reader: &mut Reader<'_>, spec: &Spec, columns: &[FieldRule], residue: Option<&str>) {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).chain(residue).collect();
    for field in &spec.fields {
        let roots = match &field.from {
            RuleFrom::Path(path) => vec![path.root().to_owned()],
            RuleFrom::Sql { sql, .. } => Expr::parse(sql).map(|expr| expr.fields()).unwrap_or_default(),
            RuleFrom::Constant(_) | RuleFrom::TargetOnly => continue,
        };
        for root in roots.iter().filter(|root| !names.contains(&root.as_str())) {
            let message = format!("the field `{}` reads `{root}`, which is not in [source.columns]", field.name);
            unknown_name(reader, field.span, message, root, &names);
        }
    }
}

/// Expressions that give v1 fields back read fields of v2.
fn back_fields(reader: &mut Reader<'_>, fields: &[FieldRule]) {
    let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    for field in fields {
        let RuleFrom::Sql { back, .. } = &field.from else { continue };
        for (path, sql) in back {
            let roots = Expr::parse(sql).map(|expr| expr.fields()).unwrap_or_default();
            for root in roots.iter().filter(|root| !names.contains(&root.as_str())) {
                let message =
                    format!("the way back to `{}` reads `{root}`, which is not in [fields]", shown_path(path));
                unknown_name(reader, field.span, message, root, &names);
            }
        }
    }
}

fn unknown_name(reader: &mut Reader<'_>, span: Span, message: String, found: &str, names: &[&str]) {
    let hint = match did_you_mean(found, names) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known: {}", names.join(", ")),
    };
    reader.problem("spec/field", span, message, Some(hint));
}

/// No two tables of one database may be the same one.
fn tables(reader: &mut Reader<'_>, draft: &Draft) {
    let spec = &draft.spec;
    let source_database = database(&spec.source.url);
    let mut seen: Vec<(String, String, String)> = Vec::new();
    let mut add = |reader: &mut Reader<'_>, database: &str, table: &str, what: String, span: Span| {
        if table.is_empty() || database.is_empty() {
            return;
        }
        let folded = table.to_lowercase();
        if let Some((_, _, other)) = seen.iter().find(|(d, t, _)| d == database && *t == folded) {
            let message = format!("`{table}` is {what} and {other}, in one database");
            let hint = "each needs a table of its own".to_owned();
            reader.problem("spec/same-table", span, message, Some(hint));
        }
        seen.push((database.to_owned(), folded, what));
    };
    add(reader, &source_database, &spec.source.table, "the source's table".to_owned(), draft.source.table);
    if let LayoutSpec::Rows { columns, .. } = &spec.source.layout {
        for (field, table, span) in child_tables(columns) {
            add(reader, &source_database, table, format!("the table of `{field}`"), span);
        }
    }
    let target_database = database(&spec.target.url);
    add(reader, &target_database, &spec.target.table, "the target's table".to_owned(), draft.target.table);
    for (field, table, span) in child_tables(&spec.fields) {
        if matches!(spec.target.layout, LayoutSpec::Document { .. }) {
            let message = format!("the field `{field}` has a child table, but the target's layout is `document`");
            let hint = "child tables need [target] layout = \"rows\"".to_owned();
            reader.problem("spec/conflict", span, message, Some(hint));
        }
        add(reader, &target_database, table, format!("the table of `{field}`"), span);
    }
}

/// A URL without its options.
fn database(url: &str) -> String {
    url.split('?').next().unwrap_or(url).replace(":./", ":")
}

fn child_tables(fields: &[FieldRule]) -> Vec<(&str, &str, Span)> {
    let mut found = Vec::new();
    for field in fields {
        if let Some(child) = &field.child {
            found.push((field.name.as_str(), child.table.as_str(), field.span));
            found.extend(child_tables(&child.fields));
        }
    }
    found
}

/// A v1 path may be given back by one field only, or the way back is ambiguous.
fn origins_apart(reader: &mut Reader<'_>, fields: &[FieldRule]) {
    let mut taken: Vec<(&Path, &FieldRule)> = Vec::new();
    for field in fields {
        let paths: Vec<&Path> = match &field.from {
            RuleFrom::Path(path) => vec![path],
            RuleFrom::Sql { back, .. } => back.iter().map(|(path, _)| path).collect(),
            RuleFrom::Constant(_) | RuleFrom::TargetOnly => vec![],
        };
        for path in paths {
            let other = taken.iter().find(|(other, _)| {
                let (a, b) = (other.steps(), path.steps());
                a.starts_with(b) || b.starts_with(a)
            });
            if let Some((other_path, other)) = other {
                let message = format!(
                    "the fields `{}` and `{}` both give `{}` back",
                    other.name,
                    field.name,
                    shown_path(if other_path.steps().len() < path.steps().len() { path } else { other_path }),
                );
                let hint = "compute one of them: { sql = '''…''', derived = true }".to_owned();
                reader.problem("spec/ambiguous", field.span, message, Some(hint));
            }
            taken.push((path, field));
        }
        if let Some(child) = &field.child {
            origins_apart(reader, &child.fields);
        }
    }
}

fn shown_path(path: &Path) -> String {
    let mut out = String::new();
    for step in path.steps() {
        match step {
            Step::Field(name) if out.is_empty() => out.push_str(name),
            Step::Field(name) => {
                out.push('.');
                out.push_str(name);
            }
            Step::Index(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}
