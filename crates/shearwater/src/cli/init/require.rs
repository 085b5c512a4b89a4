//! `init --kind require`: a spec of a new required field, with the hazards of its table.

use clap::Args;
use shearwater_core::tables::{ProposedValue, RequireProposal, propose_require};

use super::super::exit::{Exit, Failure, Outcome};
use super::super::require_plan;
use super::{Context, Init, Proposed, answer, choose_table, entity_name};
use crate::wiring::{self, AnySpec};

/// The new field.
#[derive(Args)]
#[command(next_help_heading = "A required field (--kind require)")]
pub(super) struct Field {
    /// The store of the table
    #[arg(long, value_name = "URL", conflicts_with_all = ["source", "target", "all", "document", "target_table", "sample"])]
    store: Option<String>,
    /// The new field's name
    #[arg(long, value_name = "FIELD", requires = "store")]
    field: Option<String>,
    /// Its type: text, int, bool, decimal, float, date, time, timestamp, instant, uuid, bytes, json
    #[arg(long = "type", value_name = "TYPE", default_value = "text", requires = "store")]
    ty: String,
    /// A decimal's digits in all
    #[arg(long, requires = "scale")]
    precision: Option<u64>,
    /// A decimal's digits after the point
    #[arg(long, requires = "precision")]
    scale: Option<u64>,
    /// The only values of a text, with commas between them
    #[arg(long, value_delimiter = ',', requires = "store")]
    values: Vec<String>,
    /// What every record without the field gets
    #[arg(long, conflicts_with = "sql", requires = "store")]
    value: Option<String>,
    /// An expression over a record's other fields that makes it
    #[arg(long, value_name = "EXPRESSION", requires = "store")]
    sql: Option<String>,
    /// What stands for NULL of the expression
    #[arg(long, requires = "sql")]
    fallback: Option<String>,
}

/// Writes a spec of a new required field.
pub(super) async fn run(context: &Context, args: &Init) -> Outcome<Exit> {
    let field = &args.field;
    let usage = |message: &str, hint: &str| Failure::new(Exit::Usage, "init/usage", message).hint(hint);
    let Some(url) = &field.store else {
        return Err(usage("a required field has one store", "--kind require --store URL"));
    };
    let Some(name) = &field.field else {
        return Err(usage("the new field has no name", "--field status"));
    };
    let value = match (&field.value, &field.sql) {
        (Some(value), _) => ProposedValue::Constant(value),
        (None, Some(sql)) => ProposedValue::Sql { sql, fallback: field.fallback.as_deref() },
        (None, None) => {
            return Err(usage(
                "what do records without the field get?",
                "--value active, or --sql \"CASE WHEN active THEN 'active' ELSE 'blocked' END\"",
            ));
        }
    };
    let look = shearwater_stores::inspect(url).await.map_err(|error| Failure::from(error).within("the store"))?;
    let table = choose_table("the store", &look, args.table.as_deref())?;
    let entity = args.entity.clone().unwrap_or_else(|| entity_name(&table.name));
    let plain = |text: &str| text.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let mut proposal = RequireProposal {
        migration: format!("{}-{}", plain(&entity), plain(name)),
        entity,
        url,
        key: if args.key.is_empty() { table.key.clone() } else { args.key.clone() },
        name,
        ty: &field.ty,
        digits: field.precision.zip(field.scale),
        values: &field.values,
        value,
        hazards: &[],
    };
    // Whatever the store holds: what is written must be a spec that is read, and that the table takes.
    let text = propose_require(table, &proposal);
    let AnySpec::Require(file) = wiring::check_spec("the proposed spec", text, context.console.colour)? else {
        return Err(Failure::new(Exit::Problems, "init/kind", "the proposed spec is of another kind"));
    };
    let hazards = require_plan::hazards(context, &file).await?;
    proposal.hazards = &hazards;
    let spec = Proposed { text: propose_require(table, &proposal), records: table.estimate.records };
    answer(context, args.output.as_deref(), &spec)
}
