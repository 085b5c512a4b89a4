//! The way back to before the start: the field is taken out of the documents.
//!
//! Where no document had it at the beginning, all that have it now got it since.
//! Where some had it, nobody knows whose the others are: only what the backfill
//! has put there, and nobody has changed since, is taken out again.

use std::time::{Duration, Instant};

use mongodb::bson::{Bson, RawDocumentBuf, doc};
use shearwater_core::error::StoreResult;

use super::super::error::{Failure, failure, part_errors};
use super::super::key::ID;
use super::super::raw::{Doc, Owned, find, ty};
use super::super::scan::{bound, position};
use super::Evolving;
use super::fill::{Walk, walk};
use super::own::Note;

/// Documents in one batch: some tens of milliseconds.
const BATCH_DOCUMENTS: u64 = 1_000;

/// Takes the field out; for how long the longest batch took.
pub(super) async fn take(of: &Evolving) -> StoreResult<Duration> {
    if !of.own.is_there(&of.inner).await? {
        return Ok(Duration::ZERO);
    }
    match of.own.had_field(&of.inner).await? {
        0 => take_all(of).await,
        _ => take_ours(of).await,
    }
}

async fn take_all(of: &Evolving) -> StoreResult<Duration> {
    let (mut after, mut longest): (Option<String>, _) = (None, Duration::ZERO);
    loop {
        let part = Walk { low: "", high: "", after: after.as_deref(), documents_max: BATCH_DOCUMENTS };
        let found = walk(of, &part).await?;
        let holding = found.iter().filter(|raw| find(raw.as_bytes(), &of.field.name).is_some());
        let ids: Vec<Owned> = holding.filter_map(|raw| find(raw.as_bytes(), ID)).map(Owned::of).collect();
        if !ids.is_empty() {
            let began = Instant::now();
            unset(of, &ids).await?;
            longest = longest.max(began.elapsed());
        }
        match found.last().and_then(|raw| find(raw.as_bytes(), ID)) {
            Some(last) => after = Some(position(&bound(last))),
            None => break,
        }
    }
    // The index's bounds leave out a key that is the highest value of all.
    unset(of, &[Owned::new(ty::MAX_KEY, [])]).await?;
    Ok(longest)
}

async fn unset(of: &Evolving, ids: &[Owned]) -> StoreResult<()> {
    let mut update = Doc::new();
    update.text("update", &of.inner.records.table).begin_array("updates").begin("0");
    update.begin("q").begin(ID).begin_array("$in");
    for (n, id) in ids.iter().enumerate() {
        update.put(&n.to_string(), id.get());
    }
    update.close().close().begin(&of.field.name).yes("$exists").close().close();
    update.begin("u").begin("$unset").text(&of.field.name, "").close().close().yes("multi").close().close();
    run(of, update).await
}

async fn run(of: &Evolving, mut update: Doc) -> StoreResult<()> {
    let what = "taking the field out";
    of.inner.server.acknowledged(&mut update);
    let answer = of.inner.server.run(what, update.end()).await.map_err(Failure::of_a_repeatable);
    let answer = answer.map_err(|failure| failure.error)?;
    match part_errors(what, &answer).map_err(|failure| failure.of_a_repeatable().error)?.pop() {
        None => Ok(()),
        Some(part) => Err(part.failure.error),
    }
}

async fn take_ours(of: &Evolving) -> StoreResult<Duration> {
    let (mut after, mut longest): (Option<Owned>, _) = (None, Duration::ZERO);
    loop {
        let notes = of.own.notes(&of.inner, after.as_ref(), BATCH_DOCUMENTS as i64).await?;
        if notes.is_empty() {
            return Ok(longest);
        }
        let began = Instant::now();
        let mut update = Doc::new();
        update.text("update", &of.inner.records.table).begin_array("updates");
        for (n, note) in notes.iter().enumerate() {
            put_back(update.begin(&n.to_string()), of, note).close();
        }
        update.close();
        run(of, update).await?;
        longest = longest.max(began.elapsed());
        after = notes.into_iter().last().map(|note| note.id);
    }
}

/// What was there before, if the value is still the one that we put there.
fn put_back<'d>(update: &'d mut Doc, of: &Evolving, note: &Note) -> &'d mut Doc {
    let name = &of.field.name;
    update.begin("q").begin(ID).put("$eq", note.id.get()).close();
    update.begin("$expr").begin_array("$eq").text("0", &format!("${name}"));
    update.begin("1").put("$literal", note.value.get()).close().close().close().close();
    update.begin("u");
    match note.was_null {
        true => update.begin("$set").put(name, Owned::new(ty::NULL, []).get()).close(),
        false => update.begin("$unset").text(name, "").close(),
    };
    update.close()
}

/// How many values go with the field that are not what the fill gives.
pub(super) async fn count_chosen(of: &Evolving) -> StoreResult<u64> {
    let there = of.own.is_there(&of.inner).await?;
    if !there || of.own.had_field(&of.inner).await? > 0 {
        return Ok(0);
    }
    let failed = |e| failure("counting values", &e).of_a_repeatable().error;
    let server = &of.inner.server;
    let collection = server.collection(&of.inner.records.table);
    let find = collection.find(doc! { &of.field.name: { "$ne": Bson::Null } }).projection(of.field.projection());
    let mut found = server.rows(find).await.map_err(failed)?;
    let mut count = 0;
    while let Some(raw) = found.next().await.map_err(failed)? {
        count += u64::from(is_chosen(of, raw));
    }
    Ok(count)
}

fn is_chosen(of: &Evolving, raw: RawDocumentBuf) -> bool {
    match of.inner.records.read(raw).record {
        Some(Ok(record)) => of.field.fill.value(&record).ok().as_ref() != record.get(&of.field.name),
        _ => true,
    }
}
