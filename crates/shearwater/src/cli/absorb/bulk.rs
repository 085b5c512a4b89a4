//! `bulk`: records move with fields from a file's lines, or by a rule. A sample
//! is tried first, progress is shown, bad lines are kept aside, and running it
//! again skips what has moved.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value as Json, json};
use shearwater_core::Document;
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::query::Filter;
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::store::Side;
use shearwater_engine::absorb::bulk::{Mode, Moved};
use shearwater_engine::absorb::{Bulk, Carrier, Line, Setup};
use shearwater_engine::records::{ServeError, Shape};

use super::{Hands, opened, state};
use crate::cli::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::gateway::json::{Body, Codec};
use crate::gateway::{key_text, query, typed};
use crate::render::amount;

/// Records tried before anything is written.
const SAMPLE: usize = 20;

/// Lines read before they are asked for.
const LINES_AHEAD: usize = 256;

/// Between two lines about progress, records.
const TELL_EVERY: u64 = 1_000;

/// Arguments of `bulk`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater bulk bob --from managers.csv --dry-run\n  shearwater bulk bob --from managers.jsonl\n  shearwater bulk bob --set manager=unassigned --where 'status=eq.ACTIVE'\n\nA line names the record by the key of v2 (or, with --by v1, of v1) and the fields of v2 that it gets.\nRun it again after an interruption: what has moved is skipped. Lines that fail are kept in FILE.errors.jsonl."
)]
pub struct BulkArgs {
    /// The migration
    name: String,
    /// A CSV file with a header, or a file of JSON lines (.jsonl)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["set", "filter"])]
    from: Option<PathBuf>,
    /// Whose key the lines have
    #[arg(long, value_name = "SHAPE", default_value = "v2", value_parser = ["v1", "v2"])]
    by: String,
    /// A field of v2 that every record gets
    #[arg(long, value_name = "FIELD=VALUE", required_unless_present = "from")]
    set: Vec<String>,
    /// Only records that match, in the gateway's words for v2
    #[arg(long = "where", value_name = "FILTER", requires = "set")]
    filter: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// The refusal for a migration of another kind.
pub fn only_absorb() -> Failure {
    Failure::new(Exit::Failed, "kind/not-an-absorb", "`bulk` is for migrations of kind `absorb`")
}

/// What was done.
#[derive(Default)]
struct Tally {
    read: u64,
    moved: u64,
    already: u64,
    left_alone: u64,
    failed: u64,
}

/// One thing to do, or why a line is none.
type Task = Result<Line, String>;

/// Moves records in bulk.
pub async fn run(context: &Context, args: &BulkArgs) -> Outcome<Exit> {
    let Some(opened) = opened(&context.naming(&args.name)).await? else { return Err(only_absorb()) };
    let setup = &opened.setup;
    if !state(setup.journal.as_ref()).await?.moves_forward() {
        return Err(Failure::new(Exit::Failed, "phase/not-possible", "records do not move in this phase")
            .hint("`shearwater advance` to lazy or drain"));
    }
    let hands = Hands::join(setup).await?;
    let done = tokio::select! {
        done = work(context, args, setup, &hands) => done,
        failure = crate::wiring::interrupted() => Err(failure),
    };
    hands.leave().await;
    let (tally, aside) = done?;
    let json = json!({
        "migration": setup.journal.migration(), "dry_run": args.dry_run, "read": tally.read, "moved": tally.moved,
        "already": tally.already, "left_alone": tally.left_alone, "failed": tally.failed,
        "errors": aside.as_ref().map(|path| path.display().to_string()),
    });
    let would = if args.dry_run { "would move" } else { "moved" };
    let mut text = format!(
        "{} read: {} {would}, {} were there already, {} left alone, {} failed\n",
        amount::count(tally.read),
        amount::count(tally.moved),
        amount::count(tally.already),
        amount::count(tally.left_alone),
        amount::count(tally.failed),
    );
    if let Some(path) = &aside {
        text.push_str(&format!("what failed, with its reason, is in {}\n", path.display()));
    }
    context.console.answer(&json, &text)?;
    Ok(if tally.failed == 0 { Exit::Done } else { Exit::Failed })
}

async fn work(context: &Context, args: &BulkArgs, setup: &Setup, hands: &Hands) -> Outcome<(Tally, Option<PathBuf>)> {
    let carrier = Carrier { setup: setup.clone(), without: None };
    let layout = setup.shapes.shape(Side::Target);
    let only = match &args.filter {
        None => Filter::All,
        Some(text) => query::read(layout, text).map_err(|problem| told("filter", &problem))?.filter,
    };
    if let Some(file) = &args.from {
        let shape = if args.by == "v1" { Shape::V1 } else { Shape::V2 };
        let lines = Lines { setup: setup.clone(), shape };
        let sample = lines.read(file, SAMPLE)?;
        try_sample(context, &carrier, hands, &sample).await?;
        return lines.carry(context, args, &carrier, hands, file).await;
    }
    let fields = set_fields(layout, &args.set)?;
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Apply };
    let bulk = Bulk { carrier: &carrier, mode, only };
    let (mut tally, mut after) = (Tally::default(), None);
    loop {
        let keys =
            bulk.next_unmoved(after).await.map_err(|fault| Failure::new(Exit::Store, "bulk", fault.to_string()))?;
        let Some(last) = keys.last().cloned() else { break };
        after = Some(last);
        for key in keys {
            let line = Line { key, shape: Shape::V1, fields: fields.clone() };
            let moved = bulk.line(&view(hands), &line).await;
            if let Some(why) = tally.add(moved)
                && tally.failed <= SAMPLE as u64
            {
                context.console.note(&json!({ "key": line.key.to_text(), "error": why }).to_string());
            }
            tally.tell(context);
        }
    }
    Ok((tally, None))
}

