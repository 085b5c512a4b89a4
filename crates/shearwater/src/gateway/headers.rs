//! What a client asks for in headers: preferences, preconditions, media types,
//! the idempotency key.

use axum::http::{HeaderMap, HeaderName, header};
use shearwater_engine::records::Condition;

use super::etag::Tags;
use super::problem::{Kind, Problem};

/// Characters of an idempotency key; a UUID has 36.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

/// The header of idempotency keys.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// PostgREST's media type for an answer of exactly one record.
pub const SINGULAR: &str = "application/vnd.pgrst.object+json";

/// What a write's answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Return {
    /// Nothing but the status and headers.
    #[default]
    Minimal,
    /// The same, and the record's place and version.
    HeadersOnly,
    /// The records.
    Representation,
}

/// Whether a list's answer says how many records there are in all pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Count {
    /// No.
    #[default]
    None,
    /// Exactly, unless counting takes too long.
    Exact,
    /// By the store's own estimate, which knows no filter.
    Planned,
    /// Exactly where they are few, else by the store's own estimate.
    Estimated,
}

impl Count {
    /// What `Preference-Applied` says.
    pub fn applied(self) -> Option<&'static str> {
        match self {
            Count::None => None,
            Count::Exact => Some("count=exact"),
            Count::Planned => Some("count=planned"),
            Count::Estimated => Some("count=estimated"),
        }
    }
}

/// What an insert does with records that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Duplicates {
    /// It is refused.
    #[default]
    Refuse,
    /// They take the fields that are sent.
    Merge,
    /// They are left as they are.
    Ignore,
}

/// The `Prefer` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Prefer {
    /// What a write's answer holds.
    pub returns: Return,
    /// Whether the records are counted.
    pub count: Count,
    /// What an insert does with records that are there.
    pub duplicates: Duplicates,
    /// What a list does with records that the shape cannot show.
    pub handling: Handling,
}

/// What a list does with records that the client's shape cannot show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Handling {
    /// The page is refused.
    #[default]
    Strict,
    /// They are left out, and named in a header.
    Lenient,
}

impl Prefer {
    /// Reads the preferences that we know. As RFC 7240 has it others are
    /// ignored, except those that would change what is written.
    pub fn read(headers: &HeaderMap) -> Result<Prefer, Problem> {
        let mut prefer = Prefer::default();
        let values = headers.get_all("prefer");
        for preference in values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
            match preference.trim() {
                "return=minimal" => prefer.returns = Return::Minimal,
                "return=headers-only" => prefer.returns = Return::HeadersOnly,
                "return=representation" => prefer.returns = Return::Representation,
                "count=exact" => prefer.count = Count::Exact,
                "count=planned" => prefer.count = Count::Planned,
                "count=estimated" => prefer.count = Count::Estimated,
                "handling=strict" => prefer.handling = Handling::Strict,
                "handling=lenient" => prefer.handling = Handling::Lenient,
                "resolution=merge-duplicates" => prefer.duplicates = Duplicates::Merge,
                "resolution=ignore-duplicates" => prefer.duplicates = Duplicates::Ignore,
                refused @ "tx=rollback" => {
                    return Err(Problem::new(Kind::BadHeader, format!("Prefer: {refused} is not served"))
                        .hint("what is written is kept"));
                }
                _ => {}
            }
        }
        Ok(prefer)
    }

    /// What `Preference-Applied` says of a write.
    pub fn applied(&self) -> Option<&'static str> {
        // One table instead of a text put together: this is on every write's way.
        Some(match (self.returns, self.duplicates) {
            (Return::Minimal, Duplicates::Refuse) => return None,
            (Return::HeadersOnly, Duplicates::Refuse) => "return=headers-only",
            (Return::Representation, Duplicates::Refuse) => "return=representation",
            (Return::Minimal, Duplicates::Merge) => "resolution=merge-duplicates",
            (Return::HeadersOnly, Duplicates::Merge) => "return=headers-only, resolution=merge-duplicates",
            (Return::Representation, Duplicates::Merge) => "return=representation, resolution=merge-duplicates",
            (Return::Minimal, Duplicates::Ignore) => "resolution=ignore-duplicates",
            (Return::HeadersOnly, Duplicates::Ignore) => "return=headers-only, resolution=ignore-duplicates",
            (Return::Representation, Duplicates::Ignore) => "return=representation, resolution=ignore-duplicates",
        })
    }

    /// Refuses an upsert where nothing is inserted.
    pub fn not_an_upsert(self) -> Result<Prefer, Problem> {
        match self.duplicates {
            Duplicates::Refuse => Ok(self),
            Duplicates::Merge | Duplicates::Ignore => {
                Err(Problem::new(Kind::BadHeader, "Prefer: resolution belongs to an insert")
                    .hint("send the records with POST, or replace one with PUT"))
            }
        }
    }
}

