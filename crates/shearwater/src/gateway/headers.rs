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
    /// Exactly, when there are few enough to be counted.
    Exact,
}

/// The `Prefer` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Prefer {
    /// What a write's answer holds.
    pub returns: Return,
    /// Whether the records are counted.
    pub count: Count,
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
                refused @ ("resolution=merge-duplicates" | "resolution=ignore-duplicates" | "tx=rollback") => {
                    return Err(Problem::new(Kind::BadHeader, format!("Prefer: {refused} is not served"))
                        .hint("replace records with PUT, or change them with PATCH"));
                }
                _ => {}
            }
        }
        Ok(prefer)
    }

    /// What `Preference-Applied` says.
    pub fn applied(&self) -> Option<&'static str> {
        match (self.returns, self.count) {
            (Return::Minimal, Count::None) => None,
            (Return::HeadersOnly, _) => Some("return=headers-only"),
            (Return::Representation, _) => Some("return=representation"),
            (Return::Minimal, Count::Exact) => Some("count=exact"),
        }
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
            assert_eq!(Prefer::read(&headers(&[("prefer", value)])), Ok(Prefer { returns, count }), "{value}");
        };
        check("return=representation", Return::Representation, Count::None);
        check("return=headers-only, count=exact", Return::HeadersOnly, Count::Exact);
        check("return=minimal,missing=default", Return::Minimal, Count::None);
        check("count=planned", Return::Minimal, Count::None);
        assert!(Prefer::read(&headers(&[("prefer", "resolution=merge-duplicates,return=minimal")])).is_err());
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
