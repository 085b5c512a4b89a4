//! Stragglers: records that nobody updates are moved with the values that the
//! spec declares, after a time without activity; so many in a day, and each
//! only if it is still inactive in the very write that moves it (H14).

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use shearwater_core::Key;
use shearwater_core::absorb::{Home, Parted};
use shearwater_core::error::StoreErrorKind;
use shearwater_core::lifecycle::absorb::State;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, IsWhat, Keyset, ListQuery, Literal, OrderTerm};
use shearwater_core::shape::FieldType;
use shearwater_core::spec::Stragglers;
use shearwater_core::store::{Expect, Fetched, Side};
use shearwater_core::value::{Date, Instant, LocalTimestamp, Value};

use super::carry::{Landed, stamp_of, unchanged};
use super::place::Place;
use super::{BATCH, Carrier, Fault, Protection};
use crate::records::Shape;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Records deactivated.
    pub deactivated: u64,
    /// Records that were active after all, or that moved meanwhile.
    pub left_alone: u64,
    /// Records that the target will not have.
    pub refused: u64,
}

/// Records that were tried on one day.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    day: i64,
    keys: BTreeSet<String>,
}

/// Stragglers as they stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Preview {
    /// Keys of the records that the next round would deactivate, the longest inactive first.
    pub next: Vec<String>,
    /// How many may still be deactivated today.
    pub left_today: u64,
}

fn today() -> i64 {
    now_micros() / MICROS_PER_DAY
}

fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// What an inactive record fulfils, at a moment.
pub fn inactive(stragglers: &Stragglers, ty: Option<FieldType>, now_micros: i64) -> Filter {
    let days = i64::try_from(stragglers.deactivate_after_days).unwrap_or(i64::MAX);
    let until = now_micros.saturating_sub(days.saturating_mul(MICROS_PER_DAY));
    let literal = match ty {
        Some(FieldType::Date) => {
            let days = until.div_euclid(MICROS_PER_DAY);
            Value::Date(Date::Days(i32::try_from(days).unwrap_or(i32::MIN)))
        }
        Some(FieldType::Timestamp) => Value::Local(LocalTimestamp::Micros(until)),
        _ => Value::Instant(Instant::Micros(until)),
    };
    let before = |path: &Path| {
        let literal = Literal::Typed(literal.clone());
        Filter::Compare { path: path.clone(), op: CompareOp::Lt, literal }
    };
    let inactive = before(&stragglers.activity);
    match &stragglers.without_activity {
        None => inactive,
        Some(since) => {
            let never = Filter::Is { path: stragglers.activity.clone(), what: IsWhat::Null };
            Filter::Or(vec![inactive, Filter::And(vec![never, before(since)])])
        }
    }
}

impl Carrier {
    fn inactive_now(&self, stragglers: &Stragglers) -> Filter {
        let ty = self.setup.shapes.shape(Side::Source).type_of(&stragglers.activity);
        inactive(stragglers, ty, now_micros())
    }

    /// The keys of today's deactivations so far.
    pub async fn today(&self) -> Result<Vec<String>, Fault> {
        self.noted_on(today()).await
    }

    /// Which records the next round would deactivate.
    pub async fn preview(&self) -> Result<Preview, Fault> {
        let Some(stragglers) = &self.setup.spec.stragglers else { return Ok(Preview::default()) };
        let left_today = stragglers.per_day_max.saturating_sub(self.today().await?.len() as u64);
        let found = self.stragglers(stragglers, left_today, &BTreeSet::new()).await?;
        Ok(Preview { next: found.iter().map(|found| found.key.to_text()).collect(), left_today })
    }

    /// The next ones, without those that are spared and those that were `tried`.
    async fn stragglers(
        &self,
        stragglers: &Stragglers,
        records_max: u64,
        tried: &BTreeSet<String>,
    ) -> Result<Vec<Fetched>, Fault> {
        let limit = usize::try_from(records_max).unwrap_or(BATCH).min(BATCH);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let filter = Filter::And(vec![self.setup.shapes.lives_in(Home::Source), self.inactive_now(stragglers)]);
        let order = vec![OrderTerm::by(stragglers.activity.clone())];
        let (source, spared) = (self.setup.source().await.map_err(Fault::source)?, self.spared().await?);
        let (mut chosen, mut after) = (Vec::new(), None);
        loop {
            let query = ListQuery { filter: filter.clone(), order: order.clone(), after, limit: BATCH };
            let page = source.list(&query).await.map_err(Fault::source)?;
            after = page.records.last().map(|last| {
                let record = last.image.as_ref().map(|image| &image.record);
                let activity = record.and_then(|record| stragglers.activity.get(record)).cloned();
                Keyset { values: vec![activity.unwrap_or(Value::Null)], key: last.key.clone() }
            });
            chosen.extend(page.records.into_iter().filter(|found| {
                let key = found.key.to_text();
                !spared.contains(&key) && !tried.contains(&key)
            }));
            if chosen.len() >= limit || !page.more || after.is_none() {
                chosen.truncate(limit);
                return Ok(chosen);
            }
        }
    }

