//! Filling documents in the order of their `_id`s, each under the condition that
//! it still has no value and that what the value is made from is as it was read.
//!
//! The way goes along the index of `_id`, over all of its types, and ends at the
//! last document that was there at the beginning.

use mongodb::bson::{RawDocumentBuf, doc};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{FillCheckpoint, FillRange};
use shearwater_core::store::Cursor;

use super::super::encode;
use super::super::error::{Failure, failure, part_errors};
use super::super::key::ID;
use super::super::raw::{Doc, Owned, find, ty};
use super::super::scan::{bound, bound_of, by_id_index, position};
use super::super::session::filter;
use super::Evolving;
use super::own::Note;

/// Updates in one command.
const UPDATES_MAX: usize = 1_000;

/// A part of the collection to walk.
pub(super) struct Walk<'w> {
    /// From here on; empty: from the first document.
    pub(super) low: &'w str,
    /// To here, but without it; the same as `low`: this one alone.
    pub(super) high: &'w str,
    /// After this one.
    pub(super) after: Option<&'w str>,
    /// So many at most.
    pub(super) documents_max: u64,
}

/// What a document is to become.
pub(super) struct Due {
    pub(super) note: Note,
    /// What its value was made from, as it stood there.
    inputs: Vec<(String, Option<Owned>)>,
}

/// All that is there now: up to the last document, and the last one by itself,
/// because the bounds of an index leave out their end.
pub(super) async fn ranges(of: &Evolving) -> StoreResult<Vec<FillRange>> {
    let failed = |e| failure("looking for the last document", &e).of_a_repeatable().error;
    let server = &of.inner.server;
    let collection = server.collection(&of.inner.records.table);
    let find_last = collection.find(doc! {}).projection(doc! { ID: 1 });
    let last = server.rows(find_last.sort(doc! { ID: -1 }).limit(1)).await.map_err(failed)?;
    let found = last.all().await.map_err(failed)?;
    let Some(last) = found.first().and_then(|raw| find(raw.as_bytes(), ID)) else { return Ok(Vec::new()) };
    let last = position(&bound(last));
    let before = FillRange { id: 0, low: String::new(), high: last.clone() };
    Ok(vec![before, FillRange { id: 1, low: last.clone(), high: last }])
}

/// The next documents of a part, with what is read of them.
pub(super) async fn walk(of: &Evolving, walk: &Walk<'_>) -> StoreResult<Vec<RawDocumentBuf>> {
    let failed = |e| failure("reading documents", &e).of_a_repeatable().error;
    let server = &of.inner.server;
    let collection = server.collection(&of.inner.records.table);
    let wanted = usize::try_from(walk.documents_max.max(1)).unwrap_or(usize::MAX);
    // The one to go on after comes again.
    let limit = i64::try_from(wanted.saturating_add(1)).unwrap_or(i64::MAX);
    let after = walk.after.map(|after| bound_of(after, "cursor")).transpose()?;
    let skipped = after.as_deref().and_then(|after| find(after, ID));
    if skipped.is_some_and(|skipped| skipped.ty == ty::MAX_KEY) {
        // Nothing is higher, and the server takes no such bounds.
        return Ok(Vec::new());
    }
    let alone = !walk.low.is_empty() && walk.low == walk.high;
    let condition = if alone {
        filter(bound_of(walk.low, "range")?)?
    } else {
        doc! {}
    };
    let mut scan = collection.find(condition).projection(of.field.projection()).limit(limit);
    scan = scan.hint(by_id_index());
    if !alone {
        let low = walk.after.or(Some(walk.low).filter(|low| !low.is_empty()));
        if let Some(low) = low {
            scan = scan.min(filter(bound_of(low, "range")?)?);
        }
        if !walk.high.is_empty() {
            scan = scan.max(filter(bound_of(walk.high, "range")?)?);
        }
    }
    let mut found = server.rows(scan).await.map_err(failed)?.all().await.map_err(failed)?;
    if skipped.is_some() {
        found.retain(|raw| find(raw.as_bytes(), ID) != skipped);
    }
    found.truncate(wanted);
    Ok(found)
}

