//! `[references]` of an `absorb`: fields that name records of another absorb,
//! or of this one, whose keys of the target were assigned.

use super::looked_up::lines;
use super::read::{Item, Reader, Section, Span};
use super::stores::required_text;
use super::{FieldRule, LayoutSpec, RuleFrom, StoreSpec};
use crate::path::{Path, Step};
use crate::shape::FieldType;

/// One field that names another absorbed record: in v1 by the key that it has
/// in its own source, in v2 by the one that it was assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReference {
    /// The v2 field.
    pub field: String,
    /// Its type, that of the assigned keys.
    pub ty: FieldType,
    /// Whether every record names one.
    pub required: bool,
    /// The v1 fields with the key of the other record in its own source, in that key's order.
    pub from: Vec<String>,
    /// The migration that assigned the keys; it may be this one.
    pub migration: String,
    /// The table of the target in which those records live once they have moved.
    pub table: String,
    /// Its key.
    pub key: String,
}

/// Reads `[references]`. The rules of the fields that it names become those of
/// fields that only the target has: their values are looked up.
pub(super) fn read(
    reader: &mut Reader<'_>,
    root: &mut Section<'_>,
    source: &StoreSpec,
    key: &[String],
    fields: &mut [FieldRule],
) -> Vec<KeyReference> {
    let mut references = Vec::new();
    for item in lines(reader, root, "references") {
        let Some(at) = fields.iter().position(|rule| rule.name == item.key) else {
            let message = format!("[references] names `{}`, which is not in [fields]", item.key);
            let hint = format!("in [fields]: {} = {{ from = \"customer_id\", type = \"int\" }}", item.key);
            reader.problem("spec/field", item.key_span, message, Some(hint));
            continue;
        };
        let Some(reference) = read_one(reader, item, source, key, Named { fields, at }) else { continue };
        fields[at].look_up();
        references.push(reference);
    }
    references
}

/// A field that is a reference, among the others.
#[derive(Clone, Copy)]
struct Named<'f> {
    fields: &'f [FieldRule],
    at: usize,
}

impl Named<'_> {
    fn rule(&self) -> &FieldRule {
        &self.fields[self.at]
    }
}

fn read_one(
    reader: &mut Reader<'_>,
    item: Item<'_>,
    source: &StoreSpec,
    key: &[String],
    named: Named<'_>,
) -> Option<KeyReference> {
    let rule = named.rule();
    let from = from(reader, &item, key, rule);
    let place = format!("[references] {}", item.key);
    let mut section = reader.section(item, place)?;
    let (migration, _) = required_text(reader, &mut section, "migration", "\"customers-into-ours\"");
    let (table, _) = required_text(reader, &mut section, "table", "\"customer\"");
    let (column, _) = required_text(reader, &mut section, "key", "\"customer_id\"");
    let by = section.take("by").map(|item| reader.texts(&item).unwrap_or_default());
    section.refuse_rest(reader);
    let from = from?;
    let from: Vec<(String, Span)> = match by {
        Some(by) => whole_key(reader, &from, by, source, named)?,
        None => vec![(from, rule.span)],
    };
    are_columns(reader, &rule.name, &from, source);
    if migration.is_empty() || table.is_empty() || column.is_empty() {
        return None;
    }
    let from = from.into_iter().map(|(field, _)| field).collect();
    let (field, ty, required) = (rule.name.clone(), rule.ty, rule.required);
    Some(KeyReference { field, ty, required, from, migration, table, key: column })
}

