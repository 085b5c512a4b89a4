//! `[identity]` of an `absorb`: keys of the target that no rule computes.

use super::read::{Reader, Section};
use super::{FieldRule, RuleFrom};
use crate::shape::FieldType;
use crate::value::{Uuid, Value};

/// How a record gets its key of the target. It is assigned once; a table of
/// ours in the target says which key of the source has which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assign {
    /// The next number above all that the target or the table has.
    Next {
        /// The lowest number that is assigned: above those that the target's
        /// own programs will give out meanwhile.
        first: i64,
    },
    /// The UUID (version 5) of the source's key as text.
    Uuid5 {
        /// The namespace.
        namespace: Uuid,
    },
}

impl Assign {
    /// Its word in specs.
    pub fn word(self) -> &'static str {
        match self {
            Assign::Next { .. } => "next",
            Assign::Uuid5 { .. } => "uuid5",
        }
    }

    /// The type of the keys that it assigns.
    fn types(self) -> &'static [FieldType] {
        match self {
            Assign::Next { .. } => &[FieldType::Int],
            Assign::Uuid5 { .. } => &[FieldType::Uuid, FieldType::Text],
        }
    }

    /// The key of a source's key where that alone says it; `None`: the number
    /// `next` counts.
    pub fn of_key(self, key: &crate::Key, ty: FieldType) -> Option<Value> {
        match self {
            Assign::Next { .. } => None,
            Assign::Uuid5 { namespace } => {
                let uuid = Uuid::new_v5(&namespace, key.to_text().as_bytes());
                Some(if ty == FieldType::Uuid { Value::Uuid(uuid) } else { Value::text(uuid.to_string()) })
            }
        }
    }
}

/// Reads `[identity]`, which must be there exactly where the target's key is
/// `target_only`: how keys are assigned, and whether their table is kept.
pub(super) fn read(
    reader: &mut Reader<'_>,
    root: &mut Section<'_>,
    key: &[String],
    fields: &[FieldRule],
) -> Option<(Assign, bool)> {
    let in_key: Vec<&FieldRule> = fields.iter().filter(|rule| key.contains(&rule.name)).collect();
    let assigned = in_key.iter().find(|rule| rule.from == RuleFrom::TargetOnly);
    let Some(item) = root.take("identity") else {
        if let Some(rule) = assigned {
            let message =
                format!("the key field `{}` is `target_only`, and no [identity] says how it is assigned", rule.name);
            let hint = "add [identity] with assign = \"next\" or assign = \"uuid5\"".to_owned();
            reader.problem("spec/key", rule.span, message, Some(hint));
        }
        return None;
    };
    let mut section = reader.section(item, "[identity]")?;
    let span = section.span;
    let assign = read_assign(reader, &mut section);
    let keep = section.take("keep").and_then(|item| reader.flag(&item)).unwrap_or(false);
    section.refuse_rest(reader);
    let assign = assign?;
    match (in_key.as_slice(), assigned) {
        ([rule], Some(_)) if assign.types().contains(&rule.ty) => {}
        ([rule], Some(_)) => {
            let names: Vec<&str> = assign.types().iter().map(|ty| ty.name()).collect();
            let message = format!("`{}` assigns keys of type {}", assign.word(), names.join(" or "));
            reader.problem("spec/key", rule.span, message, None);
        }
        _ => {
            let message = "[identity] assigns a key of one field that is `target_only`";
            let hint = format!(
                "in [fields]: {} = {{ target_only = true, type = \"{}\" }}",
                key.join(", "),
                assign.types()[0].name()
            );
            reader.problem("spec/key", span, message, Some(hint));
        }
    }
    Some((assign, keep))
}

