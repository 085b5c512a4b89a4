//! Writing: read, edit in the client's shape, bring the field in, and write the
//! whole record under the content that was read.

use std::collections::HashMap;

use shearwater_core::domain::Misfit;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::lifecycle::require::State;
use shearwater_core::limits::REWRITE_ATTEMPTS_MAX;
use shearwater_core::shape::Layout;
use shearwater_core::store::{Change, Expect, Image, Write, Written};
use shearwater_core::value::hash;
use shearwater_core::{Document, Key};

use super::serve::{DataPath, key_of};
use crate::foreground::Asked;
use crate::member::Admission;
use crate::records::edit::{self, Unsent};
use crate::records::turns;
use crate::records::write::{Meets, meets};
use crate::records::{ClientChange, Edit, Got, Idempotency, KeyKept, ServeError, Shape, WriteDone};

/// When a client may try again, ms: a start of a migration takes about as long.
const RETRY_AFTER_MS: u64 = 1_000;

/// A client's changes, ready for the store.
#[derive(Default)]
struct Prepared {
    changes: Vec<Change>,
    done: WriteDone,
}

impl DataPath {
    pub(super) async fn write(
        &self,
        shape: Shape,
        changes: &[ClientChange],
        idempotency: Option<&Idempotency>,
    ) -> Result<WriteDone, ServeError> {
        let _turn = idempotency.map(|i| self.in_flight.enter(&i.key)).transpose()?;
        let foreground = self.member.foreground();
        let asking = foreground.asking();
        for raced in 0..REWRITE_ATTEMPTS_MAX {
            let admission = self.member.admit()?;
            if let Some(mut done) = self.attempt(&admission, shape, changes).await? {
                if idempotency.is_some() {
                    done.key_kept = KeyKept::NoPlace;
                }
                foreground.answered(Asked::Write, &asking);
                return Ok(done);
            }
            drop(admission);
            turns::rest(raced + 1).await;
        }
        Err(ServeError::Contended)
    }

