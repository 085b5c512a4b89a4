//! `import`: JSON records into a SQLite table of the `document` layout.
//!
//! The file is read twice. The first reading checks everything and writes
//! nothing, so a file with bad lines leaves the store as it was. The second
//! writes in chunks, each a transaction; records that are there already with
//! the same content count as unchanged, so an interrupted import goes on when
//! it is run again.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::{Value as Json, json};
use shearwater_core::import::{Form, ImportErrorKind, Input, records};
use shearwater_core::limits::BULK_RECORDS_MAX;
use shearwater_core::path::Path;
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_core::store::{Change, Expect, Image, Store, Write};
use shearwater_core::value::Value;
use shearwater_core::{Document, Key};
use shearwater_stores::Create;
use tokio::sync::mpsc;

use super::Context;
use super::exit::{Exit, Failure, Outcome};
use crate::render::amount;
use crate::wiring;

/// Bad records that are told one by one; more are only counted.
const BAD_SHOWN_MAX: usize = 20;

/// Chunks read before they are written.
const CHUNKS_AHEAD_MAX: usize = 2;

/// For a file that is broken beyond one record, where nothing better is known.
const HINT_BROKEN: &str = "the file is damaged from there on: mend it, or get it again";

/// Bytes looked at to tell the form of a file.
const SNIFF_BYTES_MAX: u64 = 64 * 1024;

/// Arguments of `import`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater import users.jsonl --into sqlite:legacy.db --table users --key _id\n  mongoexport … | shearwater import - --into sqlite:legacy.db --table users --key _id --format mongo\n  shearwater import quakes.json --root features --into sqlite:q.db --table quakes --key id\n\nA file with a bad line is refused as a whole, unless --skip-bad keeps the bad lines aside."
)]
pub struct Import {
    /// The file, or - for standard input
    file: PathBuf,
    /// The store; its file is made when it is not there
    #[arg(long, value_name = "URL")]
    into: String,
    /// The table; it is made when it is not there
    #[arg(long)]
    table: String,
    /// The key field; repeat it for a key of several fields
    #[arg(long, value_name = "FIELD", required_unless_present = "synthesize_key")]
    key: Vec<String>,
    /// How values are written
    #[arg(long, value_enum, default_value_t = FormatArg::Auto)]
    format: FormatArg,
    /// The array of records inside one document, for example `data.items`
    #[arg(long, value_name = "PATH")]
    root: Option<String>,
    /// The table whose items are wanted, in a DynamoDB file of several
    #[arg(long, value_name = "TABLE")]
    from_table: Option<String>,
    /// Keep bad records in this file, and import the others
    #[arg(long, value_name = "FILE")]
    skip_bad: Option<PathBuf>,
    /// Give each record its number in the file as its key, in this field
    #[arg(long, value_name = "FIELD", conflicts_with = "key")]
    synthesize_key: Option<String>,
    /// The JSON column
    #[arg(long, value_name = "COLUMN", default_value = "doc")]
    document: String,
}

/// How values are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// Told from the beginning of the file
    Auto,
    /// Plain JSON, one record in a line
    Jsonl,
    /// Plain JSON, one array of records
    Array,
    /// What `shearwater export` writes
    Export,
    /// MongoDB extended JSON, lines or an array
    Mongo,
    /// DynamoDB JSON: items, exports, batch-write files, models
    Dynamodb,
}

/// What an import did.
#[derive(Default)]
struct Tally {
    read: u64,
    imported: u64,
    unchanged: u64,
    skipped: u64,
}

/// A record that cannot be imported.
struct Bad {
    place: String,
    message: String,
    hint: Option<String>,
    text: Vec<u8>,
}

