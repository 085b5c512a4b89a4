//! One file on its way into one table: checked in a first reading, written in a second.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use shearwater_core::import::{ImportErrorKind, Input, records};
use shearwater_core::limits::BULK_RECORDS_MAX;
use shearwater_core::store::{Change, Expect, Image, Store, Write};
use shearwater_core::value::Value;
use shearwater_core::{Document, Key};
use tokio::sync::mpsc;

use super::spooled::open;
use crate::cli::exit::{Exit, Failure, Outcome};

/// Chunks read before they are written.
const CHUNKS_AHEAD_MAX: usize = 2;

/// For a file that is broken beyond one record, where nothing better is known.
const HINT_BROKEN: &str = "the file is damaged from there on: mend it, or get it again";

/// What an import did.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) read: u64,
    pub(super) imported: u64,
    pub(super) unchanged: u64,
    pub(super) skipped: u64,
}

/// A record that cannot be imported.
pub(super) struct Bad {
    pub(super) place: String,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) text: Vec<u8>,
}

/// One file on its way into one table.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) file: PathBuf,
    /// The file as its owner calls it.
    pub(super) shown: String,
    pub(super) input: Input,
    pub(super) key: Vec<String>,
    pub(super) synthesized: bool,
    /// What the numbers of records count.
    pub(super) unit: &'static str,
}

impl Job {
    /// Calls `take` with every good record and every bad one. Keys are seen
    /// once: of two records with one key the second is bad.
    fn each(&self, mut take: impl FnMut(u64, Result<(Key, Document), Bad>) -> Outcome<()>) -> Outcome<()> {
        let mut reader = open(&self.file)?;
        let mut seen: HashSet<u128> = HashSet::new();
        for imported in records(&mut reader, self.input.clone()) {
            let number = imported.number;
            let record = match imported.record {
                Ok(record) => self.keyed(number, record).and_then(|(key, record)| {
                    let hash = shearwater_core::value::hash::value(&Value::Bytes(key.order_bytes()));
                    match seen.insert(hash) {
                        true => Ok((key, record)),
                        false => Err(bad(self.place(number), "an earlier record has the same key", &record)),
                    }
                }),
                Err(error) if error.kind == ImportErrorKind::Stop => {
                    let failure = Failure::new(Exit::Problems, "import/file", format!("{}: {error}", self.shown));
                    return Err(failure.hint(error.hint.as_deref().unwrap_or(HINT_BROKEN)));
                }
                Err(error) => {
                    Err(Bad { place: error.place, message: error.message, hint: error.hint, text: error.text })
                }
            };
            take(number, record)?;
        }
        Ok(())
    }

    /// Where a record stands, as the reader of files names it.
    fn place(&self, number: u64) -> String {
        format!("{} {number}", self.unit)
    }

    fn keyed(&self, number: u64, mut record: Document) -> Result<(Key, Document), Bad> {
        if self.synthesized {
            for field in &self.key {
                if record.contains(field) {
                    return Err(bad(
                        self.place(number),
                        &format!("the field {field:?} for the made key is there already"),
                        &record,
                    ));
                }
                record.set(field.clone(), Value::from_u64(number));
            }
        }
        let mut values = Vec::with_capacity(self.key.len());
        for field in &self.key {
            match record.get(field) {
                Some(Value::Null) => {
                    return Err(bad(self.place(number), &format!("the key field {field:?} is null"), &record));
                }
                Some(value) => values.push(value.clone()),
                None => return Err(bad(self.place(number), &format!("the key field {field:?} is missing"), &record)),
            }
        }
        Ok((Key::composite(values), record))
    }

    /// The first reading: how many are good, and the bad ones (their texts only
    /// when they are to be kept).
    pub(super) fn check(&self, keep_texts: bool) -> Outcome<(u64, Vec<Bad>)> {
        let (mut good, mut all_bad) = (0, Vec::new());
        self.each(|_, record| {
            match record {
                Ok(_) => good += 1,
                Err(bad) if keep_texts => all_bad.push(bad),
                Err(bad) => all_bad.push(Bad { text: Vec::new(), ..bad }),
            }
            Ok(())
        })?;
        Ok((good, all_bad))
    }

    /// Records whose key is in the store with another content.
    pub(super) async fn conflicts(&self, store: &Arc<dyn Store>) -> Outcome<Vec<Bad>> {
        let mut conflicts = Vec::new();
        let mut chunks = self.chunks();
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk?;
            let keys: Vec<Key> = chunk.iter().map(|(_, key, _)| key.clone()).collect();
            for ((number, _, record), held) in chunk.iter().zip(store.fetch_many(&keys).await?) {
                let same = |held: &Document| held == record || *held == store.kept(record.clone());
                if held.image.is_some_and(|image| !same(&image.record)) {
                    conflicts.push(bad(
                        self.place(*number),
                        "the table has a record with this key and other content",
                        record,
                    ));
                }
            }
        }
        Ok(conflicts)
    }

    /// The second reading: writes what is not there yet.
    pub(super) async fn write(&self, store: &Arc<dyn Store>) -> Outcome<Tally> {
        let mut tally = Tally::default();
        let mut chunks = self.chunks();
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk?;
            let keys: Vec<Key> = chunk.iter().map(|(_, key, _)| key.clone()).collect();
            let held = store.fetch_many(&keys).await?;
            let mut changes = Vec::with_capacity(chunk.len());
            for ((_, key, record), held) in chunk.into_iter().zip(held) {
                tally.read += 1;
                match held.image {
                    Some(_) => tally.unchanged += 1,
                    None => changes.push(Change { key, image: Some(Image::of(record)), expect: Expect::Absent }),
                }
            }
            tally.imported += changes.len() as u64;
            for changes in changes.chunks(store.changes_max()) {
                store.write(Write { epoch: None, changes: changes.to_vec(), idempotency: None }).await?;
            }
        }
        Ok(tally)
    }

    /// The good records in chunks; read on a thread of its own, so that one
    /// chunk is written while the next is read and memory stays flat.
    fn chunks(&self) -> mpsc::Receiver<Outcome<Vec<(u64, Key, Document)>>> {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD_MAX);
        let job = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(BULK_RECORDS_MAX);
            let read = job.each(|number, record| {
                if let Ok((key, record)) = record {
                    chunk.push((number, key, record));
                }
                if chunk.len() == BULK_RECORDS_MAX && sender.blocking_send(Ok(std::mem::take(&mut chunk))).is_err() {
                    return Err(Failure::new(Exit::Failed, "import/stopped", "the writing has ended"));
                }
                Ok(())
            });
            // Whoever does not listen any more has ended with an error of its own.
            let _ = match read {
                Ok(()) if chunk.is_empty() => Ok(()),
                Ok(()) => sender.blocking_send(Ok(chunk)),
                Err(failure) => sender.blocking_send(Err(failure)),
            };
        });
        receiver
    }
}

fn bad(place: String, message: &str, record: &Document) -> Bad {
    Bad {
        place,
        message: message.to_owned(),
        hint: None,
        text: shearwater_core::value::json::document_to_string(record).into_bytes(),
    }
}
