//! Keys as `_id`s.
//!
//! Where the spec's key is `_id` itself, it is what it is. Where the key is other
//! fields, the `_id` of our documents is made of them and they stand in the
//! document too: a text, an integer, a UUID… as it is, several parts as a document
//! of them, and what MongoDB would take for equal to something else (5, 5.0 and
//! the decimal 5 are one `_id` there) as bytes of a subtype of our own.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::value::Instant;
use shearwater_core::{Document, Key, Value};

use super::encode::{self, binary};
use super::raw::{Doc, Element, Elements, Owned, ty};
use super::value;
use crate::relational::document::{part_from_bytes, part_to_bytes};
use crate::relational::{corrupt, refused};

/// MongoDB's own key field.
pub(super) const ID: &str = "_id";

/// Binary subtypes that are free for users: ours for a part, and for all parts.
const PART: u8 = 0xE5;
const PARTS: u8 = 0xE6;

/// How the key's fields make the `_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    table: String,
    names: Vec<String>,
}

impl Keys {
    pub(super) fn of(table: &str, names: &[String]) -> Keys {
        Keys { table: table.to_owned(), names: names.to_vec() }
    }

    /// Whether the key is the `_id` itself.
    pub(super) fn is_id(&self) -> bool {
        matches!(self.names.as_slice(), [name] if name == ID)
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    fn named(&self) -> String {
        self.names.join(", ")
    }

    /// The `_id` of a key.
    pub(super) fn id_of(&self, key: &Key) -> StoreResult<Owned> {
        let values = key.values();
        if values.len() != self.names.len() {
            let what = format!("the key has {} parts, not {}", values.len(), self.names.len());
            return Err(refused(&self.table, &self.named(), what));
        }
        if values.iter().any(Value::is_null) {
            return Err(refused(&self.table, &self.named(), "a key part must not be null"));
        }
        let bytes = |part: &Value| part_to_bytes(part).map_err(|what| refused(&self.table, &self.named(), what));
        match values {
            [value] if self.is_id() => {
                let id = encode::value(value).map_err(|unfit| refused(&self.table, ID, unfit.what))?;
                match id.ty {
                    ty::ARRAY | ty::REGEX | ty::UNDEFINED => {
                        Err(refused(&self.table, ID, "MongoDB takes no array, pattern or undefined as an _id"))
                    }
                    _ => Ok(id),
                }
            }
            [value] => match natural(value) {
                Some(id) => Ok(id),
                None => Ok(binary(PART, &bytes(value)?)),
            },
            values => {
                let plain = |name: &String| !name.is_empty() && !name.starts_with('$') && !name.contains(['.', '\0']);
                let parts: Option<Vec<Owned>> = values.iter().map(natural).collect();
                match parts.filter(|_| self.names.iter().all(plain)) {
                    Some(parts) => {
                        let mut doc = Doc::new();
                        for (name, part) in self.names.iter().zip(&parts) {
                            doc.put(name, part.get());
                        }
                        Ok(Owned::new(ty::DOCUMENT, doc.end()))
                    }
                    None => Ok(binary(PARTS, &bytes(&Value::Array(values.to_vec()))?)),
                }
            }
        }
    }

    /// The key of an `_id`.
    pub(super) fn key_of(&self, id: Element<'_>) -> StoreResult<Key> {
        let bad = |what: &str| corrupt(&self.table, ID, what);
        if self.is_id() {
            return match value::value(id) {
                Ok(Value::Null) => Err(bad("the _id is null, and a key is never null")),
                Ok(value) => Ok(Key::single(value)),
                Err(unreadable) => Err(bad(&unreadable.told())),
            };
        }
        let key = self.parts_of(id).filter(|key| self.id_of(key).is_ok_and(|again| same_id(again.get(), id)));
        key.ok_or_else(|| {
            bad(&format!("it is not what the key ({}) makes of it", self.named()))
                .with_hint("a collection whose _id is something else has `_id` as its key: key = \"_id\"")
        })
    }

    fn parts_of(&self, id: Element<'_>) -> Option<Key> {
        let own = (id.ty == ty::BINARY).then(|| (id.bytes[4], &id.bytes[5..]));
        match (own, self.names.len()) {
            (Some((PART, bytes)), 1) => Some(Key::single(part_from_bytes(bytes)?)),
            (Some((PARTS, bytes)), _) => match part_from_bytes(bytes)? {
                Value::Array(parts) => Some(Key::composite(parts)),
                _ => None,
            },
            (_, 1) => Some(Key::single(value::value(id).ok()?)),
            _ if id.ty == ty::DOCUMENT => {
                let parts = Elements::of(id.bytes).ok()?.zip(&self.names).map(|(element, name)| {
                    let (found, element) = element.ok()?;
                    (found == name).then(|| value::value(element).ok())?
                });
                Some(Key::composite(parts.collect::<Option<_>>()?))
            }
            _ => None,
        }
    }

    /// Refuses a record whose key fields are not its key.
    pub(super) fn check(&self, key: &Key, record: &Document) -> StoreResult<()> {
        for (name, part) in self.names.iter().zip(key.values()) {
            match record.get(name) {
                Some(value) if value == part => {}
                Some(_) => return Err(refused(&self.table, name, "the record's key field differs from its key")),
                None => return Err(refused(&self.table, name, "the record lacks its key field")),
            }
        }
        Ok(())
    }

    /// The same of a record that was read.
    pub(super) fn check_read(&self, key: &Key, record: &Document) -> StoreResult<()> {
        self.check(key, record).map_err(|error| StoreError { kind: StoreErrorKind::Corrupt, ..error })
    }
}

/// Values that stand as they are in an `_id` that we make: no two of them are
/// equal to MongoDB.
fn natural(value: &Value) -> Option<Owned> {
    let fits = match value {
        Value::Text(_) | Value::Int(_) | Value::Bool(_) | Value::Bytes(_) | Value::Uuid(_) => true,
        Value::Instant(Instant::Micros(micros)) => micros % 1_000 == 0,
        Value::Extended(own) => own.store == value::FAMILY && own.type_name == "objectId",
        _ => false,
    };
    encode::value(value).ok().filter(|id| fits && id.ty != ty::DOCUMENT)
}

/// Whether two `_id`s are the same, the widths of integers aside.
fn same_id(a: Element<'_>, b: Element<'_>) -> bool {
    a == b || value::value(a).is_ok_and(|a| value::value(b) == Ok(a))
}

#[cfg(test)]
mod tests {
    use shearwater_core::value::json;