/// Reads records into a store.
pub async fn run(context: &Context, args: Import) -> Outcome<Exit> {
    let spooled = Spooled::of(&args.file)?;
    let root = args.root.as_deref().map(Path::parse).transpose().map_err(|error| {
        Failure::new(Exit::Usage, "usage", format!("--root: {error}")).hint("for example data.items")
    })?;
    let form = form(args.format, &spooled)?;
    let input = Input { form, root, table: args.from_table.clone() };
    let key = match &args.synthesize_key {
        Some(field) => vec![field.clone()],
        None => args.key.clone(),
    };
    let layout = DocumentLayout { table: args.table.clone(), key: key.clone(), document: args.document.clone() };
    let unit = unit(&spooled, &input)?;
    let shown = spooled.shown();
    let job = Job { file: spooled.path.clone(), shown, input, key, synthesized: args.synthesize_key.is_some(), unit };
    // Everything that the file alone can tell, before there is a store.
    let (good, bad) = job.check(args.skip_bad.is_some())?;
    if !bad.is_empty() && args.skip_bad.is_none() {
        return Err(refused(&job.shown, good, &bad));
    }
    let existed = store_is_there(&args.into).await?;
    let store = shearwater_stores::open(&args.into, Layout::Document(layout), Create::IfMissing).await?;
    store.provision().await?;
    if store.fence().await?.is_some() {
        return Err(Failure::new(Exit::Failed, "import/captured", "a migration captures this table's writes")
            .hint("write through the gateway, or import before the start"));
    }
    if existed {
        let conflicts = job.conflicts(&store).await?;
        if !conflicts.is_empty() {
            return Err(refused(&job.shown, good, &conflicts));
        }
    }
    let mut tally = job.write(&store).await?;
    if let Some(file) = &args.skip_bad {
        keep_aside(file, &bad)?;
    }
    tally.skipped = bad.len() as u64;
    report(context, &args, &tally, &bad)
}

fn report(context: &Context, args: &Import, tally: &Tally, bad: &[Bad]) -> Outcome<Exit> {
    let json = json!({
        "read": tally.read, "imported": tally.imported, "unchanged": tally.unchanged, "skipped": tally.skipped,
        "bad": bad.iter().take(BAD_SHOWN_MAX).map(bad_json).collect::<Vec<_>>(),
    });
    let mut text = format!(
        "{} imported into {}, {} there already",
        amount::counted(tally.imported, "record", "records"),
        args.table,
        amount::count(tally.unchanged)
    );
    if let Some(file) = &args.skip_bad {
        text.push_str(&format!("; {} kept aside in {}", amount::count(tally.skipped), file.display()));
    }
    context.console.answer(&json, &format!("{text}\n"))?;
    Ok(Exit::Done)
}

