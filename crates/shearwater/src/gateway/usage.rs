//! Who still speaks which version: requests and fields counted for each shape,
//! for `/metrics` and, added up over all members, in the journal, so that
//! "no v1 writes for N hours" can be answered.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::Method;
use metrics::{Counter, Histogram};
use serde::{Deserialize, Serialize};
use shearwater_core::journal::{Journal, JournalError};
use shearwater_core::value::Document;
use shearwater_engine::records::Shape;

/// The journal's note that holds the counts.
pub const USAGE_NOTE: &str = "api-usage";

/// Different fields that are counted by their names in one shape; those of the
/// spec come first, all others are counted together.
const FIELDS_NAMED_MAX: usize = 200;

/// How long a member keeps the note to itself, ms: reading, adding, writing.
const NOTE_LEASE_MS: u64 = 2_000;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];
const CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "other"];

/// Counts of one entity in one shape.
pub struct Usage {
    entity: String,
    version: &'static str,
    requests: [[OnceLock<Counter>; CLASSES.len()]; METHODS.len()],
    seconds: [OnceLock<Histogram>; METHODS.len()],
    fields: Vec<(String, OnceLock<Counter>)>,
    other_fields: OnceLock<Counter>,
    reads: AtomicU64,
    writes: AtomicU64,
    last_read_ms: AtomicI64,
    last_write_ms: AtomicI64,
}

impl Usage {
    /// For an entity's shape, whose named fields are these.
    pub fn new(entity: &str, shape: Shape, fields: impl IntoIterator<Item = String>) -> Usage {
        let fields = fields.into_iter().take(FIELDS_NAMED_MAX).map(|name| (name, OnceLock::new())).collect();
        Usage {
            entity: entity.to_owned(),
            version: version(shape),
            requests: Default::default(),
            seconds: Default::default(),
            fields,
            other_fields: OnceLock::new(),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            last_read_ms: AtomicI64::new(0),
            last_write_ms: AtomicI64::new(0),
        }
    }

    /// Counts an answered request.
    pub fn request(&self, method: &Method, status: u16, took: Duration) {
        let method_place = METHODS.iter().position(|m| *m == method.as_str()).unwrap_or(METHODS.len() - 1);
        let class_place = usize::from((status / 100).clamp(2, 6) - 2);
        let (entity, version, method_name) = (&self.entity, self.version, METHODS[method_place]);
        let counter = self.requests[method_place][class_place].get_or_init(|| {
            metrics::counter!("shearwater_requests_total", "entity" => entity.clone(), "version" => version,
                "method" => method_name, "status" => CLASSES[class_place])
        });
        counter.increment(1);
        let histogram = self.seconds[method_place].get_or_init(|| {
            metrics::histogram!("shearwater_request_seconds", "entity" => entity.clone(), "version" => version,
                "method" => method_name)
        });
        histogram.record(took.as_secs_f64());
        if status < 400 {
            match method.is_safe() {
                true => note(&self.reads, &self.last_read_ms),
                false => note(&self.writes, &self.last_write_ms),
            }
        }
    }

    /// Counts the top-level fields that a writer sends. Names that the spec
    /// does not know are not shown: in a document they may be data.
    pub fn fields(&self, body: &Document) {
        for (name, _) in body.iter() {
            let (label, counter) = match self.fields.iter().find(|(n, _)| n == name) {
                Some((named, counter)) => (named.as_str(), counter),
                None => ("(other)", &self.other_fields),
            };
            let counter = counter.get_or_init(|| {
                metrics::counter!("shearwater_written_fields_total", "entity" => self.entity.clone(),
                    "version" => self.version, "field" => label.to_owned())
            });
            counter.increment(1);
        }
    }

    fn take(&self) -> Counts {
        Counts {
            reads: self.reads.swap(0, Ordering::Relaxed),
            writes: self.writes.swap(0, Ordering::Relaxed),
            last_read_ms: self.last_read_ms.load(Ordering::Relaxed),
            last_write_ms: self.last_write_ms.load(Ordering::Relaxed),
        }
    }

    fn give_back(&self, counts: Counts) {
        self.reads.fetch_add(counts.reads, Ordering::Relaxed);
        self.writes.fetch_add(counts.writes, Ordering::Relaxed);
    }
}