    use super::*;

    fn keys(names: &[&str]) -> Keys {
        Keys::of("t", &names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn ids_there_and_back() {
        let check = |names: &[&str], parts: &[&str], ty: u8| {
            let key = Key::composite(parts.iter().map(|part| json::parse(part.as_bytes()).unwrap()).collect());
            let id = keys(names).id_of(&key).unwrap();
            assert_eq!(id.ty, ty, "{parts:?}");
            assert_eq!(keys(names).key_of(id.get()).unwrap(), key, "{parts:?}");
        };
        check(&["_id"], &["5"], ty::INT32);
        check(&["_id"], &["5.0"], ty::DOUBLE);
        check(&["_id"], &[r#"{"a":[1]}"#], ty::DOCUMENT);
        check(&["id"], &["5"], ty::INT32);
        check(&["id"], &["5.0"], ty::BINARY);
        check(&["id"], &["[1]"], ty::BINARY);
        check(&["id"], &[r#"{"@bytes":"AA=="}"#], ty::BINARY);
        check(&["id"], &[r#"{"@date":"2024-01-01"}"#], ty::BINARY);
        check(&["id"], &[r#"{"@instant":"1970-01-01T00:00:00Z"}"#], ty::DATE);
        check(&["a", "b"], &["\"x\"", "-1"], ty::DOCUMENT);
        check(&["a", "b"], &["\"x\"", "0.5"], ty::BINARY);
        check(&["a.b", "$c"], &["\"x\"", "1"], ty::BINARY);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let field = |names: &[&str], parts: Vec<Value>| keys(names).id_of(&Key::composite(parts)).unwrap_err().kind;
        let refused = |field: &str| StoreErrorKind::Refused { field: Some(field.into()) };
        assert_eq!(field(&["_id"], vec![Value::Array(vec![])]), refused("_id"));
        assert_eq!(field(&["a", "b"], vec![1.into()]), refused("a, b"));
        assert_eq!(field(&["a"], vec![Value::Null]), refused("a"));
        let error = keys(&["id"]).key_of(encode::value(&0.5.into()).unwrap().get()).unwrap_err();
        assert!(error.kind == StoreErrorKind::Corrupt && error.hint.unwrap().contains("_id"), "{}", error.message);
    }
}
