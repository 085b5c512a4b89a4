//! `[fields]`: rules in their long and short forms, and `[source.columns]`.

use toml::de::DeValue;

use super::column::{read_chars_max, read_native, read_references, read_unfit};
use super::extras::read_column_default;
use super::literal::{FIELD_TYPES, constant};
use super::read::{Item, Reader, Section, Span, did_you_mean};
use super::{ChildRule, FieldRule, RuleFrom, Unfit};
use crate::expr::Expr;
use crate::path::Path;
use crate::shape::FieldType;

/// PostgreSQL cuts longer names silently, so they are refused for every store.
const NAME_BYTES_MAX: usize = 63;

/// Child tables inside child tables: deeper arrays stay JSON, where people can still read them.
const CHILD_DEPTH_MAX: usize = 8;

/// What a list of rules belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Root,
    /// A child table, so many tables below the root.
    Child(usize),
}

/// Rules of v2 fields.
pub(super) fn read_rules(reader: &mut Reader<'_>, section: Section<'_>) -> Vec<FieldRule> {
    each(reader, section, Owner::Root, rule)
}

/// Columns of a source in the `rows` layout.
pub(super) fn read_columns(reader: &mut Reader<'_>, section: Section<'_>) -> Vec<FieldRule> {
    each(reader, section, Owner::Root, column)
}

type ReadOne = fn(&mut Reader<'_>, Item<'_>, Owner) -> Option<FieldRule>;

fn each(reader: &mut Reader<'_>, mut section: Section<'_>, owner: Owner, read_one: ReadOne) -> Vec<FieldRule> {
    let items = section.take_all();
    if items.is_empty() {
        let message = format!("{} is empty", section.place);
        reader.problem("spec/missing", section.span, message, Some("name at least one field".to_owned()));
    }
    let mut seen: Vec<String> = Vec::new();
    let mut rules = Vec::new();
    for item in items {
        check_name(reader, "field", &item.key, item.key_span);
        if owner != Owner::Root {
            check_child_name(reader, &item.key, item.key_span);
        }
        let folded = item.key.to_lowercase();
        if seen.contains(&folded) {
            let message = format!("{} has a field `{}` already, written in other letter case", section.place, item.key);
            let hint = "SQL stores take names that differ in case only for one name".to_owned();
            reader.problem("spec/duplicate", item.key_span, message, Some(hint));
        }
        seen.push(folded);
        rules.extend(read_one(reader, item, owner));
    }
    rules
}

/// Refuses names that a store cannot hold or that are ours.
pub(super) fn check_name(reader: &mut Reader<'_>, what: &str, name: &str, span: Span) {
    let (code, why) = match name {
        "" => ("spec/name", "is empty".to_owned()),
        name if name.len() > NAME_BYTES_MAX => {
            ("spec/name", format!("has {} bytes; names have at most {NAME_BYTES_MAX}", name.len()))
        }
        name if name.chars().any(char::is_control) => ("spec/name", "has a control character".to_owned()),
        name if name.starts_with('@') => ("spec/reserved", "begins with `@`, which marks our own fields".to_owned()),
        name if name.to_lowercase().starts_with("_shearwater_") => {
            ("spec/reserved", "begins with `_shearwater_`, which marks our own names".to_owned())
        }
        _ => return,
    };
    reader.problem(code, span, format!("the {what} name `{}` {why}", name.escape_debug()), None);
}

fn check_child_name(reader: &mut Reader<'_>, name: &str, span: Span) {
    let folded = name.to_lowercase();
    if matches!(folded.as_str(), "id" | "parent_id" | "position") || folded.starts_with("record_") {
        let message = format!("`{name}` is a column that every child table has of its own");
        let hint = "name the field otherwise, for example `own_id = { from = \"id\" }`; \
                    id, parent_id, position and record_… are taken";
        reader.problem("spec/reserved", span, message, Some(hint.to_owned()));
    }
}

fn blank(item: &Item<'_>) -> FieldRule {
    FieldRule {
        name: item.key.clone(),
        from: RuleFrom::Path(Path::field(item.key.clone())),
        ty: FieldType::Json,
        required: false,
        unique: false,
        native: None,
        references: None,
        identity: false,
        when_omitted: None,
        cast: false,
        unfit: None,
        chars_max: None,
        default: None,
        child: None,
        span: (item.key_span.0, item.span().1.max(item.key_span.1)),
    }
}

