//! Reads: one record, and pages of a list.

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, header};
use shearwater_core::limits::LIST_RECORDS_MAX;
use shearwater_core::query::Keyset;
use shearwater_engine::records::{LeftOut, ListAsk, ListGot};

use super::answer::{self, Answer};
use super::entity::{Entity, Version};
use super::headers::{self, Accept, Count, Handling, Prefer};
use super::key_text;
use super::page::Place;
use super::problem::{Kind, Problem};
use super::query::{self, Query};
use super::total;

/// `GET /{version}/{entity}/{key}`.
pub async fn one(entity: &Entity, version: &Version, target: One<'_>) -> Result<Response<Body>, Problem> {
    headers::accept(target.headers)?;
    let select = target.select(version)?;
    let key = key_text::read(&version.key_types, target.segment)?;
    let Some(got) = entity.serve.get(version.shape, &key).await? else {
        return Err(Problem::new(Kind::NotFound, "The result contains 0 rows"));
    };
    if let Some(tags) = headers::if_none_match(target.headers)?
        && tags.match_weakly(got.etag)
    {
        return Ok(Answer::empty(StatusCode::NOT_MODIFIED).etag(got.etag).into_response());
    }
    let body = answer::one(version, &got, select.as_ref());
    Ok(Answer::json(StatusCode::OK, Accept::Json, body).etag(got.etag).into_response())
}

/// A request about one record.
#[derive(Clone, Copy)]
pub struct One<'a> {
    /// The last segment of the path, percent-encoded.
    pub segment: &'a str,
    /// The query string.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl One<'_> {
    /// The selected fields, the only thing that a query string may ask here.
    pub fn select(&self, version: &Version) -> Result<Option<super::select::Select>, Problem> {
        if self.query.is_empty() {
            return Ok(None);
        }
        let query = query::read(&version.layout, self.query)?;
        query.one_record()?;
        Ok(query.select)
    }
}

