//! What the spec says of a table that the start makes besides its columns'
//! values: columns that are unique or refer to another table together, and what
//! the store itself puts where a program leaves a column out.

use toml::de::DeValue;

use super::fields::check_name;
use super::literal::constant;
use super::read::{Item, Reader, Section, Span, did_you_mean};
use super::{FieldRule, StoreSpec};
use crate::shape::{FieldType, References, WhenOmitted};

/// Columns of a target that belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Together {
    /// Lists of columns that are unique together.
    pub unique: Vec<Vec<String>>,
    /// Columns that refer to another table's together.
    pub foreign_keys: Vec<References>,
    /// Where they stand in the spec.
    pub(super) span: Span,
}

/// Reads `unique_together` and `foreign_keys` of `[target]`.
pub(super) fn read_together(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Together {
    let mut together = Together { span: section.span, ..Together::default() };
    if let Some(item) = section.take("unique_together") {
        together.span = item.span();
        for list in lists(reader, item, "[[\"street\", \"number\"]]") {
            together.unique.push(names(reader, &list).unwrap_or_default());
        }
    }
    if let Some(item) = section.take("foreign_keys") {
        together.span = item.span();
        let example =
            "[{ columns = [\"street\", \"number\"], table = \"houses\", references = [\"street\", \"number\"] }]";
        for entry in lists(reader, item, example) {
            together.foreign_keys.extend(foreign_key(reader, entry));
        }
    }
    together
}

/// The items of a list; anything else is told.
fn lists<'t>(reader: &mut Reader<'_>, item: Item<'t>, example: &str) -> Vec<Item<'t>> {
    let (span, key, key_span) = (item.span(), item.key.clone(), item.key_span);
    match item.value.into_inner() {
        DeValue::Array(items) => items.into_iter().map(|value| Item { key: key.clone(), key_span, value }).collect(),
        _ => {
            let hint = Some(format!("for example: {key} = {example}"));
            reader.problem("spec/type", span, format!("`{key}` must be a list"), hint);
            Vec::new()
        }
    }
}

/// Two column names or more.
fn names(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Vec<String>> {
    let found = reader.texts(item)?;
    if found.len() < 2 {
        let hint = "one column alone says it itself: unique = true, references = \"table.column\"".to_owned();
        reader.problem("spec/value", item.span(), format!("`{}` needs two columns or more", item.key), Some(hint));
        return None;
    }
    Some(found.into_iter().map(|(name, _)| name).collect())
}

fn foreign_key(reader: &mut Reader<'_>, item: Item<'_>) -> Option<References> {
    let span = item.span();
    let mut section = reader.section(item, "a foreign key")?;
    let (columns, table, others) = (section.take("columns"), section.take("table"), section.take("references"));
    for (given, key) in [(columns.is_some(), "columns"), (table.is_some(), "table"), (others.is_some(), "references")] {
        if !given {
            reader.missing(&section, key, if key == "table" { "\"houses\"" } else { "[\"street\", \"number\"]" });
        }
    }
    section.refuse_rest(reader);
    let table_item = table?;
    let table = reader.text(&table_item)?;
    check_name(reader, "table", &table, table_item.span());
    let (columns, others) = (names(reader, &columns?)?, names(reader, &others?)?);
    if columns.len() != others.len() {
        let message = format!("{} columns cannot refer to {}", columns.len(), others.len());
        reader.problem("spec/value", span, message, None);
        return None;
    }
    Some(References { columns, table, others })
}

/// Reads `column_default`: a constant of the column's type, or `"now"`.
pub(super) fn read_column_default(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    ty: FieldType,
) -> Option<WhenOmitted> {
    let item = section.take("column_default")?;
    let is_time = matches!(ty, FieldType::Instant | FieldType::Timestamp);
    match item.value.get_ref() {
        DeValue::String(text) if is_time && text == "now" => Some(WhenOmitted::Now),
        _ => constant(reader, &item, ty).map(WhenOmitted::Value),
    }
}

/// Checks the names of columns, and that a store can number the identity.
pub(super) fn check(reader: &mut Reader<'_>, target: &StoreSpec, fields: &[FieldRule]) {
    let own: Vec<&str> = fields.iter().filter(|field| field.child.is_none()).map(|field| field.name.as_str()).collect();
    let together = &target.together;
    let lists = together.unique.iter().chain(together.foreign_keys.iter().map(|key| &key.columns));
    for name in lists.flatten().filter(|name| !own.contains(&name.as_str())) {
        let hint = match did_you_mean(name, &own) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("columns: {}", own.join(", ")),
        };
        let message = format!("the column `{name}` is not in [fields]");
        reader.problem("spec/unknown-field", together.span, message, Some(hint));
    }
    for field in fields.iter().filter(|field| field.identity) {
        if target.key != [field.name.as_str()] || field.ty != FieldType::Int {
            let message =
                format!("the field `{}` has `identity`, which is for the only key field, of type int", field.name);
            reader.problem("spec/conflict", field.span, message, None);
        } else if field.when_omitted.is_some() {
            let message = format!("the field `{}` has `identity` and `column_default`", field.name);
            reader.problem("spec/conflict", field.span, message, None);
        }
    }
    let children = fields.iter().filter_map(|field| field.child.as_ref());
    let mut open: Vec<&FieldRule> = children.flat_map(|child| &child.fields).collect();
    while let Some(field) = open.pop() {
        if field.identity || field.when_omitted.is_some() {
            let message = format!(
                "the field `{}` has `identity` or `column_default`, which are for fields of the record itself",
                field.name
            );
            let hint = Some("rows of a child table are written with their record".to_owned());
            reader.problem("spec/conflict", field.span, message, hint);
        }
        open.extend(field.child.iter().flat_map(|child| &child.fields));
    }
}
