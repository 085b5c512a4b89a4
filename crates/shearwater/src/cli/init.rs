//! `init`: a spec from what the source holds.

mod require;
mod tables;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;
use shearwater_core::census::{Census, Proposal, propose};
use shearwater_core::error::StoreErrorKind;
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_core::spec::did_you_mean;
use shearwater_core::store::{ChunkMax, Form, InspectedTable, Inspection, Store};
use shearwater_stores::Create;

use super::Context;
use super::exit::{Exit, Failure, Outcome};
use crate::render::{amount, console::Format};
use crate::wiring;

/// The JSON column that is looked for first.
const DOCUMENT_DEFAULT: &str = "doc";

/// Records and bytes read at once.
const CHUNK: ChunkMax = ChunkMax { records: 1_000, bytes: 4 * 1024 * 1024 };

/// What the spec is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Records move to another store
    Move,
    /// A table gets a new required field
    Require,
}

/// Arguments of `init`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater init sqlite:legacy.db sqlite:app.db > users.toml\n  shearwater init sqlite:legacy.db sqlite:app.db --table users --key _id --output users.toml\n  shearwater init sqlite:legacy.db sqlite:app.db --all --output specs\n  shearwater init --kind require --store sqlite:app.db --table users --field status --values active,blocked --value active\n  shearwater init --kind require --store sqlite:app.db --table users --field total --type decimal --precision 12 --scale 2 --sql 'paid + owed' --fallback 0"
)]
pub struct Init {
    /// The source's URL
    #[arg(required_unless_present = "store")]
    source: Option<String>,
    /// The target's URL
    #[arg(required_unless_present = "store")]
    target: Option<String>,
    /// What the spec is for
    #[arg(long, value_enum, default_value_t = Kind::Move)]
    kind: Kind,
    #[command(flatten)]
    field: require::Field,
    /// The source's table; needed when there are several
    #[arg(long)]
    table: Option<String>,
    /// Write a spec for every table into the folder --output, numbered in the order in
    /// which tables that others refer to come first
    #[arg(long, requires = "output", conflicts_with_all = ["table", "key", "document", "target_table", "entity", "sample"])]
    all: bool,
    /// The key field; repeat it for a key of several fields. Without it the table's own key
    #[arg(long, value_name = "FIELD")]
    key: Vec<String>,
    /// The source's JSON column, for a table of documents. A table of plain columns has none
    #[arg(long, value_name = "COLUMN")]
    document: Option<String>,
    /// The target's table; without it the source's name
    #[arg(long, value_name = "TABLE")]
    target_table: Option<String>,
    /// The entity's name in the gateway's paths; without it the table's
    #[arg(long)]
    entity: Option<String>,
    /// Look at so many documents only; without it at all of them
    #[arg(long, value_name = "N")]
    sample: Option<u64>,
    /// Write the spec into this file, which must not be there yet; with --all, a folder
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes a spec.
pub async fn run(context: &Context, args: Init) -> Outcome<Exit> {
    let (source, target_url) = match (args.kind, &args.source, &args.target) {
        (Kind::Require, ..) => return require::run(context, &args).await,
        (Kind::Move, Some(source), Some(target)) => (source, target),
        (Kind::Move, ..) => {
            return Err(Failure::new(Exit::Usage, "init/usage", "--store is for a required field: --kind require")
                .hint("a move has two stores: shearwater init SOURCE TARGET"));
        }
    };
    let look = shearwater_stores::inspect(source).await.map_err(|error| Failure::from(error).within("the source"))?;
    let stores = Stores { source_url: source, target_url, source: &look, target: target(target_url).await? };
    if let (true, Some(folder)) = (args.all, &args.output) {
        return tables::all(context, &stores, folder).await;
    }
    let table = choose_table("the source", &look, args.table.as_deref())?;
    let names = Names::of(table, &args)?;
    let spec = match choose_document(table, args.document.as_deref())? {
        Some(document) => documents(context, &stores, table, names, document, args.sample.unwrap_or(u64::MAX)).await?,
        None => tables::one(&stores, table, names)?,
    };
    // Whatever the source holds: what is written must be a spec that is read.
    wiring::check_spec("the proposed spec", spec.text.clone(), context.console.colour)?;
    answer(context, args.output.as_deref(), &spec)
}

/// Both stores, as far as they are there.
struct Stores<'a> {
    source_url: &'a str,
    target_url: &'a str,
    source: &'a Inspection,
    /// `None`: there is no such database yet.
    target: Option<Inspection>,
}

async fn target(url: &str) -> Outcome<Option<Inspection>> {
    match shearwater_stores::inspect(url).await {
        Ok(look) => Ok(Some(look)),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::from(error).within("the target")),
    }
}

/// How things are to be called.
struct Names {
    key: Vec<String>,
    entity: String,
    /// `None`: as in the source, or as what is there already.
    target_table: Option<String>,
}

impl Names {
    fn of(table: &InspectedTable, args: &Init) -> Outcome<Names> {
        Ok(Names {
            key: choose_key(table, &args.key)?,
            entity: args.entity.clone().unwrap_or_else(|| entity_name(&table.name)),
            target_table: args.target_table.clone(),
        })
    }

    fn migration(&self) -> String {
        format!("{}-move", self.entity.to_lowercase().replace('_', "-"))
    }
}

/// A proposed spec, and how many records it is about.
struct Proposed {
    text: String,
    records: u64,
}

