//! The command line: one file for each group of commands.

pub mod absorb;
mod demo;
pub mod exit;
mod export;
mod history;
mod import;
mod init;
mod letters;
mod plan;
mod rehearsal;
mod require;
mod require_plan;
mod scratch;
mod serve;
mod shell;
mod start;
mod status;
mod steps;
mod verify;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use shearwater_stores::journal::JournalPlace;

use crate::render::{Console, Format};
use exit::{Exit, Failure, Outcome, exits_text};

/// Online data migrations that you can take back.
///
/// A gateway keeps an entity's HTTP API answering while an engine changes the
/// entity's home underneath it: copies, keeps both stores equal, verifies, cuts
/// over, and goes back whenever you say so, until you say `complete`.
#[derive(Parser)]
#[command(name = "shearwater", version, max_term_width = 100, after_help = exits_text())]
pub struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    verb: Verb,
}

/// What every command takes.
#[derive(Args, Clone)]
pub struct Shared {
    /// Answer with one JSON object, errors included
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    /// The journal, the one truth about migrations: PATH, or postgres://… for processes on
    /// several machines [env: SHEARWATER_JOURNAL] [default: ./shearwater.journal]
    // Read by hand: clap would show a password in its messages.
    #[arg(long, global = true, value_name = "PLACE", help_heading = "Everywhere")]
    journal: Option<String>,
    /// The migration, when the journal has several
    #[arg(long, global = true, value_name = "NAME", help_heading = "Everywhere")]
    migration: Option<String>,
}

/// The commands.
#[derive(Subcommand)]
enum Verb {
    /// Look at a store, and write a spec with a line for each field found
    Init(init::Init),
    /// Check a spec against the live stores; leaves nothing behind in them
    Plan(plan::PlanArgs),
    /// Write the migration down and begin: for a move, dual-write and the copy of what exists
    Start(start::Start),
    /// Serve the gateway and the control API, and do the engine's work
    Serve(serve::Serve),
    /// Only copy: idempotent, resumable, without dual writes
    Copy(start::Copy),
    /// Where the migration stands, and what is next
    Status(status::Status),
    /// To the next phase, if its gates are open
    Advance(steps::Advance),
    /// Read a part of the keys from the target
    Ramp(steps::Ramp),
    /// Back, in any phase before complete; loses nothing
    Rollback(steps::Rollback),
    /// Finish: remove what Shearwater put into the stores. The last exit
    Complete(steps::Complete),
    /// Move records of an absorb in bulk: from a file's lines, or by a rule
    Bulk(absorb::bulk::BulkArgs),
    /// Who was deactivated for inactivity in an absorb, and the way to undo it
    Deactivations(absorb::deactivations::DeactivationsArgs),
    /// Give the migration up, and remove what Shearwater put into the stores
    Withdraw(steps::Withdraw),
    /// Compare every record of both stores
    Verify(verify::Verify),
    /// Rewrite what the last verification found; says only what it would do, unless told to apply
    Repair(verify::Repair),
    /// Let background work rest; clients are served all the same
    Pause(steps::Pause),
    /// Let background work go on
    Resume(steps::Resume),
    /// Records that the mapping or the target refused, with their reasons
    DeadLetters(letters::DeadLetters),
    /// What has happened
    History(history::History),
    /// Read JSON records into a SQLite table
    Import(import::Import),
    /// Write records as JSON lines, in key order
    Export(export::Export),
    /// A whole migration under load, between any two stores, judged
    Demo(demo::Demo),
    /// Completions for a shell
    Completions(shell::Completions),
    /// The manual
    Man(shell::Man),
    /// The JSON Schema of specs, for editors
    Schema(shell::Schema),
}

/// What a command works with.
pub struct Context {
    console: Console,
    journal: JournalPlace,
    /// The journal if the command line names it: the demo plays in no other one
    /// that is in use.
    journal_flag: Option<JournalPlace>,
    migration: Option<String>,
}

impl Context {
    /// The same for a migration that a command names itself.
    fn naming(&self, migration: &str) -> Context {
        Context {
            console: self.console,
            journal: self.journal.clone(),
            journal_flag: self.journal_flag.clone(),
            migration: Some(migration.to_owned()),
        }
    }
}

/// The journal when neither the command line nor the environment names one.
const JOURNAL_DEFAULT: &str = "./shearwater.journal";

