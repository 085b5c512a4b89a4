//! Keys in both shapes, from the key alone.

use super::rules::{Column, Origin};
use super::{MappingError, cast};
use crate::expr::Expr;
use crate::key::Key;
use crate::path::{Path, Step};
use crate::value::{Document, Value};

/// How a key goes from one shape to the other.
#[derive(Clone, Debug)]
pub(super) struct KeyRules {
    source: Vec<String>,
    target: Vec<String>,
    /// One column for each target key field.
    columns: Vec<Column>,
    /// One for each source key field; none where keys are assigned.
    back: Vec<KeyBack>,
    made: Made,
}

/// Where the target's key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// From the source's, by the rules.
    Computed,
    /// It is assigned, and a table of ours says which key has which.
    Assigned,
}

/// Where a source key field comes from.
#[derive(Clone, Debug)]
enum KeyBack {
    /// From this target key field, unchanged.
    Same(usize),
    /// From the text in this target key field.
    Text(usize),
    /// Computed from the target key.
    Sql(Expr),
}

/// The key of a record.
pub(super) fn of_record(fields: &[String], record: &Document) -> Result<Key, MappingError> {
    let value = |field: &String| match record.get(field) {
        Some(value) if !value.is_null() => Ok(value.clone()),
        found => {
            let found = if found.is_some() { "null" } else { "nothing" };
            Err(MappingError::new("mapping/key", field.as_str(), format!("found {found} where the key was expected"))
                .with_hint("every record needs a value in each key field"))
        }
    };
    Ok(Key::composite(fields.iter().map(value).collect::<Result<_, _>>()?))
}

impl KeyRules {
    /// Keys that are assigned, which no rule gives.
    pub fn assigned(source: &[String], target: &[String]) -> KeyRules {
        let (source, target) = (source.to_vec(), target.to_vec());
        KeyRules { source, target, columns: Vec::new(), back: Vec::new(), made: Made::Assigned }
    }

    /// Checks that the rules of the key fields can be inverted from the key alone.
    pub fn compile(source: &[String], target: &[String], columns: &[Column]) -> Result<KeyRules, MappingError> {
        let bad = |field: &str, message: String| MappingError::new("mapping/spec", field, message);
        let mut own = Vec::with_capacity(target.len());
        for field in target {
            let column = columns.iter().find(|column| column.name == *field);
            let column = column.ok_or_else(|| {
                bad(field, "the target's key field has no rule".to_owned())
                    .with_hint(format!("add [fields] {field} = {{ from = \"{}\" }}", source.join("\" or \"")))
            })?;
            let foreign = match &column.origin {
                Origin::Path(path) | Origin::KeyText(path) => {
                    (!is_field_of(path, source)).then(|| super::rules::place_of(None, path))
                }
                Origin::Sql { expr, .. } => expr.fields().into_iter().find(|name| !source.contains(name)),
                Origin::Constant(_) | Origin::TargetOnly | Origin::Element => Some(field.clone()),
            };
            if let Some(foreign) = foreign {
                return Err(bad(field, format!("the target's key uses {foreign}, which is not in the source's key"))
                    .with_hint("a key must be computable from the key alone, so that one record can be looked up in both stores"));
            }
            own.push(column.clone());
        }
        let back = source.iter().map(|field| Self::back_of(field, target, &own)).collect::<Result<_, _>>()?;
        Ok(KeyRules { source: source.to_vec(), target: target.to_vec(), columns: own, back, made: Made::Computed })
    }

    fn back_of(field: &str, target: &[String], columns: &[Column]) -> Result<KeyBack, MappingError> {
        for (at, column) in columns.iter().enumerate() {
            match &column.origin {
                Origin::Path(path) if is_field(path, field) => return Ok(KeyBack::Same(at)),
                Origin::KeyText(path) if is_field(path, field) => return Ok(KeyBack::Text(at)),
                Origin::Sql { back, .. } => {
                    if let Some((_, expr)) = back.iter().find(|(path, _)| is_field(path, field)) {
                        return match expr.fields().into_iter().find(|name| !target.contains(name)) {
                            None => Ok(KeyBack::Sql(expr.clone())),
                            Some(other) => Err(MappingError::new(
                                "mapping/spec",
                                column.name.as_str(),
                                format!("the key goes back through {other}, which is not in the target's key"),
                            )),
                        };
                    }
                }
                Origin::Path(_) | Origin::KeyText(_) | Origin::Constant(_) | Origin::TargetOnly | Origin::Element => {}
            }
        }
        Err(MappingError::new("mapping/spec", field, "the source's key field cannot be computed from the target's key")
            .with_hint("give a target key field `from` it, or an expression with a `back` for it"))
    }

    pub fn forward(&self, v1: &Key) -> Result<Key, MappingError> {
        self.must_compute()?;
        let v2 = self.computed(v1)?;
        if self.is_computed() && self.inverse(&v2)? != *v1 {
            return Err(self.not_inverted(&self.source));
        }
        Ok(v2)
    }

