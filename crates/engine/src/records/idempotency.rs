//! Requests that carry an Idempotency-Key: one at a time in this process, and
//! answered again from what the first one left in the authority.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use shearwater_core::store::{IdempotencyRow, Side};
use shearwater_core::value::{Value, hash, json};
use shearwater_core::{Document, Key, Stamp};

use super::{DataPath, Etag, Got, Idempotency, KeyKept, ServeError, Shape, WriteDone};

/// Keys of requests on their way in this process.
#[derive(Clone, Default)]
pub(crate) struct InFlight {
    keys: Arc<Mutex<HashSet<String>>>,
}

/// One request's place among those on their way; given up when dropped.
pub(crate) struct Turn {
    keys: Arc<Mutex<HashSet<String>>>,
    key: String,
}

impl InFlight {
    pub(crate) fn enter(&self, key: &str) -> Result<Turn, ServeError> {
        let mut keys = self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !keys.insert(key.to_owned()) {
            return Err(ServeError::IdempotencyInFlight);
        }
        Ok(Turn { keys: self.keys.clone(), key: key.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&self.key);
    }
}

/// What one change of a write did, as it is remembered and answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// The client's key of the record afterwards (or of the deleted record).
    pub(crate) key: Key,
    /// The record afterwards in the client's shape.
    pub(crate) record: Option<Document>,
    pub(crate) created: bool,
}

/// The row that goes with a write.
pub(crate) fn row_of(idempotency: &Idempotency, outcomes: &[Outcome], at_ms: i64) -> IdempotencyRow {
    let changes: Vec<Value> = outcomes.iter().map(to_value).collect();
    // The store puts the stamp where `{stamp}` stands; a client's own text must not be touched.
    let changes = json::to_string(&Value::Array(changes)).replace("{stamp}", "\\u007bstamp}");
    IdempotencyRow {
        key: idempotency.key.clone(),
        request_hash: idempotency.request_hash,
        answer: format!("{{\"stamp\":\"{{stamp}}\",\"changes\":{changes}}}"),
        at_ms,
    }
}

fn to_value(outcome: &Outcome) -> Value {
    let mut document = Document::new();
    document.set("key", Value::Array(outcome.key.values().to_vec()));
    document.set("created", outcome.created);
    if let Some(record) = &outcome.record {
        document.set("record", record.clone());
    }
    Value::Document(document)
}

/// Reads what [`row_of`] wrote: the first change's stamp, and what each did.
pub(crate) fn read_row(row: &IdempotencyRow) -> Option<(Option<Stamp>, Vec<Outcome>)> {
    let answer = json::parse_document(row.answer.as_bytes()).ok()?;
    let Value::Text(stamp) = answer.get("stamp")? else { return None };
    let Value::Array(changes) = answer.get("changes")? else { return None };
    Some((stamp.parse().ok(), changes.iter().map(from_value).collect::<Option<_>>()?))
}

fn from_value(value: &Value) -> Option<Outcome> {
    let Value::Document(document) = value else { return None };
    let Value::Array(key) = document.get("key")? else { return None };
    let record = match document.get("record") {
        Some(Value::Document(record)) => Some(record.clone()),
        Some(_) => return None,
        None => None,
    };
    let created = matches!(document.get("created")?, Value::Bool(true));
    Some(Outcome { key: Key::composite(key.clone()), record, created })
}

impl DataPath {
    /// What the key left in the store that was the authority before, when there
    /// was one: a retry may arrive on the other side of a switch.
    pub(crate) async fn recall_across_switch(
        &self,
        shape: Shape,
        former: Option<Side>,
        idempotency: &Idempotency,
    ) -> Result<Option<WriteDone>, ServeError> {
        let Some(former) = former else { return Ok(None) };
        let Some(row) = self.setup.store(former).recall(&idempotency.key).await? else { return Ok(None) };
        if row.request_hash != idempotency.request_hash {
            return Err(ServeError::IdempotencyReused);
        }
        self.replay(shape, former.other(), &row).await.map(Some)
    }

    /// The first request's answer again.
    pub(crate) async fn replay(
        &self,
        shape: Shape,
        authority: Side,
        row: &IdempotencyRow,
    ) -> Result<WriteDone, ServeError> {
        let (stamp, outcomes) = read_row(row)
            .ok_or_else(|| ServeError::Broken("an idempotency row cannot be read as an answer".to_owned()))?;
        let mut done = WriteDone { replayed: true, key_kept: KeyKept::Kept, ..WriteDone::default() };
        for (at, outcome) in outcomes.into_iter().enumerate() {
            done.created.push(outcome.created);
            done.deleted.push(None);
            done.records.push(match (outcome.record, stamp) {
                (None, _) => None,
                // A created record is one change, so the row's stamp is its own.
                (Some(record), Some(stamp)) if at == 0 && outcome.created => {
                    Some(Got { key: outcome.key, record, etag: Etag::Stamp(stamp) })
                }
                (Some(record), _) => Some(self.version_now(shape, authority, outcome.key, record).await?),
            });
        }
        Ok(done)
    }

    /// A remembered record with its version if it is still as it was, else with
    /// one that no later write can match.
    async fn version_now(&self, shape: Shape, authority: Side, key: Key, record: Document) -> Result<Got, ServeError> {
        let own_key = self.key_across(shape.side(), authority, &key).map_err(super::unprocessable)?;
        let fetched = self.setup.store(authority).fetch(&own_key).await?;
        let etag = match self.show(authority, shape, fetched)? {
            Some(now) if now.record == record => now.etag,
            Some(_) | None => Etag::Content(hash::document(&record)),
        };
        Ok(Got { key, record, etag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_request_on_its_way() {
        let in_flight = InFlight::default();
        let first = in_flight.enter("k").ok().unwrap();
        assert_eq!(in_flight.enter("k").err(), Some(ServeError::IdempotencyInFlight));
        assert!(in_flight.enter("other").is_ok());
        drop(first);
        assert!(in_flight.enter("k").is_ok());
    }

    #[test]
    fn a_row_gives_back_what_was_done() {
        let record: Document = [("_id", Value::Int(7)), ("name", Value::text("{stamp}"))].into_iter().collect();
        let outcomes = vec![
            Outcome { key: Key::single(7i64), record: Some(record), created: true },
            Outcome { key: Key::composite(vec![Value::text("a"), Value::Bool(true)]), record: None, created: false },
        ];
        let mut row = row_of(&Idempotency { key: "k".into(), request_hash: 9 }, &outcomes, 5);
        assert_eq!((row.key.as_str(), row.request_hash, row.at_ms), ("k", 9, 5));
        assert_eq!(read_row(&row), Some((None, outcomes.clone())), "no stamp: the store has no sidecar");
        row.answer = row.answer.replace("{stamp}", "2.41");
        assert_eq!(read_row(&row), Some((Some(Stamp::new(2, 41)), outcomes)));
        row.answer = "not ours".into();
        assert_eq!(read_row(&row), None);
    }
}
