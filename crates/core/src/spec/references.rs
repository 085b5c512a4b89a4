//! `[references]` of an `absorb`: fields that name records of another absorb,
//! or of this one, whose keys of the target were assigned.

use super::read::{Item, Reader, Section};
use super::stores::required_text;
use super::{FieldRule, LayoutSpec, RuleFrom, StoreSpec};
use crate::path::Step;
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
    /// The v1 field.
    pub from: String,
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
    let Some(mut section) = root.take("references").and_then(|item| reader.section(item, "[references]")) else {
        return Vec::new();
    };
    let mut references = Vec::new();
    for item in section.take_all() {
        let Some(rule) = fields.iter_mut().find(|rule| rule.name == item.key) else {
            let message = format!("[references] names `{}`, which is not in [fields]", item.key);
            let hint = format!("in [fields]: {} = {{ from = \"customer_id\", type = \"int\" }}", item.key);
            reader.problem("spec/field", item.key_span, message, Some(hint));
            continue;
        };
        let Some(reference) = read_one(reader, item, source, key, rule) else { continue };
        rule.from = RuleFrom::TargetOnly;
        // What is required is looked at when the key has been looked up.
        rule.required = false;
        references.push(reference);
    }
    references
}

fn read_one(
    reader: &mut Reader<'_>,
    item: Item<'_>,
    source: &StoreSpec,
    key: &[String],
    rule: &FieldRule,
) -> Option<KeyReference> {
    let from = from(reader, &item, source, key, rule);
    let place = format!("[references] {}", item.key);
    let mut section = reader.section(item, place)?;
    let (migration, _) = required_text(reader, &mut section, "migration", "\"customers-into-ours\"");
    let (table, _) = required_text(reader, &mut section, "table", "\"customer\"");
    let (column, _) = required_text(reader, &mut section, "key", "\"customer_id\"");
    section.refuse_rest(reader);
    if migration.is_empty() || table.is_empty() || column.is_empty() {
        return None;
    }
    let (field, ty, required) = (rule.name.clone(), rule.ty, rule.required);
    Some(KeyReference { field, ty, required, from: from?, migration, table, key: column })
}

/// The v1 field that a reference is made from; everything else is told.
fn from(
    reader: &mut Reader<'_>,
    item: &Item<'_>,
    source: &StoreSpec,
    key: &[String],
    rule: &FieldRule,
) -> Option<String> {
    let name = &rule.name;
    let field = match &rule.from {
        RuleFrom::Path(path) => match path.steps() {
            [Step::Field(field)] => Some(field.clone()),
            _ => None,
        },
        RuleFrom::Sql { .. } | RuleFrom::Constant(_) | RuleFrom::TargetOnly => None,
    };
    let is_plain = !rule.cast && rule.default.is_none() && rule.unfit.is_none() && rule.child.is_none();
    let Some(field) = field.filter(|_| is_plain) else {
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
    if let LayoutSpec::Rows { columns, .. } = &source.layout
        && !columns.iter().any(|column| column.name == field)
    {
        let message = format!("the field `{name}` reads `{field}`, which is not in [source.columns]");
        let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        reader.problem("spec/field", rule.span, message, Some(format!("known: {}", known.join(", "))));
    }
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Migration, parse};

    fn read(rule: &str, references: &str) -> Result<Vec<KeyReference>, String> {
        let text = format!(
            "migration = \"orders\"\nkind = \"absorb\"\nentity = \"e\"\n\
             [source]\nurl = \"sqlite:a.db\"\ntable = \"a\"\nkey = \"id\"\n\
             [source.columns]\nid = \"int\"\ncustomer = \"text\"\n\
             [target]\nurl = \"sqlite:b.db\"\ntable = \"b\"\nkey = \"id\"\n\
             [fields]\nid = {{ from = \"id\", type = \"int\" }}\ncustomer_id = {rule}\n\
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
            from: "customer".into(),
            migration: "customers".into(),
            table: "customer".into(),
            key: "customer_id".into(),
        };
        assert_eq!(read(RULE, WHERE), Ok(vec![expect]));
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
        wrong("{ from = \"customr\", type = \"int\" }", WHERE, &["spec/field", "known: id, customer"]);
        wrong("{ from = \"customer\", type = \"bool\" }", WHERE, &["assigned keys are int, uuid or text"]);
        for rule in ["{ target_only = true, type = \"int\" }", "{ from = \"customer\", type = \"int\", cast = true }"] {
            wrong(rule, WHERE, &["spec/references", "its rule does more than name a field of v1"]);
        }
        let key = WHERE.replace("customer_id =", "id =");
        wrong(RULE, &key, &["`id` is in the key of the target"]);
    }
}
