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

use super::{Codec, Element, Place, RawRecord, Tree, corrupt, refused};

/// The type of a key column; text when the shape does not list it.
fn key_type(shape: &TableShape, name: &str) -> FieldType {
    shape.columns.iter().find(|c| c.name == name).map_or(FieldType::Text, |c| c.ty)
}

/// The cells of a key.
pub(super) fn key_to_cells<K: Codec>(codec: &K, shape: &TableShape, key: &Key) -> StoreResult<Vec<K::Cell>> {
    if key.values().len() != shape.key.len() {
        let (found, expected) = (key.values().len(), shape.key.len());
        return Err(refused(&shape.table, &shape.key.join(", "), format!("the key has {found} parts, not {expected}")));
    }
    let pairs = shape.key.iter().zip(key.values()).enumerate();
    pairs
        .map(|(at, (name, value))| match value {
            Value::Null => Err(refused(&shape.table, name, "a key part must not be null")),
            value => codec
                .to_cell(Place::Key(at), key_type(shape, name), value)
                .map_err(|what| refused(&shape.table, name, what)),
        })
        .collect()
}

/// The key of its cells.
pub(super) fn key_from_cells<K: Codec>(codec: &K, shape: &TableShape, cells: &[K::Cell]) -> StoreResult<Key> {
    let parts = shape.key.iter().zip(cells).enumerate().map(|(at, (name, cell))| match codec.is_null(cell) {
        true => Err(corrupt(&shape.table, name, "the key is NULL")),
        false => codec
            .from_cell(Place::Key(at), key_type(shape, name), cell)
            .map_err(|what| corrupt(&shape.table, name, what)),
    });
    Ok(Key::composite(parts.collect::<StoreResult<_>>()?))
}

/// The cells of a record.
pub(super) fn to_raw<K: Codec>(
    codec: &K,
    tree: &Tree,
    shape: &TableShape,
    key: &Key,
    record: &Document,
) -> StoreResult<RawRecord<K::Cell>> {
    for (name, part) in shape.key.iter().zip(key.values()) {
        if shape.columns.iter().any(|c| c.name == *name) && record.get(name) != Some(part) {
            return Err(refused(&shape.table, name, "the record's key field differs from its key or is missing"));
        }
    }
    let root = Object {
        codec,
        table: &shape.table,
        columns: &shape.columns,
        but: &shape.key,
        children: &shape.children,
        residue: shape.residue.as_ref(),
    };
    let raw = RawRecord {
        key: key_to_cells(codec, shape, key)?,
        values: root.to_cells(record, Place::Value)?,
        children: vec![Vec::new(); tree.children.len()],
    };
    root.refuse_others(record)?;
    let mut elements = Elements { codec, tree, key, place: Vec::new(), raw };
    elements.add(None, &shape.table, &shape.children, record)?;
    Ok(elements.raw)
}

/// One table's part of a record: the root's, or an element's.
struct Object<'a, K> {
    codec: &'a K,
    table: &'a str,
    columns: &'a [ColumnShape],
    /// Columns that are read elsewhere: the root's key.
    but: &'a [String],
    children: &'a [ChildShape],
    residue: Option<&'a String>,
}

impl<K: Codec> Object<'_, K> {
    fn to_cells(&self, record: &Document, place: impl Fn(usize) -> Place) -> StoreResult<Vec<K::Cell>> {
        let mut cells = Vec::with_capacity(self.columns.len() + 1);
        for column in self.columns.iter().filter(|c| !self.but.contains(&c.name)) {
            let value = record.get(&column.name).ok_or_else(|| {
                refused(self.table, &column.name, "the field is missing")
                    .with_hint("a column always has a value; send an explicit null")
            })?;
            if value.is_null() && !column.nullable {
                return Err(refused(self.table, &column.name, "the field must not be null"));
            }
            let cell = self.codec.to_cell(place(cells.len()), column.ty, value);
            cells.push(cell.map_err(|what| refused(self.table, &column.name, what))?);
        }
        if let Some(name) = self.residue {
            cells.push(match record.get(name) {
                None => self.codec.null(),
                Some(Value::Document(rest)) if !rest.is_empty() => {
                    let cell = self.codec.to_json_cell(place(cells.len()), json::document_to_string(rest));
                    cell.map_err(|what| refused(self.table, name, what))?
                }
                Some(_) => {
                    let what = "the residue must be a document that is not empty, or be missing";
                    return Err(refused(self.table, name, what));
                }
            });
        }
        Ok(cells)
    }

    fn refuse_others(&self, record: &Document) -> StoreResult<()> {
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
                return Err(refused(self.table, name, "the table has no such column, child table or residue"));
            }
        }
        Ok(())
    }

    fn read_residue(&self, place: Place, cell: &K::Cell, record: &mut Document) -> StoreResult<()> {
        let Some(name) = self.residue else { return Ok(()) };
        if self.codec.is_null(cell) {
            return Ok(());
        }
        let bad = |what: String| corrupt(self.table, name, what);
        let text = self.codec.json_of(place, cell).map_err(bad)?;
        let rest =
            json::parse_document(text).map_err(|e| bad(format!("the text is no JSON document: {}", e.message)))?;
        if rest.is_empty() { Ok(()) } else { push(record, self.table, name, Value::Document(rest)) }
    }
}

/// The elements of a record while they are gathered.
struct Elements<'a, K: Codec> {
    codec: &'a K,
    tree: &'a Tree,
    key: &'a Key,
    place: Vec<(&'a str, usize)>,
    raw: RawRecord<K::Cell>,
}

