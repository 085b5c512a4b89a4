//! `demo`: a whole migration under load, between any two stores, judged.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::exit::{Exit, Failure, Outcome};
use crate::demo::plot::{SOURCE_VARIABLE, TARGET_VARIABLE};
use crate::demo::{DemoOptions, Output};
use crate::render::Format;

/// Arguments of `demo`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater demo\n  shearwater demo --kind absorb --records 2000\n  shearwater demo --records 100000 --clients 32 --json\n  \
    shearwater demo --source mysql://me@localhost/legacy --target postgres://me@localhost/app\n  \
    shearwater demo --source postgres://me@localhost/legacy --target 'mongodb://localhost/app?replicaSet=rs0'"
)]
pub struct Demo {
    /// The kind of migration that is played
    #[arg(long, value_name = "KIND", default_value = "move", value_parser = ["move", "absorb"])]
    kind: String,
    /// A database for the legacy store, without tables of the demo's names; it is left without
    /// them [default: a SQLite file]
    #[arg(long, value_name = "URL", env = SOURCE_VARIABLE, hide_env_values = true)]
    source: Option<String>,
    /// The same for the new store [default: a SQLite file]
    #[arg(long, value_name = "URL", env = TARGET_VARIABLE, hide_env_values = true)]
    target: Option<String>,
    /// Records in the legacy store
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    records: u32,
    /// Clients of the gateway
    #[arg(long, value_name = "C", default_value_t = 8)]
    clients: u32,
    /// The seed of data and choices; without it a new one, which is told
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Leave spec, journal and SQLite files in this directory, and tables where they are
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the demo.
pub async fn run(context: &Context, args: Demo) -> Outcome<Exit> {
    let output = match context.console.format {
        Format::Text => Output::Table,
        Format::Json => Output::Json,
    };
    let options = DemoOptions {
        source: args.source,
        target: args.target,
        journal: context.journal_flag.clone(),
        records: args.records,
        clients: args.clients,
        seed: args.seed,
        keep: args.keep,
        output,
        ..DemoOptions::default()
    };
    if args.kind == "absorb" {
        let report = crate::demo::absorb::run(options)
            .await
            .map_err(|error| Failure::new(Exit::Failed, "demo/failed", error.to_string()))?;
        return Ok(if report.passed() { Exit::Done } else { Exit::Mismatches });
    }
    let report = crate::demo::run(options)
        .await
        .map_err(|error| Failure::new(Exit::Failed, "demo/failed", error.to_string()))?;
    Ok(if report.passed() { Exit::Done } else { Exit::Mismatches })
}
