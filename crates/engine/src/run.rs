//! All control flow: whoever holds the coordinator's lease does requests one
//! by one and keeps the background activities of the phase going.

use std::sync::Arc;
use std::time::Duration;

use shearwater_core::journal::{Command, JournalError, Refusal};

use crate::{Member, Setup};

/// A coordinator's handle; dropping it does not stop the work, `stop` does.
pub struct Coordinator {
    _private: (),
}

/// How the coordinator works.
#[derive(Clone, Copy, Debug)]
pub struct CoordinatorOptions {
    /// How long its lease lasts.
    pub lease: Duration,
    /// How often it looks for requests and marks when nothing wakes it.
    pub poll: Duration,
}

impl Default for CoordinatorOptions {
    fn default() -> CoordinatorOptions {
        CoordinatorOptions { lease: Duration::from_secs(3), poll: Duration::from_millis(20) }
    }
}

/// Runs a coordinator in the background: takes the lease when it is free, does
/// open requests, reconciles, and resumes whatever a crash left half-done.
pub fn spawn(_setup: Setup, _member: Arc<Member>, _options: CoordinatorOptions) -> Coordinator {
    todo!()
}

impl Coordinator {
    /// Wakes the reconciler: a write left a dirty mark.
    pub fn wake(&self) {
        todo!()
    }

    /// Stops after the step at hand and gives the lease up.
    pub async fn stop(self) {
        todo!()
    }
}

/// Asks for a command and waits for its outcome: done by the live coordinator,
/// wherever it runs. The report is JSON, with fields documented at each activity.
pub async fn ask(
    _setup: &Setup,
    _command: Command,
    _wait: Duration,
) -> Result<Result<serde_json::Value, Refusal>, JournalError> {
    todo!()
}
