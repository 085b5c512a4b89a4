//! `[joins]` of an `absorb`: fields of v2 whose values stand in other tables of
//! the source, which its records name.

use super::fields::{check_name, read_type};
use super::looked_up::lines;
use super::read::{Item, Reader, Section};
use super::stores::required_text;
use super::{FieldRule, LayoutSpec, RuleFrom, StoreSpec};
use crate::path::Step;
use crate::shape::FieldType;

/// Other tables of the source, and the fields that are taken out of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joins {
    /// The tables, each after the one whose rows name its own.
    pub tables: Vec<Join>,
    /// The fields.
    pub fields: Vec<JoinedField>,
}

/// One table of the source that records name a row of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// What paths call it.
    pub name: String,
    /// The table.
    pub table: String,
    /// Its key.
    pub key: String,
    /// The key's type.
    pub ty: FieldType,
    /// The join whose row names this one's; `None`: the record does.
    pub of: Option<String>,
    /// The column that names it.
    pub by: String,
}

/// One field of v2 that is taken out of another table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedField {
    /// The v2 field.
    pub field: String,
    /// Its type.
    pub ty: FieldType,
    /// Whether every record has it.
    pub required: bool,
    /// The join's name.
    pub join: String,
    /// The column of its table.
    pub column: String,
}

/// Reads `[joins]`. The rules whose paths begin with a join become those of
/// fields that only the target has: their values are looked up.
pub(super) fn read(
    reader: &mut Reader<'_>,
    root: &mut Section<'_>,
    source: &StoreSpec,
    key: &[String],
    fields: &mut [FieldRule],
) -> Joins {
    let mut joins = Joins::default();
    for item in lines(reader, root, "joins") {
        if let Some(join) = read_join(reader, item, source, &joins.tables) {
            joins.tables.push(join);
        }
    }
    for rule in fields.iter_mut() {
        let RuleFrom::Path(path) = &rule.from else { continue };
        let [Step::Field(name), Step::Field(column)] = path.steps() else { continue };
        let Some(join) = joins.tables.iter().find(|join| join.name == *name) else { continue };
        if !rule.only_names() || key.contains(&rule.name) {
            let message = format!(
                "`{}` is taken out of another table, which its rule or its place in the key does not allow",
                rule.name
            );
            let hint =
                format!("in [fields]: {} = {{ from = \"{name}.{column}\", type = \"{}\" }}", rule.name, rule.ty.name());
            reader.problem("spec/joins", rule.span, message, Some(hint));
        }
        let field = JoinedField {
            field: rule.name.clone(),
            ty: rule.ty,
            required: rule.required,
            join: join.name.clone(),
            column: column.clone(),
        };
        joins.fields.push(field);
        rule.look_up();
    }
    joins
}

