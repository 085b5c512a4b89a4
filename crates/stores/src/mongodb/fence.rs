//! The fence, in a collection of our own.
//!
//! A write of the authority is one transaction: it adds to one of
//! [`STRIPES`] documents, changes the record, and commits. A stripe says which
//! fence it stands under, so the write is admitted, stamped and ordered by the
//! stripe that it touched; writers on different stripes do not meet.
//!
//! Setting the fence is: (1) write down in the fence's document what it is to be,
//! under the next generation, if it is now what the caller expects; (2) raise
//! every stripe that has a lower generation; (3) say that it is done. Why no write
//! admitted under the old fence lands after that: it has touched a stripe, and of
//! two that change one document, one waits or loses. If its transaction commits
//! before its stripe is raised, it has landed before the end of (2). If its stripe
//! is raised first, its commit conflicts and is undone. A raise waits for a
//! transaction under way, as every write by itself does.
//!
//! Generations only rise, so one who sets a fence, stalls, and goes on later
//! raises nothing any more. One who dies between (1) and (3) leaves a fence that is
//! being set: whoever reads it finishes it first. Nothing here looks at a clock.
//!
//! The same document of a stripe gives the counter of the stamp: the server's
//! time, at least one more than before, with the stripe's number at its end. So no
//! two writes have one stamp, a lost failover cannot give one away twice (the
//! counter commits with the write), and nobody queues for a number.

use std::sync::atomic::{AtomicU64, Ordering};

use mongodb::ClientSession;
use mongodb::bson::{Document, RawDocumentBuf};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::store::{Fence, Role};

use super::Inner;
use super::error::{Failure, Tried, code, part_errors};
use super::raw::{Doc, Owned, ty};
use super::session::Server;

/// Writers that do not meet: more than any server works on at a time.
pub(super) const STRIPES: u8 = 64;

/// How long raising the stripes waits for transactions under way, ms.
const RAISE_MS_MAX: i64 = 5_000;

/// Ticks in a millisecond: writes of one stripe within it.
const TICKS_PER_MS: i64 = 1_024;

/// Bits of the stripe in a counter.
const STRIPE_BITS: u32 = 6;

/// What is in the fence's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) fence: Fence,
    generation: i64,
    next: Option<Fence>,
}

/// The fence of one collection.
pub(super) struct Fences {
    /// The collection of our own.
    pub(super) own: String,
    table: String,
    /// The highest tick that this process has seen.
    tick: AtomicU64,
}

/// What a write got from its stripe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admission {
    pub(super) fence: Fence,
    /// The counter of the first change; the next ones add [`STEP`].
    pub(super) counter: u64,
}

/// From one counter of a stripe to its next.
pub(super) const STEP: u64 = 1 << STRIPE_BITS;

fn fence_id() -> Owned {
    Owned::string("fence")
}

fn stripe_id(stripe: u8) -> Owned {
    let mut doc = Doc::new();
    doc.int("stripe", i32::from(stripe));
    Owned::new(ty::DOCUMENT, doc.end())
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Authority => "authority",
        Role::Follower => "follower",
        Role::Closed => "closed",
    }
}

fn put_fence(doc: &mut Doc, fence: Fence) {
    doc.text("role", role_name(fence.role)).long("epoch", fence.epoch as i64);
}

fn read_fence(document: &Document) -> Option<Fence> {
    let role = match document.get_str("role").ok()? {
        "authority" => Role::Authority,
        "follower" => Role::Follower,
        "closed" => Role::Closed,
        _ => return None,
    };
    Some(Fence { role, epoch: u64::try_from(document.get_i64("epoch").ok()?).ok()? })
}

fn damaged(table: &str) -> StoreError {
    let what = format!("collection {table:?}: the fence is not as this version writes it");
    StoreError::new(StoreErrorKind::Sidecar, what)
}

impl Fences {
    pub(super) fn of(table: &str, own: String) -> Fences {
        Fences { own, table: table.to_owned(), tick: AtomicU64::new(0) }
    }

    fn read_state(&self, raw: RawDocumentBuf) -> StoreResult<State> {
        let document = Document::try_from(raw).map_err(|_| damaged(&self.table))?;
        let fence = read_fence(&document).ok_or_else(|| damaged(&self.table))?;
        let generation = document.get_i64("generation").map_err(|_| damaged(&self.table))?;
        let next = document.get_document("next").ok();
        let next = next.map(|next| read_fence(next).ok_or_else(|| damaged(&self.table))).transpose()?;
        Ok(State { fence, generation, next })
    }

    /// The fence as it is; one that is being set is finished first. `None`: no
    /// sidecar is installed.
    pub(super) async fn state(&self, inner: &Inner) -> Tried<Option<State>> {
        let server = &inner.server;
        loop {
            let Some(raw) = server.find("reading the fence", &self.own, &fence_id()).await? else { return Ok(None) };
            let state = self.read_state(raw)?;
            let Some(next) = state.next else { return Ok(Some(state)) };
            self.finish(inner, state.generation, next).await?;
        }
    }

    /// Writes the first fence, unless there is one.
    pub(super) async fn begin(&self, inner: &Inner, fence: Fence) -> Tried<()> {
        let server = &inner.server;
        let mut doc = Doc::new();
        doc.put("_id", fence_id().get());
        put_fence(&mut doc, fence);
        doc.long("generation", 1).begin("next");
        put_fence(&mut doc, fence);
        doc.close();
        let doc = doc.end();
        let mut insert = Doc::new();
        insert.text("insert", &self.own).begin_array("documents").document("0", &doc).close();
        server.acknowledged(&mut insert);
        let answer = server.run("installing the fence", insert.end()).await.map_err(Failure::of_a_repeatable)?;
        match part_errors("installing the fence", &answer)?.pop() {
            Some(part) if !part.key_taken => Err(part.failure),
            _ => self.state(inner).await.map(drop),
        }
    }