/// `GET /{version}/{entity}`.
pub async fn list(
    entity: &Entity,
    version: &Version,
    raw_query: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, Problem> {
    let (accept, prefer) = (headers::accept(headers)?, Prefer::read(headers)?.not_an_upsert()?);
    let mut query = query::read(&version.layout, raw_query)?;
    query.not_an_insert()?;
    let from_range = in_range(headers, &mut query)?;
    let handling = prefer.handling;
    let ((page, left_out), seen) = match &query.after {
        Some(token) => {
            let place = entity.sealer.open_token(&entity.name, version.shape, &query, token)?;
            (page(entity, version, &query, Some(place.keyset), handling).await?, place.seen)
        }
        None => (page_at(entity, version, &query, handling).await?, query.offset),
    };
    let count = page.records.len();
    if accept == Accept::Singular && (count != 1 || page.next.is_some()) {
        return Err(answer::not_singular(count));
    }
    let is_all = page.next.is_none() && query.page_records() > 0 && (count > 0 || seen == 0);
    let total = match is_all {
        true if prefer.count != Count::None => Some(seen + count as u64),
        _ => total::of(entity, version, &query.filter, prefer).await?,
    };
    if total.is_some_and(|total| query.offset > total) && prefer.count == Count::Exact {
        return Err(Problem::new(Kind::RangeNotSatisfiable, "fewer records match than the offset passes over"));
    }
    let body = answer::many(version, page.records.iter(), query.select.as_ref(), accept)?;
    let mut answer =
        Answer::json(StatusCode::OK, accept, body).header(header::CONTENT_RANGE, content_range(seen, count, total));
    if let (Some(applied), Some(_)) = (prefer.count.applied(), total) {
        answer = answer.preference_applied(applied);
    }
    if handling == Handling::Lenient {
        answer = answer.preference_applied("handling=lenient").left_out(&left_out);
    }
    if let Some(keyset) = page.next {
        let place = Place { keyset, seen: seen + count as u64 };
        let token = entity.sealer.seal(&entity.name, version.shape, &query, &place)?;
        let limit = from_range.filter(|_| query.limit.is_some()).map(|()| query.page_records());
        answer = answer.header(header::LINK, next_link(&version.path, raw_query, limit, &token));
    }
    Ok(answer.into_response())
}

/// A `Range` header, taken for the offset and limit that it means.
fn in_range(headers: &HeaderMap, query: &mut Query) -> Result<Option<()>, Problem> {
    let Some((first, count)) = headers::range(headers)? else { return Ok(None) };
    if query.limit.is_some() || query.offset > 0 || query.after.is_some() {
        return Err(Problem::new(
            Kind::BadHeader,
            "Range and the parameters limit, offset and after exclude each other",
        ));
    }
    query.offset = query::offset_within(first)?;
    query.limit = count.map(query::limit_within).transpose()?;
    Ok(Some(()))
}

/// The page at the query's offset. The records before it are read in pages and
/// thrown away, so memory is that of one page.
async fn page_at(
    entity: &Entity,
    version: &Version,
    query: &Query,
    handling: Handling,
) -> Result<(ListGot, Vec<LeftOut>), Problem> {
    let (mut after, mut left) = (None, usize::try_from(query.offset).unwrap_or(usize::MAX));
    while left > 0 {
        let limit = left.min(LIST_RECORDS_MAX);
        let (passed, _) = listed(entity, ask(version, query, after.take(), limit), handling).await?;
        left -= passed.records.len().min(left);
        match passed.next {
            Some(next) => after = Some(next),
            None => return Ok((ListGot { records: Vec::new(), next: None }, Vec::new())),
        }
    }
    page(entity, version, query, after, handling).await
}

async fn page(
    entity: &Entity,
    version: &Version,
    query: &Query,
    after: Option<Keyset>,
    handling: Handling,
) -> Result<(ListGot, Vec<LeftOut>), Problem> {
    let limit = query.page_records();
    if limit == 0 {
        return Ok((ListGot { records: Vec::new(), next: None }, Vec::new()));
    }
    listed(entity, ask(version, query, after, limit), handling).await
}

/// One page as the client wants records handled that its shape cannot show.
pub async fn listed(entity: &Entity, ask: ListAsk, handling: Handling) -> Result<(ListGot, Vec<LeftOut>), Problem> {
    Ok(match handling {
        Handling::Strict => (entity.serve.list(ask).await?, Vec::new()),
        Handling::Lenient => entity.serve.list_shown(ask).await?,
    })
}

fn ask(version: &Version, query: &Query, after: Option<Keyset>, limit: usize) -> ListAsk {
    ListAsk { shape: version.shape, filter: query.filter.clone(), order: query.order.clone(), after, limit }
}

/// `0-24/*`, `25-49/312`, `*/0`.
fn content_range(seen: u64, count: usize, total: Option<u64>) -> String {
    let total = total.map_or("*".to_owned(), |total| total.to_string());
    match count as u64 {
        0 => format!("*/{total}"),
        count => format!("{seen}-{}/{total}", seen + count - 1),
    }
}

/// The link to the next page: the same query with another place, and with the
/// page's size where a header gave it.
fn next_link(path: &str, raw_query: &str, limit: Option<usize>, token: &str) -> String {
    let mut link = format!("<{path}?");
    let is_place = |pair: &str| matches!(pair.split('=').next(), None | Some("" | "after" | "offset"));
    for pair in raw_query.split('&').filter(|pair| !is_place(pair)) {
        let mut pair = pair.to_owned();
        // The header's own delimiters cannot stand in a URL that is sent as it
        // is; a comma could, but clients split the header at commas.
        for (delimiter, escape) in [("<", "%3C"), (">", "%3E"), ("\"", "%22"), (",", "%2C"), (";", "%3B")] {
            pair = pair.replace(delimiter, escape);
        }
        link.push_str(&pair);
        link.push('&');
    }
    if let Some(limit) = limit {
        link.push_str(&format!("limit={limit}&"));
    }
    link.push_str("after=");
    link.push_str(token);
    link.push_str(">; rel=\"next\"");
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let check = |seen, count, total, expect: &str| assert_eq!(content_range(seen, count, total), expect);
        check(0, 25, None, "0-24/*");
        check(25, 10, Some(35), "25-34/35");
        check(0, 0, Some(0), "*/0");
        check(0, 0, None, "*/*");
    }

    #[test]
    fn links_keep_the_query() {
        let check = |raw: &str, expect: &str| assert_eq!(next_link("/v2/users", raw, None, "T"), expect, "{raw}");
        check("limit=5&offset=10", "</v2/users?limit=5&after=T>; rel=\"next\"");
        assert_eq!(next_link("/v2/users", "a=eq.1", Some(7), "T"), "</v2/users?a=eq.1&limit=7&after=T>; rel=\"next\"");
        check("", "</v2/users?after=T>; rel=\"next\"");
        check("limit=5&after=OLD&order=a", "</v2/users?limit=5&order=a&after=T>; rel=\"next\"");
        check("a=eq.%20x&b=eq.\">", "</v2/users?a=eq.%20x&b=eq.%22%3E&after=T>; rel=\"next\"");
        check("order=a.desc,id", "</v2/users?order=a.desc%2Cid&after=T>; rel=\"next\"");
    }
}
