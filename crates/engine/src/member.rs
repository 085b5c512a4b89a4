//! A member follows the journal under a lease. It serves only while its lease
//! is valid, and it acknowledges an epoch only when none of its requests is in
//! flight under an older one.

use std::sync::Arc;
use std::time::Duration;

use shearwater_core::lifecycle::State;

use crate::Setup;

/// How a member keeps its lease.
#[derive(Clone, Copy, Debug)]
pub struct MemberOptions {
    /// How long a lease lasts.
    pub ttl: Duration,
    /// How often the journal is looked at.
    pub poll: Duration,
}

impl Default for MemberOptions {
    fn default() -> MemberOptions {
        MemberOptions { ttl: Duration::from_secs(3), poll: Duration::from_millis(5) }
    }
}

/// What the member acts on now.
#[derive(Clone, Debug)]
pub struct View {
    /// The last journal entry that it has seen.
    pub seq: u64,
    /// The state that the entries add up to.
    pub state: State,
}

/// The member may not serve: its lease has ended (it was paused, or the
/// journal cannot be reached).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this member's lease has ended; it serves again when the journal has renewed it")]
pub struct NotServing;

/// A process's part in a migration.
pub struct Member {
    _private: (),
}

/// Leave to serve one request under the epoch of `view`. While it lives the
/// member does not acknowledge a later epoch.
pub struct Admission {
    /// What to act on.
    pub view: Arc<View>,
}

impl Admission {
    /// Whether the lease is still valid; asked again before an answer is given,
    /// because the process may have been stopped in between.
    pub fn still_valid(&self) -> Result<(), NotServing> {
        todo!()
    }
}

impl Member {
    /// Reads the journal, takes a lease, and follows from then on in the background.
    pub async fn join(
        _setup: &Setup,
        _name: &str,
        _options: MemberOptions,
    ) -> Result<Arc<Member>, shearwater_core::journal::JournalError> {
        todo!()
    }

    /// The member's unique name.
    pub fn id(&self) -> &str {
        todo!()
    }

    /// What it acts on now.
    pub fn view(&self) -> Arc<View> {
        todo!()
    }

    /// Leave to serve one request.
    pub fn admit(&self) -> Result<Admission, NotServing> {
        todo!()
    }

    /// Waits until it has seen an entry above `seq`.
    pub async fn seen_above(&self, _seq: u64) -> Arc<View> {
        todo!()
    }

    /// Looks at the journal now instead of at the next poll.
    pub fn nudge(&self) {
        todo!()
    }

    /// Tells this process's coordinator that a write left a dirty mark.
    pub fn wake_reconciler(&self) {
        todo!()
    }

    /// Waits until somebody called [`Member::wake_reconciler`] since the last wait ended.
    pub async fn reconciler_woken(&self) {
        todo!()
    }

    /// Stops following and ends the lease; waits for requests in flight.
    pub async fn leave(&self) {
        todo!()
    }
}
