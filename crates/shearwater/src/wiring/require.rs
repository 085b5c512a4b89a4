//! Opening a `require`: one store in two shapes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shearwater_core::error::StoreResult;
use shearwater_core::fill::FillError;
use shearwater_core::journal::{Command, Journal};
use shearwater_core::lifecycle::require::{Filling, Phase, State};
use shearwater_core::lifecycle::{Lifecycle as _, Status};
use shearwater_core::plan::require::{Required, required};
use shearwater_core::shape::Layout;
use shearwater_core::spec::{self, Colour};
use shearwater_core::store::Store;
use shearwater_engine::Serve;
use shearwater_engine::coordinator::CoordinatorOptions;
use shearwater_engine::member::MemberOptions;
use shearwater_engine::require::{self, Member, Opener, Served, Setup};
use shearwater_stores::Create;

use super::{RequireFile, entries, interrupted, outcome_in};
use crate::cli::exit::{Exit, Failure, Outcome};

/// How often the journal is looked at for the backfill's end.
const BACKFILL_POLL: Duration = Duration::from_millis(20);

/// A spec with what its table has.
pub struct Looked {
    /// Both shapes, the fill, what the store is asked for.
    pub required: Required,
    /// The store's kind and version, for people.
    pub product: String,
}

/// Looks at the table and checks the spec against it; writes nothing.
pub async fn look(file: &RequireFile, colour: Colour) -> Outcome<Looked> {
    let store = &file.spec.store;
    let inspection =
        shearwater_stores::inspect(&store.url).await.map_err(|error| within(file, Failure::from(error)))?;
    let required = required(&file.spec, &inspection).map_err(|error| told(file, error, colour))?;
    Ok(Looked { required, product: inspection.product })
}

fn within(file: &RequireFile, failure: Failure) -> Failure {
    failure.within(&format!("store {}", file.spec.store.shown_url))
}

/// A problem of the fill or the table, at its place in the spec.
fn told(file: &RequireFile, error: FillError, colour: Colour) -> Failure {
    let place: &[&str] = match error.code {
        "require/no-table" => &["store", "table"],
        "require/key" => &["store", "key"],
        _ => &["field", "value"],
    };
    let problem = spec::Problem {
        code: error.code,
        message: error.message,
        span: spec::locate(&file.text, place),
        hint: Some(error.hint),
    };
    let text = spec::render_problems_in(colour, "spec", &file.text, &[problem]);
    Failure::new(Exit::Problems, error.code, text)
}

/// Opens the store again for a shape with the field.
struct Door {
    url: String,
}

#[async_trait]
impl Opener for Door {
    async fn open(&self, layout: &Layout) -> StoreResult<Arc<dyn Store>> {
        shearwater_stores::open(&self.url, layout.clone(), Create::Never).await
    }
}

/// A migration with its store.
pub async fn open_setup(journal: Arc<dyn Journal>, file: &RequireFile, colour: Colour) -> Outcome<Setup> {
    let Required { v1, v2, fill, wanted, .. } = look(file, colour).await?.required;
    let url = file.spec.store.url.clone();
    let failed = |error| within(file, Failure::from(error));
    Ok(Setup {
        spec: file.spec.clone(),
        journal,
        fill,
        old: shearwater_stores::open(&url, v1.clone(), Create::Never).await.map_err(failed)?,
        evolve: shearwater_stores::open_evolve(&url, wanted).await.map_err(failed)?,
        v1,
        v2,
        opener: Arc::new(Door { url }),
    })
}

/// The state that a migration's entries add up to.
pub async fn state(journal: &dyn Journal) -> Outcome<State> {
    State::replay(&entries(journal).await?)
        .map_err(|illegal| Failure::new(Exit::Store, "journal/damaged", format!("the journal is damaged: {illegal}")))
}

/// Has one command done by this process, or by the coordinator that lives.
pub async fn act(setup: &Setup, command: Command) -> Outcome<serde_json::Value> {
    beside(setup, outcome_in(setup.journal.as_ref(), command)).await
}

/// Waits for the end of the backfill, which whoever coordinates keeps going.
pub async fn filled(setup: &Setup) -> Outcome<()> {
    beside(setup, async {
        loop {
            let state = state(setup.journal.as_ref()).await?;
            match (&state.filling, &state.status) {
                (Filling::Done { .. }, _) => return Ok(()),
                _ if state.phase != Phase::Backfill => return Ok(()),
                (_, Status::Failed { reason }) => {
                    let message = format!("the backfill stopped: {reason}");
                    return Err(Failure::new(Exit::Failed, "backfill/failed", message)
                        .hint("mend the cause, then `shearwater resume` and this command again"));
                }
                (_, Status::Paused) => {
                    return Err(Failure::new(Exit::Failed, "backfill/paused", "background work is paused")
                        .hint("`shearwater resume`, then this command again"));
                }
                (Filling::NotRun | Filling::Running { .. }, Status::Running) => {
                    tokio::time::sleep(BACKFILL_POLL).await;
                }
            }
        }
    })
    .await
}

/// Runs work while this process coordinates, unless another one does. Ctrl-C
/// ends the waiting at a point from which the same command goes on.
async fn beside<T>(setup: &Setup, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let member = Member::join_journal(setup.journal.clone(), "cli", MemberOptions::default()).await?;
    let coordinator = require::run::spawn(setup.clone(), member.clone(), CoordinatorOptions::default());
    let done = tokio::select! {
        done = work => done,
        failure = interrupted() => Err(failure),
    };
    coordinator.stop().await;
    member.leave().await;
    done
}

/// This process's part in serving a migration.
pub async fn served(journal: Arc<dyn Journal>, file: &RequireFile, colour: Colour) -> Outcome<Arc<dyn Serve>> {
    let setup = open_setup(journal, file, colour).await?;
    let member = Member::join_journal(setup.journal.clone(), "serve", MemberOptions::default()).await?;
    let coordinator = require::run::spawn(setup.clone(), member.clone(), CoordinatorOptions::default());
    Ok(Served::new(setup, member, Some(coordinator)))
}
