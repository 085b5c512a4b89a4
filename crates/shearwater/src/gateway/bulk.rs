//! Bulk changes: a filter chooses the records, one atomic write changes them,
//! each if it still matches the filter when it is written. A record that others
//! change in between is looked at again by itself; the choice is made once.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use shearwater_core::limits::BULK_RECORDS_MAX;
use shearwater_core::query::Filter;
use shearwater_core::value::Document;
use shearwater_engine::records::{ClientChange, Condition, Edit, Got, Idempotency, KeyKept, ListAsk};

use super::answer::{self, Answer, Replayed};
use super::entity::{Entity, Version};
use super::headers::{self, BodyType, Prefer};
use super::json::Body as BodyForm;
use super::problem::{Kind, Problem};
use super::query;
use super::writes::{Incoming, bulk_too_large, keeps_key, submit};

/// `PATCH /{version}/{entity}?filter`.
pub async fn patch(entity: &Arc<Entity>, version: &Version, incoming: Incoming<'_>) -> Result<Response<Body>, Problem> {
    headers::content_type(incoming.headers, BodyType::MergePatch)?;
    let patch = version.codec.read(BodyForm::Patch, incoming.body)?;
    version.usage.fields(&patch);
    keeps_key(version, &patch)?;
    change(entity, version, incoming, &BulkEdit::Patch(patch)).await
}

/// `DELETE /{version}/{entity}?filter`.
pub async fn delete(
    entity: &Arc<Entity>,
    version: &Version,
    incoming: Incoming<'_>,
) -> Result<Response<Body>, Problem> {
    change(entity, version, incoming, &BulkEdit::Delete).await
}

enum BulkEdit {
    Patch(Document),
    Delete,
}

/// What a bulk change did.
struct Bulk {
    /// The records as the answer shows them: after a patch, before a delete.
    shown: Vec<Got>,
    /// Whether an earlier request did it.
    replayed: Replayed,
    key_kept: KeyKept,
}

async fn change(
    entity: &Arc<Entity>,
    version: &Version,
    incoming: Incoming<'_>,
    edit: &BulkEdit,
) -> Result<Response<Body>, Problem> {
    let (accept, prefer) = (headers::accept(incoming.headers)?, Prefer::read(incoming.headers)?.not_an_upsert()?);
    let query = query::read(&version.layout, incoming.query)?;
    query.not_a_list()?;
    query.not_an_insert()?;
    if query.filter == Filter::All {
        return Err(Problem::new(Kind::FilterRequired, "without a filter every record would be changed")
            .hint("name the records, for example ?status=eq.OLD"));
    }
    if headers::condition(incoming.headers)? != Condition::None {
        return Err(Problem::new(Kind::BadHeader, "If-Match and If-None-Match speak of one record")
            .hint("put the condition into the filter"));
    }
    let idempotency = incoming.idempotency(version)?;
    let done = changed(entity, version, &query.filter, edit, idempotency).await?;
    let range = match done.shown.len() {
        0 => "*/*".to_owned(),
        count => format!("0-{}/*", count - 1),
    };
    let answer = match answer::with_body(prefer) {
        true => {
            let body = answer::many(version, done.shown.iter(), query.select.as_ref(), accept)?;
            Answer::json(StatusCode::OK, accept, body)
        }
        false => Answer::empty(StatusCode::NO_CONTENT),
    };
    let answer =
        answer.header(header::CONTENT_RANGE, range).applied(prefer).replayed(done.replayed).key_kept(done.key_kept);
    Ok(answer.into_response())
}

async fn changed(
    entity: &Arc<Entity>,
    version: &Version,
    filter: &Filter,
    edit: &BulkEdit,
    idempotency: Option<Idempotency>,
) -> Result<Bulk, Problem> {
    let ask = ListAsk {
        shape: version.shape,
        filter: filter.clone(),
        order: Vec::new(),
        after: None,
        limit: BULK_RECORDS_MAX,
    };
    let page = entity.serve.list(ask).await?;
    if page.next.is_some() {
        return Err(bulk_too_large(page.records.len() + 1).hint("narrow the filter"));
    }
    if page.records.is_empty() && idempotency.is_none() {
        return Ok(Bulk { shown: Vec::new(), replayed: Replayed::No, key_kept: KeyKept::NotAsked });
    }
    let changes = page.records.into_iter().map(|got| ClientChange {
        key: got.key,
        edit: match edit {
            BulkEdit::Patch(patch) => Edit::MergePatch(patch.clone()),
            BulkEdit::Delete => Edit::Delete,
        },
        condition: Condition::Matching(filter.clone()),
    });
    let done = submit(entity, version.shape, changes.collect(), idempotency).await?;
    let shown = match edit {
        BulkEdit::Patch(_) => done.records,
        BulkEdit::Delete => done.deleted,
    };
    let (replayed, key_kept) = (Replayed::of(done.replayed), done.key_kept);
    Ok(Bulk { shown: shown.into_iter().flatten().collect(), replayed, key_kept })
}
