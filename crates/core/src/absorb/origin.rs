//! What stands beside a record of the target, in the sidecar: where it came from.

use super::NOTE;
use super::merge::Kept;
use crate::Key;
use crate::value::{Document, Value};

/// What stands beside a record in the target: that it came from the source.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// Its key in the source.
    pub key: Key,
    /// Values that a conflict changed: field, its own value, the landed one.
    pub changed: Vec<(String, Value, Value)>,
    /// The target's own record that it was merged with.
    pub merged: Option<Kept>,
}

/// One changed value of an [`Origin`]: field, own value, landed value.
pub type ChangedValue = (String, Value, Value);

impl Origin {
    /// As it stands in the target's sidecar.
    pub fn parked(&self) -> Document {
        let mut note = Document::with_capacity(2);
        note.set("from", Value::Array(self.key.values().to_vec()));
        if !self.changed.is_empty() {
            let changed = self.changed.iter().map(|(field, own, landed)| {
                Value::Array(vec![Value::text(field.as_str()), own.clone(), landed.clone()])
            });
            note.set("changed", Value::Array(changed.collect()));
        }
        if let Some(kept) = &self.merged {
            note.set("before", kept.before.clone());
            note.set("landed", kept.landed.clone());
        }
        [(NOTE, Value::Document(note))].into_iter().collect()
    }

    /// What stands beside a record of the target; `None`: it did not come from the source.
    pub fn of(parked: &Document) -> Option<Origin> {
        let Some(Value::Document(note)) = parked.get(NOTE) else { return None };
        let Some(Value::Array(key)) = note.get("from") else { return None };
        let changed = match note.get("changed") {
            Some(Value::Array(changed)) => changed.iter().filter_map(triple).collect(),
            _ => Vec::new(),
        };
        let merged = match (note.get("before"), note.get("landed")) {
            (Some(Value::Document(before)), Some(Value::Document(landed))) => {
                Some(Kept { before: before.clone(), landed: landed.clone() })
            }
            _ => None,
        };
        Some(Origin { key: Key::composite(key.clone()), changed, merged })
    }
}

fn triple(value: &Value) -> Option<ChangedValue> {
    let Value::Array(parts) = value else { return None };
    match parts.as_slice() {
        [Value::Text(field), own, landed] => Some((field.clone(), own.clone(), landed.clone())),
        _ => None,
    }
}
