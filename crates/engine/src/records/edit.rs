//! What a record becomes by a client's edit, in the client's shape. Pure.

use shearwater_core::shape::{ChildShape, ColumnShape, Layout};
use shearwater_core::store::Image;
use shearwater_core::{Document, Key, Value};

use super::{Edit, ServeError};

/// What is to happen to fields that the client did not send because its shape,
/// or its copy of the record, does not have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// They stay as they are (H13).
    Keep,
    /// They are wiped: only for the test that shows the hole.
    Wipe,
}

/// The record after the edit (`None`: deleted), or why it is refused.
pub(crate) fn apply(
    layout: &Layout,
    key: &Key,
    current: Option<&Image>,
    edit: &Edit,
    unsent: Unsent,
) -> Result<Option<Image>, ServeError> {
    let parked = match (current, unsent) {
        (Some(image), Unsent::Keep) => image.parked.clone(),
        (Some(_), Unsent::Wipe) | (None, _) => Document::new(),
    };
    let record = match (edit, current) {
        // One that is to be left as it is does not come here.
        (Edit::Insert(_) | Edit::InsertIfAbsent(_), Some(_)) => return Err(ServeError::Exists),
        (Edit::MergePatch(_) | Edit::Delete, None) => return Err(ServeError::NotFound),
        (Edit::Delete, Some(_)) => return Ok(None),
        (Edit::Insert(record) | Edit::InsertIfAbsent(record) | Edit::InsertOrSet(record), None) => {
            let record = with_key(layout, key, record.clone());
            check_key(layout, key, &record)?;
            record
        }
        (Edit::Replace(record), None) => with_key(layout, key, record.clone()),
        (Edit::Replace(record), Some(image)) => {
            let record = with_key(layout, key, record.clone());
            match unsent {
                Unsent::Keep => keep_residue(layout, record, &image.record),
                Unsent::Wipe => record,
            }
        }
        (Edit::InsertOrSet(record), Some(image)) => {
            let record = with_key(layout, key, record.clone());
            check_key(layout, key, &record)?;
            keep_residue(layout, set(image.record.clone(), record), &image.record)
        }
        (Edit::MergePatch(patch), Some(image)) => with_key(layout, key, merge(image.record.clone(), patch)),
    };
    let record = match layout {
        Layout::Document(_) => record,
        Layout::Rows(table) => {
            let parts = Parts { columns: &table.columns, children: &table.children, residue: table.residue.as_deref() };
            in_columns(&parts, record, "")?
        }
    };
    Ok(Some(Image { record, parked }))
}

/// RFC 7396: null removes, documents merge, everything else replaces.
fn merge(mut target: Document, patch: &Document) -> Document {
    for (name, value) in patch.iter() {
        match value {
            Value::Null => {
                target.remove(name);
            }
            Value::Document(patch) => {
                let inner = match target.get(name) {
                    Some(Value::Document(inner)) => inner.clone(),
                    Some(_) | None => Document::new(),
                };
                target.set(name, merge(inner, patch));
            }
            other => {
                target.set(name, other.clone());
            }
        }
    }
    target
}

/// Each field that is sent replaces the record's own.
fn set(mut record: Document, sent: Document) -> Document {
    for (name, value) in sent {
        record.set(name, value);
    }
    record
}

/// The record with its key fields, first, where the client left them out.
fn with_key(layout: &Layout, key: &Key, record: Document) -> Document {
    let missing: Vec<_> =
        layout.key_fields().iter().zip(key.values()).filter(|(name, _)| !record.contains(name)).collect();
    if missing.is_empty() {
        return record;
    }
    let mut whole = Document::with_capacity(record.len() + missing.len());
    for (name, value) in missing {
        whole.set(name.as_str(), value.clone());
    }
    for (name, value) in record {
        whole.set(name, value);
    }
    whole
}

fn check_key(layout: &Layout, key: &Key, record: &Document) -> Result<(), ServeError> {
    for (name, value) in layout.key_fields().iter().zip(key.values()) {
        if record.get(name) != Some(value) {
            return Err(ServeError::Unprocessable {
                code: "record/key".to_owned(),
                field: name.clone(),
                message: "the record's key is not the key that it is sent under".to_owned(),
                hint: None,
            });
        }
    }
    Ok(())
}

