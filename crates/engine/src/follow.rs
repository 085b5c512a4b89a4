//! Bringing keys of the authority to the follower: read fresh, map, guarded
//! put, clear the mark by compare-and-set. Never replays a payload.

use std::sync::Arc;

use shearwater_core::error::{Policy, StoreErrorKind};
use shearwater_core::mapping::Mapping;
use shearwater_core::store::{Applied, Change, Covers, DirtyMark, Expect, Fetched, Put, Write};
use shearwater_core::{Key, Stamp};

use crate::dead_letters::Refused;
use crate::failpoint;
use crate::helm::{Course, Helm};
use crate::ledger::Halt;

/// Keys brought along in one batch: one transaction of the follower, which
/// holds its writer for a few milliseconds.
pub const FOLLOW_KEYS_MAX: usize = 500;

/// Fewer records than this are mapped where we are; more on a blocking thread.
const MAP_INLINE_MAX: usize = 16;

/// What became of a batch of keys.
#[derive(Debug, Default)]
pub struct Followed {
    /// The follower changed for these.
    pub changed: u64,
    /// It held these already.
    pub unchanged: u64,
    /// Marks cleared.
    pub cleared: u64,
    /// Refused for what the record is; buried only by [`Followed::bury`].
    pub refused: Vec<(Key, Refused)>,
    /// The authority has moved on meanwhile; their new marks bring them again.
    pub again: u64,
}

impl Followed {
    /// Keeps the refusals as dead letters.
    pub async fn bury(&self, helm: &Helm, course: Course) -> Result<(), Halt> {
        if self.refused.is_empty() {
            return Ok(());
        }
        let mut letters = helm.letters.lock().await;
        for (_, refused) in &self.refused {
            letters.bury(course.authority, refused).await?;
            failpoint::hit("follow-buried");
        }
        Ok(())
    }

    fn add(&mut self, other: Followed) {
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.cleared += other.cleared;
        self.refused.extend(other.refused);
        self.again += other.again;
    }
}

/// Brings keys (in the authority's shape) to the follower.
pub async fn follow(helm: &Helm, course: Course, keys: &[Key]) -> Result<Followed, Halt> {
    let mut all = Followed::default();
    for batch in keys.chunks(FOLLOW_KEYS_MAX) {
        match follow_batch(helm, course, batch).await {
            // One bad record must not hold the others back.
            Err(Halt::Store { error, .. }) if error.policy() == Policy::DeadLetter && batch.len() > 1 => {
                for key in batch {
                    all.add(follow_one(helm, course, key).await?);
                }
            }
            Err(Halt::Store { error, .. }) if error.policy() == Policy::DeadLetter => {
                all.refused.push(refused_unread(&batch[0], &error));
            }
            done => all.add(done?),
        }
    }
    Ok(all)
}

async fn follow_one(helm: &Helm, course: Course, key: &Key) -> Result<Followed, Halt> {
    match follow_batch(helm, course, std::slice::from_ref(key)).await {
        Err(Halt::Store { error, .. }) if error.policy() == Policy::DeadLetter => {
            Ok(Followed { refused: vec![refused_unread(key, &error)], ..Followed::default() })
        }
        done => done,
    }
}

fn refused_unread(key: &Key, error: &shearwater_core::error::StoreError) -> (Key, Refused) {
    (key.clone(), Refused::by_store(key, Stamp::ZERO, error))
}

async fn follow_batch(helm: &Helm, course: Course, keys: &[Key]) -> Result<Followed, Halt> {
    let (authority, follower) = (course.authority, course.authority.other());
    let fetched = helm.setup.store(authority).fetch_many(keys).await.map_err(Halt::store(authority))?;
    let (mapped, refused) = map(&helm.setup.mapping, course, fetched).await?;
    let mut followed = Followed { refused, ..Followed::default() };
    if mapped.is_empty() {
        return Ok(followed);
    }
    let (marks, puts): (Vec<Mark>, Vec<Put>) = mapped.into_iter().unzip();
    helm.check()?;
    let answers = helm.setup.store(follower).apply(course.epoch, puts, None).await.map_err(Halt::store(follower))?;
    failpoint::hit("follow-applied");
    settle(helm, course, marks, answers, &mut followed).await?;
    Ok(followed)
}

/// Counts the answers, and for what the follower has resolves dead letters,
/// then clears marks: a crash between the two leaves a mark, which brings the
/// key again, and never a letter without one.
async fn settle(
    helm: &Helm,
    course: Course,
    marks: Vec<Mark>,
    answers: Vec<Applied>,
    followed: &mut Followed,
) -> Result<(), Halt> {
    let mut settled = Vec::with_capacity(marks.len());
    let mut clear = Vec::with_capacity(marks.len());
    let mut ahead = Vec::new();
    for (mark, answer) in marks.into_iter().zip(answers) {
        match answer {
            Applied::Changed => followed.changed += 1,
            Applied::Unchanged => followed.unchanged += 1,
            Applied::Stale { .. } => {
                ahead.push(mark);
                continue;
            }
            Applied::Refused(error) => {
                let refused = Refused::by_store(&mark.key, mark.stamp, &error);
                followed.refused.push((mark.key, refused));
                continue;
            }
        }
        settled.push(mark.key.clone());
        if mark.dirty {
            clear.push(DirtyMark { key: mark.key, stamp: mark.stamp });
        }
    }
    if !ahead.is_empty() {
        let (again, refused) = look_again(helm, course, ahead).await?;
        followed.again += again;
        followed.refused.extend(refused);
    }
    let authority = course.authority;
    helm.letters.lock().await.resolve(authority, &settled).await?;
    if !clear.is_empty() {
        helm.check()?;
        followed.cleared = helm.setup.store(authority).clear(clear).await.map_err(Halt::store(authority))?;
        failpoint::hit("follow-cleared");
    }
    Ok(())
}