fn read_assign(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<Assign> {
    const WORDS: &str = "\"next\": the next free number; \"uuid5\": a UUID out of the source's key";
    let first = section.take("first");
    let namespace = section.take("namespace");
    let Some(item) = section.take("assign") else {
        reader.missing(section, "assign", "\"next\"");
        return None;
    };
    let word = reader.text(&item)?;
    let unused = match word.as_str() {
        "next" => namespace.as_ref(),
        "uuid5" => first.as_ref(),
        word => {
            let message = format!("keys cannot be assigned by {word:?}");
            reader.problem("spec/identity", item.span(), message, Some(WORDS.to_owned()));
            return None;
        }
    };
    if let Some(unused) = unused {
        let message = format!("`{}` says nothing with assign = {word:?}", unused.key);
        reader.problem("spec/conflict", unused.key_span, message, None);
    }
    if word == "next" {
        let first = first.map_or(Some(1), |item| reader.number(&item, 1, i64::MAX as u64, "the first key"))?;
        return Some(Assign::Next { first: i64::try_from(first).unwrap_or(i64::MAX) });
    }
    let Some(item) = namespace else {
        reader.missing(section, "namespace", "\"6ba7b811-9dad-11d1-80b4-00c04fd430c8\"");
        return None;
    };
    let text = reader.text(&item)?;
    match Uuid::parse_str(&text) {
        Ok(namespace) => Some(Assign::Uuid5 { namespace }),
        Err(_) => {
            reader.problem("spec/value", item.span(), "the namespace is no UUID", None);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Migration, parse};

    fn read(id: &str, identity: &str) -> Result<Option<Assign>, String> {
        let text = format!(
            "migration = \"m\"\nkind = \"absorb\"\nentity = \"e\"\n\
             [source]\nurl = \"sqlite:a.db\"\ntable = \"a\"\nkey = \"code\"\n\
             [source.columns]\ncode = \"text\"\n\
             [target]\nurl = \"sqlite:b.db\"\ntable = \"b\"\nkey = \"id\"\n\
             [fields]\nid = {id}\nother = \"code\"\n[require]\nrep = {{ type = \"int\" }}\n{identity}"
        );
        match parse(&text, &|_| None) {
            Ok(Migration::Absorb(spec)) => Ok(spec.identity),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => {
                Err(problems.into_iter().map(|problem| format!("{}: {}\n", problem.code, problem.message)).collect())
            }
        }
    }

    #[test]
    fn how_keys_are_assigned_is_said_where_no_rule_computes_them() {
        let number = "{ target_only = true, type = \"int\" }";
        assert_eq!(read(number, "[identity]\nassign = \"next\""), Ok(Some(Assign::Next { first: 1 })));
        assert_eq!(read(number, "[identity]\nassign = \"next\"\nfirst = 90"), Ok(Some(Assign::Next { first: 90 })));
        let kept = "[identity]\nassign = \"next\"\nkeep = true";
        assert_eq!(read(number, kept), Ok(Some(Assign::Next { first: 1 })));
        let uuid = "[identity]\nassign = \"uuid5\"\nnamespace = \"6ba7b811-9dad-11d1-80b4-00c04fd430c8\"";
        let found = read("{ target_only = true, type = \"text\" }", uuid).unwrap().unwrap();
        // As any other implementation of version 5 has it.
        let key = found.of_key(&crate::Key::single("http://example.com/"), FieldType::Text);
        assert_eq!(key, Some("0a300ee9-f9e4-5697-a51a-efc7fafaba67".into()));
        let wrong = |id: &str, identity: &str, expect: &str| {
            let found = read(id, identity).unwrap_err();
            assert!(found.contains(expect), "{found}");
        };
        wrong(number, "", "spec/key: the key field `id` is `target_only`, and no [identity]");
        wrong(number, uuid, "spec/key: `uuid5` assigns keys of type uuid or text");
        wrong("\"code\"", "[identity]\nassign = \"next\"", "spec/key: [identity] assigns a key of one field");
        wrong(number, "[identity]\nassign = \"guess\"", "spec/identity: keys cannot be assigned by \"guess\"");
        wrong(number, "[identity]\nassign = \"next\"\nnamespace = \"x\"", "spec/conflict: `namespace` says nothing");
        wrong(number, "[identity]\nassign = \"next\"\nfirst = 0", "spec/range");
        wrong(number, "[identity]\nassign = \"next\"\nkeep = 1", "spec/type");
        wrong(number, "[identity]\nassign = \"uuid5\"\nnamespace = \"x\"", "spec/value: the namespace is no UUID");
        wrong(number, "[identity]\nassign = \"uuid5\"", "spec/missing: [identity] has no `namespace`");
    }
}
