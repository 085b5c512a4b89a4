//! `init`: a spec from what the source holds.

use clap::Args;

use super::Context;
use super::exit::{Exit, Failure, Outcome};

/// Arguments of `init`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater init sqlite:legacy.db sqlite:app.db > users.toml")]
pub struct Init {
    /// The source's URL
    source: String,
    /// The target's URL
    target: String,
}

/// Writes a spec.
pub async fn run(_context: &Context, _args: Init) -> Outcome<Exit> {
    Err(Failure::new(Exit::Failed, "init/absent", "this build cannot write a spec yet"))
}
