//! Writes of single records, and atomic inserts of several.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use ring::digest;
use shearwater_core::Key;
use shearwater_core::limits::BULK_RECORDS_MAX;
use shearwater_core::value::{Document, Uuid};
use shearwater_engine::records::{ClientChange, Condition, Edit, Got, Idempotency, ServeError, Shape, WriteDone};

use super::answer::{self, Answer, Replayed};
use super::entity::{Entity, Version};
use super::headers::{self, Accept, BodyType, Duplicates, Prefer, Return};
use super::json::{Body as BodyForm, Many};
use super::key_text;
use super::problem::{self, Kind, Problem};
use super::query::{self, Query};
use super::reads::One;
use super::select::Select;

/// A write as it came in.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, for the request's hash.
    pub path: &'a str,
    /// The query string.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a [u8],
}

impl Incoming<'_> {
    /// The idempotency key with the hash of this request; keys of different
    /// entities and versions do not meet.
    pub fn idempotency(&self, version: &Version) -> Result<Option<Idempotency>, Problem> {
        let Some(key) = headers::idempotency_key(self.headers)? else { return Ok(None) };
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [self.method.as_str().as_bytes(), self.path.as_bytes(), self.query.as_bytes(), self.body] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let hash = context.finish();
        let mut half = [0; 16];
        half.copy_from_slice(&hash.as_ref()[..16]);
        let key = format!("{}/{key}", version.path.trim_start_matches('/'));
        Ok(Some(Idempotency { key, request_hash: u128::from_be_bytes(half) }))
    }
}

/// Hands changes to the engine, in a task of its own: a client that hangs up
/// does not leave a write half-followed.
pub async fn submit(
    entity: &Arc<Entity>,
    shape: Shape,
    changes: Vec<ClientChange>,
    idempotency: Option<Idempotency>,
) -> Result<WriteDone, ServeError> {
    let entity = entity.clone();
    let write = tokio::spawn(async move { entity.serve.write(shape, changes, idempotency).await });
    match write.await {
        Ok(done) => done,
        // The task has panicked, or the process is ending: nobody knows how far it came.
        Err(_) => Err(ServeError::OutcomeUnknown),
    }
}