/// The `Range` header where it counts records, as `0-24` or `25-`; a range of
/// other units, which HTTP lets a server ignore, is none.
pub fn range(headers: &HeaderMap) -> Result<Option<(u64, Option<u64>)>, Problem> {
    let Some(value) = headers.get(header::RANGE) else { return Ok(None) };
    let unit = headers.get("range-unit").and_then(|unit| unit.to_str().ok()).unwrap_or("items");
    let value = text(&header::RANGE, value)?.trim();
    if unit != "items" || value.contains('=') {
        return Ok(None);
    }
    let bad = || Problem::new(Kind::BadHeader, "Range is not of the form 0-24 or 25-");
    let (first, last) = value.split_once('-').ok_or_else(bad)?;
    let first: u64 = first.parse().map_err(|_| bad())?;
    if last.is_empty() {
        return Ok(Some((first, None)));
    }
    let last: u64 = last.parse().map_err(|_| bad())?;
    match last.checked_sub(first).and_then(|count| count.checked_add(1)) {
        Some(count) => Ok(Some((first, Some(count)))),
        None => Err(Problem::new(Kind::RangeNotSatisfiable, "the range ends before it begins")),
    }
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// JSON.
    Json,
    /// One record as one object, or 406.
    Singular,
}

/// What the client accepts of what we have.
pub fn accept(headers: &HeaderMap) -> Result<Accept, Problem> {
    let Some(accept) = headers.get(header::ACCEPT) else { return Ok(Accept::Json) };
    let text = text(&header::ACCEPT, accept)?;
    let ranges = text.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
    let mut found = None;
    for range in ranges {
        match range {
            SINGULAR | "application/vnd.pgrst.object" => return Ok(Accept::Singular),
            "*/*" | "application/*" | "application/json" | "application/vnd.pgrst.array+json" | "" => {
                found = Some(Accept::Json)
            }
            _ => {}
        }
    }
    found.ok_or_else(|| {
        Problem::new(Kind::NotAcceptable, "the Accept header names no media type that is served")
            .hint(format!("application/json and {SINGULAR} are served"))
    })
}

/// What a body's media type must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyType {
    /// `application/json`.
    Json,
    /// `application/merge-patch+json` or `application/json`.
    MergePatch,
}

/// Refuses bodies of other media types; one that is not named is taken for JSON.
pub fn content_type(headers: &HeaderMap, expected: BodyType) -> Result<(), Problem> {
    let Some(found) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = found.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match (essence.as_str(), expected) {
        ("application/json", _) | ("application/merge-patch+json", BodyType::MergePatch) => Ok(()),
        _ => Err(Problem::new(Kind::UnsupportedMediaType, "the body's Content-Type is not taken here").hint(
            match expected {
                BodyType::Json => "send application/json",
                BodyType::MergePatch => "send application/merge-patch+json",
            },
        )),
    }
}

