//! Sampling the source, and writing to scratch tables, so that predictions are
//! measured and the tables of both stores are left alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use shearwater_core::error::StoreResult;
use shearwater_core::mapping::Mapping;
use shearwater_core::plan::{CaptureCost, Measured, Sample};
use shearwater_core::shape::{ChildShape, DocumentLayout, Layout};
use shearwater_core::store::{Applied, ChunkMax, Fence, Image, Put, Role, Side, Store};
use shearwater_core::{Key, Stamp};
use shearwater_stores::Create;
use shearwater_stores::outsider::{Collection, Outsider};

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

/// What the names of scratch tables begin with. Not what the sidecar's begin
/// with: stores refuse such tables.
const SCRATCH_PREFIX: &str = "shearwater_plan_";

/// Documents of the scratch collection: written again and again, as popular records are.
const WRITTEN_KEYS: usize = 20;

/// Updates timed without and with capture: a median of so many stands still,
/// and a second is enough for them even where a commit takes milliseconds.
const UPDATES_TIMED: usize = 200;

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

/// Writes mapped records to scratch tables of the target's kind and times it.
/// Records that they refuse are noted in the sample.
pub(super) async fn measure(
    place: &Place,
    mapping: &Mapping,
    images: Vec<Image>,
    sample: &mut Sample,
) -> StoreResult<Option<Measured>> {
    if images.is_empty() {
        return Ok(None);
    }
    let store = place.open().await?;
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

/// Updates documents of a scratch collection one by one as a program would,
/// before and after capture is installed on it.
pub(super) async fn capture_cost(place: &Place) -> StoreResult<CaptureCost> {
    let mut program = place.program().await?;
    let keys: Vec<String> = (0..WRITTEN_KEYS).map(|key| format!("key-{key}")).collect();
    program.make(&mut keys.iter().map(|key| (key.clone(), document(0)))).await?;
    // Once for nothing: a cold connection and table would make capture look free.
    usual_update(program.as_mut(), &keys).await?;
    let plain_micros = usual_update(program.as_mut(), &keys).await?;
    let store = place.open().await?;
    store.install(Fence { role: Role::Authority, epoch: 1 }).await?;
    let captured_micros = usual_update(program.as_mut(), &keys).await?;
    Ok(CaptureCost { plain_micros, captured_micros })
}

fn document(version: u64) -> String {
    format!("{{\"version\":{version}}}")
}

/// The median time of an update: what is slow for other reasons does not count.
async fn usual_update(program: &mut dyn Outsider, keys: &[String]) -> StoreResult<u64> {
    let mut took = Vec::with_capacity(UPDATES_TIMED);
    for (version, key) in keys.iter().cycle().take(UPDATES_TIMED).enumerate() {
        let began = Instant::now();
        program.update(key, &mut |_| Some(document(version as u64 + 1))).await?;
        took.push(micros(began));
    }
    took.sort_unstable();
    Ok(took.get(took.len() / 2).copied().unwrap_or(0))
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

pub(super) fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Where measuring takes place: a file of its own for a file store, tables of
/// our own beside the others for a server. Their names are always the same, so
/// that what a killed `plan` has left is found and removed by the next one.
pub(super) struct Place {
    url: String,
    layout: Layout,
    directory: Option<Scratch>,
}

impl Place {
    /// For tables of this layout in the store of this URL.
    pub(super) fn of(url: &str, layout: &Layout) -> std::io::Result<Place> {
        if !url.starts_with("sqlite:") {
            return Ok(Place { url: url.to_owned(), layout: renamed(layout), directory: None });
        }
        let directory = Scratch(crate::wiring::scratch_path("plan"));
        std::fs::create_dir_all(&directory.0)?;
        let url = format!("sqlite:{}", directory.0.join("scratch.db").display());
        // In a file of its own a table keeps its name, and messages say it.
        Ok(Place { url, layout: layout.clone(), directory: Some(directory) })
    }

    /// For a collection of documents that is written to.
    pub(super) fn of_writes(url: &str) -> std::io::Result<Place> {
        let (table, key, document) = ("writes".to_owned(), vec!["id".to_owned()], "doc".to_owned());
        Place::of(url, &Layout::Document(DocumentLayout { table, key, document }))
    }

    /// The store.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The root's table.
    pub(super) fn table(&self) -> &str {
        self.layout.table()
    }

    async fn open(&self) -> StoreResult<Arc<dyn Store>> {
        shearwater_stores::open(&self.url, self.layout.clone(), Create::IfMissing).await
    }

    pub(super) async fn program(&self) -> StoreResult<Box<dyn Outsider>> {
        let (table, key, document) = (self.layout.table().to_owned(), "id".to_owned(), "doc".to_owned());
        shearwater_stores::open_outsider(&self.url, Collection { table, key, document }).await
    }

    /// Removes whatever is there, by this process or by one before it.
    pub(super) async fn clear(&self) -> StoreResult<()> {
        if self.directory.is_some() {
            return Ok(());
        }
        let mut program = self.program().await?;
        let names = tables_of(&self.layout);
        let there = program.tables().await?;
        if !names.iter().any(|name| there.contains(name)) {
            return Ok(());
        }
        if there.contains(&names[0]) {
            self.open().await?.remove().await?;
        }
        // Child tables first, should they refer to the root.
        let names: Vec<&str> = names.iter().rev().map(String::as_str).collect();
        program.drop_tables(&names).await
    }
}

/// The layout with names of our own for its tables, short enough for every store.
fn renamed(layout: &Layout) -> Layout {
    let name = |table: &str| format!("{SCRATCH_PREFIX}{:016x}", Key::single(table).hash());
    let mut layout = layout.clone();
    match &mut layout {
        Layout::Document(document) => document.table = name(&document.table),
        Layout::Rows(root) => {
            root.table = name(&root.table);
            let mut children: Vec<&mut ChildShape> = root.children.iter_mut().collect();
            while let Some(child) = children.pop() {
                child.table = name(&child.table);
                children.extend(child.children.iter_mut());
            }
        }
    }
    layout
}

/// The names of a layout's tables, the root's first.
fn tables_of(layout: &Layout) -> Vec<String> {
    let mut names = vec![layout.table().to_owned()];
    if let Layout::Rows(root) = layout {
        let mut children: Vec<&ChildShape> = root.children.iter().collect();
        while let Some(child) = children.pop() {
            names.push(child.table.clone());
            children.extend(&child.children);
        }
    }
    names
}

/// A directory that is removed when this is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays in the temporary directory is somebody else's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
