//! The residue: what makes the inverse of the rules exact.
//!
//! A field that the inverse does not give is kept in the residue as it is
//! (nested documents merge); it counts only while the inverse gives nothing
//! there. Where the inverse gives something else than v1 has, the residue holds
//! a correction under [`FIX`]: `{path, was, is}`, void when the inverse no
//! longer gives `was`. `path` is a field's name, or an array of names and
//! positions, or left out for the whole object; `was` and `is` are left out for
//! *missing*. A correction of what a `back` expression gives also holds
//! `if = {column: value}`, because such corrections stand and fall together.
//! `{path, order: {field: the field before it, or null}}` keeps field order.

use super::base::{Fields, Node, get, get_mut};
use super::rules::{ObjectRules, Seg, Trail, place};
use crate::value::{Document, Value};

/// The reserved field of corrections. A record's own field of this name is kept
/// by a correction.
pub(super) const FIX: &str = "@fix";

/// Whether differences of field order alone count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldOrder {
    Kept,
    Ignored,
}

/// The residue of an object; empty when the inverse is exact.
pub(super) fn of(
    rules: &ObjectRules,
    columns: &Document,
    base: &Fields<'_>,
    v1: &Value,
    order: FieldOrder,
) -> Document {
    let mut differ = Differ { rules, columns, fixes: Vec::new(), order };
    let mut plain = Document::new();
    match v1 {
        Value::Document(v1) => differ.document(base, v1, &mut Vec::new(), Some(&mut plain)),
        other => differ.fix(&[], Some(super::base::to_document(base).into()), Some(other.clone())),
    }
    finish(plain, differ.fixes)
}

/// As [`of`], for a root record.
pub(super) fn of_record(
    rules: &ObjectRules,
    columns: &Document,
    base: &Fields<'_>,
    v1: &Document,
    order: FieldOrder,
) -> Document {
    let mut differ = Differ { rules, columns, fixes: Vec::new(), order };
    let mut plain = Document::new();
    differ.document(base, v1, &mut Vec::new(), Some(&mut plain));
    finish(plain, differ.fixes)
}

/// The residue of an element of an array of scalars.
pub(super) fn of_scalar(rules: &ObjectRules, columns: &Document, base: &Value, v1: &Value) -> Document {
    if base == v1 {
        return Document::new();
    }
    let mut differ = Differ { rules, columns, fixes: Vec::new(), order: FieldOrder::Kept };
    differ.fix(&[], Some(base.clone()), Some(v1.clone()));
    finish(Document::new(), differ.fixes)
}

fn finish(mut plain: Document, fixes: Vec<Value>) -> Document {
    if !fixes.is_empty() {
        plain.set(FIX, Value::Array(fixes));
    }
    plain
}

/// The place of the first thing in a residue, for a refusal.
pub(super) fn first_place(residue: &Document, trail: Option<&Trail<'_>>) -> String {
    match residue.iter().next() {
        Some((name, Value::Array(fixes))) if name == FIX => {
            let path = fixes.first().and_then(|fix| match fix {
                Value::Document(fix) => read_path(fix.get("path")).ok(),
                _ => None,
            });
            place(trail, path.unwrap_or_default())
        }
        Some((name, _)) => place(trail, [Seg::Field(name)]),
        None => place(trail, []),
    }
}

struct Differ<'m> {
    rules: &'m ObjectRules,
    columns: &'m Document,
    fixes: Vec<Value>,
    order: FieldOrder,
}

