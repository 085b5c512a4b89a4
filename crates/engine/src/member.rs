//! A member follows the journal under a lease. It serves only while its lease
//! is valid, and it acknowledges an epoch only when none of its requests is in
//! flight under an older one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use shearwater_core::journal::{Journal, JournalError};
use shearwater_core::lifecycle::{Lifecycle, State};
use tokio::sync::{Notify, watch};

use crate::Setup;

mod admission;

pub use admission::{Admission, Confirmed, Reading};
use admission::{Following, InFlight, Lease};

/// Journal entries read at once: a migration has a few hundred in all.
const ENTRIES_MAX: usize = 1_000;

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
pub struct View<S = State> {
    /// The last journal entry that it has seen.
    pub seq: u64,
    /// The state that the entries add up to.
    pub state: S,
}

impl<S: Lifecycle> View<S> {
    /// The view before any entry.
    pub fn initial() -> View<S> {
        View { seq: 0, state: S::initial() }
    }
}

/// The member may not serve: its lease has ended (it was paused, or the
/// journal cannot be reached).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this member's lease has ended; it serves again when the journal has renewed it")]
pub struct NotServing;

/// A process's part in a migration of any kind; `S` is the kind's lifecycle.
pub struct Member<S: Lifecycle = State> {
    shared: Arc<Shared<S>>,
    stop: watch::Sender<bool>,
    follower: std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

struct Shared<S: Lifecycle> {
    id: String,
    journal: Arc<dyn Journal>,
    options: MemberOptions,
    following: ArcSwap<Following<S>>,
    lease: Arc<Lease>,
    /// Set by `leave`: nothing new is admitted, what is in flight may end.
    leaving: AtomicBool,
    seen: watch::Sender<Arc<View<S>>>,
    nudged: Notify,
    /// Told whenever an epoch's last request ends.
    idle: Arc<Notify>,
    woken: Notify,
    foreground: Arc<crate::Foreground>,
}

impl Member {
    /// Reads the journal, takes a lease, and follows from then on in the background.
    pub async fn join(setup: &Setup, name: &str, options: MemberOptions) -> Result<Arc<Member>, JournalError> {
        Member::join_journal(setup.journal.clone(), name, options).await
    }
}

impl<S: Lifecycle> Member<S> {
    /// Reads the journal, takes a lease, and follows from then on in the background.
    pub async fn join_journal(
        journal: Arc<dyn Journal>,
        name: &str,
        options: MemberOptions,
    ) -> Result<Arc<Member<S>>, JournalError> {
        let view = Arc::new(read_on(&*journal, &View::<S>::initial()).await?);
        let idle = Arc::new(Notify::new());
        let in_flight = InFlight::of(view.state.epoch(), idle.clone());
        let shared = Arc::new(Shared {
            id: format!("{name}-{}", short_id()),
            journal,
            options,
            seen: watch::Sender::new(view.clone()),
            following: ArcSwap::from_pointee(Following { view, in_flight }),
            lease: Arc::new(Lease::new()),
            leaving: AtomicBool::new(false),
            nudged: Notify::new(),
            idle,
            woken: Notify::new(),
            foreground: Arc::default(),
        });
        let mut loop_state = FollowLoop::new(shared.clone());
        loop_state.renew().await?;
        let (stop, stopped) = watch::channel(false);
        let follower = tokio::spawn(loop_state.run(stopped));
        Ok(Arc::new(Member { shared, stop, follower: std::sync::Mutex::new(Some(follower)) }))
    }

    /// The member's unique name.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// What it acts on now.
    pub fn view(&self) -> Arc<View<S>> {
        self.shared.following.load().view.clone()
    }

    /// Leave to serve one request.
    pub fn admit(&self) -> Result<Admission<S>, NotServing> {
        if self.shared.leaving.load(Ordering::Acquire) {
            return Err(NotServing);
        }
        Admission::take(&self.shared.following, &self.shared.lease)
    }

    /// Leave to make one read. It holds no epoch back, however long it takes:
    /// it counts only if the epoch is the same at its end.
    pub fn admit_read(&self) -> Result<Reading<S>, NotServing> {
        Reading::take(self.view(), &self.shared.lease)
    }

    /// Whether what was read under this leave may be answered.
    pub fn confirm(&self, reading: &Reading<S>) -> Result<Confirmed, NotServing> {
        reading.still_valid()?;
        let same = self.shared.following.load().view.state.epoch() == reading.view.state.epoch();
        Ok(if same { Confirmed::Yes } else { Confirmed::MovedOn })
    }

    /// Waits until it has seen an entry above `seq`.
    pub async fn seen_above(&self, seq: u64) -> Arc<View<S>> {
        let mut seen = self.shared.seen.subscribe();
        match seen.wait_for(|view| view.seq > seq).await {
            Ok(view) => view.clone(),
            // The sender lives as long as this member.
            Err(_) => self.view(),
        }
    }

    /// Looks at the journal now instead of at the next poll.
    pub fn nudge(&self) {
        self.shared.nudged.notify_one();
    }

    /// Tells this process's coordinator that a write left a dirty mark.
    pub fn wake_reconciler(&self) {
        self.shared.woken.notify_one();
    }

    /// Waits until somebody called [`Member::wake_reconciler`] since the last wait ended.
    pub async fn reconciler_woken(&self) {
        self.shared.woken.notified().await;
    }

    /// Where the data path counts how long clients' writes take; the backfill's
    /// pace follows it.
    pub fn foreground(&self) -> &Arc<crate::Foreground> {
        &self.shared.foreground
    }