/// One rule of `[fields]`.
fn rule(reader: &mut Reader<'_>, item: Item<'_>, owner: Owner) -> Option<FieldRule> {
    let mut rule = blank(&item);
    match item.value.get_ref() {
        DeValue::String(text) => {
            let text = text.to_string();
            rule.from = RuleFrom::Path(read_path(reader, &text, item.span())?);
            return Some(rule);
        }
        DeValue::Table(_) => {}
        _ => {
            let message = format!("the field `{}` must be a path or a table", item.key);
            let hint = format!("for example: {} = {{ from = \"{}\", type = \"text\" }}", item.key, item.key);
            reader.problem("spec/type", item.span(), message, Some(hint));
            return None;
        }
    }
    let place = format!("the field `{}`", item.key);
    let mut section = reader.section(item, place)?;
    if let Some(ty) = section.take("type") {
        rule.ty = read_type(reader, &ty).unwrap_or(FieldType::Json);
    }
    origin(reader, &mut section, &mut rule);
    for (key, slot) in [
        ("cast", &mut rule.cast),
        ("required", &mut rule.required),
        ("unique", &mut rule.unique),
        ("identity", &mut rule.identity),
    ] {
        if let Some(item) = section.take(key) {
            *slot = reader.flag(&item).unwrap_or(false);
        }
    }
    if let Some(item) = section.take("default") {
        rule.default = constant(reader, &item, rule.ty);
    }
    rule.when_omitted = read_column_default(reader, &mut section, rule.ty);
    rule.native = read_native(reader, &mut section);
    rule.references = read_references(reader, &mut section);
    rule.unfit = read_unfit(reader, &mut section);
    rule.chars_max = read_chars_max(reader, &mut section);
    child(reader, &mut section, &mut rule, owner, self::rule);
    fits_together(reader, &section, &rule);
    section.refuse_rest(reader);
    Some(rule)
}

/// One column of `[source.columns]`: its type, or a table.
fn column(reader: &mut Reader<'_>, item: Item<'_>, owner: Owner) -> Option<FieldRule> {
    let mut rule = blank(&item);
    match item.value.get_ref() {
        DeValue::String(_) => {
            rule.ty = read_type(reader, &item)?;
            return Some(rule);
        }
        DeValue::Table(_) => {}
        _ => {
            let message = format!("the column `{}` must be a type or a table", item.key);
            let hint = format!("for example: {} = \"text\"", item.key);
            reader.problem("spec/type", item.span(), message, Some(hint));
            return None;
        }
    }
    let place = format!("the column `{}`", item.key);
    let mut section = reader.section(item, place)?;
    if let Some(ty) = section.take("type") {
        rule.ty = read_type(reader, &ty).unwrap_or(FieldType::Json);
    }
    for (key, slot) in [("required", &mut rule.required), ("unique", &mut rule.unique)] {
        if let Some(item) = section.take(key) {
            *slot = reader.flag(&item).unwrap_or(false);
        }
    }
    rule.native = read_native(reader, &mut section);
    child(reader, &mut section, &mut rule, owner, column);
    section.refuse_rest(reader);
    Some(rule)
}