/// The v1 field that a reference is made from; everything else is told.
fn from(reader: &mut Reader<'_>, item: &Item<'_>, key: &[String], rule: &FieldRule) -> Option<String> {
    let name = &rule.name;
    let field = match &rule.from {
        RuleFrom::Path(path) => match path.steps() {
            [Step::Field(field)] => Some(field.clone()),
            _ => None,
        },
        RuleFrom::Sql { .. } | RuleFrom::Constant(_) | RuleFrom::TargetOnly => None,
    };
    let Some(field) = field.filter(|_| rule.only_names()) else {
        let message = format!("`{name}` is a reference, and its rule does more than name a field of v1");
        let hint = format!("in [fields]: {name} = {{ from = \"{name}\", type = \"{}\" }}", rule.ty.name());
        reader.problem("spec/references", rule.span, message, Some(hint));
        return None;
    };
    if key.contains(name) {
        let message = format!("`{name}` is in the key of the target, and cannot be a reference as well");
        let hint = "a key of its own ([identity]) beside the reference, as a field that is not in the key".to_owned();
        reader.problem("spec/references", item.key_span, message, Some(hint));
    }
    if !matches!(rule.ty, FieldType::Int | FieldType::Uuid | FieldType::Text) {
        let message =
            format!("`{name}` is a reference of type {}, and assigned keys are int, uuid or text", rule.ty.name());
        let hint = "the type is that of the key which the other migration assigns".to_owned();
        reader.problem("spec/references", rule.span, message, Some(hint));
    }
    Some(field)
}

/// The fields of v1 that together name the other record. A v2 client that names
/// another writes them all, so nothing else may live in them.
fn whole_key(
    reader: &mut Reader<'_>,
    from: &str,
    by: Vec<(String, Span)>,
    source: &StoreSpec,
    named: Named<'_>,
) -> Option<Vec<(String, Span)>> {
    let name = &named.rule().name;
    let place = by.first().map_or(named.rule().span, |(_, span)| *span);
    let mut told = by.is_empty() || !by.iter().any(|(field, _)| field == from);
    if told {
        let message = format!("`by` of the reference `{name}` does not say `{from}`, from which it is made");
        let hint = format!("by = [\"…\", \"{from}\"], every field of the other record's key in its order");
        reader.problem("spec/references", place, message, Some(hint));
    }
    for (at, (field, span)) in by.iter().enumerate() {
        let mut others = named.fields.iter().enumerate().filter(|(other, _)| *other != named.at);
        let why = if by[..at].iter().any(|(before, _)| before == field) {
            "stands there twice".to_owned()
        } else if source.key.contains(field) {
            "is in the key of the source".to_owned()
        } else if let Some((_, other)) = others.find(|(_, other)| writes(other, field)) {
            format!("is written by the rule of `{}` too", other.name)
        } else {
            continue;
        };
        let message = format!("the reference `{name}` is made from `{field}`, which {why}");
        let hint = "a client that names another record writes these fields; nothing else may live in them".to_owned();
        reader.problem("spec/references", *span, message, Some(hint));
        told = true;
    }
    (!told).then_some(by)
}

/// Whether a rule writes a field of v1.
fn writes(rule: &FieldRule, field: &str) -> bool {
    let is_field = |path: &Path| matches!(path.steps().first(), Some(Step::Field(first)) if first == field);
    match &rule.from {
        RuleFrom::Path(path) => is_field(path),
        RuleFrom::Sql { back, .. } => back.iter().any(|(path, _)| is_field(path)),
        RuleFrom::Constant(_) | RuleFrom::TargetOnly => false,
    }
}

