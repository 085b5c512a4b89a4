//! `export`: records as JSON lines in key order.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use shearwater_core::limits::LIST_RECORDS_MAX;
use shearwater_core::query::{Filter, Keyset, ListQuery};
use shearwater_core::shape::{DocumentLayout, Layout};
use shearwater_core::store::{Side, Store};
use shearwater_core::value::json;
use shearwater_stores::Create;

use super::Context;
use super::exit::{Exit, Failure, Outcome};
use crate::wiring::{self, Which};

/// Arguments of `export`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater export users-to-tables > users.jsonl\n  shearwater export users-to-tables --side target --shape v1\n  shearwater export sqlite:legacy.db --table users --key _id"
)]
pub struct Export {
    /// A migration of the journal, or a store's URL
    #[arg(value_name = "URL|NAME")]
    what: String,
    /// Which store of the migration; without it the one that decides now
    #[arg(long, value_enum)]
    side: Option<SideArg>,
    /// In which shape; without it the store's own
    #[arg(long, value_enum)]
    shape: Option<ShapeArg>,
    /// The table, for a URL
    #[arg(long)]
    table: Option<String>,
    /// The key field, for a URL; repeat it for a key of several fields
    #[arg(long, value_name = "FIELD")]
    key: Vec<String>,
    /// The JSON column, for a URL
    #[arg(long, value_name = "COLUMN", default_value = "doc")]
    document: String,
}

/// Which store.
#[derive(Clone, Copy, ValueEnum)]
enum SideArg {
    Source,
    Target,
}

/// Which shape.
#[derive(Clone, Copy, ValueEnum)]
enum ShapeArg {
    /// The source's
    V1,
    /// The target's
    V2,
}

/// Writes the records of a store.
pub async fn run(context: &Context, args: Export) -> Outcome<Exit> {
    match args.what.contains(':') {
        true => of_url(context, args).await,
        false => of_migration(context, args).await,
    }
}

async fn of_url(context: &Context, args: Export) -> Outcome<Exit> {
    let (Some(table), false) = (args.table, args.key.is_empty()) else {
        return Err(Failure::new(Exit::Usage, "usage", "a URL needs --table and --key")
            .hint("shearwater export sqlite:legacy.db --table users --key _id"));
    };
    if args.side.is_some() || args.shape.is_some() {
        return Err(Failure::new(Exit::Usage, "usage", "--side and --shape go with the name of a migration"));
    }
    let layout = Layout::Document(DocumentLayout { table, key: args.key, document: args.document });
    let store = shearwater_stores::open(&args.what, layout, Create::Never).await?;
    write_all(context, store, |record| Ok(json::document_to_string(record))).await
}

async fn of_migration(context: &Context, args: Export) -> Outcome<Exit> {
    let journals = wiring::open_journal(&context.journal).await?;
    let journal = wiring::migration(&journals, Some(&args.what)).await?;
    let state = wiring::state(journal.as_ref()).await?;
    let spec = wiring::spec_of(journal.as_ref(), context.console.colour).await?.into_move()?;
    let side = match (args.side, state.authority()) {
        (Some(SideArg::Source), _) | (None, Some(Side::Source) | None) => Side::Source,
        (Some(SideArg::Target), _) | (None, Some(Side::Target)) => Side::Target,
    };
    let towards = match args.shape {
        None => side,
        Some(ShapeArg::V1) => Side::Source,
        Some(ShapeArg::V2) => Side::Target,
    };
    let which = match side {
        Side::Source => Which::Source,
        Side::Target => Which::Target,
    };
    let store = wiring::open_store(&spec, which).await?;
    if side == towards {
        return write_all(context, store, |record| Ok(json::document_to_string(record))).await;
    }
    let mapping = spec.mapping.clone();
    write_all(context, store, move |record| {
        let image = shearwater_core::store::Image::of(record.clone());
        let mapped = mapping.towards(towards, &image).map_err(|error| Failure {
            hint: error.hint.clone(),
            ..Failure::new(Exit::Failed, error.code, error.to_string())
        })?;
        Ok(json::document_to_string(&mapped.record))
    })
    .await
}

async fn write_all(
    context: &Context,
    store: Arc<dyn Store>,
    line: impl Fn(&shearwater_core::Document) -> Outcome<String>,
) -> Outcome<Exit> {
    let mut after: Option<Keyset> = None;
    loop {
        let query = ListQuery { filter: Filter::All, order: Vec::new(), after, limit: LIST_RECORDS_MAX };
        let page = store.list(&query).await?;
        let mut lines = String::new();
        for image in page.records.iter().filter_map(|fetched| fetched.image.as_ref()) {
            lines.push_str(&line(&image.record)?);
            lines.push('\n');
        }
        context.console.raw(&lines)?;
        after = page.records.last().map(|last| Keyset { values: Vec::new(), key: last.key.clone() });
        if !page.more || after.is_none() {
            return Ok(Exit::Done);
        }
    }
}
