//! Whether a run's records can go without being decoded: from store to store as
//! they are, where both are of one kind and say the same of their columns' types
//! and the mapping changes nothing; or with every value as it stands, where they
//! are plain records. What cannot go so takes the ordinary way, record by record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use shearwater_core::flat::{Flat, FlatRows, FlatRules, Tape, Undecoded, Writes};
use shearwater_core::store::{BadRow, CheckpointStep, Chunk, ChunkMax, Cursor, Fetched, Put, ScanRange, Side, Store};
use shearwater_core::verbatim::{Column, Passed, Rows, RowsPut, Way};

use crate::Setup;
use crate::ledger::Halt;

/// Bytes of a chunk that is not decoded, for each byte of one that is: as values,
/// records take about ten times their size, and a few chunks may still become
/// values.
const BYTES_FACTOR: usize = 2;

/// Chunks that are decoded at once after one of which few records were plain, or
/// that did not go in.
const CHUNKS_DECODED: u32 = 15;

/// Of so many records one must be plain.
const PLAIN_SHARE: usize = 2;

/// How records go without being decoded.
#[derive(Debug)]
pub enum Lane {
    /// Rows as they are.
    AsTheyAre(Columns),
    /// Plain records.
    Flat(Plain),
}

/// The columns that pass, as either store has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    source: Vec<Column>,
    /// As those of the source, in their order.
    target: Vec<Column>,
}

/// The rules of plain records.
#[derive(Debug)]
pub struct Plain {
    rules: Arc<FlatRules>,
    /// Chunks that are still to be decoded at once.
    decoded: AtomicU32,
}

/// Records that are not decoded.
pub enum Passing {
    /// There are none.
    None,
    /// Rows as they are.
    Rows(Rows),
    /// Rows that were written of plain records.
    Flat(Written),
}

/// Rows that were written, and what they were written of.
pub struct Written {
    rows: FlatRows,
    from: Arc<dyn Undecoded>,
    /// Which of them.
    ats: Vec<usize>,
}

/// What was read: records that are not decoded, and records beside them.
pub struct Part {
    /// Those that are not decoded.
    pub passing: Read,
    /// The records.
    pub chunk: Chunk,
}

/// Records that are not decoded, as they were read.
pub enum Read {
    /// There are none.
    None,
    /// Rows as they are.
    Rows(Rows),
    /// Records of which some may be plain.
    Undecoded(Arc<dyn Undecoded>),
}

impl Lane {
    /// The lane from source to target. `None`: there is none.
    pub async fn between(setup: &Setup) -> Result<Option<Lane>, Halt> {
        if let Some(columns) = Columns::between(setup).await? {
            return Ok(Some(Lane::AsTheyAre(columns)));
        }
        let (Some(_), Some(to), Some(rules)) = (setup.source.gives(), setup.target.takes(), setup.mapping.flat())
        else {
            return Ok(None);
        };
        let taken = to.writer().await.map_err(Halt::store(Side::Target))?;
        Ok(taken.map(|_| Lane::Flat(Plain { rules: Arc::new(rules), decoded: AtomicU32::new(0) })))
    }
}

impl Columns {
    async fn between(setup: &Setup) -> Result<Option<Columns>, Halt> {
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
        let columns = Columns {
            source: passed.iter().map(|one| column(&one.source, one)).collect(),
            target: passed.iter().map(|one| column(&one.target, one)).collect(),
        };
        let given = from.form(&columns.source, Way::Out).await.map_err(Halt::store(Side::Source))?;
        let taken = to.form(&columns.target, Way::In).await.map_err(Halt::store(Side::Target))?;
        let Some(form) = given.filter(|given| taken.as_ref() == Some(given)) else { return Ok(None) };
        tracing::info!(form, "the backfill passes rows as they are");
        Ok(Some(columns))
    }
}

impl Plain {
    /// Whether the next chunk is read undecoded.
    fn is_worth_it(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.decoded.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_err()
    }

    fn learn(&self, plain: usize, all: usize) {
        if plain * PLAIN_SHARE < all {
            self.rest();
        }
    }

    fn rest(&self) {
        self.decoded.store(CHUNKS_DECODED, Ordering::Relaxed);
    }
}