/// The precondition of a write.
pub fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let if_match = headers.get(header::IF_MATCH).map(|value| text(&header::IF_MATCH, value)).transpose()?;
    let if_none = headers.get(header::IF_NONE_MATCH).map(|value| text(&header::IF_NONE_MATCH, value)).transpose()?;
    match (if_match, if_none) {
        (None, None) => Ok(Condition::None),
        (Some(value), None) => Ok(match Tags::read("If-Match", value)? {
            Tags::Any => Condition::Exists,
            tags => Condition::Match(tags.strong()),
        }),
        (None, Some(value)) => match Tags::read("If-None-Match", value)? {
            Tags::Any => Ok(Condition::Absent),
            Tags::List(_) => Err(Problem::new(Kind::BadHeader, "If-None-Match with versions is for reads")
                .hint("a write takes If-Match with versions, or If-None-Match: *")),
        },
        (Some(_), Some(_)) => Err(Problem::new(Kind::BadHeader, "If-Match and If-None-Match exclude each other")),
    }
}

/// The versions that the client has already, for a read.
pub fn if_none_match(headers: &HeaderMap) -> Result<Option<Tags>, Problem> {
    let Some(value) = headers.get(header::IF_NONE_MATCH) else { return Ok(None) };
    Tags::read("If-None-Match", text(&header::IF_NONE_MATCH, value)?).map(Some)
}

/// The idempotency key: a quoted string, or the same without quotes.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    if headers.get_all(&IDEMPOTENCY_KEY).iter().count() > 1 {
        return Err(Problem::new(Kind::BadHeader, "Idempotency-Key stands twice"));
    }
    let value = text(&IDEMPOTENCY_KEY, value)?.trim();
    let key = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    match key.len() {
        0 => {
            Err(Problem::new(Kind::BadHeader, "Idempotency-Key is empty").hint("send a new UUID for each new request"))
        }
        1..=IDEMPOTENCY_KEY_CHARS_MAX => Ok(Some(key)),
        found => Err(Problem::new(
            Kind::BadHeader,
            format!("Idempotency-Key has {found} characters; at most {IDEMPOTENCY_KEY_CHARS_MAX}"),
        )),
    }
}