/// What a document without a value is to get; `None`: it has one.
pub(super) fn due(of: &Evolving, raw: &RawDocumentBuf) -> StoreResult<Option<Due>> {
    let (field, bytes) = (&of.field, raw.as_bytes());
    let (Some(id), None) = (find(bytes, ID), field.value_in(bytes)) else { return Ok(None) };
    let row = of.inner.records.read(raw.clone());
    let Some(record) = row.record else { return Ok(None) };
    let named = || row.key.as_ref().map_or_else(|_| "with an unreadable _id".to_owned(), |key| key.to_text());
    let record = record?;
    let value = field.fill.value(&record).map_err(|error| {
        let what = format!("MongoDB: {}: record {}: {error}", of.inner.records.table, named());
        StoreError::new(StoreErrorKind::Refused { field: Some(field.name.clone()) }, what)
            .with_hint("mend the record, or write an expression that takes such a value, then `resume`")
    })?;
    let hash = field.hash(&record, &value);
    let value = encode::value(&value).map_err(|unfit| {
        let what = format!("MongoDB: {}: {}", of.inner.records.table, unfit.what);
        StoreError::new(StoreErrorKind::Refused { field: Some(field.name.clone()) }, what)
    })?;
    let was_null = find(bytes, &field.name).is_some();
    let inputs = field.inputs.iter().map(|name| (name.clone(), find(bytes, name).map(Owned::of))).collect();
    Ok(Some(Due { note: Note { id: Owned::of(id), hash, value, was_null }, inputs }))
}

/// Fills some documents; how many were still as they were read.
pub(super) async fn set(of: &Evolving, due: &[Due]) -> StoreResult<u64> {
    let mut filled = 0;
    for some in due.chunks(UPDATES_MAX) {
        let mut update = Doc::new();
        update.text("update", &of.inner.records.table).begin_array("updates");
        for (n, one) in some.iter().enumerate() {
            update.begin(&n.to_string()).begin("q");
            put_condition(&mut update, of, one);
            update.close().begin("u").begin("$set").put(&of.field.name, one.note.value.get());
            update.close().close().close();
        }
        update.close();
        of.inner.server.acknowledged(&mut update);
        let what = "filling documents";
        let answer = of.inner.server.run(what, update.end()).await.map_err(Failure::of_a_repeatable);
        let answer = answer.map_err(|failure| failure.error)?;
        let parts = part_errors(what, &answer).map_err(|failure| failure.of_a_repeatable().error)?;
        if let Some(part) = parts.into_iter().next() {
            return Err(part.failure.error);
        }
        filled += answer.get_i32("nModified").unwrap_or_default().max(0) as u64;
    }
    Ok(filled)
}

/// That it is this document, without a value, and that its inputs are as they were.
fn put_condition(update: &mut Doc, of: &Evolving, due: &Due) {
    update.begin(ID).put("$eq", due.note.id.get()).close();
    update.put(&of.field.name, Owned::new(ty::NULL, []).get());
    for (name, _) in due.inputs.iter().filter(|(name, input)| input.is_none() && name != ID) {
        update.begin(name).no("$exists").close();
    }
    update.begin("$expr").begin_array("$and").begin("0").begin_array("$in");
    update.begin("0").text("$type", &format!("${}", of.field.name)).close();
    update.begin_array("1").text("0", "missing").text("1", "null").text("2", "undefined").close();
    update.close().close();
    let inputs = due.inputs.iter().filter_map(|(name, input)| input.as_ref().map(|input| (name, input)));
    for (n, (name, input)) in inputs.enumerate() {
        update.begin(&(n + 1).to_string()).begin_array("$eq").text("0", &format!("${name}"));
        update.begin("1").put("$literal", input.get()).close().close().close();
    }
    update.close().close();
}

/// Fills the next documents of a range, and saves where it is.
pub(super) async fn batch(
    of: &Evolving,
    run: &str,
    range: &FillRange,
    from: &FillCheckpoint,
    documents_max: u64,
) -> StoreResult<FillCheckpoint> {
    let after = from.cursor.as_ref().map(|cursor| cursor.0.as_str());
    let part = Walk { low: &range.low, high: &range.high, after, documents_max };
    let found = walk(of, &part).await?;
    let mut dues = Vec::new();
    for raw in &found {
        dues.extend(due(of, raw)?);
    }
    let mut next = from.clone();
    let notes: Vec<&Note> = dues.iter().map(|due| &due.note).collect();
    of.own.note(&of.inner, &notes).await?;
    next.filled += set(of, &dues).await?;
    next.read += found.len() as u64;
    next.done = (found.len() as u64) < documents_max.max(1);
    let last = found.last().and_then(|raw| find(raw.as_bytes(), ID)).map(|id| Cursor(position(&bound(id))));
    next.cursor = last.filter(|_| !next.done);
    of.own.save(&of.inner, run, &next).await?;
    Ok(next)
}
