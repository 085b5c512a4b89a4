//! A page of a list, read along an index.
//!
//! One bracket after the other in canonical order, each from where the page
//! before ended. Within a bracket the index gives the order, ties by rising
//! `_id`; where it gives ties by falling `_id`, and among numbers, where equal
//! ones of several types are ties to MongoDB and not to core, records of one
//! value (a *run*) are put in order here. A run that may fill the page is read
//! type by type, so that no run is read whole for a page within it; the server
//! looks through a run of numbers only for the page on which its next type begins.
//!
//! What was read is in order, or it is not used: whatever the index gives that
//! it should not (an array that was written after it was looked at) makes the
//! page one that is read the general way.

use mongodb::bson::{Document, RawDocumentBuf, doc};
use shearwater_core::Value;
use shearwater_core::error::StoreResult;
use shearwater_core::query::{ListPage, ListQuery, sort_bytes};
use shearwater_core::value::order;

use super::along::{Along, bracket_of, is_odd};
use super::bracket::Bracket;
use super::condition::{besides, within};
use super::encode;
use super::error::failure;
use super::fence::State;
use super::key::ID;
use super::list::{Candidate, Found, Page, Top, place_of};
use super::raw::{Doc, Element, Owned, find, ty};
use super::scan::no_tombstones;
use super::session::{Rows, filter};
use super::{Inner, value};
use crate::relational::page::{Direction, Ranked};

/// The server's error for an index that went away since it was looked at.
const BAD_VALUE: i32 = 2;

/// Records that the server sends at once, beyond the page's.
const BATCH_MORE: usize = 2;

/// How a part of the walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// At its end.
    Further,
    /// The page is full.
    Full,
    /// The index does not give the order after all.
    Unproven,
}

/// The place to go on from.
struct At {
    bracket: Bracket,
    value: Owned,
    id: Owned,
}

/// A walk along an index.
struct Walk<'a> {
    inner: &'a Inner,
    query: &'a ListQuery,
    along: &'a Along,
    after: Option<Vec<u8>>,
    /// What every condition has.
    always: Vec<Document>,
    page: Page,
}

/// A page; `None`: the index does not give it.
pub(super) async fn page(
    inner: &Inner,
    state: Option<State>,
    query: &ListQuery,
    along: &Along,
) -> StoreResult<Option<ListPage>> {
    let Some(at) = begin(inner, query, along) else { return Ok(None) };
    let (mut always, _) = besides(&query.filter, &along.name);
    always.push(no_tombstones());
    let after = query.after.as_ref().map(|place| sort_bytes(&query.order, place));
    let mut walk = Walk { inner, query, along, after, always, page: Page::new(query.limit) };
    let mut brackets = Bracket::RISING.to_vec();
    if along.direction == Direction::Falling {
        brackets.reverse();
    }
    if along.ties.is_some() {
        brackets.insert(if along.nulls_first { 0 } else { brackets.len() }, Bracket::Null);
    }
    let first = at.as_ref().and_then(|at| brackets.iter().position(|bracket| *bracket == at.bracket));
    for bracket in brackets.into_iter().skip(first.unwrap_or(0)) {
        let at = at.as_ref().filter(|at| at.bracket == bracket);
        match walk.bracket(bracket, at).await? {
            Step::Further => {}
            Step::Full => break,
            Step::Unproven => return Ok(None),
        }
    }
    walk.page.finish(inner, state).map(Some)
}

/// Where the page begins; `None`: at a place that the index does not have.
fn begin(inner: &Inner, query: &ListQuery, along: &Along) -> Option<Option<At>> {
    let Some(place) = &query.after else { return Some(None) };
    let first = if query.order.is_empty() { place.key.values().first() } else { place.values.first() };
    let bracket = Bracket::of(first)?;
    let value = encode::value(first.unwrap_or(&Value::Null)).ok()?;
    let id = inner.records.keys.id_of(&place.key).ok()?;
    let is_like_the_ids = |ids: Bracket| bracket_of(id.get()) == Some(ids);
    along.ties.is_none_or(|ties| is_like_the_ids(ties.ids)).then_some(Some(At { bracket, value, id }))
}

