//! How fast the table is read and written, without a change to it: one page of
//! items is read, and some of them are updated under a condition that is never
//! true, which takes the time and the capacity of a write.

use std::time::Instant;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt, TryStreamExt, stream};
use shearwater_core::error::StoreResult;
use shearwater_core::evolve::Sampled;
use shearwater_core::store::ChunkMax;

use super::super::action::Words;
use super::fill::{ITEMS_AT_ONCE, update};
use super::{Evolving, walk};

/// Items that are read: one page, so that it costs next to nothing.
const PAGE: ChunkMax = ChunkMax { records: 1_000, bytes: 1024 * 1024 };

/// Writes that are asked for: a few times as many as go on at once.
const WRITES: usize = 64;

/// Seconds of a declared budget that writes may take.
const BUDGET_SECONDS: f64 = 2.0;

/// Bytes that one unit writes.
const UNIT_BYTES: usize = 1024;

pub(super) async fn measure(of: &Evolving) -> StoreResult<Option<Sampled>> {
    let session = &of.store.session;
    let began = Instant::now();
    let (items, _) = walk::page(of, None, PAGE).await?;
    // What was used is waited for, as in the backfill.
    session.reads.admit().await;
    let read_micros = micros(began);
    if items.is_empty() {
        return Ok(None);
    }
    let read = items.len() as u64;
    let affordable =
        session.writes.request_units_max().map_or(WRITES, |per_s| (per_s * BUDGET_SECONDS).ceil() as usize);
    let never = never(of).await?;
    let tried: Vec<_> = items.into_iter().take(affordable.clamp(1, WRITES)).collect();
    let written = tried.len() as u64;
    let began = Instant::now();
    let asked = stream::iter(tried.into_iter().map(|item| {
        let never = &never;
        async move {
            let refused = update(of, &item, "SET #new = :new", never).await;
            // The answer of a refused write does not tell what it used.
            let bytes = super::super::value::item_size(&item);
            of.store.session.writes.used(bytes.div_ceil(UNIT_BYTES).max(1) as f64);
            refused
        }
    }));
    asked.buffer_unordered(ITEMS_AT_ONCE).try_collect::<Vec<bool>>().await?;
    session.writes.admit().await;
    let how = format!(
        "on the table as it stands: {read} items were read, and for {written} of them a write was asked for under a \
         condition that is never true; nothing was changed"
    );
    Ok(Some(Sampled { read, read_micros, written, write_micros: micros(began), how }))
}

/// A condition that no item meets.
async fn never(of: &Evolving) -> StoreResult<Words> {
    let key = of.store.schema().await?.key.first().map_or("", |attribute| attribute.name.as_str());
    let words = Words::new("attribute_exists(#key) AND attribute_not_exists(#key)").name("#key", key);
    Ok(words.name("#new", &of.name).value(":new", AttributeValue::Null(true)))
}

fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
}
