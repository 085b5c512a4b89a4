//! `serve` and `demo`.

use clap::Args;

use super::Context;
use super::exit::{Exit, Failure, Outcome};

/// Arguments of `serve`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater serve\n  shearwater serve --gateway 127.0.0.1:8080 --control 127.0.0.1:8081"
)]
pub struct Serve {}

/// Arguments of `demo`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater demo\n  shearwater demo --records 100000 --clients 32 --json")]
pub struct Demo {}

/// Serves until told to stop.
pub async fn run(_context: &Context, _args: Serve) -> Outcome<Exit> {
    Err(Failure::new(Exit::Failed, "serve/absent", "this build cannot serve yet"))
}

/// Runs the demo.
pub async fn demo(_context: &Context, _args: Demo) -> Outcome<Exit> {
    Err(Failure::new(Exit::Failed, "demo/absent", "this build has no demo yet"))
}