/// Where programs may write past the gateway, one of them may have taken the
/// stamp away with the record that it replaced or deleted. What is there now is
/// the authority's all the same: it becomes a write of the authority, with a stamp
/// above all before it, and the mark brings it to the follower. `false`: the store
/// stamps every write itself, so something else is wrong.
async fn stamped_anew(helm: &Helm, course: Course, mark: &Mark, fresh: Fetched) -> Result<bool, Halt> {
    let store = helm.setup.store(course.authority);
    if store.covers() == Covers::Everyone {
        return Ok(false);
    }
    helm.check()?;
    let expect = if fresh.image.is_some() { Expect::Stamp(mark.stamp) } else { Expect::Absent };
    let change = Change { key: mark.key.clone(), image: fresh.image, expect };
    match store.write(Write { epoch: Some(course.epoch), changes: vec![change], idempotency: None }).await {
        Ok(_) => Ok(true),
        // Somebody wrote it since, which is as good.
        Err(error) if matches!(error.kind, StoreErrorKind::ExpectFailed { .. }) => Ok(true),
        Err(error) => Err(Halt::Store { side: course.authority, error }),
    }
}

/// The follower holds a higher stamp than we read. Usually another writer was
/// quicker; if the authority still has the stamp that we read, the follower
/// holds something that the authority never wrote.
async fn look_again(helm: &Helm, course: Course, marks: Vec<Mark>) -> Result<(u64, Vec<(Key, Refused)>), Halt> {
    let keys: Vec<Key> = marks.iter().map(|mark| mark.key.clone()).collect();
    let authority = course.authority;
    let fresh = helm.setup.store(authority).fetch_many(&keys).await.map_err(Halt::store(authority))?;
    let mut refused = Vec::new();
    let mut again = 0;
    for (mark, fresh) in marks.into_iter().zip(fresh) {
        if fresh.stamp != Some(mark.stamp) || stamped_anew(helm, course, &mark, fresh).await? {
            again += 1;
            continue;
        }
        let reason = "the follower holds a later version than the authority has ever written".to_owned();
        let letter = Refused { key: mark.key.to_text(), stamp: mark.stamp, code: "follow/ahead".into(), reason };
        refused.push((mark.key, letter));
    }
    Ok((again, refused))
}

struct Mark {
    key: Key,
    stamp: Stamp,
    dirty: bool,
}

type Mapped = (Vec<(Mark, Put)>, Vec<(Key, Refused)>);

async fn map(mapping: &Arc<Mapping>, course: Course, fetched: Vec<Fetched>) -> Result<Mapped, Halt> {
    if fetched.len() <= MAP_INLINE_MAX {
        return map_now(mapping, course, fetched);
    }
    let mapping = mapping.clone();
    tokio::task::spawn_blocking(move || map_now(&mapping, course, fetched))
        .await
        .map_err(|error| Halt::Broken(error.to_string()))?
}

fn map_now(mapping: &Mapping, course: Course, fetched: Vec<Fetched>) -> Result<Mapped, Halt> {
    let mut mapped = Vec::with_capacity(fetched.len());
    let mut refused = Vec::new();
    for record in fetched {
        let Some(stamp) = record.stamp else {
            return Err(no_sidecar(course));
        };
        match put_of(mapping, course, &record, stamp) {
            Ok(put) => mapped.push((Mark { key: record.key, stamp, dirty: record.dirty }, put)),
            Err(error) => {
                let letter = Refused::by_mapping(&record.key, stamp, &error);
                refused.push((record.key, letter));
            }
        }
    }
    Ok((mapped, refused))
}

/// A record of the authority as the follower's guarded put.
pub(crate) fn put_of(
    mapping: &Mapping,
    course: Course,
    record: &Fetched,
    stamp: Stamp,
) -> Result<Put, shearwater_core::mapping::MappingError> {
    let follower = course.authority.other();
    let key = mapping.key_towards(follower, &record.key)?;
    let image = record.image.as_ref().map(|image| mapping.towards(follower, image)).transpose()?;
    Ok(Put { key, image, stamp })
}

fn no_sidecar(course: Course) -> Halt {
    let message = "records have no stamps: the sidecar is not installed";
    let error = shearwater_core::error::StoreError::new(StoreErrorKind::Sidecar, message)
        .with_hint("somebody removed the sidecar's tables or triggers; restore them from a backup of the store");
    Halt::Store { side: course.authority, error }
}
