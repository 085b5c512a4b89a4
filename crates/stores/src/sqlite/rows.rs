//! The `rows` layout: a root table, child tables, residue columns.
//!
//! A record must be exactly what the tables hold: every column is a field (an
//! SQL NULL is an explicit null), every child table an array of documents, and
//! the residue a document that is not empty or not there. Anything else is
//! refused by name, because it could not be read back.

use shearwater_core::error::StoreResult;
use shearwater_core::shape::{ChildShape, ColumnShape, FieldType, TableShape};
use shearwater_core::value::json;
use shearwater_core::{Document, Key, Value};

use super::cell::Cell;
use super::error::{corrupt, refused};
use super::record::{Element, RawRecord};
use super::tables::Tables;
use super::value::{from_cell, to_cell};

/// The type of a key column; text when the shape does not list it.
fn key_type(shape: &TableShape, name: &str) -> FieldType {
    shape.columns.iter().find(|c| c.name == name).map_or(FieldType::Text, |c| c.ty)
}

/// The cells of a key.
pub(super) fn key_to_cells(shape: &TableShape, key: &Key) -> StoreResult<Vec<Cell>> {
    if key.values().len() != shape.key.len() {
        let (found, expected) = (key.values().len(), shape.key.len());
        return Err(refused(&shape.table, &shape.key.join(", "), format!("the key has {found} parts, not {expected}")));
    }
    let pairs = shape.key.iter().zip(key.values());
    pairs
        .map(|(name, value)| match value {
            Value::Null => Err(refused(&shape.table, name, "a key part must not be null")),
            value => to_cell(key_type(shape, name), value).map_err(|what| refused(&shape.table, name, what)),
        })
        .collect()
}

/// The key of its cells.
pub(super) fn key_from_cells(shape: &TableShape, cells: &[Cell]) -> StoreResult<Key> {
    let parts = shape.key.iter().zip(cells).map(|(name, cell)| match cell {
        Cell::Null => Err(corrupt(&shape.table, name, "the key is NULL")),
        cell => from_cell(key_type(shape, name), cell).map_err(|what| corrupt(&shape.table, name, what)),
    });
    Ok(Key::composite(parts.collect::<StoreResult<_>>()?))
}

/// The cells of a record.
pub(super) fn to_raw(tables: &Tables, shape: &TableShape, key: &Key, record: &Document) -> StoreResult<RawRecord> {
    for (name, part) in shape.key.iter().zip(key.values()) {
        if shape.columns.iter().any(|c| c.name == *name) && record.get(name) != Some(part) {
            return Err(refused(&shape.table, name, "the record's key field differs from its key or is missing"));
        }
    }
    let mut raw = RawRecord {
        key: key_to_cells(shape, key)?,
        values: fields_to_cells(&shape.table, &shape.columns, shape.residue.as_ref(), &shape.key, record)?,
        children: vec![Vec::new(); tables.children.len()],
    };
    let known = Known { columns: &shape.columns, children: &shape.children, residue: shape.residue.as_ref() };
    known.refuse_others(&shape.table, record)?;
    let mut place = Vec::new();
    children_to_raw(tables, None, key, &shape.table, &shape.children, record, &mut place, &mut raw)?;
    Ok(raw)
}

struct Known<'a> {
    columns: &'a [ColumnShape],
    children: &'a [ChildShape],
    residue: Option<&'a String>,
}

impl Known<'_> {
    fn refuse_others(&self, table: &str, record: &Document) -> StoreResult<()> {
        let expected = self.columns.len() + self.children.len();
        let residue = self.residue.is_some_and(|r| record.contains(r));
        if record.len() == expected + usize::from(residue) {
            // Every expected field was found before, so there is no room for another.
            return Ok(());
        }
        for (name, _) in record.iter() {
            let known = self.columns.iter().any(|c| c.name == name)
                || self.children.iter().any(|c| c.field == name)
                || self.residue.is_some_and(|r| r == name);
            if !known {
                return Err(refused(table, name, "the table has no such column, child table or residue"));
            }
        }
        Ok(())
    }
}

fn fields_to_cells(
    table: &str,
    columns: &[ColumnShape],
    residue: Option<&String>,
    but: &[String],
    record: &Document,
) -> StoreResult<Vec<Cell>> {
    let mut cells = Vec::with_capacity(columns.len() + 1);
    for column in columns.iter().filter(|c| !but.contains(&c.name)) {
        let value = record.get(&column.name).ok_or_else(|| {
            refused(table, &column.name, "the field is missing")
                .with_hint("a column always has a value; send an explicit null")
        })?;
        if value.is_null() && !column.nullable {
            return Err(refused(table, &column.name, "the field must not be null"));
        }
        cells.push(to_cell(column.ty, value).map_err(|what| refused(table, &column.name, what))?);
    }
    if let Some(name) = residue {
        cells.push(match record.get(name) {
            None => Cell::Null,
            Some(Value::Document(rest)) if !rest.is_empty() => Cell::text(json::document_to_string(rest)),
            Some(_) => {
                return Err(refused(table, name, "the residue must be a document that is not empty, or be missing"));
            }
        });
    }
    Ok(cells)
}

