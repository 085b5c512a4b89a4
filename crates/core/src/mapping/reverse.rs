//! v2 → v1.

use super::base::{self, Node};
use super::fit::Why;
use super::residue;
use super::rules::{Child, Column, Elements, ObjectRules, Seg, Trail, place};
use super::{MappingError, cast};
use crate::value::{Document, Value};

impl ObjectRules {
    /// The v1 record of a v2 record.
    pub(super) fn reverse_record(&self, v2: &Document) -> Result<Document, MappingError> {
        match self.reverse_object(v2, None)? {
            Value::Document(record) => Ok(record),
            other => Err(MappingError::new(
                "mapping/reverse",
                self.residue.as_deref().unwrap_or_default(),
                format!("a correction makes the record {}", other.type_name()),
            )),
        }
    }

    fn reverse_object(&self, v2: &Document, trail: Option<&Trail<'_>>) -> Result<Value, MappingError> {
        self.check_fields(v2, trail)?;
        let array = |child: &Child| {
            let items = child.reverse_rows(v2.get(&child.field), trail)?;
            Ok(Node::Owned(Value::Array(items)))
        };
        let fields = self.base(v2, trail, array).map_err(unusable)?;
        let base = Value::Document(base::into_document(fields));
        self.with_residue(base, v2, trail)
    }

    fn reverse_scalar(&self, v2: &Document, trail: &Trail<'_>) -> Result<Value, MappingError> {
        self.check_fields(v2, Some(trail))?;
        let base = self.scalar(v2).cloned().unwrap_or(Value::Null);
        self.with_residue(base, v2, Some(trail))
    }

    fn with_residue(&self, base: Value, v2: &Document, trail: Option<&Trail<'_>>) -> Result<Value, MappingError> {
        let Some(name) = &self.residue else { return Ok(base) };
        let error = |why: String| MappingError::new("mapping/reverse", place(trail, [Seg::Field(name)]), why);
        match v2.get(name) {
            None | Some(Value::Null) => Ok(base),
            Some(Value::Document(residue)) => residue::apply(base, residue, v2).map_err(error),
            Some(other) => Err(error(format!("found {} where a document was expected", other.type_name()))),
        }
    }

    /// Refuses fields that v2 does not have.
    fn check_fields(&self, v2: &Document, trail: Option<&Trail<'_>>) -> Result<(), MappingError> {
        let known = |name: &str| {
            self.columns.iter().any(|column| column.name == name)
                || self.children.iter().any(|child| child.field == name)
                || self.residue.as_deref() == Some(name)
        };
        for column in &self.columns {
            if let Some(why) = v2.get(&column.name).and_then(|value| column.misfit_in_v2(value)) {
                let place = place(trail, [Seg::Field(&column.name)]);
                return Err(MappingError::new("mapping/reverse", place, format!("found {why}"))
                    .with_hint("the spec bounds this field: see its `chars_max` and `unfit`"));
            }
        }
        // Records of our own making have the fields in order; look no further then.
        let mut own = self.columns.iter().map(|column| column.name.as_str());
        for (name, _) in v2.iter() {
            if own.next() != Some(name) && !known(name) {
                let error =
                    MappingError::new("mapping/reverse", place(trail, [Seg::Field(name)]), "no such field in shape v2");
                return Err(match &self.residue {
                    Some(residue) => error.with_hint(format!("fields that no rule names belong in \"{residue}\"")),
                    None => error,
                });
            }
        }
        Ok(())
    }
}

impl Column {
    /// Why a v2 record cannot have this value, though forward would take it
    /// away without a word.
    fn misfit_in_v2(&self, value: &Value) -> Option<Why> {
        let is_of_type = value.is_null() || cast::fits(value, self.ty);
        if self.fit.drops_other_types() && !is_of_type {
            return Some(format!("{} where {} was expected", value.type_name(), self.ty.name()).into());
        }
        self.fit.misfit(value)
    }
}

impl Child {
    fn reverse_rows(&self, rows: Option<&Value>, trail: Option<&Trail<'_>>) -> Result<Vec<Value>, MappingError> {
        let here = Trail::field(trail, &self.field);
        let rows = match rows {
            None => return Ok(Vec::new()),
            Some(Value::Array(rows)) => rows,
            Some(other) => {
                let message = format!("found {} where an array of documents was expected", other.type_name());
                return Err(MappingError::new("mapping/reverse", place(Some(&here), []), message));
            }
        };
        let element = |(index, row): (usize, &Value)| {
            let trail = Trail::element(&here, index);
            match (row, self.elements) {
                (Value::Document(row), Elements::Documents) => self.rules.reverse_object(row, Some(&trail)),
                (Value::Document(row), Elements::Scalars) => self.rules.reverse_scalar(row, &trail),
                (other, _) => {
                    let message = format!("found {} where a document was expected", other.type_name());
                    Err(MappingError::new("mapping/reverse", place(Some(&trail), []), message))
                }
            }
        };
        rows.iter().enumerate().map(element).collect()
    }
}

/// An error of an expression or a key's text on the way back is a refusal of the v2 record.
fn unusable(error: MappingError) -> MappingError {
    MappingError { code: if error.code == "mapping/key" { "mapping/key" } else { "mapping/reverse" }, ..error }
}