fn view(hands: &Hands) -> State {
    hands.member.view().state.clone()
}

/// Tries the first lines without writing; when all of them fail, nothing is done.
async fn try_sample(context: &Context, carrier: &Carrier, hands: &Hands, sample: &[Task]) -> Outcome<()> {
    let bulk = Bulk { carrier, mode: Mode::DryRun, only: Filter::All };
    let (mut fails, mut first) = (0, None);
    for task in sample {
        let why = match task {
            Ok(line) => Tally::default().add(bulk.line(&view(hands), line).await),
            Err(why) => Some(why.clone()),
        };
        if let Some(why) = why {
            fails += 1;
            first.get_or_insert(why);
        }
    }
    if let Some(why) = first {
        if fails == sample.len() {
            let message = format!("every one of the first {fails} lines fails: {why}");
            return Err(Failure::new(Exit::Failed, "bulk/sample", message).hint("nothing was written"));
        }
        context.console.note(&format!("{fails} of the first {} lines fail, for example: {why}", sample.len()));
    }
    Ok(())
}

impl Tally {
    /// Counts one record; why it failed, if it did.
    fn add(&mut self, moved: Moved) -> Option<String> {
        self.read += 1;
        match moved {
            Moved::Yes => self.moved += 1,
            Moved::Already => self.already += 1,
            Moved::LeftAlone => self.left_alone += 1,
            Moved::Lacks(fields) => {
                self.failed += 1;
                return Some(format!("it still lacks {}", fields.join(", ")));
            }
            Moved::Failed(error) => {
                self.failed += 1;
                return Some(match error {
                    ServeError::Unprocessable { field, message, .. } if field.is_empty() => message,
                    other => other.to_string(),
                });
            }
        }
        None
    }

    fn tell(&self, context: &Context) {
        if self.read.is_multiple_of(TELL_EVERY) {
            context.console.note(&format!("{} read, {} moved", amount::count(self.read), amount::count(self.moved)));
        }
    }
}

/// `FIELD=VALUE` of v2, each of its field's type.
fn set_fields(layout: &Layout, given: &[String]) -> Outcome<Document> {
    let mut fields = Document::new();
    for one in given {
        let Some((name, text)) = one.split_once('=') else {
            return Err(Failure::new(Exit::Usage, "bulk/set", format!("{one:?} is not FIELD=VALUE")));
        };
        let value = typed_value(layout, name, text).map_err(|why| Failure::new(Exit::Usage, "bulk/set", why))?;
        fields.set(name, value);
    }
    Ok(fields)
}