#[expect(clippy::too_many_arguments, reason = "one recursion over tables, shapes and values in step")]
fn children_to_raw<'a>(
    tables: &Tables,
    parent: Option<usize>,
    key: &Key,
    table: &str,
    shapes: &'a [ChildShape],
    record: &Document,
    place: &mut Vec<(&'a str, usize)>,
    raw: &mut RawRecord,
) -> StoreResult<()> {
    for shape in shapes {
        let at = tables
            .children
            .iter()
            .position(|c| c.parent == parent && c.shape.field == shape.field)
            .ok_or_else(|| refused(table, &shape.field, "the layout's child table is not known"))?;
        let elements = match record.get(&shape.field) {
            Some(Value::Array(elements)) => elements,
            Some(other) => {
                let what = format!("takes an array of documents, found {}", other.type_name());
                return Err(refused(table, &shape.field, what));
            }
            None => {
                return Err(refused(table, &shape.field, "the field is missing").with_hint("send an empty array"));
            }
        };
        let parent_id = if place.is_empty() { None } else { Some(ChildShape::child_key(key, place)) };
        for (position, element) in elements.iter().enumerate() {
            let Value::Document(element) = element else {
                let what = format!("takes documents as elements, found {}", element.type_name());
                return Err(refused(table, &shape.field, what));
            };
            place.push((&shape.field, position));
            let values = fields_to_cells(&shape.table, &shape.columns, shape.residue.as_ref(), &[], element)?;
            raw.children[at].push(Element {
                id: Cell::text(ChildShape::child_key(key, place)),
                parent_id: parent_id.as_deref().map_or(Cell::Null, Cell::text),
                position: Cell::Int(i64::try_from(position).unwrap_or(i64::MAX)),
                values,
            });
            children_to_raw(tables, Some(at), key, &shape.table, &shape.children, element, place, raw)?;
            let known = Known { columns: &shape.columns, children: &shape.children, residue: shape.residue.as_ref() };
            known.refuse_others(&shape.table, element)?;
            place.pop();
        }
    }
    Ok(())
}

/// The record of its cells.
pub(super) fn from_raw(tables: &Tables, shape: &TableShape, raw: &RawRecord) -> StoreResult<Document> {
    refuse_lost_elements(tables, raw)?;
    let mut record = Document::with_capacity(shape.columns.len() + shape.children.len() + 1);
    let mut values = raw.values.iter();
    for column in &shape.columns {
        let cell = match shape.key.iter().position(|k| *k == column.name) {
            Some(at) => raw.key.get(at),
            None => values.next(),
        };
        let cell = cell.ok_or_else(|| corrupt(&shape.table, &column.name, "the column was not read"))?;
        let value = from_cell(column.ty, cell).map_err(|what| corrupt(&shape.table, &column.name, what))?;
        push(&mut record, &shape.table, &column.name, value)?;
    }
    push_children(tables, None, None, raw, &mut record)?;
    if let (Some(name), Some(cell)) = (&shape.residue, values.next()) {
        push_residue(&mut record, &shape.table, name, cell)?;
    }
    Ok(record)
}

/// An element whose parent is not there would be left out silently.
fn refuse_lost_elements(tables: &Tables, raw: &RawRecord) -> StoreResult<()> {
    for (child, rows) in tables.children.iter().zip(&raw.children) {
        let Some(parents) = child.parent.and_then(|at| raw.children.get(at)) else { continue };
        if rows.iter().any(|row| !parents.iter().any(|parent| parent.id == row.parent_id)) {
            return Err(corrupt(&child.shape.table, "parent_id", "names an element that the record does not have"));
        }
    }
    Ok(())
}

fn push(record: &mut Document, table: &str, name: &str, value: Value) -> StoreResult<()> {
    record.push(name, value).map_err(|_| corrupt(table, name, "the layout has two fields of this name"))
}

fn push_residue(record: &mut Document, table: &str, name: &str, cell: &Cell) -> StoreResult<()> {
    let rest = match cell {
        Cell::Null => return Ok(()),
        Cell::Text(text) => json::parse_document(text)
            .map_err(|e| corrupt(table, name, format!("the TEXT is no JSON document: {}", e.message)))?,
        other => return Err(corrupt(table, name, format!("holds {}; expected JSON as TEXT", other.class()))),
    };
    if rest.is_empty() { Ok(()) } else { push(record, table, name, Value::Document(rest)) }
}

fn push_children(
    tables: &Tables,
    parent: Option<usize>,
    parent_id: Option<&Cell>,
    raw: &RawRecord,
    record: &mut Document,
) -> StoreResult<()> {
    for (at, child) in tables.children.iter().enumerate().filter(|(_, c)| c.parent == parent) {
        let shape = &child.shape;
        let rows = raw.children.get(at).map(Vec::as_slice).unwrap_or_default();
        let mut elements = Vec::new();
        for row in rows.iter().filter(|row| parent_id.is_none_or(|id| row.parent_id == *id)) {
            let mut element = Document::with_capacity(shape.columns.len() + 1);
            let mut values = row.values.iter();
            for (column, cell) in shape.columns.iter().zip(values.by_ref()) {
                let value = from_cell(column.ty, cell).map_err(|what| corrupt(&shape.table, &column.name, what))?;
                push(&mut element, &shape.table, &column.name, value)?;
            }
            push_children(tables, Some(at), Some(&row.id), raw, &mut element)?;
            if let Some(name) = &shape.residue {
                let cell = row.values.last().unwrap_or(&Cell::Null);
                push_residue(&mut element, &shape.table, name, cell)?;
            }
            elements.push(Value::Document(element));
        }
        push(record, &shape.table, &shape.field, Value::Array(elements))?;
    }
    Ok(())
}
