//! Plain records straight into COPY's binary form, with no cell of its own for
//! any value, and that into the tables that nobody has marked.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut, Bytes};
use shearwater_core::error::StoreResult;
use shearwater_core::flat::{Flat, FlatCell, FlatElement, FlatRows, Plain, TableRows, Takes, Tape, Writes};
use shearwater_core::shape::{ColumnShape, FieldType, Layout};
use shearwater_core::store::{CheckpointStep, Put};
use shearwater_core::value::Value;
use shearwater_core::verbatim::RowsPut;

use super::Postgres;
use super::cell::{self, Cell};
use super::change::is_loose;
use super::copy::{HEADER, send_messages};
use super::error::Failure;
use super::facts::{Column, Copies};
use super::native::{Native, Wire};
use super::session::Session;
use super::tables::Tables;
use super::value::to_cell;
use super::verbatim::{Shared, stamped};

/// Bytes of rows in one message: as those of [`super::copy`].
const MESSAGE_BYTES: usize = 64 * 1024;

/// A column that is written.
struct Slot {
    /// Its place among the shape's columns; `None`: the residue, which a plain
    /// record does not have.
    of: Option<usize>,
    ty: FieldType,
    native: Native,
    nullable: bool,
}

/// A child table that is written.
struct ChildSlots {
    is_nested: bool,
    slots: Vec<Slot>,
}

/// Writes rows for COPY.
struct Writer {
    form: String,
    key_columns: usize,
    root: Vec<Slot>,
    children: Vec<ChildSlots>,
    /// The rows of the root's table, and of each child table.
    out: Vec<Vec<u8>>,
    ends: Vec<Vec<usize>>,
}

/// What the tables are like, as far as rows for COPY depend on it.
fn form(tables: &Tables) -> String {
    let columns = tables.facts.root().chain(tables.facts.children.iter().flatten());
    let declared: Vec<&str> = columns.map(|column| column.native.declared.as_str()).collect();
    let copies = std::iter::once(tables.copy.as_str()).chain(tables.children.iter().map(|child| child.copy.as_str()));
    copies.chain(declared).collect::<Vec<_>>().join("; ")
}

impl Writer {
    /// `None`: the tables are not for COPY, or their key takes different values for equal.
    fn of(tables: &Tables) -> Option<Writer> {
        let Layout::Rows(shape) = &tables.tree.layout else { return None };
        if tables.facts.copies != Copies::Straight || tables.facts.key.iter().any(is_loose) {
            return None;
        }
        let root = tables.facts.root().map(|column| slot(&shape.columns, column)).collect();
        let children = tables.tree.children.iter().zip(&tables.facts.children).map(|(child, columns)| {
            let slots = columns.iter().map(|column| slot(&child.shape.columns, column)).collect();
            ChildSlots { is_nested: child.parent.is_some(), slots }
        });
        let count = 1 + tables.tree.children.len();
        Some(Writer {
            form: form(tables),
            key_columns: tables.facts.key.len(),
            root,
            children: children.collect(),
            out: vec![Vec::new(); count],
            ends: vec![Vec::new(); count],
        })
    }

    fn add(&mut self, tape: &Tape<'_>, flat: &Flat) -> Option<()> {
        let (root, children) = self.out.split_first_mut()?;
        put_count(self.root.len(), root);
        let key_from = root.len();
        let mut key_to = key_from;
        for (at, slot) in self.root.iter().enumerate() {
            put_slot(slot, tape, flat, flat.cells(), root)?;
            if at + 1 == self.key_columns {
                key_to = root.len();
            }
        }
        for element in flat.elements() {
            let (child, out) = (self.children.get(element.table)?, children.get_mut(element.table)?);
            let own = if child.is_nested { 3 } else { 2 };
            put_count(self.key_columns + own + child.slots.len(), out);
            out.extend_from_slice(&root[key_from..key_to]);
            put_place(child, element, out)?;
            for slot in &child.slots {
                put_slot(slot, tape, flat, flat.cells_of(element), out)?;
            }
        }
        Some(())
    }
}

fn slot(columns: &[ColumnShape], column: &Column) -> Slot {
    let found = columns.iter().enumerate().find(|(_, shape)| shape.name == column.name);
    Slot {
        of: found.map(|(at, _)| at),
        ty: found.map_or(FieldType::Json, |(_, shape)| shape.ty),
        native: column.native.clone(),
        nullable: found.is_none_or(|(_, shape)| shape.nullable),
    }
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    out.put_i16(i16::try_from(count).unwrap_or(i16::MAX));
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    out.extend_from_slice(bytes);
}

/// The cells of an element that say where it is: see [`super::tables::ChildStatements`].
fn put_place(child: &ChildSlots, element: &FlatElement, out: &mut Vec<u8>) -> Option<()> {
    put_bytes(&element.id, out);
    if child.is_nested {
        put_bytes(&element.parent?, out);
    }
    put_bytes(&i64::try_from(element.position).ok()?.to_be_bytes(), out);
    Some(())
}

fn put_slot(slot: &Slot, tape: &Tape<'_>, flat: &Flat, cells: &[FlatCell], out: &mut Vec<u8>) -> Option<()> {
    let cell = match slot.of {
        Some(at) => *cells.get(at)?,
        None => FlatCell::Null,
    };
    match cell {
        FlatCell::At(at) => match put_scalar(slot.ty, &slot.native, &tape.get(at)?.value, out) {
            Some(()) => Some(()),
            None => put_ordinary(slot, tape.value(at)?, out),
        },
        FlatCell::Text(number) => put_ordinary(slot, Value::text(flat.text(number)?), out),
        FlatCell::Null if slot.nullable => {
            out.put_i32(-1);
            Some(())
        }
        FlatCell::Null => None,
    }
}