impl<'a, K: Codec> Elements<'a, K> {
    fn add(
        &mut self,
        parent: Option<usize>,
        table: &str,
        shapes: &'a [ChildShape],
        record: &Document,
    ) -> StoreResult<()> {
        for shape in shapes {
            let children = &self.tree.children;
            let at = children
                .iter()
                .position(|c| c.parent == parent && c.shape.field == shape.field)
                .ok_or_else(|| refused(table, &shape.field, "the layout's child table is not known"))?;
            let parent_id = match self.place.is_empty() {
                true => self.codec.null(),
                false => self.codec.to_child_id(ChildShape::child_key(self.key, &self.place)),
            };
            for (position, element) in elements_of(table, shape, record)?.iter().enumerate() {
                let Value::Document(element) = element else {
                    let what = format!("takes documents as elements, found {}", element.type_name());
                    return Err(refused(table, &shape.field, what));
                };
                self.place.push((&shape.field, position));
                self.add_one(at, shape, &parent_id, position, element)?;
                self.place.pop();
            }
        }
        Ok(())
    }

    fn add_one(
        &mut self,
        at: usize,
        shape: &'a ChildShape,
        parent_id: &K::Cell,
        position: usize,
        element: &Document,
    ) -> StoreResult<()> {
        let object = object_of(self.codec, shape);
        let values = object.to_cells(element, |column| Place::Child { table: at, at: column })?;
        self.raw.children[at].push(Element {
            id: self.codec.to_child_id(ChildShape::child_key(self.key, &self.place)),
            parent_id: parent_id.clone(),
            position: self.codec.to_position(i64::try_from(position).unwrap_or(i64::MAX)),
            values,
        });
        self.add(Some(at), &shape.table, &shape.children, element)?;
        object.refuse_others(element)
    }
}

fn object_of<'a, K: Codec>(codec: &'a K, shape: &'a ChildShape) -> Object<'a, K> {
    Object {
        codec,
        table: &shape.table,
        columns: &shape.columns,
        but: &[],
        children: &shape.children,
        residue: shape.residue.as_ref(),
    }
}

fn elements_of<'r>(table: &str, shape: &ChildShape, record: &'r Document) -> StoreResult<&'r [Value]> {
    match record.get(&shape.field) {
        Some(Value::Array(elements)) => Ok(elements),
        Some(other) => {
            let what = format!("takes an array of documents, found {}", other.type_name());
            Err(refused(table, &shape.field, what))
        }
        None => Err(refused(table, &shape.field, "the field is missing").with_hint("send an empty array")),
    }
}

/// The record of its cells.
pub(super) fn from_raw<K: Codec>(
    codec: &K,
    tree: &Tree,
    shape: &TableShape,
    raw: &RawRecord<K::Cell>,
) -> StoreResult<Document> {
    refuse_lost_elements(tree, raw)?;
    let mut record = Document::with_capacity(shape.columns.len() + shape.children.len() + 1);
    let mut values = raw.values.iter().enumerate();
    for column in &shape.columns {
        let found = match shape.key.iter().position(|k| *k == column.name) {
            Some(at) => raw.key.get(at).map(|cell| (Place::Key(at), cell)),
            None => values.next().map(|(at, cell)| (Place::Value(at), cell)),
        };
        let (place, cell) = found.ok_or_else(|| corrupt(&shape.table, &column.name, "the column was not read"))?;
        let value =
            codec.from_cell(place, column.ty, cell).map_err(|what| corrupt(&shape.table, &column.name, what))?;
        push(&mut record, &shape.table, &column.name, value)?;
    }
    push_children(codec, tree, None, None, raw, &mut record)?;
    if let Some((at, cell)) = values.next() {
        let root = Object {
            codec,
            table: &shape.table,
            columns: &shape.columns,
            but: &shape.key,
            children: &shape.children,
            residue: shape.residue.as_ref(),
        };
        root.read_residue(Place::Value(at), cell, &mut record)?;
    }
    Ok(record)
}

/// An element whose parent is not there would be left out silently.
fn refuse_lost_elements<C: PartialEq>(tree: &Tree, raw: &RawRecord<C>) -> StoreResult<()> {
    for (child, rows) in tree.children.iter().zip(&raw.children) {
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

fn push_children<K: Codec>(
    codec: &K,
    tree: &Tree,
    parent: Option<usize>,
    parent_id: Option<&K::Cell>,
    raw: &RawRecord<K::Cell>,
    record: &mut Document,
) -> StoreResult<()> {
    for (table, child) in tree.children.iter().enumerate().filter(|(_, c)| c.parent == parent) {
        let shape = &child.shape;
        let rows = raw.children.get(table).map(Vec::as_slice).unwrap_or_default();
        let mut elements = Vec::new();
        for row in rows.iter().filter(|row| parent_id.is_none_or(|id| row.parent_id == *id)) {
            let mut element = Document::with_capacity(shape.columns.len() + 1);
            for (at, (column, cell)) in shape.columns.iter().zip(&row.values).enumerate() {
                let value = codec
                    .from_cell(Place::Child { table, at }, column.ty, cell)
                    .map_err(|what| corrupt(&shape.table, &column.name, what))?;
                push(&mut element, &shape.table, &column.name, value)?;
            }
            push_children(codec, tree, Some(table), Some(&row.id), raw, &mut element)?;
            if let Some(cell) = row.values.get(shape.columns.len()) {
                let place = Place::Child { table, at: shape.columns.len() };
                object_of(codec, shape).read_residue(place, cell, &mut element)?;
            }
            elements.push(Value::Document(element));
        }
        push(record, &shape.table, &shape.field, Value::Array(elements))?;
    }
    Ok(())
}