/// The variable that names the journal; a URL with a password is out of sight there.
const JOURNAL_VARIABLE: &str = "SHEARWATER_JOURNAL";

/// Where the journal is.
fn journal_place(given: Option<&str>) -> Outcome<JournalPlace> {
    let variable = std::env::var(JOURNAL_VARIABLE).ok().filter(|text| !text.is_empty());
    let text = given.or(variable.as_deref()).unwrap_or(JOURNAL_DEFAULT);
    JournalPlace::parse(text).map_err(|why| {
        Failure::new(Exit::Usage, "journal/place", why)
            .hint("write --journal PATH or --journal postgres://HOST/DATABASE")
    })
}

impl Context {
    async fn open(&self) -> Outcome<crate::wiring::Opened> {
        crate::wiring::open(&self.journal, self.migration.as_deref(), self.console.colour).await
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    let console = Console::new(if wants_json { Format::Json } else { Format::Text });
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&console, &error),
    };
    let outcome = match runtime() {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(console, cli));
            // A task that hangs in a store must not keep a command that has ended.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            outcome
        }
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            console.failure(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, "runtime", format!("cannot start threads: {error}")))
}

/// Help and version are answers; everything else is a wrong command line.
fn usage(console: &Console, error: &clap::Error) -> ExitCode {
    let is_answer = error.exit_code() == 0;
    if is_answer || console.format == Format::Text {
        // It goes where clap sends it; when that is closed nobody reads it.
        let _ = error.print();
    } else {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        console.failure(
            &Failure::new(Exit::Usage, "usage", message).hint("`shearwater help COMMAND` shows how it is used"),
        );
    }
    ExitCode::from(if is_answer { Exit::Done.code() } else { Exit::Usage.code() })
}

async fn run(console: Console, cli: Cli) -> Outcome<Exit> {
    let journal = journal_place(cli.shared.journal.as_deref())?;
    let journal_flag = cli.shared.journal.map(|_| journal.clone());
    let context = Context { console, journal, journal_flag, migration: cli.shared.migration };
    if let Some(exit) = absorb::run(&context, &cli.verb).await? {
        return Ok(exit);
    }
    match cli.verb {
        Verb::Init(args) => init::run(&context, args).await,
        Verb::Plan(args) => plan::run(&context, args).await,
        Verb::Start(args) => start::run(&context, args).await,
        Verb::Serve(args) => serve::run(&context, args).await,
        Verb::Copy(args) => start::copy(&context, args).await,
        Verb::Status(args) => status::run(&context, args).await,
        Verb::Advance(_) => steps::advance(&context).await,
        Verb::Ramp(args) => steps::ramp(&context, args).await,
        Verb::Rollback(_) => steps::rollback(&context).await,
        Verb::Complete(_) => steps::complete(&context).await,
        Verb::Bulk(_) => Err(absorb::bulk::only_absorb()),
        Verb::Deactivations(_) => Err(absorb::deactivations::only_absorb()),
        Verb::Withdraw(_) => steps::withdraw(&context).await,
        Verb::Verify(_) => verify::verify(&context).await,
        Verb::Repair(args) => verify::repair(&context, args).await,
        Verb::Pause(_) => steps::pause(&context).await,
        Verb::Resume(_) => steps::resume(&context).await,
        Verb::DeadLetters(args) => letters::run(&context, args).await,
        Verb::History(_) => history::run(&context).await,
        Verb::Import(args) => import::run(&context, args).await,
        Verb::Export(args) => export::run(&context, args).await,
        Verb::Demo(args) => demo::run(&context, args).await,
        Verb::Completions(args) => shell::completions(&context, args),
        Verb::Man(args) => shell::man(&context, args),
        Verb::Schema(_) => shell::schema(&context),
    }
}

/// The whole command line, for completions, the manual and tests.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_command_has_examples() {
        let mut command = command();
        command.clone().debug_assert();
        command.build();
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let name = verb.get_name();
            assert!(verb.get_about().is_some(), "{name} has no help");
            let examples = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.contains(&format!("shearwater {name}")), "{name} has no example");
        }
    }

    #[test]
    fn exit_codes_are_told_and_apart() {
        let text = exits_text();
        let mut codes: Vec<u8> = exit::EXITS.iter().map(|(exit, _)| exit.code()).collect();
        assert!(codes.iter().all(|code| text.contains(&format!("{code}  "))));
        codes.dedup();
        assert_eq!(codes.len(), exit::EXITS.len());
    }
}
