//! Answers that are not problems.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use shearwater_core::Key;
use shearwater_engine::records::{Etag, Got, KeyKept, LeftOut};

use super::entity::Version;
use super::etag;
use super::headers::{Accept, Prefer, Return, SINGULAR};
use super::key_text;
use super::problem::{Kind, Problem};
use super::select::Select;

/// Says which preferences were honoured.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Says that the answer is that of an earlier request.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Says `false` where a later retry will not be known by its idempotency key.
const IDEMPOTENCY_KEPT: HeaderName = HeaderName::from_static("idempotency-kept");

/// Says which records of a page are left out because the shape cannot show them.
const LEFT_OUT: HeaderName = HeaderName::from_static("left-out");

/// Keys in that header: enough to begin mending, in a header of ordinary length.
const LEFT_OUT_KEYS_MAX: usize = 20;

/// An answer as it is put together.
pub struct Answer(Response<Body>);

impl Answer {
    /// Without a body.
    pub fn empty(status: StatusCode) -> Answer {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        Answer(response)
    }

    /// With a JSON body.
    pub fn json(status: StatusCode, accept: Accept, body: Vec<u8>) -> Answer {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let media_type = match accept {
            Accept::Json => HeaderValue::from_static("application/json"),
            Accept::Singular => HeaderValue::from_static(SINGULAR),
        };
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        Answer(response)
    }

    /// With a header, unless its value cannot stand in one.
    pub fn header(mut self, name: HeaderName, value: String) -> Answer {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.0.headers_mut().insert(name, value);
        }
        self
    }

    /// With the record's version.
    pub fn etag(mut self, etag: Etag) -> Answer {
        self.0.headers_mut().insert(header::ETAG, etag::header_value(etag));
        self
    }

    /// With the record's place.
    pub fn location(self, version: &Version, key: &Key) -> Answer {
        self.header(header::LOCATION, key_text::location(&version.path, key))
    }

    /// With the preferences of a write that were honoured.
    pub fn applied(self, prefer: Prefer) -> Answer {
        match prefer.applied() {
            Some(applied) => self.preference_applied(applied),
            None => self,
        }
    }

    /// With the records that the page leaves out: how many, and the keys of the first.
    pub fn left_out(self, left_out: &[LeftOut]) -> Answer {
        let keys = left_out.iter().take(LEFT_OUT_KEYS_MAX).map(|left| key_text::segment(&left.key));
        let keys: Vec<String> = keys.map(|key| format!("key={key}")).collect();
        let told = std::iter::once(format!("count={}", left_out.len())).chain(keys).collect::<Vec<_>>().join(", ");
        self.header(LEFT_OUT, told)
    }

    /// With a preference that was honoured, beside others.
    pub fn preference_applied(mut self, applied: &'static str) -> Answer {
        self.0.headers_mut().append(PREFERENCE_APPLIED, HeaderValue::from_static(applied));
        self
    }

    /// Whether it is the answer of an earlier request.
    pub fn replayed(mut self, replayed: Replayed) -> Answer {
        if replayed == Replayed::Yes {
            self.0.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        self
    }

    /// Whether a retry will be known by its idempotency key.
    pub fn key_kept(mut self, kept: KeyKept) -> Answer {
        match kept {
            KeyKept::NotAsked | KeyKept::Kept => {}
            KeyKept::NoPlace => {
                self.0.headers_mut().insert(IDEMPOTENCY_KEPT, HeaderValue::from_static("false"));
            }
        }
        self
    }

    /// The response.
    pub fn into_response(self) -> Response<Body> {
        self.0
    }
}

/// Whether an answer was given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// By an earlier request with the same idempotency key.
    Yes,
    /// It is new.
    No,
}

impl Replayed {
    /// From the engine's word.
    pub fn of(replayed: bool) -> Replayed {
        match replayed {
            true => Replayed::Yes,
            false => Replayed::No,
        }
    }
}

/// One record as JSON.
pub fn one(version: &Version, got: &Got, select: Option<&Select>) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    version.codec.write(&got.record, select, &mut out);
    out
}

/// Records as a JSON array; or, where one object is accepted only, that object.
pub fn many<'a>(
    version: &Version,
    records: impl ExactSizeIterator<Item = &'a Got>,
    select: Option<&Select>,
    accept: Accept,
) -> Result<Vec<u8>, Problem> {
    let found = records.len();
    let mut out = Vec::with_capacity(256 * found + 2);
    if accept == Accept::Singular {
        let mut records = records;
        return match (records.next(), found) {
            (Some(got), 1) => Ok(one(version, got, select)),
            _ => Err(not_singular(found)),
        };
    }
    out.push(b'[');
    for (place, got) in records.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        version.codec.write(&got.record, select, &mut out);
    }
    out.push(b']');
    Ok(out)
}

/// The answer is to be one record, and is not.
pub fn not_singular(found: usize) -> Problem {
    Problem::new(Kind::NotSingular, format!("The result contains {found} rows"))
        .hint("ask for application/json to get a list")
}

/// Whether a write's answer has a body.
pub fn with_body(prefer: Prefer) -> bool {
    prefer.returns == Return::Representation
}