/// What a query asks of a field.
fn asks(field: &str, word: &str, of: &Owned) -> StoreResult<Document> {
    let mut doc = Doc::new();
    doc.begin(field).put(word, of.get());
    filter(doc.end())
}

/// Numbers of one value that are of one type to core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Int,
    Float,
    Decimal,
}

impl Kind {
    const RISING: [Kind; 3] = [Kind::Int, Kind::Float, Kind::Decimal];

    fn of(element: Element<'_>) -> Kind {
        match element.ty {
            ty::DOUBLE => Kind::Float,
            ty::DECIMAL128 => Kind::Decimal,
            _ => Kind::Int,
        }
    }

    fn types(self) -> &'static [&'static str] {
        match self {
            Kind::Int => &["int", "long"],
            Kind::Float => &["double"],
            Kind::Decimal => &["decimal"],
        }
    }

    /// Whether only the key tells those of this value apart: neither the sign of
    /// a zero, nor the bits of what is no number, nor the scale of a decimal.
    fn come(self, value: Element<'_>) -> Come {
        let is_plain = match self {
            Kind::Int => true,
            Kind::Decimal => false,
            Kind::Float => value::value(value).is_ok_and(|value| {
                Bracket::of(Some(&value)) == Some(Bracket::Number)
                    && order::compare_numbers(&value, &Value::Int(0)).is_some_and(|order| order.is_ne())
            }),
        };
        if is_plain { Come::InOrder } else { Come::Anyhow }
    }
}

/// How an index gives records of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Come {
    InOrder,
    Anyhow,
}

/// Whether two values are one to an index.
fn is_same(a: Element<'_>, b: Element<'_>) -> bool {
    a == b || {
        let numbers = value::value(a).ok().zip(value::value(b).ok());
        numbers.and_then(|(a, b)| order::compare_numbers(&a, &b)).is_some_and(|order| order.is_eq())
    }
}

