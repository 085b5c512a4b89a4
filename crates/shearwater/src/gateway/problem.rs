//! Problem documents (RFC 9457) that also carry PostgREST's `code`, `message`,
//! `details` and `hint`. All kinds stand in one table, from which the answers,
//! the OpenAPI description and the manual are made.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use shearwater_engine::records::{Etag, ServeError};

/// The beginning of every problem type's URI.
pub const TYPE_PREFIX: &str = "urn:shearwater:problem:";

/// What can be wrong with a request, or with us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is described by its row of PROBLEM_TYPES")]
pub enum Kind {
    BadQuery,
    UnknownField,
    UnknownParameter,
    BadLiteral,
    OffsetUnsupported,
    BadPageToken,
    BadJson,
    BadHeader,
    BadKey,
    FilterRequired,
    Unauthorized,
    NoSuchPath,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    NotSingular,
    Exists,
    IdempotencyInFlight,
    Refused,
    PreconditionFailed,
    BodyTooLarge,
    BulkTooLarge,
    UnsupportedMediaType,
    RangeNotSatisfiable,
    Unprocessable,
    KeyMismatch,
    IdempotencyReused,
    Broken,
    Unavailable,
    Overloaded,
    Contended,
    TimedOut,
    OutcomeUnknown,
}

/// One row of the table of problems.
#[derive(Clone, Copy, Debug)]
pub struct ProblemType {
    /// The kind.
    pub kind: Kind,
    /// The end of the type URI, after [`TYPE_PREFIX`].
    pub slug: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The `code` where the cause has none of its own: PostgREST's or
    /// PostgreSQL's for the same situation, so that their clients understand it.
    pub code: &'static str,
    /// The same for every occurrence.
    pub title: &'static str,
}

const fn row(kind: Kind, slug: &'static str, status: u16, code: &'static str, title: &'static str) -> ProblemType {
    ProblemType { kind, slug, status, code, title }
}

/// All problems.
pub const PROBLEM_TYPES: &[ProblemType] = &[
    row(Kind::BadQuery, "bad-query", 400, "PGRST100", "The query string cannot be read"),
    row(Kind::UnknownField, "unknown-field", 400, "42703", "The entity has no such field"),
    row(Kind::UnknownParameter, "unknown-parameter", 400, "PGRST100", "There is no such parameter here"),
    row(Kind::BadLiteral, "bad-literal", 400, "22P02", "A literal is not of its field's type"),
    row(Kind::OffsetUnsupported, "offset-unsupported", 400, "PGRST103", "Pages are not reached by such an offset"),
    row(Kind::BadPageToken, "bad-page-token", 400, "PGRST103", "The page token cannot be used here"),
    row(Kind::BadJson, "bad-json", 400, "PGRST102", "The body is not JSON that is accepted"),
    row(Kind::BadHeader, "bad-header", 400, "PGRST122", "A header cannot be read or honoured"),
    row(Kind::BadKey, "bad-key", 400, "22P02", "The path holds no key of this entity"),
    row(Kind::FilterRequired, "filter-required", 400, "21000", "A bulk change needs a filter"),
    row(Kind::Unauthorized, "unauthorized", 401, "PGRST301", "A bearer token is needed"),
    row(Kind::NoSuchPath, "no-such-path", 404, "PGRST205", "Nothing is served under this path"),
    row(Kind::NotFound, "not-found", 404, "PGRST116", "No record has this key"),
    row(Kind::MethodNotAllowed, "method-not-allowed", 405, "PGRST117", "This method is not served here"),
    row(Kind::NotAcceptable, "not-acceptable", 406, "PGRST107", "None of the accepted media types is served"),
    row(Kind::NotSingular, "not-singular", 406, "PGRST116", "The answer is not exactly one record"),
    row(Kind::Exists, "exists", 409, "23505", "A record with this key exists"),
    row(
        Kind::IdempotencyInFlight,
        "idempotency-in-flight",
        409,
        "SW409",
        "The first request with this idempotency key has not ended",
    ),
    row(Kind::Refused, "refused", 409, "SW409", "The migration does not allow this now"),
    row(Kind::PreconditionFailed, "precondition-failed", 412, "SW412", "The record has another version"),
    row(Kind::BodyTooLarge, "body-too-large", 413, "SW413", "The body is larger than this gateway takes"),
    row(Kind::BulkTooLarge, "bulk-too-large", 413, "SW413", "More records than one atomic change may hold"),
    row(
        Kind::UnsupportedMediaType,
        "unsupported-media-type",
        415,
        "PGRST107",
        "The body's media type is not taken here",
    ),
    row(Kind::RangeNotSatisfiable, "range-not-satisfiable", 416, "PGRST103", "No record stands where the range begins"),
    row(Kind::Unprocessable, "unprocessable", 422, "23514", "The record cannot be held"),
    row(Kind::KeyMismatch, "key-mismatch", 422, "PGRST115", "The body's key is not the path's"),
    row(
        Kind::IdempotencyReused,
        "idempotency-reused",
        422,
        "SW422",
        "The idempotency key was used with another request",
    ),
    row(Kind::Broken, "broken", 500, "XX000", "Something is broken behind the gateway"),
    row(Kind::Unavailable, "unavailable", 503, "PGRST000", "Not now; try again"),
    row(Kind::Overloaded, "overloaded", 503, "53300", "Too many requests are in flight; try again"),
    row(Kind::Contended, "contended", 503, "40001", "Too many others write this record; try again"),
    row(Kind::TimedOut, "timed-out", 503, "57014", "The request took too long"),
    row(Kind::OutcomeUnknown, "outcome-unknown", 503, "08007", "The write may or may not have happened"),
];