/// One file on its way into one table.
#[derive(Clone)]
struct Job {
    file: PathBuf,
    /// The file as its owner calls it.
    shown: String,
    input: Input,
    key: Vec<String>,
    synthesized: bool,
    /// What the numbers of records count.
    unit: &'static str,
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
    fn check(&self, keep_texts: bool) -> Outcome<(u64, Vec<Bad>)> {
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
    async fn conflicts(&self, store: &Arc<dyn Store>) -> Outcome<Vec<Bad>> {
        let mut conflicts = Vec::new();
        let mut chunks = self.chunks();
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk?;
            let keys: Vec<Key> = chunk.iter().map(|(_, key, _)| key.clone()).collect();
            for ((number, _, record), held) in chunk.iter().zip(store.fetch_many(&keys).await?) {
                if held.image.is_some_and(|image| image.record != *record) {
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
    async fn write(&self, store: &Arc<dyn Store>) -> Outcome<Tally> {
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
            if !changes.is_empty() {
                store.write(Write { epoch: None, changes, idempotency: None }).await?;
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

fn bad_json(bad: &Bad) -> Json {
    json!({ "place": bad.place, "message": bad.message, "hint": bad.hint })
}

fn refused(file: &str, good: u64, bad: &[Bad]) -> Failure {
    let mut message = format!(
        "{file}: {} of {} cannot be imported; nothing was written",
        amount::count(bad.len() as u64),
        amount::counted(good + bad.len() as u64, "record", "records"),
    );
    for bad in bad.iter().take(BAD_SHOWN_MAX) {
        message.push_str(&format!("\n  {}: {}", bad.place, bad.message));
        if let Some(hint) = &bad.hint {
            message.push_str(&format!("\n    {hint}"));
        }
    }
    if bad.len() > BAD_SHOWN_MAX {
        message.push_str(&format!("\n  and {} more", bad.len() - BAD_SHOWN_MAX));
    }
    let mut failure = Failure::new(Exit::Problems, "import/bad-records", message)
        .hint("mend them, or keep them aside with --skip-bad FILE");
    failure.detail = Some(Box::new(bad.iter().take(BAD_SHOWN_MAX).map(bad_json).collect()));
    failure
}

async fn store_is_there(url: &str) -> Outcome<bool> {
    match shearwater_stores::inspect(url).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == shearwater_core::error::StoreErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Bad records as they stand in the file, one in a line where they were lines.
fn keep_aside(file: &FilePath, bad: &[Bad]) -> Outcome<()> {
    let failed = |error: std::io::Error| Failure::file("write", file, &error);
    let mut out = BufWriter::new(File::create(file).map_err(failed)?);
    for bad in bad {
        out.write_all(bad.text.trim_ascii_end()).and_then(|()| out.write_all(b"\n")).map_err(failed)?;
    }
    out.flush().map_err(failed)
}

/// A file that can be read twice; standard input is copied to a temporary one.
struct Spooled {
    path: PathBuf,
    is_ours: bool,
}

impl Spooled {
    fn of(file: &FilePath) -> Outcome<Spooled> {
        if file != FilePath::new("-") {
            File::open(file).map_err(|error| Failure::file("read", file, &error))?;
            if file.is_dir() {
                let message = format!("{} is a directory", file.display());
                return Err(Failure::new(Exit::Problems, "file/unusable", message).hint("name a file"));
            }
            return Ok(Spooled { path: file.to_owned(), is_ours: false });
        }
        let path = wiring::scratch_path("import");
        let spooled = Spooled { path: path.clone(), is_ours: true };
        let failed = |error: std::io::Error| Failure::file("copy standard input to", &path, &error);
        let mut out = File::create(&path).map_err(failed)?;
        std::io::copy(&mut std::io::stdin().lock(), &mut out).map_err(failed)?;
        Ok(spooled)
    }

    /// The file as its owner calls it.
    fn shown(&self) -> String {
        if self.is_ours { "standard input".to_owned() } else { self.path.display().to_string() }
    }
}

fn open(path: &FilePath) -> Outcome<BufReader<File>> {
    let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
    Ok(BufReader::with_capacity(256 * 1024, file))
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if self.is_ours {
            // What stays in the temporary directory is the system's to clean.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn form(format: FormatArg, spooled: &Spooled) -> Outcome<Form> {
    Ok(match format {
        FormatArg::Jsonl | FormatArg::Array => Form::Json,
        FormatArg::Export => Form::Tagged,
        FormatArg::Mongo => Form::MongoDb,
        FormatArg::Dynamodb => Form::DynamoDb,
        FormatArg::Auto => sniff(&head(spooled)?),
    })
}

/// What the numbers of records count: lines, or the elements of an array.
fn unit(spooled: &Spooled, input: &Input) -> Outcome<&'static str> {
    let is_array = head(spooled)?.trim_ascii_start().starts_with(b"[");
    Ok(if is_array || input.root.is_some() { "element" } else { "line" })
}

fn head(spooled: &Spooled) -> Outcome<Vec<u8>> {
    let mut head = Vec::new();
    let read = open(&spooled.path)?.take(SNIFF_BYTES_MAX).read_to_end(&mut head);
    read.map_err(|error| Failure::file("read", &spooled.path, &error))?;
    Ok(head)
}

/// The form of a file from its beginning: each has marks that plain data hardly has.
fn sniff(head: &[u8]) -> Form {
    let compact: String = String::from_utf8_lossy(head).chars().filter(|c| !c.is_whitespace()).collect();
    let has = |marks: &[&str]| marks.iter().any(|mark| compact.contains(mark));
    if has(&[
        "{\"$oid\":\"",
        "{\"$date\":",
        "{\"$numberLong\":\"",
        "{\"$numberInt\":\"",
        "{\"$numberDouble\":\"",
        "{\"$numberDecimal\":\"",
        "{\"$binary\":",
    ]) {
        Form::MongoDb
    } else if compact.starts_with("{\"Item\":{")
        || compact.starts_with("{\"ModelName\":")
        || has(&[":{\"S\":\"", ":{\"N\":\"", "\"PutRequest\":{"])
    {
        Form::DynamoDb
    } else if has(&[
        "{\"@decimal\":\"",
        "{\"@instant\":\"",
        "{\"@date\":\"",
        "{\"@bytes\":\"",
        "{\"@document\":{",
        "{\"@extended\":",
    ]) {
        Form::Tagged
    } else {
        Form::Json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_told_from_marks() {
        for (head, expected) in [
            (r#"{"_id": 1}"#, Form::Json),
            (r#"[{"a": "S", "N": 1}]"#, Form::Json),
            (r#"{"_id": {"$oid": "573a1390f29313caabcd42e8"}}"#, Form::MongoDb),
            (r#"{"Item": {"id": {"S": "x"}}}"#, Form::DynamoDb),
            (r#"{"id": {"N": "1"}}"#, Form::DynamoDb),
            (r#"{"at": {"@instant": "2026-01-01T00:00:00Z"}}"#, Form::Tagged),
            ("", Form::Json),
        ] {
            assert_eq!(sniff(head.as_bytes()), expected, "{head}");
        }
    }
}