fn typed_value(layout: &Layout, name: &str, text: &str) -> Result<shearwater_core::Value, String> {
    if let Layout::Rows(table) = layout
        && !table.columns.iter().any(|column| column.name == name)
    {
        return Err(format!("v2 has no field {name:?}"));
    }
    let ty = layout.type_of(&shearwater_core::path::Path::field(name)).unwrap_or(FieldType::Text);
    typed::read(ty, text).map_err(|error| format!("{name}: expected {}", error.expected))
}

fn told(what: &str, problem: &crate::gateway::problem::Problem) -> Failure {
    Failure::new(Exit::Usage, format!("bulk/{what}"), problem.detail.clone())
}

/// The lines of a file.
#[derive(Clone)]
struct Lines {
    setup: Setup,
    shape: Shape,
}

impl Lines {
    /// The first lines of a file, at most so many.
    fn read(&self, file: &Path, lines_max: usize) -> Outcome<Vec<Task>> {
        let mut tasks = Vec::new();
        self.each(file, |_, task| {
            tasks.push(task);
            tasks.len() < lines_max
        })?;
        Ok(tasks)
    }

    /// Calls `take` with each line and its number until that says no.
    fn each(&self, file: &Path, mut take: impl FnMut(u64, Task) -> bool) -> Outcome<()> {
        let unreadable = |error: &std::io::Error| Failure::file("read the lines", file, error);
        let reader = BufReader::new(std::fs::File::open(file).map_err(|error| unreadable(&error))?);
        match file.extension().and_then(std::ffi::OsStr::to_str) {
            Some("csv") => self.csv(file, reader, &mut take),
            Some("jsonl" | "ndjson") => {
                let codec = Codec::of(self.setup.shapes.shape(Side::Target));
                for (at, line) in reader.lines().enumerate() {
                    let line = line.map_err(|error| unreadable(&error))?;
                    if line.trim().is_empty() {
                        continue;
                    }
                    if !take(at as u64 + 1, self.json_line(&codec, &line)) {
                        break;
                    }
                }
                Ok(())
            }
            _ => Err(Failure::new(Exit::Usage, "bulk/form", "the file is neither .csv nor .jsonl")),
        }
    }

    fn csv(&self, file: &Path, reader: impl std::io::Read, take: &mut impl FnMut(u64, Task) -> bool) -> Outcome<()> {
        let broken =
            |error: &csv::Error| Failure::new(Exit::Failed, "bulk/csv", format!("{}: {error}", file.display()));
        let mut reader = csv::Reader::from_reader(reader);
        let header = reader.headers().map_err(|error| broken(&error))?.clone();
        for record in reader.records() {
            let (at, task) = match record {
                Ok(record) => {
                    let at = record.position().map_or(0, csv::Position::line);
                    (at, self.csv_line(&header, &record))
                }
                Err(error) => (error.position().map_or(0, csv::Position::line), Err(error.to_string())),
            };
            if !take(at, task) {
                break;
            }
        }
        Ok(())
    }

    fn key_fields(&self) -> &[String] {
        self.setup.shapes.shape(self.shape.side()).key_fields()
    }

    fn key(&self, texts: &[String]) -> Result<shearwater_core::Key, String> {
        let layout = self.setup.shapes.shape(self.shape.side());
        let segment = texts.iter().map(|text| escaped(text, texts.len())).collect::<Vec<_>>().join(",");
        key_text::read(&key_text::types(layout), &segment).map_err(|problem| problem.detail)
    }

    fn csv_line(&self, header: &csv::StringRecord, record: &csv::StringRecord) -> Task {
        let cell = |name: &str| header.iter().position(|found| found == name).and_then(|at| record.get(at));
        let mut key = Vec::new();
        for name in self.key_fields() {
            match cell(name) {
                Some(text) if !text.is_empty() => key.push(text.to_owned()),
                _ => return Err(format!("the line has no {name}, which is its key")),
            }
        }
        let mut fields = Document::new();
        for (name, text) in header.iter().zip(record.iter()) {
            // An empty cell says nothing about its field.
            if !self.key_fields().iter().any(|key| key == name) && !text.is_empty() {
                fields.set(name, typed_value(self.setup.shapes.shape(Side::Target), name, text)?);
            }
        }
        Ok(Line { key: self.key(&key)?, shape: self.shape, fields })
    }