fn are_columns(reader: &mut Reader<'_>, name: &str, from: &[(String, Span)], source: &StoreSpec) {
    let LayoutSpec::Rows { columns, .. } = &source.layout else { return };
    for (field, span) in from.iter().filter(|(field, _)| !columns.iter().any(|column| column.name == *field)) {
        let message = format!("the field `{name}` reads `{field}`, which is not in [source.columns]");
        let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        reader.problem("spec/field", *span, message, Some(format!("known: {}", known.join(", "))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Migration, parse};

    fn read(rule: &str, references: &str) -> Result<Vec<KeyReference>, String> {
        let text = format!(
            "migration = \"orders\"\nkind = \"absorb\"\nentity = \"e\"\n\
             [source]\nurl = \"sqlite:a.db\"\ntable = \"a\"\nkey = \"id\"\n\
             [source.columns]\nid = \"int\"\ncustomer = \"text\"\nregion = \"text\"\nnote = \"text\"\n\
             [target]\nurl = \"sqlite:b.db\"\ntable = \"b\"\nkey = \"id\"\n\
             [fields]\nid = {{ from = \"id\", type = \"int\" }}\ncustomer_id = {rule}\n\
             note = {{ from = \"note\", type = \"text\" }}\n\
             [require]\ntotal = {{ type = \"int\" }}\n[references]\n{references}"
        );
        match parse(&text, &|_| None) {
            Ok(Migration::Absorb(spec)) => Ok(spec.references),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => Err(problems
                .into_iter()
                .map(|problem| {
                    let hint = problem.hint.unwrap_or_default();
                    format!(
                        "{}: {} ({hint}) at {:?}\n",
                        problem.code,
                        problem.message,
                        &text[problem.span.0..problem.span.1]
                    )
                })
                .collect()),
        }
    }

    const RULE: &str = "{ from = \"customer\", type = \"int\", required = true }";
    const WHERE: &str = "customer_id = { migration = \"customers\", table = \"customer\", key = \"customer_id\" }";

    #[test]
    fn a_field_names_a_record_of_another_migration() {
        let expect = KeyReference {
            field: "customer_id".into(),
            ty: FieldType::Int,
            required: true,
            from: vec!["customer".into()],
            migration: "customers".into(),
            table: "customer".into(),
            key: "customer_id".into(),
        };
        assert_eq!(read(RULE, WHERE), Ok(vec![expect.clone()]));
        let whole = KeyReference { from: vec!["region".into(), "customer".into()], ..expect };
        assert_eq!(read(RULE, &WHERE.replace(" }", ", by = [\"region\", \"customer\"] }")), Ok(vec![whole]));
        assert_eq!(read(RULE, ""), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_a_way_out() {
        let wrong = |rule: &str, references: &str, expect: &[&str]| {
            let found = read(rule, references).unwrap_err();
            assert!(expect.iter().all(|part| found.contains(part)), "{found}");
        };
        wrong(RULE, "other = {}", &["spec/field: [references] names `other`", "at \"other\""]);
        wrong(RULE, "customer_id = {}", &["has no `migration`", "has no `table`", "has no `key`"]);
        wrong(RULE, "customer_id = \"customers\"", &["spec/type"]);
        wrong(RULE, &WHERE.replace("table", "tabel"), &["has no `table`", "did you mean `table`?"]);
        wrong("{ from = \"customr\", type = \"int\" }", WHERE, &["spec/field", "known: id, customer, region, note"]);
        wrong("{ from = \"customer\", type = \"bool\" }", WHERE, &["assigned keys are int, uuid or text"]);
        for rule in ["{ target_only = true, type = \"int\" }", "{ from = \"customer\", type = \"int\", cast = true }"] {
            wrong(rule, WHERE, &["spec/references", "its rule does more than name a field of v1"]);
        }
        let key = WHERE.replace("customer_id =", "id =");
        wrong(RULE, &key, &["`id` is in the key of the target"]);
        let by = |by: &str| WHERE.replace(" }", &format!(", by = {by} }}"));
        wrong(RULE, &by("[]"), &["`by` of the reference `customer_id` does not say `customer`"]);
        wrong(RULE, &by("[\"region\"]"), &["does not say `customer`", "at \"\\\"region\\\"\""]);
        wrong(RULE, &by("[\"customer\", \"customer\"]"), &["made from `customer`, which stands there twice"]);
        wrong(RULE, &by("[\"id\", \"customer\"]"), &["made from `id`, which is in the key of the source"]);
        wrong(RULE, &by("[\"note\", \"customer\"]"), &["made from `note`, which is written by the rule of `note` too"]);
        wrong(RULE, &by("[\"regoin\", \"customer\"]"), &["reads `regoin`, which is not in [source.columns]"]);
    }
}