    pub fn reverse(&self, v2: &Key) -> Result<Key, MappingError> {
        self.must_compute()?;
        let v1 = self.inverse(v2)?;
        if self.computed(&v1)? != *v2 {
            return Err(self.not_inverted(&self.target));
        }
        Ok(v1)
    }

    /// Computed keys must come back; the others do by construction.
    pub fn check_forward(&self, v1: &Document, v2: &Document) -> Result<(), MappingError> {
        if !self.is_computed() {
            return Ok(());
        }
        match self.inverse(&of_record(&self.target, v2)?)? == of_record(&self.source, v1)? {
            true => Ok(()),
            false => Err(self.not_inverted(&self.source)),
        }
    }

    /// A record must not go back under another key than its own.
    pub fn check_reverse(&self, v1: &Document, v2: &Document) -> Result<(), MappingError> {
        if self.made == Made::Assigned {
            return Ok(());
        }
        match self.reverse(&of_record(&self.target, v2)?)? == of_record(&self.source, v1)? {
            true => Ok(()),
            false => Err(self.not_inverted(&self.target)),
        }
    }

    /// The target's key fields, when each is a field of the source's as it stands,
    /// or its text.
    pub fn taken_over(&self) -> Option<&[String]> {
        let as_it_stands = |column: &Column| matches!(column.origin, Origin::Path(_) | Origin::KeyText(_));
        let all = self.made == Made::Computed && self.columns.iter().all(as_it_stands);
        all.then_some(self.target.as_slice())
    }

    fn must_compute(&self) -> Result<(), MappingError> {
        match self.made {
            Made::Computed => Ok(()),
            Made::Assigned => Err(MappingError::new(
                "mapping/key",
                self.target.join(", "),
                "keys are assigned here, and cannot be computed from one another",
            )),
        }
    }

    fn is_computed(&self) -> bool {
        self.columns.iter().any(|column| matches!(column.origin, Origin::Sql { .. }))
    }

    fn computed(&self, v1: &Key) -> Result<Key, MappingError> {
        let record = record(&self.source, v1)?;
        let value = |column: &Column| {
            let value = match &column.origin {
                Origin::KeyText(path) => match path.get(&record) {
                    Some(value) => Value::Text(Key::single(value.clone()).to_text()),
                    None => Value::Null,
                },
                Origin::Path(path) => path.get(&record).cloned().unwrap_or(Value::Null),
                Origin::Sql { expr, .. } => expr
                    .eval(&record)
                    .map_err(|error| MappingError::new("mapping/key", column.name.as_str(), error.0))?,
                Origin::Constant(_) | Origin::TargetOnly | Origin::Element => Value::Null,
            };
            if value.is_null() || !cast::fits(&value, column.ty) {
                let message = format!("found {} where {} was expected", value.type_name(), column.ty.name());
                return Err(MappingError::new("mapping/key", column.name.as_str(), message)
                    .with_hint("for keys of mixed types declare type = \"text\" and cast = true"));
            }
            Ok(value)
        };
        Ok(Key::composite(self.columns.iter().map(value).collect::<Result<_, _>>()?))
    }

    fn inverse(&self, v2: &Key) -> Result<Key, MappingError> {
        let record = record(&self.target, v2)?;
        let mut values = Vec::with_capacity(self.back.len());
        for (back, field) in self.back.iter().zip(&self.source) {
            let value = match back {
                KeyBack::Same(at) => v2.values()[*at].clone(),
                KeyBack::Text(at) => self.columns[*at].key_value(&v2.values()[*at], None)?.unwrap_or(Value::Null),
                KeyBack::Sql(expr) => {
                    expr.eval(&record).map_err(|error| MappingError::new("mapping/key", field.as_str(), error.0))?
                }
            };
            if value.is_null() {
                return Err(MappingError::new("mapping/key", field.as_str(), "found null where the key was expected"));
            }
            values.push(value);
        }
        Ok(Key::composite(values))
    }

    fn not_inverted(&self, fields: &[String]) -> MappingError {
        MappingError::new("mapping/key", fields.join(", "), "the key does not come back as it was")
            .with_hint("the key's expression and its back must be exact inverses for every key")
    }
}

/// A key's values as a record of its fields.
fn record(fields: &[String], key: &Key) -> Result<Document, MappingError> {
    if fields.len() != key.values().len() {
        let message = format!("found a key of {} values where {} were expected", key.values().len(), fields.len());
        return Err(MappingError::new("mapping/key", fields.join(", "), message));
    }
    Ok(fields.iter().map(String::as_str).zip(key.values().iter().cloned()).collect())
}

fn is_field(path: &Path, field: &str) -> bool {
    matches!(path.steps(), [Step::Field(name)] if name == field)
}

fn is_field_of(path: &Path, fields: &[String]) -> bool {
    fields.iter().any(|field| is_field(path, field))
}