    /// One attempt; `None` when another writer was first.
    async fn attempt(
        &self,
        admission: &Admission<State>,
        shape: Shape,
        changes: &[ClientChange],
    ) -> Result<Option<WriteDone>, ServeError> {
        let state = &admission.view.state;
        let store = self.store(state).await?;
        let keys: Vec<Key> = changes.iter().map(|change| change.key.clone()).collect();
        let fetched = store.fetch_many(&keys).await?;
        let mut prepared = Prepared::default();
        // What earlier changes of this write made of a key.
        let mut written: HashMap<Key, Option<Document>> = HashMap::new();
        for (change, fetched) in changes.iter().zip(fetched) {
            let stored = fetched.image.map(|image| image.record);
            let (current, expect) = match written.get(&change.key) {
                Some(record) => (record.clone(), Expect::Any),
                None => {
                    let expect = match (&stored, fetched.stamp) {
                        (None, _) => Expect::Absent,
                        (Some(_), Some(stamp)) => Expect::Stamp(stamp),
                        (Some(record), None) => Expect::Content(hash::document(record)),
                    };
                    (stored, expect)
                }
            };
            self.prepare(state, shape, change, current, expect, &mut prepared)?;
            for change in &prepared.changes {
                written.insert(change.key.clone(), change.image.clone().map(|image| image.record));
            }
        }
        if prepared.changes.is_empty() {
            return Ok(Some(prepared.done));
        }
        let write = Write { epoch: None, changes: prepared.changes, idempotency: None };
        match store.write(write).await {
            Ok(Written::Applied(_) | Written::Replayed(_)) => {}
            Err(error) if matches!(error.kind, StoreErrorKind::ExpectFailed { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        Ok(Some(prepared.done))
    }

    fn prepare(
        &self,
        state: &State,
        shape: Shape,
        change: &ClientChange,
        stored: Option<Document>,
        expect: Expect,
        prepared: &mut Prepared,
    ) -> Result<(), ServeError> {
        let seen = stored.as_ref().map(|record| self.view(state, shape, change.key.clone(), record)).transpose()?;
        let current = seen.as_ref().map(|got| Image::of(got.record.clone()));
        prepared.done.followed = true;
        if meets(change, seen.as_ref().map(|got| got.etag), current.as_ref())? == Meets::LeaveAlone {
            prepared.done.records.push(None);
            prepared.done.deleted.push(None);
            prepared.done.created.push(false);
            return Ok(());
        }
        let edited = edit::apply(self.layout(shape), &change.key, current.as_ref(), &change.edit, Unsent::Keep)?;
        let Some(edited) = edited else {
            prepared.changes.push(Change { key: change.key.clone(), image: None, expect });
            prepared.done.records.push(None);
            prepared.done.deleted.push(seen);
            prepared.done.created.push(false);
            return Ok(());
        };
        let whole = self.setup.old.kept(self.with_field(state, shape, change, stored.as_ref(), edited.record)?);
        let key = key_of(self.layout(shape), &whole).map_err(|error| ServeError::Unprocessable {
            code: error.code.to_owned(),
            field: error.path,
            message: error.message,
            hint: error.hint,
        })?;
        let mut kept = whole.clone();
        if !state.has_field() {
            kept.remove(self.field());
        }
        let image = Some(Image::of(kept));
        if key == change.key {
            prepared.changes.push(Change { key: key.clone(), image, expect });
        } else {
            if stored.is_some() {
                prepared.changes.push(Change { key: change.key.clone(), image: None, expect });
            }
            prepared.changes.push(Change { key: key.clone(), image, expect: Expect::Absent });
        }
        let got: Got = self.view(state, shape, key, &whole)?;
        prepared.done.records.push(Some(got));
        prepared.done.deleted.push(None);
        prepared.done.created.push(stored.is_none());
        Ok(())
    }

    /// The edited record with the field as the store is to hold it.
    fn with_field(
        &self,
        state: &State,
        shape: Shape,
        change: &ClientChange,
        stored: Option<&Document>,
        mut edited: Document,
    ) -> Result<Document, ServeError> {
        let field = self.field();
        self.check_sent(shape, change)?;
        match shape {
            Shape::V1 => {
                let held = stored.and_then(|record| record.get(field)).filter(|value| !value.is_null()).cloned();
                let value = match held {
                    // An outdated client does not wipe what it does not know (H13).
                    Some(value) => value,
                    None if stored.is_none() && !state.takes_outdated_creates() => {
                        return Err(self.must_be_sent("outdated clients cannot create records any more: use /v2"));
                    }
                    None => self.fill(&edited)?,
                };
                edited.set(field, value);
            }
            Shape::V2 => {
                let Some(value) = edited.get(field).filter(|value| !value.is_null()) else {
                    return Err(self.must_be_sent("every record has it from now on"));
                };
                // What a record had from somebody else is not the client's to answer for.
                if sends(&change.edit, field) {
                    let value = self.setup.fill.domain().canonical(value).map_err(|misfit| self.misfit(&misfit))?;
                    edited.set(field, value);
                }
                if !state.has_field() && sends(&change.edit, field) {
                    return Err(ServeError::Unavailable {
                        reason: format!("{field} cannot be kept yet: the migration has not started, or was taken back"),
                        retry_after_ms: RETRY_AFTER_MS,
                    });
                }
            }
        }
        Ok(edited)
    }

    /// A layout of columns knows what each shape has; documents take everything.
    fn check_sent(&self, shape: Shape, change: &ClientChange) -> Result<(), ServeError> {
        let field = self.field();
        let is_unknown = shape == Shape::V1 && matches!(self.layout(shape), Layout::Document(_));
        if !is_unknown || !sends(&change.edit, field) {
            return Ok(());
        }
        Err(ServeError::Unprocessable {
            code: "record/unknown-field".to_owned(),
            field: field.to_owned(),
            message: "this shape has no such field".to_owned(),
            hint: None,
        })
    }

    fn misfit(&self, misfit: &Misfit) -> ServeError {
        let code = match misfit {
            Misfit::Type(_) => "record/type",
            Misfit::Value(_) => "record/value",
        };
        ServeError::Unprocessable {
            code: code.to_owned(),
            field: self.field().to_owned(),
            message: misfit.told().to_owned(),
            hint: None,
        }
    }

    fn must_be_sent(&self, why: &str) -> ServeError {
        ServeError::Unprocessable {
            code: "record/required".to_owned(),
            field: self.field().to_owned(),
            message: format!("the field is required; {why}"),
            hint: Some(format!("send {}", self.field())),
        }
    }
}

/// Whether a client sent the field.
fn sends(edit: &Edit, field: &str) -> bool {
    match edit {
        Edit::Insert(record)
        | Edit::Replace(record)
        | Edit::InsertIfAbsent(record)
        | Edit::InsertOrSet(record)
        | Edit::MergePatch(record) => record.get(field).is_some(),
        Edit::Delete => false,
    }
}
