//! Keys that the server numbers. What is written with its number does not count
//! for the sequence, so before others may write here again, it is brought past
//! the highest key that came meanwhile. It never goes back.

use super::error::Failure;
use super::names::{literal, quoted};
use super::session::Session;
use super::tables::Tables;

/// Brings the sequence of the key's first column past every key there is. The
/// key's index gives the highest one at once, whatever the table's size.
pub(super) async fn go_on(session: &Session, tables: &Tables) -> Result<(), Failure> {
    let Some(column) = tables.facts.key.first() else { return Ok(()) };
    let Some(sequence) = &column.sequence else { return Ok(()) };
    let sql = format!(
        "SELECT setval(s.seq, greatest(m.high, coalesce(pg_sequence_last_value(s.seq), m.high))) \
         FROM (SELECT {}::regclass AS seq) s, (SELECT max({})::int8 AS high FROM {}) m \
         WHERE m.high > 0",
        literal(sequence),
        quoted(&column.name),
        tables.root,
    );
    session.batch(&sql).await
}
