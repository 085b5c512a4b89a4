//! References to records whose keys were assigned: a record of the source names
//! another by its key there, and one of the target by the number or UUID that
//! this was assigned. What was looked up stands beside the source's row, like an
//! assigned key; so the mapping carries it like any field that only the target has.

use super::identity::Pairs;
use super::{Shapes, strays};
use crate::Key;
use crate::mapping::MappingError;
use crate::shape::{ColumnShape, Layout, TableShape};
use crate::spec::KeyReference;
use crate::store::Image;
use crate::value::{Document, Value};

/// Beside a record of the source: for each reference, what the row named when
/// it was looked up.
const NAMED: &str = "@named";

/// One reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    rule: KeyReference,
    pairs: Pairs,
    is_own: bool,
}

impl Reference {
    pub(super) fn of(rule: &KeyReference, migration: &str) -> Reference {
        let pairs = Pairs::of(&rule.migration, rule.ty, rule.from.len());
        Reference { pairs, is_own: rule.migration == migration, rule: rule.clone() }
    }

    /// What the spec says.
    pub fn rule(&self) -> &KeyReference {
        &self.rule
    }

    /// The pairs of keys of the other migration.
    pub fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    /// Whether it names records of its own migration.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// The table of the target with the records that are named, as far as is asked of it.
    pub fn layout(&self) -> Layout {
        Layout::Rows(TableShape {
            table: self.rule.table.clone(),
            key: vec![self.rule.key.clone()],
            columns: vec![ColumnShape {
                name: self.rule.key.clone(),
                ty: self.rule.ty,
                nullable: false,
                unique: false,
                native: None,
                references: None,
            }],
            children: Vec::new(),
            residue: None,
            extras: Default::default(),
        })
    }

    /// The key in its source of the record that a row of the source names: none
    /// if it lacks any field of it.
    pub fn named(&self, v1: &Image) -> Option<Key> {
        let value = |field: &String| v1.record.get(field).filter(|value| !value.is_null()).cloned();
        self.rule.from.iter().map(value).collect::<Option<Vec<Value>>>().map(Key::composite)
    }

    /// What a row of the source says there, whole or not.
    fn said(&self, v1: &Image) -> Value {
        let value = |field: &String| v1.record.get(field).cloned().unwrap_or(Value::Null);
        match self.rule.from.as_slice() {
            [field] => value(field),
            fields => Value::Array(fields.iter().map(value).collect()),
        }
    }

    /// The key in the target that was looked up for a row of the source.
    pub fn found<'i>(&self, v1: &'i Image) -> Option<&'i Value> {
        v1.parked.get(&self.rule.field).filter(|value| !value.is_null())
    }

    /// The key in the target that a record of the target names.
    pub fn in_target<'d>(&self, v2: &'d Document) -> Option<&'d Value> {
        v2.get(&self.rule.field).filter(|value| !value.is_null())
    }

    /// The record of the target's own that is named instead of what the row
    /// says, if the row still says it.
    pub fn strayed<'i>(&self, v1: &'i Image) -> Option<&'i Value> {
        let (was, is) = strays::of(v1, &self.rule.field)?;
        (*was == self.said(v1)).then_some(is)
    }

    /// Puts what was looked up for a row of the source beside it.
    pub fn set(&self, v1: &mut Image, found: Option<Value>) {
        let said = self.said(v1);
        match found {
            Some(value) => v1.parked.set(self.rule.field.as_str(), value),
            None => v1.parked.remove(&self.rule.field),
        };
        let mut named = match v1.parked.remove(NAMED) {
            Some(Value::Document(named)) => named,
            _ => Document::new(),
        };
        named.set(self.rule.field.as_str(), said);
        v1.parked.set(NAMED, named);
    }

    /// Whether a row still names what it named when that was looked up: a
    /// program may have written it after its record had moved.
    pub fn is_as_named(&self, v1: &Image) -> bool {
        let Some(Value::Document(named)) = v1.parked.get(NAMED) else { return true };
        named.get(&self.rule.field).is_none_or(|named| *named == self.said(v1))
    }

    /// A row of the source whose record names this one in the target now;
    /// `named` is its key in its source, `None`: it is one of the target's own.
    pub fn follow(&self, v1: &mut Image, now: Option<&Value>, named: Option<Key>) {
        strays::set(v1, &self.rule.field, None);
        match (named, now) {
            (Some(named), _) => {
                for (field, value) in self.rule.from.iter().zip(named.values()) {
                    v1.record.set(field.as_str(), value.clone());
                }
            }
            (None, None) => {
                for field in &self.rule.from {
                    v1.record.set(field.as_str(), Value::Null);
                }
            }
            (None, Some(now)) => {
                let was = self.said(v1);
                strays::set(v1, &self.rule.field, Some((was, now.clone())));
            }
        }
        self.set(v1, now.cloned());
    }

    /// Whether a row of the source says what it names, if it must, and that was found.
    ///
    /// # Errors
    /// `absorb/reference`, `mapping/required`.
    pub fn is_found(&self, v1: &Image) -> Result<(), MappingError> {
        let path = self.rule.field.clone();
        match (self.named(v1), self.found(v1)) {
            (_, Some(_)) => Ok(()),
            (None, None) if !self.rule.required => Ok(()),
            (None, None) => Err(MappingError {
                code: "mapping/required",
                message: format!("found nothing or null where field \"{path}\" requires a reference"),
                path,
                hint: None,
            }),
            (Some(_), None) => Err(MappingError {
                code: "absorb/reference",
                path,
                message: format!(
                    "it names a record to which migration \"{}\" has assigned no key",
                    self.rule.migration
                ),
                hint: Some("mend the reference in the source, or bring the record that it names there".to_owned()),
            }),
        }
    }

    /// Why shape v1 cannot show a record.
    pub fn unsayable(&self) -> MappingError {
        MappingError {
            code: "absorb/reference",
            path: self.rule.from.join(", "),
            message: "it names a record of the target's own, which the source cannot name".to_owned(),
            hint: Some("read it in shape v2; a rollback keeps the reference beside the source's row".to_owned()),
        }
    }
}

impl Shapes {
    /// The fields that name records whose keys were assigned.
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Whether everything that must be looked up for a row of the source was found.
    ///
    /// # Errors
    /// `absorb/reference`, `mapping/required`: which was not found, or is not there.
    pub fn referred(&self, v1: &Image) -> Result<(), MappingError> {
        self.references.iter().try_for_each(|reference| reference.is_found(v1))?;
        self.joined(v1)
    }

    /// Whether shape v1 can say which records this one names.
    ///
    /// # Errors
    /// `absorb/reference`: one of the target's own.
    pub fn sayable(&self, v1: &Image) -> Result<(), MappingError> {
        match self.references.iter().find(|reference| reference.strayed(v1).is_some()) {
            Some(reference) => Err(reference.unsayable()),
            None => Ok(()),
        }
    }

    /// What stands beside a row of values that only the target can hold in
    /// looked-up fields, kept when the row is made anew.
    pub fn keep_strays(&self, from: &Image, to: &mut Image) {
        strays::keep(from, to);
        if let Some(named) = from.parked.get(NAMED) {
            to.parked.set(NAMED, named.clone());
        }
    }
}
