//! A spec of a new required field proposed for a table, with a comment for what
//! its other readers and writers must know.

use crate::store::{Form, InspectedTable};
use crate::toml_text::{comment_line, counted, list, quoted};

/// What is asked of the new field, and what the store says of the table. What a
/// type and a value can be is checked when the spec is read.
pub struct RequireProposal<'a> {
    /// The migration's name.
    pub migration: String,
    /// The entity's name in the gateway's paths.
    pub entity: String,
    /// The store's URL as it is to stand in the spec.
    pub url: &'a str,
    /// The key's columns.
    pub key: Vec<String>,
    /// The field's name.
    pub name: &'a str,
    /// Its type, as a spec has it.
    pub ty: &'a str,
    /// A decimal's digits, in all and after the point.
    pub digits: Option<(u64, u64)>,
    /// A text's only values.
    pub values: &'a [String],
    /// What records without it get.
    pub value: ProposedValue<'a>,
    /// What outdated clients and other readers must know, each a sentence.
    pub hazards: &'a [String],
}

/// What records without the field get.
#[derive(Clone, Copy, Debug)]
pub enum ProposedValue<'a> {
    /// The same for each, as it is written in the field's type.
    Constant(&'a str),
    /// Made from the record.
    Sql {
        /// The expression.
        sql: &'a str,
        /// What stands for NULL, as it is written in the field's type.
        fallback: Option<&'a str>,
    },
}

/// The text of the spec.
pub fn propose_require(table: &InspectedTable, proposal: &RequireProposal<'_>) -> String {
    let about = if table.estimate.exact { "" } else { "about " };
    let rows = format!("{about}{}", counted(table.estimate.records, "record"));
    let mut out = format!(
        "# A new required field in {}, {rows}. Look at the hazards, then run `plan`, which\n\
         # rehearses every statement on a copy of some records and leaves the table alone.\n",
        quoted(&table.name)
    );
    if !table.estimate.exact && table.estimate.records == 0 {
        comment_line(
            &mut out,
            "The store has no statistics of the table (PostgreSQL: run ANALYZE first): how long the backfill takes, and \
             how far it is, are guesses without them.",
        );
    }
    proposal.hazards.iter().for_each(|hazard| comment_line(&mut out, &format!("Hazard: {hazard}.")));
    out.push_str(&format!(
        "migration = {}\nkind = \"require\"\nentity = {}\n\n[store]\nurl = {}\ntable = {}\nkey = {}\n\n[field]\nname = {}\n\
         type = {}\n",
        quoted(&proposal.migration),
        quoted(&proposal.entity),
        quoted(proposal.url),
        quoted(&table.name),
        list(&proposal.key),
        quoted(proposal.name),
        quoted(proposal.ty)
    ));
    if let Some((precision, scale)) = proposal.digits {
        out.push_str(&format!("precision = {precision}\nscale = {scale}\n"));
    }
    if !proposal.values.is_empty() {
        let values: Vec<String> = proposal.values.iter().map(|value| quoted(value)).collect();
        let until = match table.form {
            Form::Documents => {
                "Held to by the gateway at once, and by a validator from `enforce` on where the store has one."
            }
            Form::Columns => {
                "Held to by the gateway at once, and in the store from `enforce` on (SQLite: `contract`; MariaDB: `expand`)."
            }
        };
        comment_line(&mut out, until);
        out.push_str(&format!("values = [{}]\n", values.join(", ")));
    }
    value(proposal, &mut out);
    out.push_str(
        "\n[contract]\n# No write of an outdated client for so long before the write default goes; programs that run once a\n\
         # night are seen in 24 hours, those that run once a month are not.\noutdated_writes_quiet_hours = 24\n\
         \n[gates]\n# Values that nobody chose and that are not the declared one.\nmismatches_max = 0\n",
    );
    out
}

fn value(proposal: &RequireProposal<'_>, out: &mut String) {
    match proposal.value {
        ProposedValue::Constant(text) => {
            comment_line(out, "The same value for every record that has none.");
            out.push_str(&format!("value = {}\n", constant(proposal.ty, text)));
        }
        ProposedValue::Sql { sql, fallback } => {
            comment_line(
                out,
                "Made from the record's own fields; `fallback` stands for NULL, and for what does not fit.",
            );
            let sql = match sql.contains("'''") || sql.ends_with('\'') || sql.contains(char::is_control) {
                true => quoted(sql),
                false => format!("'''{sql}'''"),
            };
            let fallback = fallback.map(|text| format!(", fallback = {}", constant(proposal.ty, text)));
            out.push_str(&format!("value = {{ sql = {sql}{} }}\n", fallback.unwrap_or_default()));
        }
    }
}

/// A constant as TOML has it: numbers, dates and truths as they are.
fn constant(ty: &str, text: &str) -> String {
    match ty {
        "text" | "decimal" | "uuid" | "bytes" => quoted(text),
        _ if text.contains(char::is_control) => quoted(text),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Migration, parse};
    use crate::store::Estimate;

    fn proposed(ty: &str, digits: Option<(u64, u64)>, values: &[String], value: ProposedValue<'_>) -> String {
        let table = InspectedTable {
            name: "us\"ers".into(),
            key: vec!["id".into()],
            estimate: Estimate { records: 0, exact: false, bytes: 0 },
            ..InspectedTable::default()
        };
        let hazards = ["somebody\nreads it".to_owned()];
        propose_require(
            &table,
            &RequireProposal {
                migration: "users-status".into(),
                entity: "users".into(),
                url: "sqlite:a.db",
                key: vec!["id".into(), "part".into()],
                name: "status",
                ty,
                digits,
                values,
                value,
                hazards: &hazards,
            },
        )
    }

    #[test]
    fn what_is_proposed_is_a_spec_that_is_read_whatever_it_holds() {
        let check = |ty: &str, digits, values: &[&str], value| {
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            let text = proposed(ty, digits, &values, value);
            match parse(&text, &|_| None) {
                Ok(Migration::Require(spec)) => {
                    assert_eq!((spec.store.table.as_str(), spec.field.domain.ty.name()), ("us\"ers", ty), "{text}");
                    assert_eq!(spec.field.domain.values, values);
                }
                other => panic!("{text}\n{other:?}"),
            }
            assert!(text.contains("no statistics") && text.contains("# Hazard: somebody"), "{text}");
        };
        check("text", None, &["a", "it's \"b\""], ProposedValue::Constant("a"));
        check("decimal", Some((5, 2)), &[], ProposedValue::Constant("1.5"));
        check("date", None, &[], ProposedValue::Constant("2026-01-31"));
        check("bool", None, &[], ProposedValue::Constant("true"));
        let sql = "CASE WHEN active THEN 'a' ELSE 'b' END";
        check("text", None, &["a", "b"], ProposedValue::Sql { sql, fallback: None });
        check("text", None, &[], ProposedValue::Sql { sql: "nick || 'x'", fallback: Some("\"'''") });
        check("text", None, &[], ProposedValue::Sql { sql: "concat('''', nick)", fallback: None });
    }
}
