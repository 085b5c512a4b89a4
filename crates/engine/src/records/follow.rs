//! Bringing the follower along with a write, within the client's bounded wait,
//! and clearing marks off the client's path.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shearwater_core::journal::DeadLetter;
use shearwater_core::mapping::MappingError;
use shearwater_core::route::FollowerWait;
use shearwater_core::store::{Applied, Change, DirtyMark, Put, Side, Store};
use shearwater_core::{Document, Key, Stamp};
use tokio::sync::mpsc;

use super::{DataPath, Protection};
use crate::breaker::Leave;
use crate::{Member, Setup};

/// Marks waiting to be cleared; beyond it they stay, and the reconciler finds them.
const CLEARS_WAITING_MAX: usize = 10_000;

/// Marks cleared in one transaction: its commit is dear, its rows are cheap.
const CLEARS_BATCH_MAX: usize = 500;

/// How long marks gather before they are cleared, ms. A key is read from the
/// authority for so much longer; a commit for each write would cost more.
const CLEARS_GATHER_MS: u64 = 5;

/// Marks that the follower has confirmed, cleared in batches.
pub(super) struct Clears {
    marks: mpsc::Sender<(Side, DirtyMark)>,
}

impl Clears {
    pub(super) fn start(setup: &Setup, member: &Arc<Member>) -> Clears {
        let (marks, inbox) = mpsc::channel(CLEARS_WAITING_MAX);
        tokio::spawn(clear_all(setup.clone(), member.clone(), inbox));
        Clears { marks }
    }

    fn queue(&self, authority: Side, marks: Vec<DirtyMark>, member: &Member) {
        for mark in marks {
            if self.marks.try_send((authority, mark)).is_err() {
                member.wake_reconciler();
                return;
            }
        }
    }
}

async fn clear_all(setup: Setup, member: Arc<Member>, mut inbox: mpsc::Receiver<(Side, DirtyMark)>) {
    let mut batch = Vec::new();
    while inbox.recv_many(&mut batch, CLEARS_BATCH_MAX).await > 0 {
        if batch.len() < CLEARS_BATCH_MAX {
            tokio::time::sleep(Duration::from_millis(CLEARS_GATHER_MS)).await;
            while batch.len() < CLEARS_BATCH_MAX {
                let Ok(mark) = inbox.try_recv() else { break };
                batch.push(mark);
            }
        }
        for authority in [Side::Source, Side::Target] {
            let of_side = batch.iter().filter(|(side, _)| *side == authority);
            let marks: Vec<DirtyMark> = of_side.map(|(_, mark)| mark.clone()).collect();
            if !marks.is_empty() && setup.store(authority).clear(marks).await.is_err() {
                // They stay dirty: safe, only slower.
                member.wake_reconciler();
            }
        }
        batch.clear();
    }
}

/// What a write's changes mean for the follower.
pub(super) struct FollowJob {
    pub(super) authority: Side,
    pub(super) follower: Side,
    pub(super) epoch: u64,
    pub(super) items: Vec<FollowItem>,
}

/// One change: in the authority's words, and mapped for the follower.
pub(super) struct FollowItem {
    pub(super) key: Key,
    pub(super) stamp: Stamp,
    pub(super) put: Result<Put, MappingError>,
    /// Whether the key was dirty before: then it may have a dead letter.
    pub(super) was_dirty: bool,
}

/// Whether the follower has a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// All of it.
    Yes,
    /// Not, or not yet: its keys are dirty.
    NotYet,
}

impl DataPath {
    /// A change mapped for the follower; its stamp is set after the write.
    pub(super) fn map_put(&self, follower: Side, change: &Change) -> Result<Put, MappingError> {
        let key = self.setup.mapping.key_towards(follower, &change.key)?;
        let mut image = change.image.as_ref().map(|image| self.setup.mapping.towards(follower, image)).transpose()?;
        if let (true, Some(image)) = (self.without(Protection::Park), &mut image) {
            image.parked = Document::new();
        }
        Ok(Put { key, image, stamp: Stamp::ZERO })
    }