/// Reads where the value comes from: exactly one of four keys, or none of them.
fn origin(reader: &mut Reader<'_>, section: &mut Section<'_>, rule: &mut FieldRule) {
    let given: Vec<&str> = ["from", "sql", "value", "target_only"].into_iter().filter(|key| section.has(key)).collect();
    if given.len() > 1 {
        let message = format!("{} has `{}`; it can have one of them", section.place, given.join("` and `"));
        let hint = "from: a path; sql: an expression; value: a constant; target_only: v2 has it alone";
        reader.problem("spec/conflict", section.span, message, Some(hint.to_owned()));
    }
    if let Some(item) = section.take("from")
        && let Some(text) = reader.text(&item)
        && let Some(path) = read_path(reader, &text, item.span())
    {
        rule.from = RuleFrom::Path(path);
    }
    let (back, derived) = (section.take("back"), section.take("derived"));
    let (back_given, derived_given) = (back.is_some(), derived.as_ref().map(|item| item.key_span));
    let derived = derived.and_then(|item| reader.flag(&item)).unwrap_or(false);
    let back = back.map(|item| read_back(reader, item)).unwrap_or_default();
    match section.take("sql") {
        Some(item) => {
            if let Some(sql) = read_sql(reader, &item) {
                rule.from = RuleFrom::Sql { sql, back };
            }
            if back_given == derived {
                let message = match derived {
                    true => format!("{} has `back` and is `derived`", section.place),
                    false => format!("{} does not say how it goes back", section.place),
                };
                let hint = "either back = { v1_path = '''expression over v2''' }, \
                            or derived = true, and then v2 clients cannot set it";
                reader.problem("spec/back", item.span(), message, Some(hint.to_owned()));
            }
        }
        None if back_given || derived_given.is_some() => {
            let message = format!("{} has `back` or `derived` without `sql`", section.place);
            reader.problem("spec/conflict", section.span, message, None);
        }
        None => {}
    }
    if let Some(item) = section.take("value")
        && let Some(value) = constant(reader, &item, rule.ty)
    {
        rule.from = RuleFrom::Constant(value);
    }
    if let Some(item) = section.take("target_only") {
        match reader.flag(&item) {
            Some(true) => rule.from = RuleFrom::TargetOnly,
            Some(false) => {
                let hint = Some("leave `target_only` out".to_owned());
                reader.problem("spec/value", item.span(), "`target_only` can only be true", hint);
            }
            None => {}
        }
    }
}

