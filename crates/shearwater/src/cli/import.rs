//! `import`: JSON records into a SQLite table.

use clap::Args;

use super::Context;
use super::exit::{Exit, Failure, Outcome};

/// Arguments of `import`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater import users.jsonl --into sqlite:legacy.db --table users --key _id")]
pub struct Import {
    /// The file, or - for standard input
    file: String,
}

/// Reads records into a store.
pub async fn run(_context: &Context, _args: Import) -> Outcome<Exit> {
    Err(Failure::new(Exit::Failed, "import/absent", "this build cannot import yet"))
}