    /// Deactivates the next stragglers, as many as today still allows. One that
    /// stays, whatever the reason, is tried once a day.
    pub async fn deactivate(&self, state: &State, tried: &mut Tried) -> Result<Round, Fault> {
        let mut round = Round::default();
        let Some(stragglers) = self.setup.spec.stragglers.clone() else { return Ok(round) };
        if tried.day != today() {
            *tried = Tried { day: today(), keys: BTreeSet::new() };
        }
        let left = stragglers.per_day_max.saturating_sub(self.noted_on(tried.day).await?.len() as u64);
        let chosen = self.stragglers(&stragglers, left, &tried.keys).await?;
        if chosen.is_empty() {
            return Ok(round);
        }
        let mut entries = Vec::with_capacity(chosen.len());
        for found in &chosen {
            entries.push(self.entry(found).await?);
        }
        // Another process may have deactivated some since they were counted.
        let allowed = self.note_down(tried.day, entries, stragglers.per_day_max).await?;
        for found in chosen.into_iter().take(allowed) {
            tried.keys.insert(found.key.to_text());
            let done = match self.deactivate_one(state, &stragglers, &found).await {
                // One that cannot be shown in v2 does not hold up the others.
                Err(Fault::Mapping(error)) => {
                    self.bury(&found.key, stamp_of(&found), error.code, &error.to_string()).await?;
                    Deactivated::Refused
                }
                done => done?,
            };
            match done {
                Deactivated::Yes => round.deactivated += 1,
                Deactivated::LeftAlone => round.left_alone += 1,
                Deactivated::Refused => round.refused += 1,
            }
        }
        Ok(round)
    }

    /// Deactivates one record that was chosen: the predicate is evaluated again
    /// on the version that the write moves.
    pub async fn deactivate_one(
        &self,
        state: &State,
        stragglers: &Stragglers,
        chosen: &Fetched,
    ) -> Result<Deactivated, Fault> {
        let again = !self.lacks(Protection::PredicateAgain);
        let shapes = &self.setup.shapes;
        let (row, mut held) = match again {
            true => match self.locate(state, Shape::V1, &chosen.key).await? {
                Place::Source { row, held } => (row, held),
                _ => return Ok(Deactivated::LeftAlone),
            },
            false => match &chosen.image {
                Some(image) => (chosen.clone(), shapes.held(image.clone())),
                None => return Ok(Deactivated::LeftAlone),
            },
        };
        if again && !self.inactive_now(stragglers).matches(&held.v1.record) {
            return Ok(Deactivated::LeftAlone);
        }
        // It is written down as it was chosen: another version is for the next round.
        if again && stamp_of(&row) != stamp_of(chosen) {
            return Ok(Deactivated::LeftAlone);
        }
        self.with_own_key(&row.key, &mut held).await?;
        let parted = shapes.forward(&held.v1)?;
        let mut v2 = parted.v2;
        for (name, value) in stragglers.deactivate.iter() {
            v2.set(name, value.clone());
        }
        let mut v1 = shapes.reverse(&Parted { v2, rest: parted.rest })?;
        shapes.keep_strays(&held.v1, &mut v1);
        let v2 = shapes.forward(&v1)?.v2;
        let key = self.target_key(&row.key).await?;
        if let Some(refused) = self.obstacle(&v2, &key).await? {
            self.bury(&row.key, stamp_of(&row), &refused.code, &refused.message).await?;
            return Ok(Deactivated::Refused);
        }
        self.carry_off(state.epoch, &row, v1, if again { unchanged(&row) } else { Expect::Any }).await
    }

    async fn carry_off(
        &self,
        epoch: u64,
        row: &Fetched,
        v1: shearwater_core::store::Image,
        expect: Expect,
    ) -> Result<Deactivated, Fault> {
        match self.depart(epoch, row, v1, expect, None).await {
            Ok(_) => {}
            Err(Fault::Store(_, error)) if matches!(error.kind, StoreErrorKind::ExpectFailed { .. }) => {
                return Ok(Deactivated::LeftAlone);
            }
            Err(fault) => return Err(fault),
        }
        let source = self.setup.source().await.map_err(Fault::source)?;
        let row = source.fetch(&row.key).await.map_err(Fault::source)?;
        let Some(image) = row.image.clone() else { return Ok(Deactivated::LeftAlone) };
        let held = self.setup.shapes.held(image);
        if held.home == Home::Source {
            return Ok(Deactivated::Refused);
        }
        match self.land(epoch, &row, &held).await? {
            Landed::Here(_, mark) => {
                self.clear(mark).await?;
                Ok(Deactivated::Yes)
            }
            Landed::Refused(_) => Ok(Deactivated::Refused),
        }
    }

    /// The oldest activity among records that live in the source, by key; for status.
    pub async fn oldest(&self) -> Result<Option<(Key, Value)>, Fault> {
        let Some(stragglers) = &self.setup.spec.stragglers else { return Ok(None) };
        let by_activity = OrderTerm::by(stragglers.activity.clone());
        let filter = self.setup.shapes.lives_in(Home::Source);
        let query = ListQuery { filter, order: vec![by_activity], after: None, limit: 1 };
        let source = self.setup.source().await.map_err(Fault::source)?;
        let page = source.list(&query).await.map_err(Fault::source)?;
        Ok(page.records.into_iter().next().and_then(|found| {
            let value = stragglers.activity.get(&found.image?.record)?.clone();
            Some((found.key, value))
        }))
    }
}

/// What became of one straggler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deactivated {
    /// It has moved, deactivated.
    Yes,
    /// It is active, or has moved.
    LeftAlone,
    /// The target will not have it.
    Refused,
}