impl<'m> Differ<'m> {
    /// Fields of v1 against fields of the inverse. Without `plain` (inside an
    /// array) everything becomes a correction.
    fn document<'v>(
        &mut self,
        base: &'v Fields<'_>,
        v1: &'v Document,
        at: &mut Vec<Seg<'v>>,
        mut plain: Option<&mut Document>,
    ) {
        let fields: Vec<(&str, &Value)> = v1.iter().collect();
        let mut known = vec![false; fields.len()];
        // Places in v1 of the fields, in the order that the inverse and the residue will give.
        let mut sequence = Vec::with_capacity(fields.len());
        for (name, node) in base {
            let expected = sequence.last().map_or(0, |last| last + 1);
            let found = match fields.get(expected) {
                Some((n, _)) if n == name => Some(expected),
                _ => fields.iter().position(|(n, _)| n == name),
            };
            at.push(Seg::Field(name));
            match found {
                None => self.fix(at, Some(node.to_value()), None),
                Some(place) => {
                    known[place] = true;
                    sequence.push(place);
                    self.value(node, fields[place].1, at, plain.as_deref_mut());
                }
            }
            at.pop();
        }
        let mut fixed = Vec::new();
        for (place, (name, value)) in fields.iter().enumerate().filter(|(place, _)| !known[*place]) {
            at.push(Seg::Field(name));
            let is_reserved = at.len() == 1 && *name == FIX;
            match plain.as_deref_mut() {
                Some(plain) if !is_reserved && self.rules.computed_back(at).is_none() => {
                    plain.set(*name, (*value).clone());
                    sequence.push(place);
                }
                _ => {
                    self.fix(at, None, Some((*value).clone()));
                    fixed.push(place);
                }
            }
            at.pop();
        }
        sequence.extend(fixed);
        if self.order == FieldOrder::Kept {
            self.moves(&sequence, &fields, at);
        }
    }

    fn value<'v>(&mut self, node: &'v Node<'_>, v1: &'v Value, at: &mut Vec<Seg<'v>>, plain: Option<&mut Document>) {
        if node.is(v1) {
            return;
        }
        match (node, v1) {
            (Node::Document(base), Value::Document(v1)) => {
                let (Some(plain), Some(Seg::Field(name))) =
                    (plain.filter(|_| *at != [Seg::Field(FIX)]), at.last().copied())
                else {
                    return self.document(base, v1, at, None);
                };
                let mut inner = Document::new();
                self.document(base, v1, at, Some(&mut inner));
                if !inner.is_empty() {
                    plain.set(name, inner);
                }
            }
            (Node::Array(items), Value::Array(values)) if items.len() <= values.len() => {
                for (index, value) in values.iter().enumerate() {
                    at.push(Seg::Index(index));
                    match items.get(index) {
                        Some(item) => self.value(item, value, at, None),
                        None => self.fix(at, None, Some(value.clone())),
                    }
                    at.pop();
                }
            }
            _ => self.fix(at, Some(node.to_value()), Some(v1.clone())),
        }
    }

    fn fix(&mut self, at: &[Seg<'_>], was: Option<Value>, is: Option<Value>) {
        let mut entry = Document::with_capacity(4);
        if let Some(path) = path_value(at) {
            entry.set("path", path);
        }
        if let Some(was) = was {
            entry.set("was", was);
        }
        if let Some(is) = is {
            entry.set("is", is);
        }
        if !at.is_empty()
            && let Some(column) = self.rules.computed_back(at)
        {
            let mut condition = Document::with_capacity(1);
            condition.set(column.name.as_str(), self.columns.get(&column.name).cloned().unwrap_or(Value::Null));
            entry.set("if", condition);
        }
        self.fixes.push(Value::Document(entry));
    }

    /// Keeps the order of v1's fields: the fewest that must move say after which field they stand.
    fn moves(&mut self, sequence: &[usize], fields: &[(&str, &Value)], at: &[Seg<'_>]) {
        if sequence.windows(2).all(|pair| pair[0] < pair[1]) {
            return;
        }
        let mut stays = vec![false; fields.len()];
        for place in longest_rise(sequence) {
            stays[place] = true;
        }
        let mut order = Document::new();
        for (place, (name, _)) in fields.iter().enumerate().filter(|(place, _)| !stays[*place]) {
            let before = place.checked_sub(1).map_or(Value::Null, |place| fields[place].0.into());
            order.set(*name, before);
        }
        let mut entry = Document::with_capacity(2);
        if let Some(path) = path_value(at) {
            entry.set("path", path);
        }
        entry.set("order", order);
        self.fixes.push(Value::Document(entry));
    }
}

/// The longest rising part of a sequence of different numbers.
fn longest_rise(sequence: &[usize]) -> Vec<usize> {
    // tails[k]: index in `sequence` of the lowest end of a rise of length k + 1
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(sequence.len());
    for (i, n) in sequence.iter().enumerate() {
        let k = tails.partition_point(|t| sequence[*t] < *n);
        before.push(k.checked_sub(1).map(|k| tails[k]));
        match tails.get_mut(k) {
            Some(tail) => *tail = i,
            None => tails.push(i),
        }
    }
    let mut rise = Vec::with_capacity(tails.len());
    let mut next = tails.last().copied();
    while let Some(i) = next {
        rise.push(sequence[i]);
        next = before[i];
    }
    rise
}

fn path_value(at: &[Seg<'_>]) -> Option<Value> {
    let step = |seg: &Seg<'_>| match seg {
        Seg::Field(name) => Value::from(*name),
        Seg::Index(index) => Value::from_u64(*index as u64),
    };
    match at {
        [] => None,
        [Seg::Field(name)] => Some(Value::from(*name)),
        more => Some(Value::Array(more.iter().map(step).collect())),
    }
}

/// Applies a residue to what the rules' inverse gave. `columns` is the v2 object.
///
/// # Errors
/// What is wrong with a residue that is not of our making.
pub(super) fn apply(base: Value, residue: &Document, columns: &Document) -> Result<Value, String> {
    let mut value = base;
    if let Value::Document(document) = &mut value {
        for (name, kept) in residue.iter().filter(|(name, _)| *name != FIX) {
            merge(document, name, kept);
        }
    }
    match residue.get(FIX) {
        None => Ok(value),
        Some(Value::Array(fixes)) => fixes.iter().try_fold(value, |value, fix| match fix {
            Value::Document(fix) => apply_fix(value, fix, columns),
            other => Err(format!("found {} where a correction was expected", other.type_name())),
        }),
        Some(other) => Err(format!("found {} where an array of corrections was expected", other.type_name())),
    }
}

/// Adds what is kept where there is nothing; documents merge.
fn merge(document: &mut Document, name: &str, kept: &Value) {
    match (document.get_mut(name), kept) {
        (None, kept) => {
            document.set(name, kept.clone());
        }
        (Some(Value::Document(inner)), Value::Document(kept)) => {
            for (name, kept) in kept.iter() {
                merge(inner, name, kept);
            }
        }
        (Some(_), _) => {}
    }
}

fn apply_fix(mut value: Value, fix: &Document, columns: &Document) -> Result<Value, String> {
    let at = read_path(fix.get("path"))?;
    if let Some(order) = fix.get("order") {
        let Value::Document(order) = order else { return Err("a correction's order is no document".to_owned()) };
        if let Some(Value::Document(document)) = get_mut(&mut value, &at) {
            *document = reorder(std::mem::take(document), order);
        }
        return Ok(value);
    }
    let holds = match fix.get("if") {
        None => true,
        Some(Value::Document(condition)) => condition.iter().all(|(name, value)| columns.get(name) == Some(value)),
        Some(_) => return Err("a correction's condition is no document".to_owned()),
    };
    if !holds || get(&value, &at) != fix.get("was") {
        return Ok(value);
    }
    let is = fix.get("is");
    match at.split_last() {
        None => is.cloned().ok_or_else(|| "a correction takes the whole object away".to_owned()),
        Some((last, before)) => {
            match (get_mut(&mut value, before), last, is) {
                (Some(Value::Document(d)), Seg::Field(name), Some(is)) => {
                    d.set(*name, is.clone());
                }
                (Some(Value::Document(d)), Seg::Field(name), None) => {
                    d.remove(name);
                }
                (Some(Value::Array(a)), Seg::Index(index), Some(is)) if *index < a.len() => a[*index] = is.clone(),
                (Some(Value::Array(a)), Seg::Index(index), Some(is)) if *index == a.len() => a.push(is.clone()),
                (Some(Value::Array(a)), Seg::Index(index), None) if *index + 1 == a.len() => {
                    a.pop();
                }
                _ => {}
            }
            Ok(value)
        }
    }
}

fn read_path(path: Option<&Value>) -> Result<Vec<Seg<'_>>, String> {
    let step = |value: &'_ Value| match value {
        Value::Int(n) => usize::try_from(*n).ok(),
        _ => None,
    };
    match path {
        None => Ok(Vec::new()),
        Some(Value::Text(name)) => Ok(vec![Seg::Field(name)]),
        Some(Value::Array(steps)) => steps
            .iter()
            .map(|value| match value {
                Value::Text(name) => Ok(Seg::Field(name)),
                other => step(other).map(Seg::Index).ok_or_else(|| format!("found {} in a path", other.type_name())),
            })
            .collect(),
        Some(other) => Err(format!("found {} where a path was expected", other.type_name())),
    }
}

/// Puts each named field after the one that stood before it; what is gone is passed over.
fn reorder(document: Document, order: &Document) -> Document {
    let mut fields: Vec<(String, Value)> = document.into_iter().collect();
    for (name, before) in order.iter() {
        let Some(from) = fields.iter().position(|(n, _)| n == name) else { continue };
        let field = fields.remove(from);
        let to = match before {
            Value::Text(before) => fields.iter().position(|(n, _)| n == before).map_or(from, |at| at + 1),
            _ => 0,
        };
        fields.insert(to, field);
    }
    fields.into_iter().collect()
}