impl Walk<'_> {
    async fn bracket(&mut self, bracket: Bracket, at: Option<&At>) -> StoreResult<Step> {
        // Where other types begin that may be among texts and numbers.
        if bracket == Bracket::ObjectId {
            let texts = within(&self.query.filter, &self.along.name, &self.along.field, Bracket::Text);
            if self.along.has_hidden(self.inner, texts).await? {
                return Ok(Step::Unproven);
            }
        }
        let narrowed = within(&self.query.filter, &self.along.name, &self.along.field, bracket);
        let Some(narrowed) = narrowed else { return Ok(Step::Further) };
        let test = doc! { &self.along.field: bracket.test() };
        let conditions: Vec<Document> = narrowed.into_iter().chain([test]).collect();
        if self.along.ties.is_none() {
            // Equal numbers are no ties there, and two keys.
            let rising = self.along.direction == Direction::Rising;
            let from = at.map(|at| asks(ID, if rising { "$gte" } else { "$lte" }, &at.value)).transpose()?;
            return self.straight(bracket, conditions.into_iter().chain(from).collect()).await;
        }
        if let Some(at) = at {
            let step = self.run(bracket, &at.value, Some(at)).await?;
            if step != Step::Further || bracket == Bracket::Null {
                return Ok(step);
            }
        }
        match bracket {
            Bracket::Null => self.run(bracket, &Owned::new(ty::NULL, []), None).await,
            Bracket::NotANumber if at.is_some() => Ok(Step::Further),
            Bracket::NotANumber => self.run(bracket, &Owned::new(ty::DOUBLE, f64::NAN.to_le_bytes()), None).await,
            Bracket::Number => self.by_runs(bracket, conditions, at).await,
            _ if !self.along.is_straight() => self.by_runs(bracket, conditions, at).await,
            _ => {
                let beyond = at.map(|at| self.beyond(&at.value)).transpose()?;
                self.straight(bracket, conditions.into_iter().chain(beyond).collect()).await
            }
        }
    }

    /// What the values after one fulfil.
    fn beyond(&self, value: &Owned) -> StoreResult<Document> {
        let word = if self.along.direction == Direction::Rising { "$gt" } else { "$lt" };
        asks(&self.along.field, word, value)
    }

    /// What the keys from one on fulfil: with it, for an equal number of another
    /// type is another key to core. Those that the page before had are told by their place.
    fn keys_from(id: &Owned) -> StoreResult<Document> {
        asks(ID, "$gte", id)
    }

    /// Opens a part; `None`: the index is gone.
    async fn open(&self, conditions: Vec<Document>, sort: Document) -> StoreResult<Option<Rows<'_>>> {
        let conditions: Vec<Document> = self.always.iter().cloned().chain(conditions).collect();
        let batch = u32::try_from(self.query.limit + BATCH_MORE).unwrap_or(u32::MAX);
        let collection = self.inner.server.collection(&self.inner.records.table);
        let find = collection.find(doc! { "$and": conditions }).sort(sort).hint(self.along.hint.clone());
        match self.inner.server.rows(find.batch_size(batch)).await {
            Ok(rows) => Ok(Some(rows)),
            Err(error) => match failure("listing", &error).of_a_repeatable() {
                gone if gone.code == BAD_VALUE => Ok(None),
                failed => Err(failed.error),
            },
        }
    }

    async fn next(rows: &mut Rows<'_>) -> StoreResult<Option<RawDocumentBuf>> {
        rows.next().await.map_err(|e| failure("listing", &e).of_a_repeatable().error)
    }

    /// Takes what an index gives in order.
    async fn straight(&mut self, bracket: Bracket, conditions: Vec<Document>) -> StoreResult<Step> {
        let Some(mut rows) = self.open(conditions, self.along.sort()).await? else { return Ok(Step::Unproven) };
        let mut taken = Vec::new();
        while let Some(raw) = Self::next(&mut rows).await? {
            match self.seen(bracket, raw)? {
                Found::Not => {}
                Found::Odd => return Ok(Step::Unproven),
                Found::One(found) => taken.push(*found),
            }
            if self.page.len() + taken.len() > self.query.limit {
                break;
            }
        }
        drop(rows);
        Ok(self.take(taken))
    }

    /// A document's record, if it is one of the page's, at its place.
    fn seen(&self, bracket: Bracket, raw: RawDocumentBuf) -> StoreResult<Found> {
        let value = find(raw.as_bytes(), &self.along.field);
        let found = match value {
            None => Some(Bracket::Null),
            Some(element) => bracket_of(element),
        };
        if found != Some(bracket) {
            // Another writing of a number has its place elsewhere.
            return Ok(if value.is_some_and(is_odd) { Found::Not } else { Found::Odd });
        }
        let Some(candidate) = self.inner.candidate(self.query, self.inner.records.read(raw))? else {
            return Ok(Found::Not);
        };
        let place = place_of(self.query, &candidate);
        if self.after.as_ref().is_some_and(|after| place <= *after) {
            return Ok(Found::Not);
        }
        Ok(Found::One(Box::new(Ranked { place, candidate })))
    }

    fn take(&mut self, found: Vec<Ranked<Candidate>>) -> Step {
        for ranked in found {
            if self.page.last().is_some_and(|last| ranked.place <= last.place) {
                return Step::Unproven;
            }
            if !self.page.push(ranked) {
                return Step::Full;
            }
        }
        Step::Further
    }

    /// Takes value after value, putting those of one value in order.
    async fn by_runs(&mut self, bracket: Bracket, conditions: Vec<Document>, at: Option<&At>) -> StoreResult<Step> {
        let mut beyond = at.map(|at| at.value.clone());
        loop {
            let from = beyond.as_ref().map(|value| self.beyond(value)).transpose()?;
            let (whole, long) = match self.runs(bracket, conditions.iter().cloned().chain(from).collect()).await? {
                Some(runs) => runs,
                None => return Ok(Step::Unproven),
            };
            let step = self.take(whole);
            let Some(long) = long.filter(|_| step == Step::Further) else { return Ok(step) };
            match self.run(bracket, &long, None).await? {
                Step::Further => beyond = Some(long),
                step => return Ok(step),
            }
        }
    }

    /// Whole runs, and the value of the one after them that may fill the page.
    async fn runs(&self, bracket: Bracket, conditions: Vec<Document>) -> StoreResult<Option<Runs>> {
        let (mut whole, mut run): (Vec<Ranked<Candidate>>, Vec<Ranked<Candidate>>) = (Vec::new(), Vec::new());
        let mut value: Option<Owned> = None;
        let Some(mut rows) = self.open(conditions, self.along.sort()).await? else { return Ok(None) };
        while let Some(raw) = Self::next(&mut rows).await? {
            let here = find(raw.as_bytes(), &self.along.field).map(Owned::of);
            let Some(here) = here else { return Ok(None) };
            // It stands among the numbers of a run, and neither begins nor ends one.
            if is_odd(here.get()) {
                continue;
            }
            if value.as_ref().is_none_or(|value| !is_same(value.get(), here.get())) {
                run.sort();
                whole.append(&mut run);
                value = Some(here);
            }
            match self.seen(bracket, raw)? {
                Found::Not => {}
                Found::Odd => return Ok(None),
                Found::One(found) => run.push(*found),
            }
            let room = self.query.limit.saturating_sub(self.page.len());
            if whole.len() == room && !run.is_empty() {
                // Which one it is does not matter: there is one more.
                whole.append(&mut run);
                return Ok(Some((whole, None)));
            }
            if whole.len() + run.len() > room {
                return Ok(Some((whole, value)));
            }
        }
        run.sort();
        whole.append(&mut run);
        Ok(Some((whole, None)))
    }

    /// Takes the records of one value.
    async fn run(&mut self, bracket: Bracket, value: &Owned, at: Option<&At>) -> StoreResult<Step> {
        let is = asks(&self.along.field, "$eq", value)?;
        if !matches!(bracket, Bracket::Number | Bracket::NotANumber) {
            let after = at.map(|at| Self::keys_from(&at.id)).transpose()?;
            return self.ties(bracket, [is].into_iter().chain(after).collect(), Come::InOrder).await;
        }
        let mut kinds = Kind::RISING.to_vec();
        if self.along.direction == Direction::Falling {
            kinds.reverse();
        }
        let first = at.map(|at| Kind::of(at.value.get()));
        for kind in kinds.into_iter().skip_while(|kind| first.is_some_and(|first| *kind != first)) {
            let of_kind = doc! { &self.along.field: { "$type": kind.types() } };
            let mut conditions = vec![is.clone(), of_kind];
            let come = kind.come(value.get());
            if let Some(at) = at.filter(|_| come == Come::InOrder && first == Some(kind)) {
                conditions.push(Self::keys_from(&at.id)?);
            }
            let step = self.ties(bracket, conditions, come).await?;
            if step != Step::Further {
                return Ok(step);
            }
        }
        Ok(Step::Further)
    }

    /// Takes records of one value as they come by `_id`, or sorts those of a kind
    /// that the key alone does not tell apart.
    async fn ties(&mut self, bracket: Bracket, conditions: Vec<Document>, come: Come) -> StoreResult<Step> {
        let wanted = self.query.limit.saturating_sub(self.page.len()).saturating_add(1);
        let mut top = Top::new(wanted);
        let Some(mut rows) = self.open(conditions, self.along.sort_of_ties()).await? else {
            return Ok(Step::Unproven);
        };
        while let Some(raw) = Self::next(&mut rows).await? {
            match self.seen(bracket, raw)? {
                Found::Not => {}
                Found::Odd => return Ok(Step::Unproven),
                Found::One(found) => top.offer(*found),
            }
            if come == Come::InOrder && top.len() == wanted {
                break;
            }
        }
        drop(rows);
        Ok(self.take(top.into_sorted()))
    }
}

/// Whole runs, and the value of one that was not read to its end.
type Runs = (Vec<Ranked<Candidate>>, Option<Owned>);