fn note(count: &AtomicU64, last_ms: &AtomicI64) {
    count.fetch_add(1, Ordering::Relaxed);
    last_ms.store(now_ms(), Ordering::Relaxed);
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The name of a version in paths, labels and reports.
pub fn version(shape: Shape) -> &'static str {
    match shape {
        Shape::V1 => "v1",
        Shape::V2 => "v2",
    }
}

/// Answered requests of one version, over all members and restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// The last read, ms since 1970; 0 when there was none.
    pub last_read_ms: i64,
    /// The last write, ms since 1970; 0 when there was none.
    pub last_write_ms: i64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.last_read_ms = self.last_read_ms.max(other.last_read_ms);
        self.last_write_ms = self.last_write_ms.max(other.last_write_ms);
    }
}

/// Both versions' counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Clients that speak the source's shape.
    pub v1: Counts,
    /// Clients that speak the target's shape.
    pub v2: Counts,
}

impl Versions {
    /// What the journal holds.
    pub async fn of(journal: &dyn Journal) -> Result<Versions, JournalError> {
        match journal.note(USAGE_NOTE).await? {
            None => Ok(Versions::default()),
            Some(text) => serde_json::from_str(&text)
                .map_err(|_| JournalError::Damaged(format!("its note {USAGE_NOTE} cannot be read"))),
        }
    }
}

/// Adds this member's counts to the journal's. When another member is at it,
/// or the journal is away, the counts stay here for the next time.
pub async fn save(journal: &dyn Journal, member: &str, v1: &Usage, v2: &Usage) -> Result<(), JournalError> {
    let idle = |usage: &Usage| usage.reads.load(Ordering::Relaxed) + usage.writes.load(Ordering::Relaxed) == 0;
    if (idle(v1) && idle(v2)) || !journal.acquire(USAGE_NOTE, member, NOTE_LEASE_MS).await? {
        return Ok(());
    }
    let (taken_v1, taken_v2) = (v1.take(), v2.take());
    let saved = async {
        let mut versions = Versions::of(journal).await?;
        versions.v1.add(taken_v1);
        versions.v2.add(taken_v2);
        let text = serde_json::to_string(&versions).map_err(|error| JournalError::Damaged(error.to_string()))?;
        journal.set_note(USAGE_NOTE, &text).await
    };
    let saved = saved.await;
    if saved.is_err() {
        v1.give_back(taken_v1);
        v2.give_back(taken_v2);
    }
    journal.release(USAGE_NOTE, member).await?;
    saved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(shape: Shape) -> Usage {
        Usage::new("usage-test", shape, ["email".to_owned()])
    }

    #[test]
    fn answers_are_counted_once_and_failures_are_no_use() {
        let usage = usage(Shape::V1);
        let ms = Duration::from_millis(1);
        for (method, status) in [("GET", 200), ("GET", 304), ("GET", 404), ("PUT", 201), ("PATCH", 503), ("BREW", 405)]
        {
            usage.request(&Method::from_bytes(method.as_bytes()).unwrap(), status, ms);
        }
        let counts = usage.take();
        assert_eq!((counts.reads, counts.writes), (2, 1));
        assert!(counts.last_read_ms > 0 && counts.last_write_ms > 0);
        assert_eq!((usage.take().reads, usage.take().writes), (0, 0));
    }

    #[test]
    fn unknown_fields_are_counted_without_their_names() {
        crate::metrics::recorder();
        let usage = usage(Shape::V2);
        usage.fields(&Document::from_iter([("email", "x"), ("a secret", "y"), ("another", "z")]));
        let shown = crate::metrics::render();
        let line = |field: &str| {
            format!("shearwater_written_fields_total{{entity=\"usage-test\",version=\"v2\",field=\"{field}\"}}")
        };
        assert!(shown.contains(&format!("{} 1", line("email"))), "{shown}");
        assert!(shown.contains(&format!("{} 2", line("(other)"))), "{shown}");
        assert!(!shown.contains("secret"));
    }

    #[test]
    fn counts_of_members_add_up() {
        let mut sum = Counts { reads: 1, writes: 2, last_read_ms: 10, last_write_ms: 30 };
        sum.add(Counts { reads: 1, writes: 1, last_read_ms: 20, last_write_ms: 5 });
        assert_eq!(sum, Counts { reads: 2, writes: 3, last_read_ms: 20, last_write_ms: 30 });
    }
}
