//! The journal as the coordinator acts on it: the folded state, the lease, and
//! `append`, the only way to take a durable step.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use shearwater_core::error::StoreError;
use shearwater_core::journal::{Event, Journal, JournalError, Refusal};
use shearwater_core::lifecycle::{Illegal, Lifecycle, State};
use shearwater_core::store::Side;
use tokio::sync::Notify;

use crate::failpoint;
use crate::member::View;

/// Entries read at once while the state is folded.
const ENTRIES_READ_MAX: usize = 1_000;

/// Why an activity ended before its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Halt {
    /// The lease has ended, or another coordinator has appended.
    #[error("another coordinator may have taken over")]
    Lost,
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
    /// The journal cannot be used; nothing may be done without it.
    #[error(transparent)]
    Journal(JournalError),
    /// A store could not or cannot.
    #[error("the {} store: {error}", side_name(*side))]
    Store {
        /// Which store.
        side: Side,
        /// Its error.
        error: StoreError,
    },
    /// The one store of the migration could not or cannot.
    #[error("the store: {0}")]
    OneStore(StoreError),
    /// The lifecycle does not allow the step.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// It is not to be done now; for the operator.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A background task ended without an answer.
    #[error("a background task broke: {0}")]
    Broken(String),
}

/// `source` or `target`, for messages.
pub fn side_name(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Target => "target",
    }
}

impl From<JournalError> for Halt {
    fn from(error: JournalError) -> Halt {
        match error {
            JournalError::Conflict { .. } => Halt::Lost,
            other => Halt::Journal(other),
        }
    }
}

impl Halt {
    /// Makes a store's error ours; to be used with `map_err`.
    pub fn store(side: Side) -> impl Fn(StoreError) -> Halt {
        move |error| Halt::Store { side, error }
    }

    /// A refusal with a code, a message and a hint.
    pub fn refused(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Halt {
        Halt::Refused(Refusal { code: code.into(), message: message.into(), hint: Some(hint.into()) })
    }

    /// The refusal to answer an operator with; `Err` when this ends the coordinator's work.
    pub fn into_refusal(self) -> Result<Refusal, Halt> {
        let message = self.to_string();
        match self {
            Halt::Refused(refusal) => Ok(refusal),
            Halt::Store { error, .. } | Halt::OneStore(error) => {
                Ok(Refusal { code: error.code().into(), message, hint: error.hint })
            }
            Halt::Illegal(_) => Ok(Refusal { code: "lifecycle/illegal".into(), message, hint: None }),
            Halt::Broken(_) => Ok(Refusal { code: "engine/broken".into(), message, hint: None }),
            Halt::Stopped => Ok(Refusal {
                code: "activity/stopped".into(),
                message: "the activity was stopped before its end".into(),
                hint: Some("start it again; what it finished is kept".into()),
            }),
            Halt::Lost | Halt::Journal(_) => Err(self),
        }
    }
}

/// A named lease in the journal and what this process knows of its end.
pub struct Lease {
    journal: Arc<dyn Journal>,
    name: &'static str,
    holder: String,
    ttl: Duration,
    valid_until: Mutex<Option<Instant>>,
    ended: Notify,
}

impl Lease {
    /// A lease that is not held yet.
    pub fn new(journal: Arc<dyn Journal>, name: &'static str, holder: String, ttl: Duration) -> Lease {
        Lease { journal, name, holder, ttl, valid_until: Mutex::new(None), ended: Notify::new() }
    }

    /// Takes or renews it; false when somebody else holds it.
    pub async fn take(&self) -> Result<bool, JournalError> {
        // Counted from before the call: the journal's clock started no earlier.
        let asked = Instant::now();
        let held = self.journal.acquire(self.name, &self.holder, self.ttl.as_millis() as u64).await?;
        self.set(held.then(|| asked + self.ttl));
        Ok(held)
    }

    /// Gives it up.
    pub async fn release(&self) -> Result<(), JournalError> {
        self.set(None);
        self.journal.release(self.name, &self.holder).await
    }

    /// An error when the lease may have ended; asked before every durable step.
    pub fn check(&self) -> Result<(), Halt> {
        let held = self.valid_until.lock().is_ok_and(|until| until.is_some_and(|t| Instant::now() < t));
        if held { Ok(()) } else { Err(Halt::Lost) }
    }

    /// Renews it for as long as that works; returns when it is lost.
    pub async fn keep(&self) {
        while self.check().is_ok() {
            tokio::time::sleep(self.ttl / 3).await;
            // An unreachable journal is tried again until the lease has run out.
            if let Ok(false) = self.take().await {
                break;
            }
        }
        self.set(None);
    }

    /// The holder's name.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    fn set(&self, until: Option<Instant>) {
        if let Ok(mut valid_until) = self.valid_until.lock() {
            *valid_until = until;
        }
        if until.is_none() {
            self.ended.notify_waiters();
        }
    }
}

/// The journal, the state that it adds up to, and the right to append; `S` is
/// the lifecycle of the migration's kind.
pub struct Ledger<S: Lifecycle = State> {
    journal: Arc<dyn Journal>,
    lease: Arc<Lease>,
    view: ArcSwap<View<S>>,
    appending: tokio::sync::Mutex<()>,
}

impl<S: Lifecycle> Ledger<S> {
    /// Reads the journal from its beginning.
    pub async fn load(journal: Arc<dyn Journal>, lease: Arc<Lease>) -> Result<Ledger<S>, Halt> {
        let view = fold(journal.as_ref(), View::initial()).await?;
        Ok(Ledger { journal, lease, view: ArcSwap::from_pointee(view), appending: tokio::sync::Mutex::new(()) })
    }

    /// The state now.
    pub fn view(&self) -> Arc<View<S>> {
        self.view.load_full()
    }

    /// The lease under which all this happens.
    pub fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// The journal.
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// Journals one event; only then may it be acted on. Fails when the lease
    /// has ended, when somebody else appended, or when the lifecycle says no.
    pub async fn append(&self, event: Event) -> Result<Arc<View<S>>, Halt> {
        let _one_at_a_time = self.appending.lock().await;
        let view = self.view();
        let state = view.state.next(view.seq + 1, &event)?;
        self.lease.check()?;
        failpoint::hit("journal-before");
        let seq = self.journal.append(view.seq, self.lease.holder(), std::slice::from_ref(&event)).await?;
        failpoint::hit("journal-after");
        tracing::info!(seq, phase = state.phase_name(), epoch = state.epoch(), "journalled {}", event.name());
        let view = Arc::new(View { seq, state });
        self.view.store(view.clone());
        Ok(view)
    }
}

/// Reads on from a view to the journal's end.
pub async fn fold<S: Lifecycle>(journal: &dyn Journal, mut view: View<S>) -> Result<View<S>, Halt> {
    loop {
        let entries = journal.read(view.seq, ENTRIES_READ_MAX).await?;
        let more = entries.len() == ENTRIES_READ_MAX;
        for entry in entries {
            view = View { seq: entry.seq, state: view.state.next(entry.seq, &entry.event)? };
        }
        if !more {
            return Ok(view);
        }
    }
}