impl Kind {
    /// The kind's row.
    pub fn row(self) -> &'static ProblemType {
        // The table is in the order of the enum (a test holds that).
        &PROBLEM_TYPES[self as usize]
    }
}

/// One occurrence. Its texts hold no values of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem.
    pub kind: Kind,
    /// The stable code of the cause; the kind's when it has none.
    pub code: Option<Box<str>>,
    /// What was found and what was expected.
    pub detail: String,
    /// What the client can do.
    pub hint: Option<String>,
    /// The field in question.
    pub field: Option<Box<str>>,
    /// When to try again, ms.
    pub retry_after_ms: Option<u32>,
    /// The methods served here, for 405.
    pub allow: Option<&'static str>,
    /// The version that stood in the way, for 412.
    pub etag: Option<Box<Etag>>,
}

impl Problem {
    /// A problem of a kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem {
            kind,
            code: None,
            detail: detail.into(),
            hint: None,
            field: None,
            retry_after_ms: None,
            allow: None,
            etag: None,
        }
    }

    /// The same problem with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// The same problem about a field.
    pub fn field(mut self, field: impl Into<Box<str>>) -> Problem {
        self.field = Some(field.into());
        self
    }

    /// The same problem with a time to try again.
    pub fn retry_after_ms(mut self, ms: u64) -> Problem {
        self.retry_after_ms = Some(u32::try_from(ms).unwrap_or(u32::MAX));
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The document.
    pub fn body(&self) -> serde_json::Value {
        let row = self.kind.row();
        let mut body = serde_json::json!({
            "type": format!("{TYPE_PREFIX}{}", row.slug),
            "title": row.title,
            "status": row.status,
            "detail": self.detail,
            "code": self.code.as_deref().unwrap_or(row.code),
            "message": row.title,
            "details": self.detail,
            "hint": self.hint,
        });
        if let Some(field) = &self.field {
            body["field"] = (**field).into();
        }
        if let Some(ms) = self.retry_after_ms {
            body["retry_after_ms"] = ms.into();
        }
        body
    }

    /// The answer.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body().to_string()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000).max(1)));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.kind == Kind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(etag) = self.etag.map(|etag| super::etag::header_value(*etag)) {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}

impl From<ServeError> for Problem {
    fn from(error: ServeError) -> Problem {
        let text = error.to_string();
        match error {
            ServeError::NotFound => Problem::new(Kind::NotFound, "The result contains 0 rows"),
            ServeError::Exists => Problem::new(Kind::Exists, text).hint("change it with PATCH, or replace it with PUT"),
            ServeError::PreconditionFailed { current } => {
                let mut problem = Problem::new(Kind::PreconditionFailed, text)
                    .hint("read the record again and decide on what it is now");
                problem.etag = current.map(Box::new);
                problem
            }
            ServeError::Unprocessable { code, field, message, hint } => {
                let mut problem = Problem::new(Kind::Unprocessable, format!("{field}: {message}")).field(field);
                problem.code = Some(code.into());
                problem.hint = hint;
                problem
            }
            ServeError::IdempotencyReused => {
                Problem::new(Kind::IdempotencyReused, text).hint("use a new key for each new request")
            }
            ServeError::IdempotencyInFlight => Problem::new(Kind::IdempotencyInFlight, text)
                .hint("wait for its answer, then ask again with the same key")
                .retry_after_ms(1_000),
            ServeError::Unavailable { reason, retry_after_ms } => {
                Problem::new(Kind::Unavailable, reason).retry_after_ms(retry_after_ms)
            }
            ServeError::OutcomeUnknown => outcome_unknown(),
            ServeError::Contended => Problem::new(Kind::Contended, text).retry_after_ms(1_000),
            ServeError::Broken(reason) => Problem::new(Kind::Broken, reason),
        }
    }
}

/// The store did not say whether it did the write.
pub fn outcome_unknown() -> Problem {
    Problem::new(Kind::OutcomeUnknown, "the outcome of the write is not known")
        .hint("send it again with the same Idempotency-Key, or read the record, to learn what happened")
        .retry_after_ms(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds_and_its_slugs_are_unique() {
        let mut slugs = std::collections::BTreeSet::new();
        for (place, row) in PROBLEM_TYPES.iter().enumerate() {
            assert_eq!(row.kind as usize, place, "{}", row.slug);
            assert_eq!(row.kind.row().slug, row.slug);
            assert!(slugs.insert(row.slug), "{} stands twice", row.slug);
            assert!((400..600).contains(&row.status), "{}", row.slug);
        }
        assert_eq!(PROBLEM_TYPES.len(), Kind::OutcomeUnknown as usize + 1);
    }

    fn check(error: ServeError, status: u16, slug: &str, code: &str) {
        let problem = Problem::from(error);
        assert_eq!(problem.status().as_u16(), status, "{slug}");
        let body = problem.body();
        assert_eq!(body["type"], format!("{TYPE_PREFIX}{slug}"));
        assert_eq!(body["status"], status);
        assert_eq!(body["code"], code);
        for text in ["title", "detail", "message", "details"] {
            assert!(body[text].as_str().is_some_and(|t| !t.is_empty()), "{slug}: {text}");
        }
    }

    #[test]
    fn every_serve_error_has_its_status() {
        check(ServeError::NotFound, 404, "not-found", "PGRST116");
        check(ServeError::Exists, 409, "exists", "23505");
        check(ServeError::PreconditionFailed { current: None }, 412, "precondition-failed", "SW412");
        let refused = ServeError::Unprocessable {
            code: "mapping/type".into(),
            field: "joined".into(),
            message: "expected instant".into(),
            hint: None,
        };
        check(refused, 422, "unprocessable", "mapping/type");
        check(ServeError::IdempotencyReused, 422, "idempotency-reused", "SW422");
        check(ServeError::IdempotencyInFlight, 409, "idempotency-in-flight", "SW409");
        let held = ServeError::Unavailable { reason: "writes are held".into(), retry_after_ms: 1 };
        check(held, 503, "unavailable", "PGRST000");
        check(ServeError::OutcomeUnknown, 503, "outcome-unknown", "08007");
        check(ServeError::Contended, 503, "contended", "40001");
        check(ServeError::Broken("disk".into()), 500, "broken", "XX000");
    }

    #[test]
    fn headers_say_when_to_come_back_and_which_version_stood_in_the_way() {
        let held = ServeError::Unavailable { reason: "writes are held".into(), retry_after_ms: 1_200 };
        let response = Problem::from(held).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2", "rounded up to whole seconds");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let stamp = shearwater_core::Stamp::new(2, 41);
        let failed = ServeError::PreconditionFailed { current: Some(Etag::Stamp(stamp)) };
        assert_eq!(Problem::from(failed).into_response().headers()[header::ETAG], "\"2.41\"");
        let unauthorized = Problem::new(Kind::Unauthorized, "no token").into_response();
        assert_eq!(unauthorized.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