/// A spec for a table of documents.
async fn documents(
    context: &Context,
    stores: &Stores<'_>,
    table: &InspectedTable,
    names: Names,
    document: String,
    records_max: u64,
) -> Outcome<Proposed> {
    let layout = DocumentLayout { table: table.name.clone(), key: names.key.clone(), document: document.clone() };
    let store = shearwater_stores::open(stores.source_url, Layout::Document(layout), Create::Never).await?;
    let (census, unreadable) = count(store.as_ref(), records_max).await?;
    if census.documents() == 0 {
        return Err(Failure::new(Exit::Problems, "init/empty", format!("table `{}` has no records", table.name))
            .hint("there is nothing to make a spec from"));
    }
    let proposal = Proposal {
        migration: names.migration(),
        entity: names.entity,
        source_url: stores.source_url.to_owned(),
        source_table: table.name.clone(),
        source_key: names.key,
        source_document: (document != DOCUMENT_DEFAULT).then_some(document),
        target_url: stores.target_url.to_owned(),
        target_table: names.target_table.unwrap_or_else(|| table.name.clone()),
        target_form: shearwater_stores::form(stores.target_url)?,
    };
    if unreadable > 0 {
        context
            .console
            .note(&format!("{} cannot be read and are not counted", amount::counted(unreadable, "row", "rows")));
    }
    Ok(Proposed { text: propose(&census, &proposal), records: census.documents() })
}

/// A spec that somebody worked on is not written over.
fn write_new(file: &Path, text: &str) -> Outcome<()> {
    let failed = |error: std::io::Error| Failure::file("write the spec", file, &error);
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    out.write_all(text.as_bytes()).map_err(failed)
}

fn answer(context: &Context, output: Option<&Path>, spec: &Proposed) -> Outcome<Exit> {
    let Proposed { text, records } = spec;
    let records = *records;
    match output {
        Some(file) => {
            write_new(file, text)?;
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

fn choose_table<'a>(whose: &str, look: &'a Inspection, named: Option<&str>) -> Outcome<&'a InspectedTable> {
    let names: Vec<&str> = look.tables.iter().map(|table| table.name.as_str()).collect();
    let failure = |message: String, hint: String| Failure::new(Exit::Problems, "init/table", message).hint(hint);
    let there = format!("tables there: {}", names.join(", "));
    match (named, look.tables.as_slice()) {
        (Some(name), tables) => tables.iter().find(|table| table.name == name).ok_or_else(|| {
            let hint = did_you_mean(name, &names).map_or(there, |meant| format!("did you mean `{meant}`?"));
            failure(format!("{whose} has no table `{name}`"), hint)
        }),
        (None, [only]) => Ok(only),
        (None, []) => Err(failure(format!("{whose} has no tables"), "check the URL".to_owned())),
        (None, _) => Err(failure(format!("{whose} has several tables"), format!("name one with --table; {there}"))),
    }
}

/// The column with documents; `None`: the table has plain columns.
fn choose_document(table: &InspectedTable, named: Option<&str>) -> Outcome<Option<String>> {
    let Some(wanted) = named else { return Ok(document_of(table).map(str::to_owned)) };
    if table.form == Form::Documents {
        let message = format!("`{}` holds documents as they are, in no column", table.name);
        return Err(Failure::new(Exit::Problems, "init/document", message).hint("leave --document out"));
    }
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    if names.contains(&wanted) {
        return Ok(Some(wanted.to_owned()));
    }
    let message = format!("table `{}` has no column `{wanted}` with documents", table.name);
    let hint = format!("columns there: {}; without --document they are taken as plain columns", names.join(", "));
    Err(Failure::new(Exit::Problems, "init/document", message).hint(hint))
}

/// The JSON column of a table that has nothing else but its key.
fn document_of(table: &InspectedTable) -> Option<&str> {
    if table.form == Form::Documents {
        return Some(DOCUMENT_DEFAULT);
    }
    let key = own_key(table)?;
    let mut others = table.columns.iter().filter(|column| !key.contains(&column.name));
    match (others.next(), others.next()) {
        (Some(only), None) if only.name == DOCUMENT_DEFAULT => Some(&only.name),
        _ => None,
    }
}

/// The primary key, or a unique one whose columns are never NULL.
fn own_key(table: &InspectedTable) -> Option<&Vec<String>> {
    let never_null = |key: &&Vec<String>| {
        key.iter().all(|name| table.columns.iter().any(|column| column.name == *name && !column.nullable))
    };
    let primary = Some(&table.key).filter(|key| !key.is_empty());
    primary.or_else(|| table.unique.iter().find(never_null))
}

fn choose_key(table: &InspectedTable, named: &[String]) -> Outcome<Vec<String>> {
    let known = |field: &String| table.columns.iter().any(|column| column.name == *field);
    if let Some(field) = named.iter().find(|field| !known(field)) {
        let message = format!("table `{}` has no column `{field}`", table.name);
        return Err(Failure::new(Exit::Problems, "init/key", message).hint("the key's fields are columns of their own"));
    }
    match (named, own_key(table)) {
        ([], Some(key)) => Ok(key.clone()),
        ([], None) => Err(Failure::new(Exit::Problems, "init/key", format!("table `{}` has no key", table.name))
            .hint("name its key with --key FIELD; plan wants a unique index over it")),
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
