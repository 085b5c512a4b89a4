//! `demo`: a whole migration under load, on this machine, judged.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::exit::{Exit, Failure, Outcome};
use crate::demo::{DemoOptions, Output};
use crate::render::Format;

/// Arguments of `demo`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater demo\n  shearwater demo --records 100000 --clients 32 --json")]
pub struct Demo {
    /// Records in the legacy store
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    records: u32,
    /// Clients of the gateway
    #[arg(long, value_name = "C", default_value_t = 8)]
    clients: u32,
    /// The seed of data and choices; without it a new one, which is told
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Leave stores, spec and journal in this directory
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
        records: args.records,
        clients: args.clients,
        seed: args.seed,
        keep: args.keep,
        output,
        ..DemoOptions::default()
    };
    let report = crate::demo::run(options)
        .await
        .map_err(|error| Failure::new(Exit::Failed, "demo/failed", error.to_string()))?;
    Ok(if report.passed() { Exit::Done } else { Exit::Mismatches })
}