fn text<'a>(name: &HeaderName, value: &'a axum::http::HeaderValue) -> Result<&'a str, Problem> {
    value.to_str().map_err(|_| Problem::new(Kind::BadHeader, format!("{name} is not visible ASCII")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use shearwater_core::Stamp;
    use shearwater_engine::records::Etag;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn preferences() {
        let check = |value: &str, returns: Return, count: Count| {
            let expect = Prefer { returns, count, ..Prefer::default() };
            assert_eq!(Prefer::read(&headers(&[("prefer", value)])), Ok(expect), "{value}");
        };
        check("return=representation", Return::Representation, Count::None);
        check("return=headers-only, count=exact", Return::HeadersOnly, Count::Exact);
        check("return=minimal,missing=default", Return::Minimal, Count::None);
        check("count=planned", Return::Minimal, Count::Planned);
        check("count=estimated", Return::Minimal, Count::Estimated);
        check("count=guessed", Return::Minimal, Count::None);
        let lenient = Prefer::read(&headers(&[("prefer", "count=exact, handling=lenient")])).unwrap();
        assert_eq!((lenient.handling, lenient.count), (Handling::Lenient, Count::Exact));
        let read = |value: &str| Prefer::read(&headers(&[("prefer", value)]));
        let upsert = read("resolution=merge-duplicates,return=representation").unwrap();
        assert_eq!((upsert.duplicates, upsert.returns), (Duplicates::Merge, Return::Representation));
        assert_eq!(upsert.applied(), Some("return=representation, resolution=merge-duplicates"));
        assert_eq!(read("resolution=ignore-duplicates").map(|prefer| prefer.duplicates), Ok(Duplicates::Ignore));
        assert!(read("tx=rollback").is_err());
        assert!(upsert.not_an_upsert().is_err() && Prefer::default().not_an_upsert().is_ok());
    }

    #[test]
    fn ranges() {
        let check = |pairs: &[(&'static str, &str)], expect: Result<Option<(u64, Option<u64>)>, Kind>| {
            assert_eq!(range(&headers(pairs)).map_err(|problem| problem.kind), expect, "{pairs:?}");
        };
        check(&[], Ok(None));
        check(&[("range", "0-24")], Ok(Some((0, Some(25)))));
        check(&[("range-unit", "items"), ("range", "10-")], Ok(Some((10, None))));
        check(&[("range", "5-5")], Ok(Some((5, Some(1)))));
        check(&[("range", "5-4")], Err(Kind::RangeNotSatisfiable));
        check(&[("range", "bytes=0-5")], Ok(None));
        check(&[("range-unit", "bytes"), ("range", "0-5")], Ok(None));
        check(&[("range", "x")], Err(Kind::BadHeader));
        check(&[("range", "-5")], Err(Kind::BadHeader));
        check(&[("range", "0-18446744073709551615")], Err(Kind::RangeNotSatisfiable));
    }

    #[test]
    fn media_types() {
        let check = |value: &str, expect: Option<Accept>| {
            assert_eq!(accept(&headers(&[("accept", value)])).ok(), expect, "{value}");
        };
        check("*/*", Some(Accept::Json));
        check("text/html, application/json;q=0.9", Some(Accept::Json));
        check("application/vnd.pgrst.object+json", Some(Accept::Singular));
        check("application/vnd.pgrst.object+json;nulls=stripped", Some(Accept::Singular));
        check("text/csv", None);
        assert_eq!(accept(&HeaderMap::new()), Ok(Accept::Json));

        let check = |value: &str, body: BodyType, expect: bool| {
            assert_eq!(content_type(&headers(&[("content-type", value)]), body).is_ok(), expect, "{value}");
        };
        check("application/json; charset=utf-8", BodyType::Json, true);
        check("application/merge-patch+json", BodyType::MergePatch, true);
        check("application/json", BodyType::MergePatch, true);
        check("application/merge-patch+json", BodyType::Json, false);
        check("text/csv", BodyType::Json, false);
    }

    #[test]
    fn preconditions() {
        let check = |pairs: &[(&'static str, &str)], expect: Option<Condition>| {
            assert_eq!(condition(&headers(pairs)).ok(), expect, "{pairs:?}");
        };
        let stamp = |counter| Etag::Stamp(Stamp::new(2, counter));
        check(&[], Some(Condition::None));
        check(&[("if-match", "*")], Some(Condition::Exists));
        check(&[("if-match", "\"2.41\", \"2.42\"")], Some(Condition::Match(vec![stamp(41), stamp(42)])));
        check(&[("if-match", "W/\"2.41\"")], Some(Condition::Match(vec![])));
        check(&[("if-none-match", "*")], Some(Condition::Absent));
        check(&[("if-none-match", "\"2.41\"")], None);
        check(&[("if-match", "*"), ("if-none-match", "*")], None);
        check(&[("if-match", "2.41")], None);
    }

    #[test]
    fn idempotency_keys() {
        let check = |value: &str, expect: Option<&str>| {
            let headers = headers(&[("idempotency-key", value)]);
            assert_eq!(idempotency_key(&headers).ok().flatten(), expect, "{value}");
        };
        check("abc", Some("abc"));
        check("\"abc\"", Some("abc"));
        check("", None);
        check("\"\"", None);
        check(&"x".repeat(IDEMPOTENCY_KEY_CHARS_MAX), Some(&"x".repeat(IDEMPOTENCY_KEY_CHARS_MAX)));
        check(&"x".repeat(IDEMPOTENCY_KEY_CHARS_MAX + 1), None);
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
    }
}
