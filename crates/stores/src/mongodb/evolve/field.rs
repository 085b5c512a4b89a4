//! The field in a document: whether it is there, what it is made from, what a
//! validator asks of it, and whether its value is the backfill's.

use std::collections::HashMap;

use mongodb::bson::{Bson, Document as Query, RawDocumentBuf, doc};
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::Wanted;
use shearwater_core::fill::Fill;
use shearwater_core::shape::FieldType;
use shearwater_core::value::{Instant, hash};
use shearwater_core::{Document, Key, Value};

use super::super::error::failure;
use super::super::key::ID;
use super::super::raw::{Element, Owned, find, ty};
use super::super::record::RESERVED;
use super::super::{KEYS_MAX, one_of};
use super::Evolving;

/// Types that `$type` names of a field without a value.
const EMPTY: [&str; 3] = ["missing", "null", "undefined"];

/// Digits of a decimal128.
const DECIMAL_DIGITS_MAX: u32 = 34;

const MICROS_PER_MILLISECOND: i64 = 1_000;

/// The field that documents are to have.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) fill: Fill,
    /// The fields that its value is made from, in the order of their names.
    pub(super) inputs: Vec<String>,
}

impl Field {
    pub(super) fn of(wanted: &Wanted) -> StoreResult<Field> {
        let mut inputs = wanted.fill.inputs();
        inputs.sort();
        for name in inputs.iter().chain([&wanted.column]) {
            if name.contains(['.', '\0']) || name.starts_with('$') || name == RESERVED {
                let what = format!("MongoDB: {name:?} cannot be named in an update");
                return Err(StoreError::new(StoreErrorKind::Unsupported, what)
                    .with_hint("a field's name has no dot, no U+0000 and no `$` at its beginning"));
            }
        }
        check_type(wanted)?;
        Ok(Field { name: wanted.column.clone(), fill: wanted.fill.clone(), inputs })
    }

    /// What a validator asks of every document.
    pub(super) fn rule(&self) -> Query {
        let types: Option<Bson> = match self.fill.ty() {
            FieldType::Int => Some(vec!["int", "long"].into()),
            FieldType::Bool => Some("bool".into()),
            FieldType::Float => Some("double".into()),
            FieldType::Decimal => Some("decimal".into()),
            FieldType::Instant => Some("date".into()),
            FieldType::Uuid | FieldType::Bytes => Some("binData".into()),
            FieldType::Text => Some("string".into()),
            // Any value but null.
            _ => None,
        };
        let mut asked = match types {
            Some(types) => doc! { "bsonType": types },
            None => doc! { "not": { "bsonType": "null" } },
        };
        let values = &self.fill.domain().values;
        if !values.is_empty() {
            asked.insert("enum", values.clone());
        }
        let name = self.name.as_str();
        doc! { "$jsonSchema": { "required": [name], "properties": { name: asked } } }
    }

    /// The condition that a document has no value; an array that holds a null is one.
    pub(super) fn is_empty(&self) -> Query {
        let found = doc! { "$type": format!("${}", self.name) };
        doc! { &self.name: Bson::Null, "$expr": { "$in": [found, EMPTY.to_vec()] } }
    }

    /// What is read of a document.
    pub(super) fn projection(&self) -> Query {
        let names = self.inputs.iter().chain([&self.name]);
        names.map(|name| (name.clone(), Bson::Int32(1))).chain([(ID.to_owned(), Bson::Int32(1))]).collect()
    }

    /// The value as it stands in a document; `None`: there is none.
    pub(super) fn value_in<'d>(&self, document: &'d [u8]) -> Option<Element<'d>> {
        find(document, &self.name).filter(|found| !matches!(found.ty, ty::NULL | ty::UNDEFINED))
    }

    /// The hash of what the value is made from, and of the value.
    pub(super) fn hash(&self, record: &Document, value: &Value) -> u128 {
        let mut made = Document::with_capacity(self.inputs.len() + 1);
        for name in &self.inputs {
            if let Some(input) = record.get(name) {
                made.set(name.as_str(), input.clone());
            }
        }
        made.set(self.name.as_str(), value.clone());
        hash::document(&made)
    }
}

/// What BSON holds as a type of its own; the rest would be documents of ours.
fn check_type(wanted: &Wanted) -> StoreResult<()> {
    let domain = wanted.fill.domain();
    let refused = |what: String, hint: &str| {
        Err(StoreError::new(StoreErrorKind::Unsupported, format!("MongoDB: {what}")).with_hint(hint))
    };
    match domain.ty {
        FieldType::Date | FieldType::Time | FieldType::Timestamp => refused(
            format!("BSON has no {}", domain.ty.name()),
            "use instant (a BSON date, to the millisecond), or text",
        ),
        FieldType::Decimal if domain.digits.is_some_and(|digits| digits.precision > DECIMAL_DIGITS_MAX) => {
            refused(format!("a decimal has at most {DECIMAL_DIGITS_MAX} digits"), "declare a lower precision")
        }
        FieldType::Instant => match wanted.fill.constant() {
            Some(Value::Instant(Instant::Micros(micros))) if micros % MICROS_PER_MILLISECOND != 0 => {
                refused("a date has milliseconds, no finer".to_owned(), "write the constant in milliseconds")
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// How many documents have no value.
pub(super) async fn count_missing(of: &Evolving) -> StoreResult<u64> {
    let server = &of.inner.server;
    let collection = server.collection(&of.inner.records.table);
    let count = collection.count_documents(of.field.is_empty());
    server.count(count).await.map_err(|e| failure("counting documents", &e).of_a_repeatable().error)
}

/// For each key, whether its value is somebody's choice: not what the backfill
/// made of fields that are still as they were.
pub(super) async fn chosen(of: &Evolving, keys: &[Key]) -> StoreResult<Vec<bool>> {
    let mut made_by_us = HashMap::with_capacity(keys.len());
    for some in keys.chunks(KEYS_MAX) {
        let ids = some.iter().map(|key| of.inner.records.keys.id_of(key)).collect::<StoreResult<Vec<Owned>>>()?;
        let notes = of.own.notes_of(&of.inner, &ids).await?;
        let named: Vec<&Owned> = ids.iter().collect();
        let condition = one_of(&named);
        let table = &of.inner.records.table;
        let found = of.inner.all("reading records", table, condition, Some(of.field.projection())).await;
        for raw in found.map_err(|failure| failure.error)? {
            let is_ours = hash_in(of, &raw)?.is_some_and(|hash| {
                let id = find(raw.as_bytes(), ID).map(Owned::of);
                id.is_some_and(|id| notes.get(&id) == Some(&hash))
            });
            if let Ok(key) = of.inner.records.read(raw).key {
                made_by_us.insert(key, is_ours);
            }
        }
    }
    Ok(keys.iter().map(|key| !made_by_us.get(key).copied().unwrap_or(false)).collect())
}

/// The hash of a document's value with what it is made from; `None`: it has none.
fn hash_in(of: &Evolving, raw: &RawDocumentBuf) -> StoreResult<Option<u128>> {
    let Some(record) = of.inner.records.read(raw.clone()).record else { return Ok(None) };
    let record = record?;
    let value = record.get(&of.field.name).filter(|value| !value.is_null());
    Ok(value.map(|value| of.field.hash(&record, value)))
}