/// A whole record that leaves the residue out keeps it, in the root and in
/// every child element that is otherwise as it was.
fn keep_residue(layout: &Layout, record: Document, current: &Document) -> Document {
    let Layout::Rows(table) = layout else { return record };
    keep_residue_of(&table.children, table.residue.as_deref(), record, current)
}

fn keep_residue_of(
    children: &[ChildShape],
    residue: Option<&str>,
    mut record: Document,
    current: &Document,
) -> Document {
    for child in children {
        let Some(Value::Array(old)) = current.get(&child.field) else { continue };
        let Some(Value::Array(new)) = record.get_mut(&child.field) else { continue };
        let mut unused: Vec<&Document> = old.iter().filter_map(as_document).collect();
        for element in new.iter_mut() {
            let Value::Document(element) = element else { continue };
            if let Some(at) = unused.iter().position(|old| same_but_residue(child, old, element)) {
                let old = unused.remove(at);
                *element = keep_residue_of(&child.children, child.residue.as_deref(), std::mem::take(element), old);
            }
        }
    }
    if let Some(name) = residue
        && !record.contains(name)
        && let Some(kept) = current.get(name)
    {
        record.set(name, kept.clone());
    }
    record
}

fn as_document(value: &Value) -> Option<&Document> {
    match value {
        Value::Document(document) => Some(document),
        _ => None,
    }
}

/// Whether an element has the old one's columns; a missing column is a null one.
fn same_but_residue(child: &ChildShape, old: &Document, new: &Document) -> bool {
    let value = |element: &Document, name: &str| element.get(name).cloned().unwrap_or(Value::Null);
    child.columns.iter().all(|column| value(old, &column.name) == value(new, &column.name))
}

/// The parts of a root record or of a child element.
struct Parts<'a> {
    columns: &'a [ColumnShape],
    children: &'a [ChildShape],
    residue: Option<&'a str>,
}

/// A record of the `rows` layout as a store gives it: every column in order,
/// every child array, the residue when it is not empty, and nothing else.
fn in_columns(parts: &Parts<'_>, mut record: Document, place: &str) -> Result<Document, ServeError> {
    let mut whole = Document::with_capacity(parts.columns.len() + parts.children.len() + 1);
    for column in parts.columns {
        whole.set(column.name.as_str(), record.remove(&column.name).unwrap_or(Value::Null));
    }
    for child in parts.children {
        let elements = record.remove(&child.field).unwrap_or_else(|| Value::Array(vec![]));
        whole.set(child.field.as_str(), in_child(child, elements, &format!("{place}{}", child.field))?);
    }
    if let Some(name) = parts.residue {
        match record.remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::Document(residue)) if residue.is_empty() => {}
            Some(Value::Document(residue)) => {
                whole.set(name, residue);
            }
            Some(other) => return Err(refused("record/type", &format!("{place}{name}"), "a document", &other)),
        }
    }
    match record.iter().next() {
        None => Ok(whole),
        Some((name, _)) => Err(ServeError::Unprocessable {
            code: "record/unknown-field".to_owned(),
            field: format!("{place}{name}"),
            message: "this shape has no such field".to_owned(),
            hint: parts.residue.map(|residue| format!("fields without a column go into {residue}")),
        }),
    }
}

fn in_child(child: &ChildShape, elements: Value, place: &str) -> Result<Value, ServeError> {
    let Value::Array(elements) = elements else { return Err(refused("record/type", place, "an array", &elements)) };
    let parts = Parts { columns: &child.columns, children: &child.children, residue: child.residue.as_deref() };
    let mut whole = Vec::with_capacity(elements.len());
    for (at, element) in elements.into_iter().enumerate() {
        match element {
            Value::Document(element) => {
                whole.push(Value::Document(in_columns(&parts, element, &format!("{place}[{at}]."))?));
            }
            other => return Err(refused("record/type", &format!("{place}[{at}]"), "a document", &other)),
        }
    }
    Ok(Value::Array(whole))
}

fn refused(code: &str, field: &str, expected: &str, found: &Value) -> ServeError {
    ServeError::Unprocessable {
        code: code.to_owned(),
        field: field.to_owned(),
        message: format!("expected {expected}, found {}", found.type_name()),
        hint: None,
    }
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
