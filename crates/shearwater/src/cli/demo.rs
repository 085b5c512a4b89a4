//! `demo`: a whole migration under load, on this machine, judged.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::exit::{Exit, Failure, Outcome};

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
pub async fn run(_context: &Context, args: Demo) -> Outcome<Exit> {
    let _ = (args.records, args.clients, args.seed, args.keep);
    Err(Failure::new(Exit::Failed, "demo/absent", "this build has no demo yet"))
}
