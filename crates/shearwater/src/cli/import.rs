//! `import`: JSON records into a SQLite table of the `document` layout.
//!
//! The file is read twice. The first reading checks everything and writes
//! nothing, so a file with bad lines leaves the store as it was. The second
//! writes in chunks, each a transaction; records that are there already with
//! the same content count as unchanged, so an interrupted import goes on when
//! it is run again.

mod job;
mod spooled;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path as FilePath, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value as Json, json};
use shearwater_core::import::Input;
use shearwater_core::path::Path;
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_stores::Create;

use self::job::{Bad, Job, Tally};
use self::spooled::{Spooled, form, unit};
use super::Context;
use super::exit::{Exit, Failure, Outcome};
use crate::render::amount;

/// Bad records that are told one by one; more are only counted.
const BAD_SHOWN_MAX: usize = 20;

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
