//! What only v2 has, kept beside a v1 record.
//!
//! A column that v1 does not have at all (declared for the target only, or a
//! constant that a v2 client changed) is kept as a field of its name. Any other
//! column that v1 cannot hold as it is (a computed one, whose `back` loses
//! something) is kept as a correction `{column, was, is}` under `@fix`, void
//! when the rules no longer give `was`. A column that is only derived is never
//! kept. For a child array there is a field of
//! its name: `{length, elements}`, with one `{at, of, parked}` for each element that has something
//! parked: its position, the hash of the v1 element, and its own parked fields.

use super::MappingError;
use super::residue::FIX;
use super::rules::{Child, Column, Elements, ObjectRules, Origin};
use crate::value::{Document, Value, hash};

/// A column's value with what is parked for it.
pub(super) fn column(column: &Column, computed: Value, parked: &Document) -> Value {
    if column.is_foreign() {
        return parked.get(&column.name).cloned().unwrap_or(computed);
    }
    let Some(Value::Array(fixes)) = parked.get(FIX) else { return computed };
    let fix = fixes.iter().find_map(|fix| match fix {
        Value::Document(fix) if matches!(fix.get("column"), Some(Value::Text(name)) if *name == column.name) => {
            Some(fix)
        }
        _ => None,
    });
    match fix.map(|fix| (fix.get("was"), fix.get("is"))) {
        Some((Some(was), Some(is))) if *was == computed => is.clone(),
        _ => computed,
    }
}

/// For each element of a v1 array, what is parked for it: where position and
/// content are as they were; else by content, so that it follows an element
/// that moved; else by position while the array is as long as it was, so that a
/// v1 client's change of an element does not wipe what only v2 has.
pub(super) fn elements<'p>(parked: &'p Value, items: &[Value]) -> Vec<Option<&'p Document>> {
    let mut found: Vec<Option<&Document>> = vec![None; items.len()];
    let Value::Document(parked) = parked else { return found };
    let Some(Value::Array(entries)) = parked.get("elements") else { return found };
    let hashes: Vec<String> = items.iter().map(fingerprint).collect();
    let mut left: Vec<Entry<'_>> = entries.iter().filter_map(Entry::read).collect();
    left.retain(|entry| {
        let is_same = hashes.get(entry.at).is_some_and(|hash| hash == entry.of);
        if is_same {
            found[entry.at] = Some(entry.parked);
        }
        !is_same
    });
    left.retain(|entry| match (0..items.len()).find(|at| found[*at].is_none() && hashes[*at] == entry.of) {
        Some(at) => {
            found[at] = Some(entry.parked);
            false
        }
        None => true,
    });
    if parked.get("length") == Some(&Value::from_u64(items.len() as u64)) {
        for entry in left {
            if let Some(place @ None) = found.get_mut(entry.at) {
                *place = Some(entry.parked);
            }
        }
    }
    found
}

/// What is parked for one element.
struct Entry<'p> {
    at: usize,
    of: &'p str,
    parked: &'p Document,
}

impl<'p> Entry<'p> {
    fn read(entry: &'p Value) -> Option<Entry<'p>> {
        let Value::Document(entry) = entry else { return None };
        match (entry.get("at"), entry.get("of"), entry.get("parked")) {
            (Some(Value::Int(at)), Some(Value::Text(of)), Some(Value::Document(parked))) => {
                Some(Entry { at: usize::try_from(*at).ok()?, of, parked })
            }
            _ => None,
        }
    }
}

fn fingerprint(element: &Value) -> String {
    format!("{:032x}", hash::value(element))
}

impl Column {
    /// Whether v1 does not have this column at all.
    fn is_foreign(&self) -> bool {
        matches!(self.origin, Origin::TargetOnly | Origin::Constant(_))
    }

    /// Whether it only follows from other fields: nobody can set it, so there is nothing to keep.
    fn is_derived(&self) -> bool {
        matches!(&self.origin, Origin::Sql { back, .. } if back.is_empty())
    }
}

impl ObjectRules {
    /// What must be parked so that forward gives this v2 object: `given` is
    /// what forward makes of `v1` without anything parked.
    pub(super) fn park(&self, given: &Document, v2: &Document, v1: &Document) -> Result<Document, MappingError> {
        let mut parked = Document::new();
        let mut fixes = Vec::new();
        for column in &self.columns {
            let (Some(given), Some(wanted)) = (given.get(&column.name), v2.get(&column.name)) else { continue };
            if given == wanted || column.is_derived() {
                continue;
            }
            if column.is_foreign() {
                parked.set(column.name.as_str(), wanted.clone());
            } else {
                let mut fix = Document::with_capacity(3);
                fix.set("column", column.name.as_str());
                fix.set("was", given.clone());
                fix.set("is", wanted.clone());
                fixes.push(Value::Document(fix));
            }
        }
        for child in &self.children {
            if let Some(own) = child.park(given, v2, v1)? {
                parked.set(child.field.as_str(), own);
            }
        }
        if !fixes.is_empty() {
            parked.set(FIX, Value::Array(fixes));
        }
        Ok(parked)
    }
}

impl Child {
    fn park(&self, given: &Document, v2: &Document, v1: &Document) -> Result<Option<Value>, MappingError> {
        let (Some(Value::Array(given)), Some(Value::Array(wanted))) = (given.get(&self.field), v2.get(&self.field))
        else {
            return Ok(None);
        };
        let items: &[Value] = match self.path.get(v1) {
            Some(Value::Array(items)) => items,
            _ => &[],
        };
        if given.len() != wanted.len() || items.len() != wanted.len() {
            let message = "the residue gives another number of elements than there are rows";
            return Err(MappingError::new("mapping/reverse", self.field.as_str(), message));
        }
        let empty = Document::new();
        let mut entries = Vec::new();
        for (at, ((given, wanted), item)) in given.iter().zip(wanted).zip(items).enumerate() {
            let (Value::Document(given), Value::Document(wanted)) = (given, wanted) else { continue };
            let element = match (item, self.elements) {
                (Value::Document(element), Elements::Documents) => element,
                _ => &empty,
            };
            let own = self.rules.park(given, wanted, element)?;
            if own.is_empty() {
                continue;
            }
            let mut entry = Document::with_capacity(3);
            entry.set("at", Value::from_u64(at as u64));
            entry.set("of", fingerprint(item));
            entry.set("parked", own);
            entries.push(Value::Document(entry));
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let mut parked = Document::with_capacity(2);
        parked.set("length", Value::from_u64(items.len() as u64));
        parked.set("elements", Value::Array(entries));
        Ok(Some(Value::Document(parked)))
    }
}
