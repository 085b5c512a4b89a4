//! Whether a run's records can go from store to store as they are: both stores
//! are of one kind, the mapping changes nothing, and both say the same of their
//! columns' types. What cannot go so takes the ordinary way, record by record.

use shearwater_core::store::{Chunk, ChunkMax, Cursor, Fetched, ScanRange, Side, Store};
use shearwater_core::verbatim::{Column, Passed, Rows, Verbatim, Way};

use crate::Setup;
use crate::ledger::Halt;

/// The columns that pass, as either store has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    source: Vec<Column>,
    /// As [`Lane::source`], in its order.
    pub target: Vec<Column>,
}

/// What was read: rows as they are, and records beside them.
pub struct Part {
    /// Rows as they are; none on the ordinary way.
    pub rows: Rows,
    /// The records.
    pub chunk: Chunk,
}

impl Lane {
    /// The lane from source to target. `None`: there is none.
    pub async fn between(setup: &Setup) -> Result<Option<Lane>, Halt> {
        let (Some(from), Some(to)) = (setup.source.verbatim(), setup.target.verbatim()) else { return Ok(None) };
        let Some(passed) = setup.mapping.verbatim().filter(|_| setup.source.kind() == setup.target.kind()) else {
            return Ok(None);
        };
        let column = |name: &String, passed: &Passed| Column {
            name: name.clone(),
            ty: passed.ty,
            required: passed.required,
            chars_max: passed.chars_max,
        };
        let lane = Lane {
            source: passed.iter().map(|one| column(&one.source, one)).collect(),
            target: passed.iter().map(|one| column(&one.target, one)).collect(),
        };
        let given = from.form(&lane.source, Way::Out).await.map_err(Halt::store(Side::Source))?;
        let taken = to.form(&lane.target, Way::In).await.map_err(Halt::store(Side::Target))?;
        let Some(form) = given.filter(|given| taken.as_ref() == Some(given)) else { return Ok(None) };
        tracing::info!(form, "the backfill passes rows as they are");
        Ok(Some(lane))
    }
}

/// Reads the next part of a range, as they are where there is a lane.
pub async fn read(
    source: &dyn Store,
    lane: Option<&Lane>,
    range: &ScanRange,
    after: Option<&Cursor>,
    max: ChunkMax,
) -> Result<Part, Halt> {
    let failed = Halt::store(Side::Source);
    let (Some(lane), Some(from)) = (lane, source.verbatim()) else {
        let chunk = source.scan(range, after, max).await.map_err(failed)?;
        return Ok(Part { rows: Rows::default(), chunk });
    };
    let read = from.read_rows(&lane.source, range, after, max).await.map_err(failed)?;
    Ok(Part { rows: read.rows, chunk: Chunk { records: read.others, next: read.next, bytes: read.bytes } })
}

/// The records of rows that do not go in as they are.
pub async fn decode(
    source: &dyn Store,
    rows: &Rows,
) -> Result<Vec<Result<Fetched, shearwater_core::store::BadRow>>, Halt> {
    match source.verbatim() {
        Some(from) => Verbatim::decode(from, rows).await.map_err(Halt::store(Side::Source)),
        None => Err(Halt::Broken("a store that gives no rows has given some".into())),
    }
}
