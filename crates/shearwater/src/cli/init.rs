//! `init`: a spec from what the source holds.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use shearwater_core::census::{Census, Proposal, propose};
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_core::spec::did_you_mean;
use shearwater_core::store::{ChunkMax, InspectedTable, Inspection, Store};
use shearwater_stores::Create;

use super::Context;
use super::exit::{Exit, Failure, Outcome};
use crate::render::{amount, console::Format};
use crate::wiring;

/// The JSON column that is looked for first.
const DOCUMENT_DEFAULT: &str = "doc";

/// Records and bytes read at once.
const CHUNK: ChunkMax = ChunkMax { records: 1_000, bytes: 4 * 1024 * 1024 };

/// Arguments of `init`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater init sqlite:legacy.db sqlite:app.db > users.toml\n  shearwater init sqlite:legacy.db sqlite:app.db --table users --key _id --output users.toml"
)]
pub struct Init {
    /// The source's URL
    source: String,
    /// The target's URL
    target: String,
    /// The source's table; needed when there are several
    #[arg(long)]
    table: Option<String>,
    /// The key field; repeat it for a key of several fields. Without it the table's own key
    #[arg(long, value_name = "FIELD")]
    key: Vec<String>,
    /// The source's JSON column
    #[arg(long, value_name = "COLUMN")]
    document: Option<String>,
    /// The target's table; without it the source's name
    #[arg(long, value_name = "TABLE")]
    target_table: Option<String>,
    /// The entity's name in the gateway's paths; without it the table's
    #[arg(long)]
    entity: Option<String>,
    /// Look at so many records only; without it at all of them
    #[arg(long, value_name = "N")]
    sample: Option<u64>,
    /// Write the spec into this file, which must not be there yet
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes a spec.
pub async fn run(context: &Context, args: Init) -> Outcome<Exit> {
    let look = shearwater_stores::inspect(&args.source).await?;
    let table = choose_table(&look, args.table.as_deref())?;
    let document = choose_document(table, args.document.as_deref())?;
    let key = choose_key(table, &args.key)?;
    let layout = DocumentLayout { table: table.name.clone(), key: key.clone(), document: document.clone() };
    let store = shearwater_stores::open(&args.source, Layout::Document(layout), Create::Never).await?;
    let (census, unreadable) = count(store.as_ref(), args.sample.unwrap_or(u64::MAX)).await?;
    if census.documents() == 0 {
        return Err(Failure::new(Exit::Problems, "init/empty", format!("table `{}` has no records", table.name))
            .hint("there is nothing to make a spec from"));
    }
    let entity = args.entity.unwrap_or_else(|| entity_name(&table.name));
    let proposal = Proposal {
        migration: format!("{}-move", entity.to_lowercase().replace('_', "-")),
        entity,
        source_url: args.source.clone(),
        source_table: table.name.clone(),
        source_key: key,
        source_document: (document != DOCUMENT_DEFAULT).then_some(document),
        target_url: args.target.clone(),
        target_table: args.target_table.unwrap_or_else(|| table.name.clone()),
    };
    let text = propose(&census, &proposal);
    // Whatever the records hold: what is written must be a spec that is read.
    wiring::check_spec("the proposed spec", text.clone(), context.console.colour)?;
    if unreadable > 0 {
        context
            .console
            .note(&format!("{} cannot be read and are not counted", amount::counted(unreadable, "row", "rows")));
    }
    answer(context, args.output.as_deref(), &text, &census)
}

fn answer(context: &Context, output: Option<&Path>, text: &str, census: &Census) -> Outcome<Exit> {
    let records = census.documents();
    match output {
        Some(file) => {
            let failed = |error: std::io::Error| Failure::file("write the spec", file, &error);
            // A spec that somebody worked on is not written over.
            let mut out = std::fs::OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
            out.write_all(text.as_bytes()).map_err(failed)?;
            let next = format!(
                "{} looked at; the spec is in {}\nnext: shearwater plan {}\n",
                amount::counted(records, "record", "records"),
                file.display(),
                file.display()
            );
            context.console.answer(&json!({ "spec": file.display().to_string(), "records": records }), &next)?;
        }
        None if context.console.format == Format::Json => {
            context.console.answer(&json!({ "spec": text, "records": records }), "")?;
        }
        None => context.console.raw(text)?,
    }
    Ok(Exit::Done)
}

fn choose_table<'a>(look: &'a Inspection, named: Option<&str>) -> Outcome<&'a InspectedTable> {
    let names: Vec<&str> = look.tables.iter().map(|table| table.name.as_str()).collect();
    let failure = |message: String, hint: String| Failure::new(Exit::Problems, "init/table", message).hint(hint);
    let there = format!("tables there: {}", names.join(", "));
    match (named, look.tables.as_slice()) {
        (Some(name), tables) => tables.iter().find(|table| table.name == name).ok_or_else(|| {
            let hint = did_you_mean(name, &names).map_or(there, |meant| format!("did you mean `{meant}`?"));
            failure(format!("the source has no table `{name}`"), hint)
        }),
        (None, [only]) => Ok(only),
        (None, []) => Err(failure("the source has no tables".to_owned(), "check the URL".to_owned())),
        (None, _) => {
            Err(failure("the source has several tables".to_owned(), format!("name one with --table; {there}")))
        }
    }
}

fn choose_document(table: &InspectedTable, named: Option<&str>) -> Outcome<String> {
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    let wanted = named.unwrap_or(DOCUMENT_DEFAULT);
    if names.contains(&wanted) {
        return Ok(wanted.to_owned());
    }
    let message = format!("table `{}` has no column `{wanted}` with documents", table.name);
    let hint = format!(
        "name the JSON column with --document; columns there: {}. A table of plain columns needs a spec by hand: [source.columns]",
        names.join(", ")
    );
    Err(Failure::new(Exit::Problems, "init/document", message).hint(hint))
}

fn choose_key(table: &InspectedTable, named: &[String]) -> Outcome<Vec<String>> {
    let known = |field: &String| table.columns.iter().any(|column| column.name == *field);
    if let Some(field) = named.iter().find(|field| !known(field)) {
        let message = format!("table `{}` has no column `{field}`", table.name);
        return Err(Failure::new(Exit::Problems, "init/key", message).hint("the key's fields are columns of their own"));
    }
    let own = [&table.key].into_iter().chain(&table.unique).find(|key| !key.is_empty());
    match (named, own) {
        ([], Some(key)) => Ok(key.clone()),
        ([], None) => Err(Failure::new(Exit::Problems, "init/key", format!("table `{}` has no key", table.name))
            .hint("name its key with --key FIELD")),
        (named, _) => Ok(named.to_vec()),
    }
}

/// Counts records; those that cannot be read are counted apart.
async fn count(store: &dyn Store, records_max: u64) -> Outcome<(Census, u64)> {
    let (mut census, mut unreadable) = (Census::new(), 0);
    for range in store.split(1).await? {
        let mut after = None;
        loop {
            let chunk = store.scan(&range, after.as_ref(), CHUNK).await?;
            for record in chunk.records {
                match record {
                    Ok(fetched) => fetched.image.iter().for_each(|image| census.add(&image.record)),
                    Err(_) => unreadable += 1,
                }
                if census.documents() >= records_max {
                    return Ok((census, unreadable));
                }
            }
            after = chunk.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok((census, unreadable))
}

/// A table's name as an entity's: what cannot stand in a path becomes a hyphen.
fn entity_name(table: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name: String = table.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => name,
        false => format!("e{name}"),
    }
}