    /// Sets the fence if it is `expect`; the fence that holds afterwards.
    pub(super) async fn set(&self, inner: &Inner, expect: Fence, new: Fence) -> Tried<Option<Fence>> {
        let server = &inner.server;
        let Some(state) = self.state(inner).await? else { return Ok(None) };
        if state.fence != expect {
            return Ok(Some(state.fence));
        }
        let mut update = Doc::new();
        update.text("update", &self.own).begin_array("updates").begin("0");
        update.begin("q").put("_id", fence_id().get()).long("generation", state.generation);
        update.begin("next").no("$exists").close().close();
        update.begin("u").begin("$set").long("generation", state.generation + 1).begin("next");
        put_fence(&mut update, new);
        update.close().close().close().close().close();
        server.acknowledged(&mut update);
        let answer = server.run("setting the fence", update.end()).await.map_err(Failure::of_a_repeatable)?;
        part_errors("setting the fence", &answer)?;
        // Whoever wrote it down, it is finished; that of another one is not ours.
        self.state(inner).await.map(|state| state.map(|state| state.fence))
    }

    /// Raises the stripes to a generation, then says that its fence holds.
    async fn finish(&self, inner: &Inner, generation: i64, fence: Fence) -> Tried<()> {
        let server = &inner.server;
        let mut raise = Doc::new();
        raise.text("update", &self.own).begin_array("updates");
        for stripe in 0..STRIPES {
            raise.begin(&stripe.to_string());
            raise.begin("q").put("_id", stripe_id(stripe).get());
            raise.begin("generation").long("$lt", generation).close().close();
            raise.begin("u").begin("$set");
            put_fence(&mut raise, fence);
            raise.long("generation", generation).close();
            raise.begin("$setOnInsert").long("tick", 0).close().close();
            raise.yes("upsert").close();
        }
        raise.close().no("ordered").long("maxTimeMS", RAISE_MS_MAX);
        server.acknowledged(&mut raise);
        let raised = server.run("raising the fence", raise.end()).await;
        let answer = raised.map_err(|failure| stalled(failure.of_a_repeatable()))?;
        // A stripe that has this generation or a later one is not found, and there already.
        let refused = part_errors("raising the fence", &answer)?.into_iter().find(|part| !part.key_taken);
        if let Some(part) = refused {
            return Err(stalled(part.failure));
        }
        if !server.has_transactions() {
            super::intent::settle_all(inner).await?;
        }
        let mut done = Doc::new();
        done.text("update", &self.own).begin_array("updates").begin("0");
        done.begin("q").put("_id", fence_id().get()).long("generation", generation).close();
        done.begin("u").begin("$set");
        put_fence(&mut done, fence);
        done.close().begin("$unset").text("next", "").close().close().close().close();
        server.acknowledged(&mut done);
        let answer = server.run("setting the fence", done.end()).await.map_err(Failure::of_a_repeatable)?;
        part_errors("setting the fence", &answer).map(drop)
    }

    /// Touches a stripe, in a write's transaction where there is one, for `changes` stamps. `None`:
    /// no sidecar is installed.
    pub(super) async fn admit(
        &self,
        server: &Server,
        session: Option<&mut ClientSession>,
        stripe: u8,
        changes: usize,
    ) -> Tried<Option<Admission>> {
        let changes = i64::try_from(changes.max(1)).unwrap_or(i64::MAX);
        let seen = self.tick.load(Ordering::Relaxed) as i64;
        let mut touch = Doc::new();
        touch.text("findAndModify", &self.own).begin("query").put("_id", stripe_id(stripe).get()).close();
        touch.begin_array("update").begin("0").begin("$set").begin("tick").begin_array("$max");
        touch.begin("0").begin_array("$add").text("0", "$tick").long("1", changes).close().close();
        touch.long("1", seen.saturating_add(changes));
        touch.begin("2").begin_array("$multiply").begin("0").text("$toLong", "$$NOW").close();
        touch.long("1", TICKS_PER_MS).close().close();
        touch.close().close().close().close().close().yes("new");
        let answer = match session {
            Some(session) => server.run_in(session, "asking the fence", touch.end()).await,
            None => server.run("asking the fence", touch.end()).await.map_err(Failure::of_a_repeatable),
        };
        let answer = match answer {
            Err(failure) if failure.code == code::NAMESPACE_NOT_FOUND => return Ok(None),
            answer => answer?,
        };
        let Ok(found) = answer.get_document("value") else { return Ok(None) };
        let fence = read_fence(found).ok_or_else(|| damaged(&self.table))?;
        let tick = found.get_i64("tick").map_err(|_| damaged(&self.table))?;
        self.see(tick as u64);
        let counter = ((tick - changes + 1) as u64) << STRIPE_BITS | u64::from(stripe);
        Ok(Some(Admission { fence, counter }))
    }

    /// The next counters of this process will be above this one.
    pub(super) fn see_counter(&self, counter: u64) {
        self.see(counter >> STRIPE_BITS);
    }

    fn see(&self, tick: u64) {
        self.tick.fetch_max(tick, Ordering::Relaxed);
    }
}

fn stalled(mut failure: Failure) -> Failure {
    if failure.code == code::MAX_TIME_EXPIRED {
        let hint = "a transaction that writes through this fence is still open; it will be tried again";
        failure.error.hint = Some(hint.to_owned());
    }
    failure
}
