//! `serve`: the gateway, the control API, and the engine's work.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use shearwater_engine::Serve as ServedMigration;

use super::exit::{Exit, Failure, Outcome};
use super::{Context, absorb, require, start};
use crate::gateway::{ServeError, ServeOptions, serve};
use crate::wiring::{self, AnySpec};

/// Arguments of `serve`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater serve\n  shearwater serve users.toml --gateway 127.0.0.1:8080 --control 127.0.0.1:8081\n  SHEARWATER_GATEWAY_TOKEN=… SHEARWATER_CONTROL_TOKEN=… shearwater serve --gateway 0.0.0.0:8080\n\nTokens come from the environment, where other users of the machine do not see them. They are required when not listening on loopback."
)]
pub struct Serve {
    /// A spec to write down first, so that the gateway serves before the start
    pub(super) spec: Option<PathBuf>,
    /// Where the gateway listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    gateway: SocketAddr,
    /// Where the control API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    control: SocketAddr,
}

/// The environment's variables that hold the tokens.
const GATEWAY_TOKEN: &str = "SHEARWATER_GATEWAY_TOKEN";
const CONTROL_TOKEN: &str = "SHEARWATER_CONTROL_TOKEN";

/// Serves until told to stop.
pub async fn run(context: &Context, args: Serve) -> Outcome<Exit> {
    log_to_stderr();
    if let Some(file) = &args.spec {
        match wiring::read_spec(file, context.console.colour)? {
            AnySpec::Move(spec) => drop(start::written_down(context, &spec, &file.display().to_string()).await?),
            AnySpec::Require(spec) => drop(require::written_down(context, &spec).await?),
            AnySpec::Absorb(spec) => drop(absorb::start::written_down(context, &spec).await?),
        }
    }
    let options = ServeOptions {
        gateway: args.gateway,
        gateway_token: token(GATEWAY_TOKEN),
        control: Some(args.control),
        control_token: token(CONTROL_TOKEN),
        ..ServeOptions::default()
    };
    let migrations = migrations(context).await?;
    let names: Vec<String> = migrations.iter().map(|served| served.journal().migration().to_owned()).collect();
    let entities: Vec<String> = migrations.iter().map(|served| served.entity().to_owned()).collect();
    let handle = serve(options, migrations).await?;
    let control = handle.control_addr.map(|address| format!("http://{address}"));
    let gateway = format!("http://{}", handle.addr);
    let paths: Vec<String> = entities.iter().map(|entity| format!("{gateway}/v1/{entity} and /v2/{entity}")).collect();
    let json = json!({ "gateway": gateway, "control": control, "migrations": names });
    let text = format!("serving {}\ncontrol at {}\n", paths.join(", "), control.unwrap_or_default());
    context.console.answer(&json, &text)?;
    told_to_stop().await?;
    context.console.note("stopping: requests in flight are finished");
    handle.stop().await;
    Ok(Exit::Done)
}

fn token(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|token| !token.is_empty())
}

/// The migrations to serve: the named one, or all that were not given up.
async fn migrations(context: &Context) -> Outcome<Vec<Arc<dyn ServedMigration>>> {
    let journals = wiring::open_journal(&context.journal).await?;
    let names = match &context.migration {
        Some(name) => vec![name.clone()],
        None => journals.names().await?,
    };
    let mut served = Vec::new();
    for name in names {
        let journal = wiring::migration(&journals, Some(&name)).await?;
        if wiring::is_withdrawn(journal.as_ref(), context.console.colour).await? && context.migration.is_none() {
            continue;
        }
        served.push(wiring::served(journal, context.console.colour).await?);
    }
    if served.is_empty() {
        return Err(Failure::new(Exit::Failed, "journal/empty", "the journal has no migration to serve")
            .hint("`shearwater serve SPEC` or `shearwater start SPEC` writes one down"));
    }
    Ok(served)
}

/// Waits for Ctrl-C or a polite request to end.
async fn told_to_stop() -> Outcome<()> {
    let failed =
        |error: std::io::Error| Failure::new(Exit::Failed, "signal", format!("cannot listen for signals: {error}"));
    #[cfg(unix)]
    {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(failed)?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(failed),
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.map_err(failed)
}

/// Log lines go to standard error; `RUST_LOG` says how many.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Another subscriber, as tests have one, stays.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Failure {
        let hint = error.hint();
        let failure = match error {
            ServeError::Journal(error) => return error.into(),
            ServeError::Listen { .. } => Failure::new(Exit::Failed, "serve/listen", error.to_string()),
            ServeError::TokenNeeded(_) => Failure::new(Exit::Usage, "serve/token-needed", error.to_string()),
            ServeError::EntityTwice(_) => Failure::new(Exit::Failed, "serve/entity-twice", error.to_string()),
        };
        Failure { hint, ..failure }
    }
}