fn read_join(reader: &mut Reader<'_>, item: Item<'_>, source: &StoreSpec, before: &[Join]) -> Option<Join> {
    let (name, span) = (item.key.clone(), item.key_span);
    check_name(reader, "join", &name, span);
    let columns = match &source.layout {
        LayoutSpec::Rows { columns, .. } => columns.as_slice(),
        LayoutSpec::Document { .. } => {
            let message = "[joins] names tables, and the source's layout is `document`";
            reader.problem("spec/conflict", span, message, Some("[source] layout = \"rows\"".to_owned()));
            return None;
        }
    };
    if columns.iter().any(|column| column.name == name) {
        let message = format!("`{name}` is a join and a column of the source");
        let hint = format!("name the join otherwise: its_{name} = {{ table = \"{name}\", … }}");
        reader.problem("spec/duplicate", span, message, Some(hint));
    }
    let mut section = reader.section(item, format!("[joins] {name}"))?;
    let table = section.take("table").and_then(|item| reader.text(&item)).unwrap_or_else(|| name.clone());
    let (key, _) = required_text(reader, &mut section, "key", "\"address_id\"");
    let (by, by_span) = required_text(reader, &mut section, "by", "\"address_id\"");
    let ty = section.take("type").map_or(Some(FieldType::Int), |item| read_type(reader, &item));
    section.refuse_rest(reader);
    if key.is_empty() || by.is_empty() {
        return None;
    }
    let (of, column) = match by.split_once('.') {
        Some((of, column)) => (Some(of.to_owned()), column.to_owned()),
        None => (None, by),
    };
    let is_known = match &of {
        Some(of) => before.iter().any(|join| join.name == *of),
        None => columns.iter().any(|found| found.name == column),
    };
    if !is_known {
        let message = match &of {
            Some(of) => format!("the join `{name}` goes on from `{of}`, which is no join above it"),
            None => format!("the join `{name}` goes by `{column}`, which is not in [source.columns]"),
        };
        let hint = "by = \"column of the source\", or \"join.column\" of a join that stands before".to_owned();
        reader.problem("spec/joins", by_span, message, Some(hint));
        return None;
    }
    Some(Join { name, table, key, ty: ty?, of, by: column })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Migration, parse};

    fn read(rules: &str, joins: &str) -> Result<Joins, String> {
        let text = format!(
            "migration = \"m\"\nkind = \"absorb\"\nentity = \"e\"\n\
             [source]\nurl = \"sqlite:a.db\"\ntable = \"a\"\nkey = \"id\"\n\
             [source.columns]\nid = \"int\"\naddress_id = \"int\"\n\
             [target]\nurl = \"sqlite:b.db\"\ntable = \"b\"\nkey = \"id\"\n\
             [fields]\nid = {{ from = \"id\", type = \"int\" }}\n{rules}\n\
             [require]\nrep = {{ type = \"int\" }}\n[joins]\n{joins}"
        );
        match parse(&text, &|_| None) {
            Ok(Migration::Absorb(spec)) => Ok(spec.joins),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => {
                let told = |problem: crate::spec::Problem| {
                    format!("{}: {} ({})\n", problem.code, problem.message, problem.hint.unwrap_or_default())
                };
                Err(problems.into_iter().map(told).collect())
            }
        }
    }

    const RULES: &str = "street = { from = \"address.address\", type = \"text\", required = true }\n\
                         town = { from = \"city.city\", type = \"text\" }";
    const JOINS: &str = "address = { key = \"address_id\", by = \"address_id\" }\n\
                         city = { table = \"cities\", key = \"code\", type = \"text\", by = \"address.city_id\" }";

    #[test]
    fn fields_are_taken_out_of_tables_that_records_name() {
        let joins = read(RULES, JOINS).unwrap();
        let tables: Vec<(&str, &str, Option<&str>, &str)> =
            joins.tables.iter().map(|j| (j.table.as_str(), j.key.as_str(), j.of.as_deref(), j.by.as_str())).collect();
        assert_eq!(
            tables,
            [("address", "address_id", None, "address_id"), ("cities", "code", Some("address"), "city_id")]
        );
        let fields: Vec<(&str, bool, &str, &str)> =
            joins.fields.iter().map(|f| (f.field.as_str(), f.required, f.join.as_str(), f.column.as_str())).collect();
        assert_eq!(fields, [("street", true, "address", "address"), ("town", false, "city", "city")]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let wrong = |rules: &str, joins: &str, expect: &str| {
            let found = read(rules, joins).unwrap_err();
            assert!(found.contains(expect), "{found}");
        };
        wrong(
            RULES,
            &JOINS.replace("by = \"address_id\"", "by = \"adress_id\""),
            "spec/joins: the join `address` goes by `adress_id`",
        );
        wrong(
            RULES,
            &JOINS.replace("address.city_id", "adress.city_id"),
            "goes on from `adress`, which is no join above it",
        );
        wrong(RULES, &JOINS.replace("key = \"code\", ", ""), "spec/missing: [joins] city has no `key`");
        wrong(RULES, &JOINS.replace("key =", "kee ="), "did you mean `key`?");
        wrong(
            RULES,
            &format!("{JOINS}\naddress_id = {{ key = \"id\", by = \"id\" }}"),
            "spec/duplicate: `address_id` is a join and a column",
        );
        wrong(
            &RULES.replace("type = \"text\" }", "type = \"text\", unfit = \"cut\" }"),
            JOINS,
            "spec/joins: `town` is taken out of another table",
        );
        wrong("street = { from = \"adress.address\", type = \"text\" }", JOINS, "spec/field");
    }
}