/// The cell of a value of the most usual types; `None`: it takes [`put_ordinary`]
/// to say what it is, and nothing was put.
fn put_scalar(ty: FieldType, native: &Native, value: &Plain<'_>, out: &mut Vec<u8>) -> Option<()> {
    match (ty, &native.wire, value) {
        (FieldType::Text, Wire::Text, Plain::Text(text))
            // A longer one may still have few enough characters.
            if native.chars_max.is_none_or(|max| text.len() <= max) && !text.as_bytes().contains(&0) =>
        {
            put_bytes(text.as_bytes(), out);
        }
        (FieldType::Int, Wire::Int8, Plain::Int(n)) => put_bytes(&n.to_be_bytes(), out),
        (FieldType::Float, Wire::Float8, Plain::Float(x)) => put_bytes(&x.to_be_bytes(), out),
        (FieldType::Bool, Wire::Bool, Plain::Bool(b)) => put_bytes(&[u8::from(*b)], out),
        (FieldType::Bytes, Wire::Bytea, Plain::Bytes(bytes)) => put_bytes(bytes, out),
        _ => return None,
    }
    Some(())
}

/// The cell as the ordinary way makes it; `None` where that has a refusal to tell.
fn put_ordinary(slot: &Slot, value: Value, out: &mut Vec<u8>) -> Option<()> {
    match to_cell(slot.ty, &slot.native, &value).ok()? {
        Cell::Raw(bytes) => put_bytes(&bytes, out),
        Cell::Null => return None,
    }
    Some(())
}

impl Writes for Writer {
    fn write(&mut self, tape: &Tape<'_>, flat: &Flat) -> bool {
        let is_added = self.add(tape, flat).is_some();
        for (out, ends) in self.out.iter_mut().zip(&mut self.ends) {
            match is_added {
                true => ends.push(out.len()),
                false => out.truncate(ends.last().copied().unwrap_or(0)),
            }
        }
        is_added
    }

    fn end(self: Box<Self>) -> FlatRows {
        let count = self.ends.first().map_or(0, Vec::len);
        let tables = self.out.into_iter().zip(self.ends);
        let tables = tables.map(|(bytes, ends)| TableRows { bytes: Arc::new(bytes), ends }).collect();
        FlatRows { count, form: self.form, tables }
    }
}

/// Rows on their way into the tables.
pub(super) struct Given<'a>(pub(super) &'a FlatRows);

impl Given<'_> {
    /// Whether the tables are as they were when the rows were written.
    pub(super) fn fits(&self, tables: &Tables) -> bool {
        form(tables) == self.0.form
    }

    /// Copies the records that have no mark here; how many. Fails as a whole.
    pub(super) async fn copy(&self, session: &Session, tables: &Tables) -> Result<u64, Failure> {
        let marked = stamped(session, tables, || self.keys(tables)).await?;
        let copies = std::iter::once(&tables.copy).chain(tables.children.iter().map(|child| &child.copy));
        for (rows, sql) in self.0.tables.iter().zip(copies) {
            let bytes = unmarked(rows, &marked);
            if !bytes.is_empty() {
                let begin = std::iter::once(Bytes::from_static(HEADER));
                send_messages(session, sql, begin.chain(messages(bytes))).await?;
            }
        }
        Ok((self.0.count - marked.len()) as u64)
    }

    /// The records' keys: with them each row of the root begins.
    fn keys(&self, tables: &Tables) -> StoreResult<Vec<Vec<Cell>>> {
        let key = |row: &[u8]| {
            let mut fields = cell::Bytes(row);
            fields.i16()?;
            (0..tables.facts.key.len()).map(|_| fields.cell()).collect::<Result<Vec<Cell>, String>>()
        };
        let rows = self.0.tables.first().map(records).into_iter().flatten();
        rows.map(|row| key(row).map_err(|what| super::session::unexpected(&what))).collect()
    }
}

/// The rows of each record.
fn records(rows: &TableRows) -> impl Iterator<Item = &[u8]> {
    let begins = std::iter::once(0).chain(rows.ends.iter().copied());
    begins.zip(&rows.ends).map(|(from, to)| rows.bytes.get(from..*to).unwrap_or_default())
}

/// The rows of those records that are not marked.
fn unmarked(rows: &TableRows, marked: &HashSet<usize>) -> Bytes {
    if marked.is_empty() {
        return Bytes::from_owner(Shared(rows.bytes.clone()));
    }
    let mut left = Vec::with_capacity(rows.bytes.len());
    for (_, row) in records(rows).enumerate().filter(|(at, _)| !marked.contains(at)) {
        left.extend_from_slice(row);
    }
    Bytes::from(left)
}

fn messages(mut rows: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let next = rows.split_to(rows.len().min(MESSAGE_BYTES));
        (!next.is_empty()).then_some(next)
    })
}

#[async_trait]
impl Takes for Postgres {
    async fn writer(&self) -> StoreResult<Option<Box<dyn Writes>>> {
        let tables = self.tables().await?;
        Ok(Writer::of(&tables).map(|writer| Box::new(writer) as Box<dyn Writes>))
    }

    async fn put_flat(
        &self,
        epoch: u64,
        rows: &FlatRows,
        puts: Vec<Put>,
        step: &CheckpointStep,
    ) -> StoreResult<Option<RowsPut>> {
        super::apply::put_rows(self, epoch, super::apply::Given::Flat(Given(rows)), puts, step).await
    }
}
