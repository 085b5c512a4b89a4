//! Beside a record of the source: values of looked-up fields that only the
//! target can hold, each with what the source said when it was kept. One counts
//! as long as the source says the same.

use super::Shapes;
use crate::store::Image;
use crate::value::{Document, Value};

/// The name of ours under which they stand.
const STRAYS: &str = "@strays";

/// What the source said and what the target has instead, of a field.
pub(super) fn of<'i>(v1: &'i Image, field: &str) -> Option<(&'i Value, &'i Value)> {
    let Some(Value::Document(strays)) = v1.parked.get(STRAYS) else { return None };
    let Some(Value::Document(stray)) = strays.get(field) else { return None };
    Some((stray.get("was")?, stray.get("is")?))
}

/// Keeps what the source says and what the target has instead, or neither.
pub(super) fn set(v1: &mut Image, field: &str, stray: Option<(Value, Value)>) {
    let mut strays = match v1.parked.remove(STRAYS) {
        Some(Value::Document(strays)) => strays,
        _ => Document::new(),
    };
    strays.remove(field);
    if let Some((was, is)) = stray {
        let mut stray = Document::with_capacity(2);
        stray.set("was", was);
        stray.set("is", is);
        strays.set(field, stray);
    }
    if !strays.is_empty() {
        v1.parked.set(STRAYS, strays);
    }
}

/// Keeps them when a row is made anew.
pub(super) fn keep(from: &Image, to: &mut Image) {
    if let Some(strays) = from.parked.get(STRAYS) {
        to.parked.set(STRAYS, strays.clone());
    }
}

impl Shapes {
    /// Whether what is parked beside a record of the source has values of
    /// looked-up fields that only the target can hold.
    pub fn has_strays(parked: &Document) -> bool {
        parked.get(STRAYS).is_some()
    }
}