    fn json_line(&self, codec: &Codec, line: &str) -> Task {
        let mut object: serde_json::Map<String, Json> =
            serde_json::from_str(line).map_err(|error| format!("this is no JSON object: {error}"))?;
        let mut key = Vec::new();
        for name in self.key_fields() {
            match object.remove(name) {
                Some(Json::String(text)) => key.push(text),
                Some(Json::Number(number)) => key.push(number.to_string()),
                _ => return Err(format!("the line has no {name}, which is its key")),
            }
        }
        let rest = serde_json::to_vec(&object).map_err(|error| error.to_string())?;
        let fields = codec.read(Body::Patch, &rest).map_err(|problem| problem.detail)?;
        Ok(Line { key: self.key(&key)?, shape: self.shape, fields })
    }

    /// Moves every line's record; what fails is kept in a file beside it.
    async fn carry(
        &self,
        context: &Context,
        args: &BulkArgs,
        carrier: &Carrier,
        hands: &Hands,
        file: &Path,
    ) -> Outcome<(Tally, Option<PathBuf>)> {
        let mut tally = Tally::default();
        let mode = if args.dry_run { Mode::DryRun } else { Mode::Apply };
        let bulk = Bulk { carrier, mode, only: Filter::All };
        let mut aside = Aside::of(context, file, mode);
        let (sender, mut tasks) = tokio::sync::mpsc::channel(LINES_AHEAD);
        let (lines, path) = (self.clone(), file.to_owned());
        let reading =
            tokio::task::spawn_blocking(move || lines.each(&path, |at, task| sender.blocking_send((at, task)).is_ok()));
        while let Some((at, task)) = tasks.recv().await {
            let why = match task {
                Ok(line) => tally.add(bulk.line(&view(hands), &line).await),
                Err(why) => {
                    tally.read += 1;
                    tally.failed += 1;
                    Some(why)
                }
            };
            if let Some(why) = why {
                aside.keep(&json!({ "line": at, "error": why }))?;
            }
            tally.tell(context);
        }
        reading.await.map_err(|error| Failure::new(Exit::Failed, "bulk/read", error.to_string()))??;
        Ok((tally, aside.file()))
    }
}

/// Where lines that failed are kept: in a file beside theirs, or, when nothing
/// is done, only the first of them on the console.
struct Aside<'a> {
    context: &'a Context,
    path: PathBuf,
    mode: Mode,
    told: usize,
    out: Option<std::io::BufWriter<std::fs::File>>,
}

impl<'a> Aside<'a> {
    fn of(context: &'a Context, file: &Path, mode: Mode) -> Aside<'a> {
        let path = file.with_extension(match file.extension().and_then(std::ffi::OsStr::to_str) {
            Some(extension) => format!("{extension}.errors.jsonl"),
            None => "errors.jsonl".to_owned(),
        });
        Aside { context, path, mode, told: 0, out: None }
    }

    fn keep(&mut self, failure: &Json) -> Outcome<()> {
        if self.mode == Mode::DryRun {
            self.told += 1;
            if self.told <= SAMPLE {
                self.context.console.note(&failure.to_string());
            }
            return Ok(());
        }
        let unwritable = |error: &std::io::Error| Failure::file("keep what failed", &self.path, error);
        let out = match &mut self.out {
            Some(out) => out,
            None => {
                let file = std::fs::File::create(&self.path).map_err(|error| unwritable(&error))?;
                self.out.insert(std::io::BufWriter::new(file))
            }
        };
        // Written through: an interruption keeps what was told so far.
        writeln!(out, "{failure}").and_then(|()| out.flush()).map_err(|error| unwritable(&error))
    }

    fn file(self) -> Option<PathBuf> {
        self.out.map(|_| self.path)
    }
}

/// A part of a key as a path of the gateway has it.
fn escaped(part: &str, parts: usize) -> String {
    if parts == 1 { part.to_owned() } else { part.replace('\\', "\\\\").replace(',', "\\,") }
}