fn read_back(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<(Path, String)> {
    let Some(mut section) = reader.section(item, "`back`") else { return Vec::new() };
    let mut rules = Vec::new();
    for item in section.take_all() {
        let path = read_path(reader, &item.key, item.key_span);
        let sql = read_sql(reader, &item);
        rules.extend(path.zip(sql));
    }
    if rules.is_empty() {
        reader.problem("spec/back", section.span, "`back` gives no field back", None);
    }
    rules
}

/// Reads `table`, `fields` and `scalar`.
fn child(reader: &mut Reader<'_>, section: &mut Section<'_>, rule: &mut FieldRule, owner: Owner, read_one: ReadOne) {
    let (table, fields, scalar) = (section.take("table"), section.take("fields"), section.take("scalar"));
    let Some(table) = table else {
        if fields.is_some() || scalar.is_some() {
            let message = format!("{} has `fields` or `scalar` without `table`", section.place);
            let hint = "an array becomes a child table: { table = \"user_tags\", scalar = \"tag\" }";
            reader.problem("spec/conflict", section.span, message, Some(hint.to_owned()));
        }
        return;
    };
    let depth = match owner {
        Owner::Root => 1,
        Owner::Child(depth) => depth + 1,
    };
    if depth > CHILD_DEPTH_MAX {
        let message = format!("child tables go at most {CHILD_DEPTH_MAX} deep");
        reader.problem("spec/range", table.span(), message, Some("leave the inner array as JSON".to_owned()));
    }
    let name = reader.text(&table).unwrap_or_default();
    if !name.is_empty() || matches!(table.value.get_ref(), DeValue::String(_)) {
        check_name(reader, "table", &name, table.span());
    }
    let fields = match (fields, scalar) {
        (Some(fields), None) => {
            let place = format!("`fields` of {}", section.place);
            let fields = reader.section(fields, place);
            (fields.map(|fields| each(reader, fields, Owner::Child(depth), read_one)).unwrap_or_default(), None)
        }
        (None, Some(item)) => match reader.text(&item) {
            Some(scalar) => {
                check_name(reader, "field", &scalar, item.span());
                check_child_name(reader, &scalar, item.span());
                let mut element = blank(&item);
                element.from = RuleFrom::Path(Path::field(scalar.clone()));
                element.name = scalar.clone();
                element.ty = rule.ty;
                (element.unfit, element.chars_max) = (rule.unfit, rule.chars_max);
                (vec![element], Some(scalar))
            }
            None => return,
        },
        (fields, _) => {
            let message = match fields {
                Some(_) => format!("{} has `fields` and `scalar`", section.place),
                None => format!("{} does not say what its rows hold", section.place),
            };
            let hint = "fields = { … } for an array of documents, scalar = \"name\" for an array of plain values";
            reader.problem("spec/conflict", section.span, message, Some(hint.to_owned()));
            return;
        }
    };
    rule.child = Some(ChildRule { table: name, fields: fields.0, scalar: fields.1 });
}

/// Combinations of keys that say nothing or contradict each other.
fn fits_together(reader: &mut Reader<'_>, section: &Section<'_>, rule: &FieldRule) {
    let place = &section.place;
    let is_path = matches!(rule.from, RuleFrom::Path(_));
    let array = rule.child.is_some();
    let scalar = rule.child.as_ref().is_some_and(|child| child.scalar.is_some());
    let wrong = [
        (array && !is_path, format!("{place} has a child table; its array must come from a path")),
        (
            array && (rule.required || rule.unique || rule.default.is_some()),
            format!("{place} has a child table; `required`, `unique` and `default` belong to its fields"),
        ),
        (array && rule.references.is_some(), format!("{place} has a child table; `references` belongs to its fields")),
        (
            array && !scalar && rule.ty != FieldType::Json,
            format!("{place} has a child table; types belong to its fields"),
        ),
        (rule.cast && !is_path, format!("{place} has `cast`, which goes with `from`; write the cast in `sql`")),
        (rule.cast && rule.ty == FieldType::Json && !array, format!("{place} has `cast` but no `type` to convert to")),
        (rule.unfit.is_some() && !is_path, format!("{place} has `unfit`, which goes with `from`; write it in `sql`")),
        (
            array && !scalar && (rule.unfit.is_some() || rule.chars_max.is_some()),
            format!("{place} has a child table; `unfit` and `chars_max` belong to its fields"),
        ),
        (
            rule.unfit == Some(Unfit::Cut) && rule.ty != FieldType::Text,
            format!("{place} has `unfit = \"cut\"`, which is for type text"),
        ),
        (
            rule.chars_max.is_some() && rule.ty != FieldType::Text,
            format!("{place} has `chars_max`, which is for type text"),
        ),
        (
            matches!(rule.from, RuleFrom::Constant(_)) && rule.default.is_some(),
            format!("{place} has `value` and `default`; a constant is never missing"),
        ),
        (
            rule.from == RuleFrom::TargetOnly && rule.required && rule.default.is_none(),
            format!("{place} is required and only v2 has it; without a `default` no record could be written"),
        ),
    ];
    for (_, message) in wrong.into_iter().filter(|(is_wrong, _)| *is_wrong) {
        reader.problem("spec/conflict", section.span, message, None);
    }
}

pub(super) fn read_path(reader: &mut Reader<'_>, text: &str, span: Span) -> Option<Path> {
    match Path::parse(text) {
        Ok(path) => Some(path),
        Err(error) => {
            let hint = "paths look like address.city, coord[0], \"odd name\".x".to_owned();
            reader.problem("spec/path", span, error.to_string(), Some(hint));
            None
        }
    }
}

pub(super) fn read_sql(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    let sql = reader.text(item)?;
    match Expr::parse(&sql) {
        Ok(_) => Some(sql),
        Err(error) => {
            let span = reader.within(item.span(), &sql, error.span);
            reader.problem("spec/sql", span, error.message, error.hint);
            None
        }
    }
}

pub(super) fn read_type(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<FieldType> {
    let name = reader.text(item)?;
    if let Some(ty) = FIELD_TYPES.into_iter().find(|ty| ty.name() == name) {
        return Some(ty);
    }
    let names: Vec<&str> = FIELD_TYPES.iter().map(|ty| ty.name()).collect();
    let meant = match name.to_lowercase().as_str() {
        "string" | "varchar" | "char" | "str" => Some("text"),
        "integer" | "bigint" | "smallint" | "long" | "i64" => Some("int"),
        "double" | "real" | "number" => Some("float"),
        "numeric" | "money" => Some("decimal"),
        "timestamptz" | "datetime" => Some("instant"),
        "blob" | "bytea" | "binary" => Some("bytes"),
        "jsonb" | "object" | "array" | "any" => Some("json"),
        "inet" | "interval" | "geometry" | "native" => Some("extended"),
        folded => did_you_mean(folded, &names),
    };
    let hint = match meant {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("types: {}", names.join(", ")),
    };
    reader.problem("spec/field-type", item.span(), format!("unknown type `{name}`"), Some(hint));
    None
}
