//! A record that comes to a key which the target has already, where the spec
//! says that the two become one.
//!
//! Each field is one of the two values, by its rule. What was there before, and
//! what was made of both, is kept beside the record. So the two part again,
//! field by field: a value that is still the one of the merge goes back to what
//! each had; one that somebody wrote since stays as it is now, in both.

use super::ChangedValue;
use crate::spec::{Merge, Prefer};
use crate::value::{Document, Value, order};

/// What the target's own record was, and what the merge made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The target's own record.
    pub before: Document,
    /// The merged one, as it landed.
    pub landed: Document,
}

impl Kept {
    /// The target's own record again, from the merged one as it is now.
    pub fn restore(&self, now: &Document) -> Document {
        let again = |(name, value): (&str, &Value)| {
            let is_as_landed = self.landed.get(name) == Some(value);
            let before = self.before.get(name).filter(|_| is_as_landed);
            (name.to_owned(), before.unwrap_or(value).clone())
        };
        now.iter().map(again).collect()
    }
}

/// One record out of the source's, in shape v2, and the target's own.
pub fn combine(merge: &Merge, source: &Document, target: &Document) -> Document {
    let newer = newer(merge, source, target);
    let pick = |(name, theirs): (&str, &Value)| {
        let Some(ours) = source.get(name) else { return (name.to_owned(), theirs.clone()) };
        let rule = merge.fields.iter().find(|(field, _)| field == name).map_or(merge.otherwise, |(_, rule)| *rule);
        let value = match rule {
            Prefer::Target => theirs,
            Prefer::Source => ours,
            Prefer::NonNull if theirs.is_null() => ours,
            Prefer::NonNull => theirs,
            Prefer::Newest => match newer {
                Newer::Source => ours,
                Newer::Target => theirs,
            },
        };
        (name.to_owned(), value.clone())
    };
    target.iter().map(pick).collect()
}

#[derive(Clone, Copy)]
enum Newer {
    Source,
    Target,
}

/// Whose time is later; the target's where that cannot be said.
fn newer(merge: &Merge, source: &Document, target: &Document) -> Newer {
    let Some(field) = &merge.newest_by else { return Newer::Target };
    let time = |record: &Document| record.get(field).filter(|value| !value.is_null()).map(bytes);
    match (time(source), time(target)) {
        (Some(ours), Some(theirs)) if ours > theirs => Newer::Source,
        (Some(_), None) => Newer::Source,
        _ => Newer::Target,
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    order::write(value, &mut out);
    out
}

/// The values of the source's record that a merge changed, after those that a
/// conflict had changed before.
pub fn changed(own: &Document, landed: &Document, before: &[ChangedValue]) -> Vec<ChangedValue> {
    let mut all = before.to_vec();
    for (name, value) in landed.iter() {
        let Some(ours) = own.get(name).filter(|ours| *ours != value) else { continue };
        match all.iter_mut().find(|(field, _, _)| field == name) {
            Some((_, _, landed)) => *landed = value.clone(),
            None => all.push((name.to_owned(), ours.clone(), value.clone())),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &[(&str, Value)]) -> Document {
        fields.iter().map(|(name, value)| (*name, value.clone())).collect()
    }

    fn merge() -> Merge {
        let fields = [("a", Prefer::Source), ("b", Prefer::NonNull), ("c", Prefer::Newest)];
        Merge {
            fields: fields.into_iter().map(|(name, rule)| (name.to_owned(), rule)).collect(),
            otherwise: Prefer::Target,
            newest_by: Some("at".to_owned()),
        }
    }

    #[test]
    fn each_field_by_its_rule() {
        let ours = record(&[("a", 1.into()), ("b", 1.into()), ("c", 1.into()), ("d", 1.into()), ("at", 9.into())]);
        let mut theirs =
            record(&[("a", 2.into()), ("b", Value::Null), ("c", 2.into()), ("d", 2.into()), ("e", 2.into())]);
        theirs.set("at", 5);
        let check = |theirs: &Document, expect: [i64; 5]| {
            let found = combine(&merge(), &ours, theirs);
            let values: Vec<&Value> = ["a", "b", "c", "d", "e"].iter().map(|name| found.get(name).unwrap()).collect();
            assert_eq!(values, expect.map(Value::Int).iter().collect::<Vec<_>>());
        };
        check(&theirs, [1, 1, 1, 2, 2]);
        theirs.set("at", 10);
        theirs.set("b", 3);
        check(&theirs, [1, 3, 2, 2, 2]);
        theirs.set("at", Value::Null);
        check(&theirs, [1, 3, 1, 2, 2]);
    }

    #[test]
    fn they_part_as_they_were_but_for_what_was_written_since() {
        let (before, landed) =
            (record(&[("a", 2.into()), ("b", 2.into())]), record(&[("a", 1.into()), ("b", 1.into())]));
        let kept = Kept { before: before.clone(), landed: landed.clone() };
        assert_eq!(kept.restore(&landed), before);
        assert_eq!(
            kept.restore(&record(&[("a", 1.into()), ("b", 7.into())])),
            record(&[("a", 2.into()), ("b", 7.into())])
        );
    }

    #[test]
    fn a_value_that_a_conflict_changed_keeps_its_own() {
        let own = record(&[("a", 5.into()), ("b", 1.into())]);
        let landed = record(&[("a", 6.into()), ("b", 1.into())]);
        let before = [("a".to_owned(), Value::Int(4), Value::Int(5))];
        assert_eq!(changed(&own, &landed, &before), [("a".to_owned(), Value::Int(4), Value::Int(6))]);
        assert_eq!(changed(&own, &landed, &[]), [("a".to_owned(), Value::Int(5), Value::Int(6))]);
    }
}
