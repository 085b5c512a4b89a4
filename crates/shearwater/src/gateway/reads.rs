//! Reads: one record, and pages of a list.

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, header};
use shearwater_core::limits::LIST_RECORDS_MAX;
use shearwater_core::query::Filter;
use shearwater_engine::records::{ListAsk, ListGot};

use super::answer::{self, Answer};
use super::entity::{Entity, Version};
use super::headers::{self, Accept, Count, Prefer};
use super::key_text;
use super::page::Place;
use super::problem::{Kind, Problem};
use super::query::{self, Query};

/// Records that `Prefer: count=exact` counts: the count reads them all, so
/// above this the answer says `*`.
pub const COUNT_RECORDS_MAX: u64 = 10_000;

/// `GET /{version}/{entity}/{key}`.
pub async fn one(entity: &Entity, version: &Version, target: One<'_>) -> Result<Response<Body>, Problem> {
    headers::accept(target.headers)?;
    let select = target.select(version)?;
    let key = key_text::read(&version.key_types, target.segment)?;
    let Some(got) = entity.records.get(version.shape, &key).await? else {
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
    let (accept, prefer) = (headers::accept(headers)?, Prefer::read(headers)?);
    let query = query::read(&version.layout, raw_query)?;
    if query.columns.is_some() {
        return Err(Problem::new(Kind::UnknownParameter, "columns has no meaning here: it belongs to an insert"));
    }
    let place = match &query.after {
        None => None,
        Some(token) => Some(entity.sealer.open_token(&entity.name, version.shape, &query, token)?),
    };
    let seen = place.as_ref().map_or(0, |place| place.seen);
    let page = page(entity, version, &query, place.map(|place| place.keyset)).await?;
    let count = page.records.len();
    if accept == Accept::Singular && (count != 1 || page.next.is_some()) {
        return Err(answer::not_singular(count));
    }
    let total = match prefer.count {
        Count::None => None,
        Count::Exact if seen == 0 && page.next.is_none() && query.page_records() > 0 => Some(count as u64),
        Count::Exact => count_all(entity, version, &query.filter).await?,
    };
    let body = answer::many(version, page.records.iter(), query.select.as_ref(), accept)?;
    let mut answer =
        Answer::json(StatusCode::OK, accept, body).header(header::CONTENT_RANGE, content_range(seen, count, total));
    if prefer.count == Count::Exact {
        answer = answer.applied(prefer);
    }
    if let Some(keyset) = page.next {
        let place = Place { keyset, seen: seen + count as u64 };
        let token = entity.sealer.seal(&entity.name, version.shape, &query, &place)?;
        answer = answer.header(header::LINK, next_link(&version.path, raw_query, &token));
    }
    Ok(answer.into_response())
}

async fn page(
    entity: &Entity,
    version: &Version,
    query: &Query,
    after: Option<shearwater_core::query::Keyset>,
) -> Result<ListGot, Problem> {
    let limit = query.page_records();
    if limit == 0 {
        return Ok(ListGot { records: Vec::new(), next: None });
    }
    let ask = ListAsk { shape: version.shape, filter: query.filter.clone(), order: query.order.clone(), after, limit };
    Ok(entity.records.list(ask).await?)
}

/// How many records match; `None` when they are too many to be counted.
async fn count_all(entity: &Entity, version: &Version, filter: &Filter) -> Result<Option<u64>, Problem> {
    let (mut total, mut after) = (0, None);
    while total < COUNT_RECORDS_MAX {
        let ask = ListAsk {
            shape: version.shape,
            filter: filter.clone(),
            order: Vec::new(),
            after: after.take(),
            limit: LIST_RECORDS_MAX,
        };
        let page = entity.records.list(ask).await?;
        total += page.records.len() as u64;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(Some(total)),
        }
    }
    Ok(None)
}

/// `0-24/*`, `25-49/312`, `*/0`.
fn content_range(seen: u64, count: usize, total: Option<u64>) -> String {
    let total = total.map_or("*".to_owned(), |total| total.to_string());
    match count as u64 {
        0 => format!("*/{total}"),
        count => format!("{seen}-{}/{total}", seen + count - 1),
    }
}

/// The link to the next page: the same query with another place.
fn next_link(path: &str, raw_query: &str, token: &str) -> String {
    let mut link = format!("<{path}?");
    for pair in raw_query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some("after")) {
        let mut pair = pair.to_owned();
        // The header's own delimiters cannot stand in a URL that is sent as it
        // is; a comma could, but clients split the header at commas.
        for (delimiter, escape) in [("<", "%3C"), (">", "%3E"), ("\"", "%22"), (",", "%2C"), (";", "%3B")] {
            pair = pair.replace(delimiter, escape);
        }
        link.push_str(&pair);
        link.push('&');
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
        let check = |raw: &str, expect: &str| assert_eq!(next_link("/v2/users", raw, "T"), expect, "{raw}");
        check("", "</v2/users?after=T>; rel=\"next\"");
        check("limit=5&after=OLD&order=a", "</v2/users?limit=5&order=a&after=T>; rel=\"next\"");
        check("a=eq.%20x&b=eq.\">", "</v2/users?a=eq.%20x&b=eq.%22%3E&after=T>; rel=\"next\"");
        check("order=a.desc,id", "</v2/users?order=a.desc%2Cid&after=T>; rel=\"next\"");
    }
}
