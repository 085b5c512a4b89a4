//! When a call goes wrong, and how.

use std::sync::Arc;
use std::time::Duration;

use shearwater_core::error::StoreErrorKind;
use tokio::sync::Semaphore;

/// The calls of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum Call {
    Fetch,
    FetchMany,
    Split,
    Scan,
    Estimate,
    List,
    Write,
    Recall,
    ForgetIdempotency,
    Apply,
    Checkpoints,
    Provision,
    Constrain,
    Install,
    Remove,
    Fence,
    SetFence,
    Dirty,
    DirtyCount,
    Clear,
    Foreign,
    ClearForeign,
    SidecarNames,
    Inspect,
}

/// Before or after the store does its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before: the store does not see the call when it fails.
    Before,
    /// After: the store has done it, whatever the caller is told.
    After,
}

/// How often a cue is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Once.
    Once,
    /// Every time, until the cues are cleared.
    Always,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The caller gets this error.
    Fail(StoreErrorKind),
    /// The call takes longer.
    Delay(Duration),
    /// The call waits until it is released.
    Hold(Held),
}

/// A cue for one kind of call.
#[derive(Clone, Debug)]
pub struct Cue {
    /// Which call; `None`: any.
    pub call: Option<Call>,
    /// How many such calls pass before it.
    pub skip: u64,
    /// Before or after the store does its part.
    pub when: When,
    /// What goes wrong.
    pub fault: Fault,
    /// How often.
    pub repeat: Repeat,
}

impl Cue {
    /// The next call of this kind fails.
    pub fn fail(call: Call, when: When, kind: StoreErrorKind) -> Cue {
        Cue { call: Some(call), skip: 0, when, fault: Fault::Fail(kind), repeat: Repeat::Once }
    }

    /// The next call of this kind is held.
    pub fn hold(call: Call, when: When) -> (Cue, Held) {
        let held = Held::new();
        (Cue { call: Some(call), skip: 0, when, fault: Fault::Hold(held.clone()), repeat: Repeat::Once }, held)
    }

    /// The same after `calls` such calls have passed.
    pub fn after(self, calls: u64) -> Cue {
        Cue { skip: calls, ..self }
    }

    /// The same every time.
    pub fn always(self) -> Cue {
        Cue { repeat: Repeat::Always, ..self }
    }
}

/// A place at which a call stands still.
#[derive(Clone, Debug)]
pub struct Held {
    reached: Arc<Semaphore>,
    released: Arc<Semaphore>,
}

impl Held {
    fn new() -> Held {
        Held { reached: Arc::new(Semaphore::new(0)), released: Arc::new(Semaphore::new(0)) }
    }

    /// Waits until a call stands here.
    pub async fn reached(&self) {
        if let Ok(permit) = self.reached.acquire().await {
            permit.forget();
        }
    }

    /// Lets it go on.
    pub fn release(&self) {
        self.released.add_permits(1);
    }

    pub(super) async fn stand(&self) {
        self.reached.add_permits(1);
        if let Ok(permit) = self.released.acquire().await {
            permit.forget();
        }
    }
}
