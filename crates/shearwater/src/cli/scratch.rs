//! Sampling the source, and writing the sample to a scratch store, so that
//! predictions are measured and the target is left alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use shearwater_core::Stamp;
use shearwater_core::error::StoreResult;
use shearwater_core::mapping::Mapping;
use shearwater_core::plan::{Measured, Sample};
use shearwater_core::store::{Applied, ChunkMax, Fence, Image, Put, Role, Side, Store};
use shearwater_stores::Create;

/// Records sampled: enough for a rate, few enough for a second or two.
const SAMPLE_RECORDS_MAX: usize = 2_000;

/// Bytes of sampled documents, so that huge documents cannot fill memory.
const SAMPLE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Places in the key space that the sample is taken from: old records differ from new ones.
const SAMPLE_PLACES: usize = 8;

/// Records in one scratch transaction, about what the backfill starts with.
const BATCH_RECORDS: usize = 500;

/// Single durable writes that are timed; the slowest counts.
const COMMITS_TIMED: u64 = 5;

/// Records and bytes read at once when all are read.
const CHUNK: ChunkMax = ChunkMax { records: 1_000, bytes: 4 * 1024 * 1024 };

/// Reads records from all over the source into the sample, and maps them.
pub(super) async fn sample(source: &dyn Store, mapping: &Mapping, sample: &mut Sample) -> StoreResult<Vec<Image>> {
    let mut images = Vec::new();
    let max = ChunkMax { records: SAMPLE_RECORDS_MAX / SAMPLE_PLACES, bytes: SAMPLE_BYTES_MAX / SAMPLE_PLACES };
    for range in source.split(SAMPLE_PLACES).await? {
        let chunk = source.scan(&range, None, max).await?;
        for record in chunk.records {
            match record {
                Ok(fetched) => {
                    if let Some(image) = fetched.image {
                        images.extend(sample.add(mapping, &image));
                    }
                }
                Err(row) => sample.add_bad_row(&row),
            }
        }
    }
    Ok(images)
}

/// Reads every record of the source into the sample.
pub(super) async fn all(source: &dyn Store, mapping: &Mapping, sample: &mut Sample) -> StoreResult<()> {
    for range in source.split(1).await? {
        let mut after = None;
        loop {
            let chunk = source.scan(&range, after.as_ref(), CHUNK).await?;
            for record in chunk.records {
                match record {
                    Ok(fetched) => fetched.image.iter().for_each(|image| drop(sample.add(mapping, image))),
                    Err(row) => sample.add_bad_row(&row),
                }
            }
            after = chunk.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Writes mapped records to a scratch SQLite store and times it. Records that
/// it refuses are noted in the sample. `None` for targets of another kind.
pub(super) async fn measure(
    url: &str,
    mapping: &Mapping,
    images: Vec<Image>,
    sample: &mut Sample,
) -> StoreResult<Option<Measured>> {
    if !url.starts_with("sqlite:") || images.is_empty() {
        return Ok(None);
    }
    let directory = Scratch(crate::wiring::scratch_path("plan"));
    if std::fs::create_dir_all(&directory.0).is_err() {
        return Ok(None);
    }
    let url = format!("sqlite:{}", directory.0.join("scratch.db").display());
    let store = shearwater_stores::open(&url, mapping.target().clone(), Create::IfMissing).await?;
    store.provision().await?;
    store.install(Fence { role: Role::Follower, epoch: 1 }).await?;
    let records = images.len() as u64;
    let mut puts = Vec::with_capacity(images.len());
    for image in images {
        if let Ok(key) = mapping.key_of(Side::Target, &image) {
            puts.push(Put { key, image: Some(image), stamp: Stamp::ZERO });
        }
    }
    let one = puts.first().cloned();
    let began = Instant::now();
    for batch in puts.chunks(BATCH_RECORDS) {
        for applied in store.apply(1, batch.to_vec(), None).await? {
            if let Applied::Refused(error) = applied {
                sample.refuse_stored(&error);
            }
        }
    }
    let elapsed_micros = micros(began).max(1);
    let commit_micros = match one {
        Some(put) => slowest_commit(&store, put).await?,
        None => 0,
    };
    let bytes = store.estimate().await?.bytes;
    Ok(Some(Measured { records, elapsed_micros, bytes, commit_micros }))
}

async fn slowest_commit(store: &Arc<dyn Store>, put: Put) -> StoreResult<u64> {
    let mut slowest = 0;
    for counter in 1..=COMMITS_TIMED {
        let began = Instant::now();
        store.apply(1, vec![Put { stamp: Stamp::new(1, counter), ..put.clone() }], None).await?;
        slowest = slowest.max(micros(began));
    }
    Ok(slowest)
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A directory that is removed when this is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays in the temporary directory is somebody else's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
