//! Writing and deleting one record inside a transaction.

use std::borrow::Cow;

use shearwater_core::Stamp;
use shearwater_core::error::StoreError;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::cell::Cell;
use super::error::Failure;
use super::facts::Column;
use super::native::Wire;
use super::record::{cells_of, stored_number};
use super::session::{Session, pipelined};
use super::tables::{Element, RawRecord, Tables};
use crate::relational::refused;

/// How a record's root row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It must not be there.
    New,
    /// Over what is there.
    Over,
}

/// What became of a record that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// It is there.
    Done,
    /// A row was there that must not be, or one whose key is only equal by its
    /// type's equality. Nothing of the root was written.
    Conflict,
}

/// One statement of a record's change.
pub(super) struct Step<'a> {
    sql: &'a str,
    bound: Vec<Cow<'a, Cell>>,
    check: Check<'a>,
}

/// What the answer of a step must be.
enum Check<'a> {
    Nothing,
    /// A row of the root, as it was given.
    Root(&'a RawRecord),
    /// A row of a child table, as it was given.
    Element(usize, &'a Element),
    /// A row; none is there when another writer was faster.
    Row,
}

/// Writes a whole record. After an error some of it may be written.
pub(super) async fn write_record(
    session: &Session,
    tables: &Tables,
    raw: &RawRecord,
    put: Put,
) -> Result<Wrote, Failure> {
    run(session, tables, &steps_of_put(tables, raw, put)).await
}

/// Deletes a record.
pub(super) async fn delete_record(session: &Session, tables: &Tables, key: &[Cell]) -> Result<(), Failure> {
    run(session, tables, &steps_of_delete(tables, key)).await.map(|_| ())
}

/// The steps that write a whole record.
pub(super) fn steps_of_put<'a>(tables: &'a Tables, raw: &'a RawRecord, put: Put) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    let sql = match put {
        Put::New => &tables.insert_new,
        Put::Over => &tables.upsert,
    };
    let root = raw.key.iter().chain(&raw.values);
    // A column that the server computes is not bound, but is given back.
    let written = root.zip(tables.facts.root()).filter(|(_, column)| !column.generated);
    steps.push(Step { sql, bound: written.map(|(cell, _)| Cow::Borrowed(cell)).collect(), check: Check::Root(raw) });
    // After the root: its row is now locked, so nobody else writes elements.
    steps.extend(delete_children(tables, &raw.key));
    for (at, (child, elements)) in tables.children.iter().zip(&raw.children).enumerate() {
        let is_nested = tables.tree.children.get(at).is_some_and(|child| child.parent.is_some());
        for element in elements {
            let cells = cells_of_element(&raw.key, element, is_nested);
            let bound = cells.map(Cow::Borrowed).collect();
            steps.push(Step { sql: &child.insert, bound, check: Check::Element(at, element) });
        }
    }
    steps
}

/// The cells of a child table's row in the order of its statements.
pub(super) fn cells_of_element<'a>(
    key: &'a [Cell],
    element: &'a Element,
    is_nested: bool,
) -> impl Iterator<Item = &'a Cell> {
    let parent = is_nested.then_some(&element.parent_id);
    key.iter().chain([&element.id]).chain(parent).chain([&element.position]).chain(&element.values)
}

/// The steps that delete a record.
pub(super) fn steps_of_delete<'a>(tables: &'a Tables, key: &'a [Cell]) -> Vec<Step<'a>> {
    let mut steps = delete_children(tables, key);
    let bound = key.iter().map(Cow::Borrowed).collect();
    steps.push(Step { sql: &tables.delete, bound, check: Check::Nothing });
    steps
}