/// Reads the next part of a range, not decoded where there is a lane.
pub async fn read(
    source: &dyn Store,
    lane: Option<&Lane>,
    range: &ScanRange,
    after: Option<&Cursor>,
    max: ChunkMax,
) -> Result<Part, Halt> {
    let failed = Halt::store(Side::Source);
    let larger = ChunkMax { bytes: max.bytes.saturating_mul(BYTES_FACTOR), ..max };
    match (lane, source.verbatim(), source.gives()) {
        (Some(Lane::AsTheyAre(columns)), Some(from), _) => {
            let read = from.read_rows(&columns.source, range, after, max).await.map_err(failed)?;
            let chunk = Chunk { records: read.others, next: read.next, bytes: read.bytes };
            Ok(Part { passing: Read::Rows(read.rows), chunk })
        }
        (Some(Lane::Flat(plain)), _, Some(from)) if plain.is_worth_it() => {
            let read = from.read_undecoded(range, after, larger).await.map_err(failed)?;
            let chunk = Chunk { records: read.others, next: read.next, bytes: read.bytes };
            Ok(Part { passing: Read::Undecoded(read.records), chunk })
        }
        _ => {
            let chunk = source.scan(range, after, max).await.map_err(failed)?;
            Ok(Part { passing: Read::None, chunk })
        }
    }
}

/// Writes the rows of plain records; the others are decoded beside them.
pub async fn write(setup: &Setup, lane: Option<&Lane>, part: Part) -> Result<(Passing, Chunk), Halt> {
    let Part { passing, mut chunk } = part;
    let from = match passing {
        Read::None => return Ok((Passing::None, chunk)),
        Read::Rows(rows) => return Ok((Passing::Rows(rows), chunk)),
        Read::Undecoded(from) => from,
    };
    let writer = match setup.target.takes() {
        Some(to) => to.writer().await.map_err(Halt::store(Side::Target))?,
        None => None,
    };
    let (Some(Lane::Flat(plain)), Some(writer)) = (lane, writer) else {
        let all: Vec<usize> = (0..from.count()).collect();
        chunk.records.extend(from.decode(&all).await.map_err(Halt::store(Side::Source))?);
        return Ok((Passing::None, chunk));
    };
    let (rules, records) = (plain.rules.clone(), from.clone());
    let written = tokio::task::spawn_blocking(move || write_all(&rules, &*records, writer)).await;
    let (rows, ats, others) = written.map_err(|error| Halt::Broken(error.to_string()))?;
    plain.learn(ats.len(), from.count());
    if !others.is_empty() {
        chunk.records.extend(from.decode(&others).await.map_err(Halt::store(Side::Source))?);
    }
    Ok((Passing::Flat(Written { rows, from, ats }), chunk))
}

/// The rows of plain records, and which were plain and which were not.
fn write_all(
    rules: &FlatRules,
    from: &dyn Undecoded,
    mut writer: Box<dyn Writes>,
) -> (FlatRows, Vec<usize>, Vec<usize>) {
    let (mut tape, mut flat) = (Tape::new(), Flat::default());
    let (mut plain, mut others) = (Vec::with_capacity(from.count()), Vec::new());
    for at in 0..from.count() {
        tape.clear();
        let is_plain = from.read(at, &mut tape) && rules.flatten(&tape, &mut flat) && writer.write(&tape, &flat);
        if is_plain { plain.push(at) } else { others.push(at) }
    }
    (writer.end(), plain, others)
}

impl Passing {
    /// How many records.
    pub fn count(&self) -> usize {
        match self {
            Passing::None => 0,
            Passing::Rows(rows) => rows.count,
            Passing::Flat(written) => written.rows.count,
        }
    }

    /// Puts them, and what is beside them. `None`: they have to go the ordinary way.
    pub async fn put(
        &self,
        setup: &Setup,
        lane: Option<&Lane>,
        epoch: u64,
        puts: &[Put],
        step: &CheckpointStep,
    ) -> Result<Option<RowsPut>, Halt> {
        let put = match (self, lane, setup.target.verbatim(), setup.target.takes()) {
            (Passing::Rows(rows), Some(Lane::AsTheyAre(columns)), Some(to), _) => {
                to.put_rows(epoch, &columns.target, rows, puts.to_vec(), step).await
            }
            (Passing::Flat(written), Some(Lane::Flat(plain)), _, Some(to)) => {
                let put = to.put_flat(epoch, &written.rows, puts.to_vec(), step).await;
                if matches!(put, Ok(None)) {
                    plain.rest();
                }
                put
            }
            _ => return Ok(None),
        };
        put.map_err(Halt::store(Side::Target))
    }

    /// The records, decoded.
    pub async fn decode(&self, source: &dyn Store) -> Result<Vec<Result<Fetched, BadRow>>, Halt> {
        let failed = Halt::store(Side::Source);
        match (self, source.verbatim()) {
            (Passing::None, _) => Ok(Vec::new()),
            (Passing::Flat(written), _) => written.from.decode(&written.ats).await.map_err(failed),
            (Passing::Rows(rows), Some(from)) => from.decode(rows).await.map_err(failed),
            (Passing::Rows(_), None) => Err(Halt::Broken("a store that gives no rows has given some".into())),
        }
    }
}