/// `POST /{version}/{entity}`: one record, or several, all or none.
pub async fn insert(
    entity: &Arc<Entity>,
    version: &Version,
    incoming: Incoming<'_>,
) -> Result<Response<Body>, Problem> {
    let (accept, prefer) = (headers::accept(incoming.headers)?, Prefer::read(incoming.headers)?);
    headers::content_type(incoming.headers, BodyType::Json)?;
    let query = query::read(&version.layout, incoming.query)?;
    insert_query(&query)?;
    match headers::condition(incoming.headers)? {
        Condition::None => {}
        Condition::Absent if prefer.duplicates == Duplicates::Refuse => {}
        Condition::Absent => {
            return Err(Problem::new(Kind::BadHeader, "If-None-Match and Prefer: resolution exclude each other"));
        }
        Condition::Exists | Condition::Match(_) | Condition::Matching(_) => {
            return Err(Problem::new(Kind::BadHeader, "If-Match has no meaning for new records"));
        }
    }
    let idempotency = incoming.idempotency(version)?;
    let (records, one) = match version.codec.read_many(incoming.body)? {
        Many::One(record) => (vec![record], true),
        Many::Array(records) => (records, false),
    };
    if records.len() > BULK_RECORDS_MAX {
        return Err(bulk_too_large(records.len()));
    }
    let columns = query.columns.as_deref();
    let changes = records.into_iter().enumerate().map(|(place, record)| {
        let uuid = chosen_uuid(idempotency.as_ref(), place);
        let (key, record) = new_record(entity, version, columns, record, uuid)?;
        let edit = match prefer.duplicates {
            Duplicates::Refuse => Edit::Insert(record),
            Duplicates::Merge => Edit::InsertOrSet(record),
            Duplicates::Ignore => Edit::InsertIfAbsent(record),
        };
        Ok(ClientChange { key, edit, condition: Condition::None })
    });
    let changes = changes.collect::<Result<Vec<_>, Problem>>()?;
    if prefer.duplicates == Duplicates::Merge {
        each_once(&changes)?;
    }
    if changes.is_empty() {
        return inserted_nothing(version, accept, prefer);
    }
    let done = submit(entity, version.shape, changes, idempotency).await?;
    let replayed = Replayed::of(done.replayed);
    // As in PostgREST: 200 where an upsert found all of its records there.
    let status = match done.created.contains(&true) {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let records: Vec<Got> = done.records.into_iter().flatten().collect();
    let mut answer = match answer::with_body(prefer) {
        true => {
            let body = answer::many(version, records.iter(), query.select.as_ref(), accept)?;
            Answer::json(status, accept, body)
        }
        false => Answer::empty(status),
    };
    if let ([got], true) = (records.as_slice(), one) {
        answer = answer.location(version, &got.key).etag(got.etag);
    }
    Ok(answer.applied(prefer).replayed(replayed).key_kept(done.key_kept).into_response())
}

/// Two records of one upsert with the same key would change one after the
/// other; PostgreSQL refuses that as well.
fn each_once(changes: &[ClientChange]) -> Result<(), Problem> {
    let mut keys = HashSet::with_capacity(changes.len());
    match changes.iter().all(|change| keys.insert(&change.key)) {
        true => Ok(()),
        false => {
            let mut problem = Problem::new(Kind::Unprocessable, "two records of one upsert have the same key");
            problem.code = Some("21000".into());
            Err(problem.hint("send each record once"))
        }
    }
}

fn inserted_nothing(version: &Version, accept: Accept, prefer: Prefer) -> Result<Response<Body>, Problem> {
    let answer = match answer::with_body(prefer) {
        true => Answer::json(StatusCode::CREATED, accept, answer::many(version, [].iter(), None, accept)?),
        false => Answer::empty(StatusCode::CREATED),
    };
    Ok(answer.applied(prefer).into_response())
}

fn insert_query(query: &Query) -> Result<(), Problem> {
    query.not_a_list()?;
    match query.filter {
        shearwater_core::query::Filter::All => Ok(()),
        _ => Err(Problem::new(Kind::UnknownParameter, "an insert takes no filter")),
    }
}

/// The UUID for a new record without a key. One that has an idempotency key is
/// made from it, so that a retry names the same record even where the key
/// itself cannot be kept (before the start and after complete).
fn chosen_uuid(idempotency: Option<&Idempotency>, place: usize) -> Uuid {
    match idempotency {
        None => Uuid::now_v7(),
        Some(Idempotency { key, request_hash }) => {
            Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{request_hash:032x}/{place}/{key}").as_bytes())
        }
    }
}

fn new_record(
    entity: &Entity,
    version: &Version,
    columns: Option<&[String]>,
    record: Document,
    uuid: Uuid,
) -> Result<(Key, Document), Problem> {
    version.usage.fields(&record);
    if let Some(columns) = columns
        && let Some((extra, _)) = record.iter().find(|(name, _)| !columns.iter().any(|column| column == name))
    {
        return Err(Problem::new(Kind::Unprocessable, "a record has a field that the parameter columns does not name")
            .field(extra)
            .hint("name it there as well, or leave columns out"));
    }
    let record = entity.with_key(version.shape, record, uuid)?;
    entity.key_of(version.shape, record)
}

/// More records than one atomic change may hold.
pub fn bulk_too_large(found: usize) -> Problem {
    Problem::new(Kind::BulkTooLarge, format!("{found} records; one atomic change holds at most {BULK_RECORDS_MAX}"))
        .hint("send them in several requests")
}

/// `PUT /{version}/{entity}/{key}`: the whole record.
pub async fn replace(
    entity: &Arc<Entity>,
    version: &Version,
    segment: &str,
    incoming: Incoming<'_>,
) -> Result<Response<Body>, Problem> {
    headers::content_type(incoming.headers, BodyType::Json)?;
    let single = Single::read(version, segment, incoming)?;
    let mut record = version.codec.read(BodyForm::Record, incoming.body)?;
    version.usage.fields(&record);
    version.fill_key(&single.key, &mut record);
    let (new_key, record) = entity.key_of(version.shape, record)?;
    // A record that moves has to be there; only a PUT to its own key makes one.
    let moves = new_key != single.key;
    let condition = match (&single.condition, moves) {
        (Condition::None, true) => Condition::Exists,
        (Condition::Absent, true) => {
            return Err(Problem::new(Kind::KeyMismatch, "a new record has the key of its path")
                .hint("send it to the path of its key"));
        }
        (condition, _) => condition.clone(),
    };
    let unasked = single.condition == Condition::None;
    let written = single.write(entity, version, Edit::Replace(record), condition).await;
    match written {
        Err(ServeError::PreconditionFailed { current: None }) if moves && unasked => Err(ServeError::NotFound.into()),
        other => single.answer(version, other?),
    }
}

/// `PATCH /{version}/{entity}/{key}`: a merge patch.
pub async fn patch(
    entity: &Arc<Entity>,
    version: &Version,
    segment: &str,
    incoming: Incoming<'_>,
) -> Result<Response<Body>, Problem> {
    headers::content_type(incoming.headers, BodyType::MergePatch)?;
    let single = Single::read(version, segment, incoming)?;
    let patch = version.codec.read(BodyForm::Patch, incoming.body)?;
    version.usage.fields(&patch);
    keeps_key(version, &patch)?;
    let condition = single.condition.clone();
    let done = single.write(entity, version, Edit::MergePatch(patch), condition).await?;
    single.answer(version, done)
}

/// A patch may change a key, but not take it away.
pub fn keeps_key(version: &Version, patch: &Document) -> Result<(), Problem> {
    let nulled = version.layout.key_fields().iter().find(|name| patch.get(name).is_some_and(|value| value.is_null()));
    match nulled {
        Some(name) => Err(Problem::new(Kind::KeyMismatch, format!("{name} is a key field and cannot be removed"))
            .field(name.as_str())),
        None => Ok(()),
    }
}

/// `DELETE /{version}/{entity}/{key}`.
pub async fn delete(
    entity: &Arc<Entity>,
    version: &Version,
    segment: &str,
    incoming: Incoming<'_>,
) -> Result<Response<Body>, Problem> {
    let single = Single::read(version, segment, incoming)?;
    let condition = single.condition.clone();
    let done = single.write(entity, version, Edit::Delete, condition).await?;
    // When an earlier request deleted it, what it was is gone.
    let deleted = done.deleted.first().and_then(Option::as_ref).filter(|_| answer::with_body(single.prefer));
    let answer = match deleted {
        Some(got) => Answer::json(StatusCode::OK, Accept::Json, answer::one(version, got, single.select.as_ref())),
        None => Answer::empty(StatusCode::NO_CONTENT),
    };
    Ok(answer.applied(single.prefer).replayed(Replayed::of(done.replayed)).key_kept(done.key_kept).into_response())
}

/// A write of one record.
struct Single {
    key: Key,
    condition: Condition,
    idempotency: Option<Idempotency>,
    prefer: Prefer,
    select: Option<Select>,
}

impl Single {
    fn read(version: &Version, segment: &str, incoming: Incoming<'_>) -> Result<Single, Problem> {
        headers::accept(incoming.headers)?;
        let one = One { segment, query: incoming.query, headers: incoming.headers };
        Ok(Single {
            key: key_text::read(&version.key_types, segment)?,
            condition: headers::condition(incoming.headers)?,
            idempotency: incoming.idempotency(version)?,
            prefer: Prefer::read(incoming.headers)?.not_an_upsert()?,
            select: one.select(version)?,
        })
    }

    async fn write(
        &self,
        entity: &Arc<Entity>,
        version: &Version,
        edit: Edit,
        condition: Condition,
    ) -> Result<WriteDone, ServeError> {
        let change = ClientChange { key: self.key.clone(), edit, condition };
        submit(entity, version.shape, vec![change], self.idempotency.clone()).await
    }

    /// 201 with its place for a new record; 200 with the record or 204 without
    /// for one that was there; its new place when it has moved.
    fn answer(&self, version: &Version, done: WriteDone) -> Result<Response<Body>, Problem> {
        let created = done.created.first().copied().unwrap_or(false);
        let got = done.records.first().and_then(Option::as_ref);
        let status = match (created, self.prefer.returns) {
            (true, _) => StatusCode::CREATED,
            (false, Return::Representation) => StatusCode::OK,
            (false, Return::Minimal | Return::HeadersOnly) => StatusCode::NO_CONTENT,
        };
        let mut answer = match (got, self.prefer.returns) {
            (Some(got), Return::Representation) => {
                Answer::json(status, Accept::Json, answer::one(version, got, self.select.as_ref()))
            }
            _ => Answer::empty(status),
        };
        if let Some(got) = got {
            answer = answer.etag(got.etag);
            if created || got.key != self.key {
                answer = answer.location(version, &got.key);
            }
        }
        Ok(answer.applied(self.prefer).replayed(Replayed::of(done.replayed)).key_kept(done.key_kept).into_response())
    }
}

/// What a write is told when its time is over: its outcome is not known.
pub fn timed_out(method: &Method) -> Problem {
    match method.is_safe() {
        true => Problem::new(Kind::TimedOut, "the request took longer than this gateway allows").retry_after_ms(1_000),
        false => problem::outcome_unknown(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_whose_time_is_over_may_have_happened() {
        let check = |method: Method, kind: Kind| assert_eq!(timed_out(&method).kind, kind, "{method}");
        check(Method::GET, Kind::TimedOut);
        check(Method::HEAD, Kind::TimedOut);
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            check(method, Kind::OutcomeUnknown);
        }
    }

    #[test]
    fn a_chosen_key_follows_from_the_idempotency_key() {
        let key = |key: &str, request_hash| Idempotency { key: key.into(), request_hash };
        let chosen = |idempotency: Idempotency, place| chosen_uuid(Some(&idempotency), place);
        assert_eq!(chosen(key("k", 1), 0), chosen(key("k", 1), 0));
        assert_ne!(chosen(key("k", 1), 0), chosen(key("k", 1), 1), "records of one request differ");
        assert_ne!(chosen(key("k", 1), 0), chosen(key("k", 2), 0));
        assert_ne!(chosen(key("k", 1), 0), chosen(key("j", 1), 0));
        assert_ne!(chosen_uuid(None, 0), chosen_uuid(None, 0));
    }
}