/// The step that sets a mark as the follower.
pub(super) fn step_of_mark<'a>(
    tables: &'a Tables,
    key: &'a [Cell],
    stamp: Stamp,
    parked: Option<&str>,
) -> Result<Step<'a>, StoreError> {
    let mut bound: Vec<Cow<'a, Cell>> = key.iter().map(Cow::Borrowed).collect();
    bound.push(Cow::Owned(Cell::int8(stored_number(stamp.epoch)?)));
    bound.push(Cow::Owned(Cell::int8(stored_number(stamp.counter)?)));
    bound.push(Cow::Owned(parked.map_or(Cell::Null, Cell::text)));
    Ok(Step { sql: &tables.set_mark, bound, check: Check::Row })
}

fn delete_children<'a>(tables: &'a Tables, key: &'a [Cell]) -> Vec<Step<'a>> {
    let children = tables.children.iter().rev();
    children
        .map(|child| Step { sql: &child.delete, bound: key.iter().map(Cow::Borrowed).collect(), check: Check::Nothing })
        .collect()
}

/// Runs steps in one round trip.
pub(super) async fn run(session: &Session, tables: &Tables, steps: &[Step<'_>]) -> Result<Wrote, Failure> {
    let mut statements = Vec::with_capacity(steps.len());
    for step in steps {
        statements.push(session.prepared(step.sql).await?);
    }
    let bound: Vec<Vec<&(dyn ToSql + Sync)>> =
        steps.iter().map(|step| step.bound.iter().map(|cell| cell.as_ref() as _).collect()).collect();
    let requests = statements.iter().zip(&bound).map(|(s, bound)| session.client.query(s, bound)).collect();
    let answers = pipelined(requests).await;
    let mut wrote = Wrote::Done;
    for (step, answer) in steps.iter().zip(answers) {
        let rows = answer.map_err(|e| session.failed("writing a record", &e))?;
        match &step.check {
            Check::Nothing => {}
            Check::Root(raw) => match rows.first() {
                Some(row) => check_root(tables, raw, row)?,
                None => wrote = Wrote::Conflict,
            },
            Check::Element(at, element) => check_element(tables, *at, element, rows.first())?,
            Check::Row if rows.is_empty() => return Err(Failure::raced()),
            Check::Row => {}
        }
    }
    Ok(wrote)
}

/// Refuses a record that the server changed while it took it: a type that we
/// know as text only, a trigger, a computed column.
fn check_root(tables: &Tables, raw: &RawRecord, row: &Row) -> Result<(), StoreError> {
    let columns: Vec<&Column> = tables.facts.root().collect();
    let kept = cells_of(row, 0, columns.len())?;
    let given = raw.key.iter().chain(&raw.values);
    check_kept(tables.name(), &columns, given, &kept)
}

fn check_element(tables: &Tables, at: usize, element: &Element, row: Option<&Row>) -> Result<(), StoreError> {
    let (Some(row), Some(columns)) = (row, tables.facts.children.get(at)) else { return Ok(()) };
    let columns: Vec<&Column> = columns.iter().collect();
    let kept = cells_of(row, 0, columns.len())?;
    check_kept(&tables.tree.children[at].shape.table, &columns, element.values.iter(), &kept)
}

fn check_kept<'a>(
    table: &str,
    columns: &[&Column],
    given: impl Iterator<Item = &'a Cell>,
    kept: &[Cell],
) -> Result<(), StoreError> {
    for ((column, given), kept) in columns.iter().zip(given).zip(kept) {
        // jsonb is kept in a form of its own.
        if given == kept || column.native.wire == Wire::Jsonb {
            continue;
        }
        let declared = &column.native.declared;
        let (what, hint) = match (&column.native.wire, column.generated) {
            (_, true) => ("the server computes another value", "leave the field out of the mapping"),
            (Wire::Server, _) => ("the server keeps the value in another form", "write it as the server does"),
            _ => ("the server changed the value, as a trigger may do", "look at the table's triggers"),
        };
        return Err(refused(table, &column.name, format!("{what} ({declared})")).with_hint(hint));
    }
    Ok(())
}

/// Whether a key column's own equality takes different values for equal.
pub(super) fn is_loose(column: &Column) -> bool {
    matches!(column.native.wire, Wire::Numeric | Wire::Float4 | Wire::Float8)
}
