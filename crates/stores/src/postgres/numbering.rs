//! Keys that the server numbers. What is written with its number does not count
//! for the sequence, so before others may write here again, it is brought past
//! the highest key that came meanwhile. It never goes back, and never beyond its
//! own end: whoever asks for the next number is told that there is none, and a
//! change of authority is not held up by it.

use super::error::Failure;
use super::facts::Column;
use super::names::{literal, quoted};
use super::native::Wire;
use super::session::Session;
use super::tables::Tables;

/// Brings the sequence of the key's first column past every key there is. The
/// key's index gives the highest one at once, whatever the table's size.
pub(super) async fn go_on(session: &Session, tables: &Tables) -> Result<(), Failure> {
    let Some(column) = tables.facts.key.first() else { return Ok(()) };
    let Some(sequence) = column.sequence.as_ref().filter(|_| is_integer(column)) else { return Ok(()) };
    let sql = format!(
        "SELECT setval(s.seqrelid::regclass, \
           least(greatest(m.high, coalesce(pg_sequence_last_value(s.seqrelid), m.high)), s.seqmax)) \
         FROM pg_sequence s, (SELECT max({1})::int8 AS high FROM {2}) m \
         WHERE s.seqrelid = {0}::regclass AND m.high >= s.seqmin",
        literal(sequence),
        quoted(&column.name),
        tables.root,
    );
    session.batch(&sql).await
}

fn is_integer(column: &Column) -> bool {
    matches!(column.native.wire, Wire::Int2 | Wire::Int4 | Wire::Int8)
}