    /// Puts a write into the follower. The put itself is a task of its own: a
    /// wait that ends, or a client that goes away, must not leave it half-done.
    pub(super) async fn follow(self: &Arc<Self>, job: FollowJob, wait: FollowerWait) -> Followed {
        let wait_ms = match wait {
            FollowerWait::None => return Followed::Yes,
            FollowerWait::Brief => self.options.follower_brief_ms,
            FollowerWait::Ramped => self.options.follower_ramped_ms,
        };
        let breaker = self.breaker(job.follower).clone();
        if breaker.ask(Instant::now()) == Leave::Skip {
            metrics::counter!("shearwater_follower_skipped_total").increment(1);
            self.member.wake_reconciler();
            return Followed::NotYet;
        }
        let task = tokio::spawn(put_into_follower(self.clone(), job));
        let followed = match tokio::time::timeout(Duration::from_millis(wait_ms), task).await {
            Ok(Ok(Some(followed))) => {
                breaker.succeeded();
                followed
            }
            Ok(Ok(None) | Err(_)) | Err(_) => {
                breaker.failed(Instant::now());
                Followed::NotYet
            }
        };
        if followed == Followed::NotYet {
            self.member.wake_reconciler();
        }
        followed
    }

    pub(super) async fn bury(&self, authority: Side, key: &Key, stamp: Stamp, code: &str, reason: String) {
        let letter = DeadLetter {
            key: key.to_text(),
            authority,
            stamp: (stamp.epoch, stamp.counter),
            code: code.to_owned(),
            reason,
            at_ms: now_ms(),
            attempts: 1,
        };
        if let Err(error) = self.setup.journal.bury(letter).await {
            // The key is dirty: the reconciler tries it again and keeps the letter then.
            tracing::warn!(%error, "a dead letter could not be kept");
        }
    }
}

/// Ms since 1970 by the wall clock.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `None`: the follower could not be asked.
async fn put_into_follower(path: Arc<DataPath>, job: FollowJob) -> Option<Followed> {
    let FollowJob { authority, follower, epoch, items } = job;
    let mut puts = Vec::with_capacity(items.len());
    let mut sent = Vec::with_capacity(items.len());
    let mut followed = Followed::Yes;
    for item in items {
        match item.put {
            Ok(put) => {
                puts.push(Put { stamp: item.stamp, ..put });
                sent.push((DirtyMark { key: item.key, stamp: item.stamp }, item.was_dirty));
            }
            Err(refusal) => {
                followed = Followed::NotYet;
                path.bury(authority, &item.key, item.stamp, refusal.code, refusal.to_string()).await;
            }
        }
    }
    if puts.is_empty() {
        return Some(followed);
    }
    let store: &Arc<dyn Store> = path.setup.store(follower);
    let answers = match store.apply(epoch, puts, None).await {
        Ok(answers) => answers,
        Err(error) => {
            tracing::debug!(code = error.code(), "a follower write failed; its keys stay dirty");
            return None;
        }
    };
    let mut confirmed = Vec::with_capacity(sent.len());
    for ((mark, was_dirty), answer) in sent.into_iter().zip(answers) {
        match answer {
            Applied::Changed | Applied::Unchanged => {
                if was_dirty {
                    resolve(&path, authority, &mark.key).await;
                }
                confirmed.push(mark);
            }
            // Somebody's newer write is there already; its mark is not ours to clear.
            Applied::Stale { .. } => {}
            Applied::Refused(error) => {
                followed = Followed::NotYet;
                path.bury(authority, &mark.key, mark.stamp, error.code(), error.message).await;
            }
        }
    }
    path.clears.queue(authority, confirmed, &path.member);
    Some(followed)
}

async fn resolve(path: &DataPath, authority: Side, key: &Key) {
    if let Err(error) = path.setup.journal.resolve(authority, &key.to_text()).await {
        tracing::warn!(%error, "a dead letter that is settled could not be removed");
    }
}