    /// Whether the lease holds now (for `readyz`).
    pub fn is_serving(&self) -> bool {
        self.shared.lease.holds()
    }

    /// Stops following and ends the lease; waits for requests in flight.
    pub async fn leave(&self) {
        self.shared.leaving.store(true, Ordering::Release);
        let _ = self.stop.send(true);
        let follower = match self.follower.lock() {
            Ok(mut follower) => follower.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        if let Some(follower) = follower {
            let _ = follower.await;
        }
    }
}

/// The last 12 hex digits of a random UUID: a member's name is unique by itself.
fn short_id() -> String {
    let mut id = uuid::Uuid::new_v4().simple().to_string();
    id.split_off(20)
}

/// Reads all entries after the view's and folds them in.
async fn read_on<S: Lifecycle>(journal: &dyn Journal, view: &View<S>) -> Result<View<S>, JournalError> {
    let mut view = view.clone();
    loop {
        let entries = journal.read(view.seq, ENTRIES_MAX).await?;
        for entry in &entries {
            view.state = view.state.next(entry.seq, &entry.event).map_err(|illegal| {
                JournalError::Damaged(format!("entry {} does not follow from those before: {illegal}", entry.seq))
            })?;
            view.seq = entry.seq;
        }
        if entries.len() < ENTRIES_MAX {
            return Ok(view);
        }
    }
}

/// What the background task keeps between its rounds.
struct FollowLoop<S: Lifecycle> {
    shared: Arc<Shared<S>>,
    /// Counts of older epochs that may still have requests in flight.
    leaving: Vec<Arc<InFlight>>,
    acknowledged: u64,
    renew_at: Instant,
    troubled: bool,
}

impl<S: Lifecycle> FollowLoop<S> {
    fn new(shared: Arc<Shared<S>>) -> FollowLoop<S> {
        FollowLoop { shared, leaving: Vec::new(), acknowledged: 0, renew_at: Instant::now(), troubled: false }
    }

    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let idle = self.shared.idle.clone();
            let waits_for_requests = !self.leaving.is_empty();
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = self.shared.nudged.notified() => {}
                () = idle.notified(), if waits_for_requests => {}
                () = tokio::time::sleep(self.shared.options.poll) => {}
            }
            let round = self.round().await;
            self.tell(round);
        }
        self.leave().await;
    }

    async fn round(&mut self) -> Result<(), JournalError> {
        self.look().await?;
        if self.reached() != self.acknowledged || Instant::now() >= self.renew_at {
            self.renew().await?;
        }
        Ok(())
    }

    /// Follows entries that are new.
    async fn look(&mut self) -> Result<(), JournalError> {
        let now = self.shared.following.load_full();
        if self.shared.journal.last_seq().await? == now.view.seq {
            return Ok(());
        }
        let view = Arc::new(read_on(&*self.shared.journal, &now.view).await?);
        let mut in_flight = now.in_flight.clone();
        if view.state.epoch() != now.view.state.epoch() {
            in_flight = InFlight::of(view.state.epoch(), self.shared.idle.clone());
            self.leaving.push(now.in_flight.clone());
        }
        self.shared.following.store(Arc::new(Following { view: view.clone(), in_flight }));
        self.shared.seen.send_replace(view);
        Ok(())
    }

    /// The epoch below which no request is in flight.
    fn reached(&mut self) -> u64 {
        self.leaving.retain(|older| older.any());
        let current = self.shared.following.load().view.state.epoch();
        self.leaving.iter().map(|older| older.epoch).min().unwrap_or(current)
    }

    fn any_in_flight(&mut self) -> bool {
        self.leaving.retain(|older| older.any());
        !self.leaving.is_empty() || self.shared.following.load().in_flight.any()
    }

    /// Renews the lease under the epoch reached, then looks at the journal
    /// *before* serving on it: whatever was decided while the lease had ended
    /// is seen first, and whatever is decided later waits for us.
    async fn renew(&mut self) -> Result<(), JournalError> {
        let epoch = self.reached();
        let ttl = self.shared.options.ttl;
        let sent = self.shared.lease.now();
        let sent_at = Instant::now();
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.shared.journal.renew(&self.shared.id, epoch, ttl_ms).await?;
        self.look().await?;
        self.shared.lease.extend(sent, ttl);
        self.acknowledged = epoch;
        self.renew_at = sent_at + ttl / 3;
        Ok(())
    }

    /// Logs the first of a row of failures, and its end.
    fn tell(&mut self, round: Result<(), JournalError>) {
        match round {
            Ok(()) if self.troubled => {
                self.troubled = false;
                tracing::info!(member = self.shared.id, "the journal can be followed again");
            }
            Err(error) if !self.troubled => {
                self.troubled = true;
                tracing::warn!(member = self.shared.id, %error, "the journal cannot be followed");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Lets the requests in flight end, under the lease, then ends it.
    async fn leave(mut self) {
        while self.any_in_flight() {
            // A request that ends now has told nobody yet; the poll is the net.
            let _ = tokio::time::timeout(self.shared.options.poll, self.shared.idle.notified()).await;
            if Instant::now() >= self.renew_at {
                let renewed = self.renew().await;
                self.tell(renewed);
            }
        }
        self.shared.lease.end();
        if let Err(error) = self.shared.journal.leave(&self.shared.id).await {
            tracing::warn!(member = self.shared.id, %error, "the lease could not be given up; it ends by itself");
        }
    }
}
