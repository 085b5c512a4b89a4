//! `merge` in `[conflicts]`: how two records with one key, or with one value where keys are assigned, become one.

use toml::de::DeValue;

use super::FieldRule;
use super::read::{Item, Reader, Section};

/// How the source's record and the target's own become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Fields with a rule of their own.
    pub fields: Vec<(String, Prefer)>,
    /// What the others do.
    pub otherwise: Prefer,
    /// The v2 field whose later time says which record is the newest.
    pub newest_by: Option<String>,
}

/// Whose value a field has after a merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// The target's own.
    #[default]
    Target,
    /// The source's.
    Source,
    /// That of the record with the later time; the target's where neither has one.
    Newest,
    /// The target's own, and where it has none the source's.
    NonNull,
}

impl Prefer {
    /// All, with the words of specs.
    pub const WORDS: [(&'static str, Prefer); 4] = [
        ("target", Prefer::Target),
        ("source", Prefer::Source),
        ("newest", Prefer::Newest),
        ("non-null", Prefer::NonNull),
    ];
}

/// Reads `{ merge = { field = "source", … }, otherwise = "target", newest_by = "updated" }`.
pub(super) fn read(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    item: Item<'_>,
    fields: &[FieldRule],
) -> Option<Merge> {
    let mut rules = Vec::new();
    match item.value.get_ref() {
        DeValue::Table(_) => {
            let mut own = reader.section(item, "`merge`")?;
            for item in own.take_all() {
                known(reader, &item.key, item.key_span, fields);
                let name = item.key.clone();
                rules.extend(prefer(reader, &item).map(|rule| (name, rule)));
            }
        }
        _ => {
            let hint = "for example: merge = { email = \"source\", phone = \"non-null\" }".to_owned();
            reader.problem("spec/type", item.span(), "`merge` must be a table of fields", Some(hint));
        }
    }
    let otherwise = section.take("otherwise").map_or(Some(Prefer::Target), |item| prefer(reader, &item))?;
    let newest_by = match section.take("newest_by") {
        Some(item) => {
            let name = reader.text(&item)?;
            known(reader, &name, item.span(), fields);
            Some(name)
        }
        None => None,
    };
    let asks = otherwise == Prefer::Newest || rules.iter().any(|(_, rule)| *rule == Prefer::Newest);
    if asks && newest_by.is_none() {
        reader.missing(section, "newest_by", "\"updated_at\"");
    }
    Some(Merge { fields: rules, otherwise, newest_by })
}

fn known(reader: &mut Reader<'_>, name: &str, span: super::read::Span, fields: &[FieldRule]) {
    if !fields.iter().any(|field| field.name == name) {
        let message = format!("`merge` names `{name}`, which is in neither [fields] nor [require]");
        reader.problem("spec/field", span, message, None);
    }
}

fn prefer(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Prefer> {
    let word = reader.text(item)?;
    let found = Prefer::WORDS.into_iter().find(|(known, _)| *known == word).map(|(_, rule)| rule);
    if found.is_none() {
        let words: Vec<&str> = Prefer::WORDS.iter().map(|(word, _)| *word).collect();
        let message = format!("a merge knows no {word:?}");
        reader.problem("spec/conflicts", item.span(), message, Some(format!("one of: {}", words.join(", "))));
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::spec::{Migration, parse};

    fn read(assigned: &str, conflicts: &str) -> Result<usize, String> {
        let (id, identity) = match assigned {
            "" => ("\"code\"", ""),
            _ => ("{ target_only = true, type = \"int\" }", "[identity]\nassign = \"next\"\n"),
        };
        let text = format!(
            "migration = \"m\"\nkind = \"absorb\"\nentity = \"e\"\n\
             [source]\nurl = \"sqlite:a.db\"\ntable = \"a\"\nkey = \"code\"\n\
             [source.columns]\ncode = \"int\"\nemail = \"text\"\nphone = \"text\"\n\
             [target]\nurl = \"sqlite:b.db\"\ntable = \"b\"\nkey = \"id\"\n\
             [fields]\nid = {id}\nemail = \"email\"\nphone = \"phone\"\n\
             [require]\nrep = {{ type = \"int\" }}\n{identity}[conflicts]\n{conflicts}"
        );
        match parse(&text, &|_| None) {
            Ok(Migration::Absorb(spec)) => Ok(spec.conflicts.len()),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => Err(problems.into_iter().map(|problem| problem.message + "; ").collect()),
        }
    }

    #[test]
    fn what_makes_two_records_one() {
        assert_eq!(read("", "id = { merge = {} }"), Ok(1));
        assert_eq!(read("assigned", "email = { merge = {} }\nphone = \"keep-target\""), Ok(2));
        let wrong = |assigned: &str, conflicts: &str, expect: &str| {
            let found = read(assigned, conflicts).unwrap_err();
            assert!(found.starts_with(expect), "{found}");
        };
        wrong("", "email = { merge = {} }", "`email` is not the key; records with different keys");
        wrong("assigned", "id = { merge = {} }", "`id` is assigned by [identity], so who has it is nobody's twin");
        wrong("assigned", "email = { merge = {} }\nphone = { merge = {} }", "`phone` is the second field");
        wrong("assigned", "id = \"keep-target\"", "`id` is in the key");
    }
}
