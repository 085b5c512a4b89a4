//! v1 → v2.

use std::borrow::Cow;

use super::base::{self, Fields, Node};
use super::residue::{self, FieldOrder};
use super::rules::{
    Child, Column, Conversion, Declared, Elements, NullBack, ObjectRules, Origin, Presence, Trail, place, place_of,
};
use super::{MappingError, cast, parked};
use crate::key::Key;
use crate::path::Path;
use crate::value::{Document, Value};

impl ObjectRules {
    /// The v2 record of a v1 record.
    pub(super) fn forward_record(&self, v1: &Document, parked: Option<&Document>) -> Result<Document, MappingError> {
        let mut v2 = self.columns_and_children(Object::Document(v1), parked, None)?;
        let base = self.base_of_forward(&v2, v1)?;
        let residue = residue::of_record(self, &v2, &base, v1, self.field_order());
        if !residue.is_empty() {
            self.check_law(
                Value::Document(base::to_document(&base)),
                &residue,
                &v2,
                None,
                |rebuilt| matches!(rebuilt, Value::Document(d) if d == v1),
            )?;
        }
        drop(base);
        self.keep(residue, &mut v2, None)?;
        Ok(v2)
    }

    /// The child row of an element.
    fn forward_element(
        &self,
        element: &Value,
        parked: Option<&Document>,
        trail: &Trail<'_>,
    ) -> Result<Document, MappingError> {
        let object = match element {
            Value::Document(document) => Object::Document(document),
            _ => Object::Empty,
        };
        let mut v2 = self.columns_and_children(object, parked, Some(trail))?;
        let empty = Document::new();
        let base = self.base_of_forward(&v2, object.document(&empty))?;
        let residue = residue::of(self, &v2, &base, element, self.field_order());
        if !residue.is_empty() {
            let base = Value::Document(base::to_document(&base));
            self.check_law(base, &residue, &v2, Some(trail), |rebuilt| rebuilt == element)?;
        }
        drop(base);
        self.keep(residue, &mut v2, Some(trail))?;
        Ok(v2)
    }

    /// The child row of an element of an array of scalars.
    fn forward_scalar(
        &self,
        element: &Value,
        parked: Option<&Document>,
        trail: &Trail<'_>,
    ) -> Result<Document, MappingError> {
        let mut v2 = self.columns_and_children(Object::Scalar(element), parked, Some(trail))?;
        let base = self.scalar(&v2).cloned().unwrap_or(Value::Null);
        let residue = residue::of_scalar(self, &v2, &base, element);
        if !residue.is_empty() {
            self.check_law(base, &residue, &v2, Some(trail), |rebuilt| rebuilt == element)?;
        }
        self.keep(residue, &mut v2, Some(trail))?;
        Ok(v2)
    }

    /// The value that stands for the whole element of an array of scalars.
    pub(super) fn scalar<'v>(&self, v2: &'v Document) -> Option<&'v Value> {
        let column = self.columns.iter().find(|column| matches!(column.origin, Origin::Element))?;
        v2.get(&column.name)
    }

    fn columns_and_children(
        &self,
        v1: Object<'_>,
        parked: Option<&Document>,
        trail: Option<&Trail<'_>>,
    ) -> Result<Document, MappingError> {
        let mut v2 = Document::with_capacity(self.columns.len() + self.children.len() + 1);
        let empty = Document::new();
        let document = v1.document(&empty);
        for column in &self.columns {
            let mut value = column.compute(v1, document, trail)?;
            if let Some(parked) = parked {
                value = parked::column(column, value, parked);
                value = column.checked(value, trail)?;
                if let (Origin::TargetOnly, Some(why)) = (&column.origin, column.fit.misfit(&value)) {
                    return Err(MappingError::new("mapping/unfit", column.place(trail), format!("found {why}")));
                }
            }
            if value.is_null() && column.presence == Presence::Required {
                return Err(column.missing(trail));
            }
            v2.set(column.name.as_str(), value);
        }
        for child in &self.children {
            let rows = match child.path.get(document) {
                Some(Value::Array(items)) => child.rows(items, parked, trail)?,
                _ => Vec::new(),
            };
            v2.set(child.field.as_str(), Value::Array(rows));
        }
        Ok(v2)
    }

    /// The inverse of these columns. Child arrays are exact by their own
    /// residues, so v1's own arrays stand for them.
    fn base_of_forward<'a>(&'a self, v2: &'a Document, v1: &'a Document) -> Result<Fields<'a>, MappingError> {
        self.base(v2, None, |child| {
            Ok(match child.path.get(v1) {
                Some(array @ Value::Array(_)) => Node::Borrowed(array),
                _ => Node::Array(Vec::new()),
            })
        })
    }

    /// The inverse of the rules in the order in which they are declared, with what
    /// `array` gives for each child; a column that is left out counts as null.
    pub(super) fn base<'a>(
        &'a self,
        v2: &'a Document,
        trail: Option<&Trail<'_>>,
        mut array: impl FnMut(&'a Child) -> Result<Node<'a>, MappingError>,
    ) -> Result<Fields<'a>, MappingError> {
        let mut fields: Fields<'a> = Vec::with_capacity(self.declared.len());
        let mut shown = v2.iter();
        for declared in &self.declared {
            match *declared {
                Declared::Column(at) => {
                    let column = &self.columns[at];
                    // Columns usually stand in the order of the rules.
                    let value = match shown.next() {
                        Some((name, value)) if name == column.name => value,
                        _ => v2.get(&column.name).unwrap_or(&Value::Null),
                    };
                    column.back(value, v2, &mut fields, trail)?;
                }
                Declared::Child(at) => {
                    let child = &self.children[at];
                    base::set(&mut fields, child.path.steps(), array(child)?);
                }
            }
        }
        Ok(fields)
    }

    fn field_order(&self) -> FieldOrder {
        match self.residue {
            Some(_) => FieldOrder::Kept,
            None => FieldOrder::Ignored,
        }
    }

    fn keep(&self, residue: Document, v2: &mut Document, trail: Option<&Trail<'_>>) -> Result<(), MappingError> {
        match (&self.residue, residue.is_empty()) {
            (_, true) => Ok(()),
            (Some(name), false) => {
                v2.set(name.as_str(), residue);
                Ok(())
            }
            (None, false) => Err(MappingError::new(
                "mapping/unmapped",
                residue::first_place(&residue, trail),
                "found what no rule can give back, and unmapped fields are refused",
            )
            .with_hint("add a rule for it, or keep such fields with [unmapped] keep_in = \"…\"")),
        }
    }

    fn check_law(
        &self,
        base: Value,
        residue: &Document,
        v2: &Document,
        trail: Option<&Trail<'_>>,
        is_same: impl Fn(&Value) -> bool,
    ) -> Result<(), MappingError> {
        if self.residue.is_none() {
            return Ok(()); // a residue is refused anyway
        }
        let broken = |why: &str| {
            MappingError::new(
                "mapping/law",
                place(trail, []),
                format!("going back does not give the record again{why}"),
            )
            .with_hint("this is a fault of the mapping; keep the field in a json column until it is mended")
        };
        match residue::apply(base, residue, v2) {
            Ok(rebuilt) if is_same(&rebuilt) => Ok(()),
            Ok(_) => Err(broken("")),
            Err(why) => Err(broken(&format!(": {why}"))),
        }
    }
}

/// What the rules of one object are computed from.
#[derive(Clone, Copy)]
enum Object<'a> {
    Document(&'a Document),
    Scalar(&'a Value),
    /// An element that is no document where documents are expected.
    Empty,
}

impl<'a> Object<'a> {
    fn document(self, empty: &'a Document) -> &'a Document {
        match self {
            Object::Document(document) => document,
            Object::Scalar(_) | Object::Empty => empty,
        }
    }
}

impl Child {
    fn rows(
        &self,
        items: &[Value],
        parked: Option<&Document>,
        trail: Option<&Trail<'_>>,
    ) -> Result<Vec<Value>, MappingError> {
        let here = Trail::field(trail, &self.field);
        let parked = parked.and_then(|parked| parked.get(&self.field));
        let parked = parked.map(|parked| parked::elements(parked, items));
        let mut rows = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let trail = Trail::element(&here, index);
            let parked = parked.as_ref().and_then(|parked| parked[index]);
            let row = match self.elements {
                Elements::Documents => self.rules.forward_element(item, parked, &trail)?,
                Elements::Scalars => self.rules.forward_scalar(item, parked, &trail)?,
            };
            rows.push(Value::Document(row));
        }
        Ok(rows)
    }
}

impl Column {
    fn compute(&self, v1: Object<'_>, document: &Document, trail: Option<&Trail<'_>>) -> Result<Value, MappingError> {
        let found = match &self.origin {
            Origin::Path(path) => path.get(document),
            Origin::KeyText(path) => {
                return Ok(match path.get(document) {
                    None | Some(Value::Null) => Value::Null,
                    Some(value) => Value::Text(Key::single(value.clone()).to_text()),
                });
            }
            Origin::Element => match v1 {
                Object::Scalar(value) => Some(value),
                Object::Document(_) | Object::Empty => None,
            },
            Origin::Sql { expr, .. } => {
                let value = expr.eval(document).map_err(|error| self.failed(&error.0, trail))?;
                let value = if value.is_null() { self.default.clone().unwrap_or(Value::Null) } else { value };
                let value = self.checked(value, trail)?;
                return match self.fit.misfit(&value) {
                    None => Ok(value),
                    Some(why) => Err(MappingError::new("mapping/unfit", self.place(trail), format!("it gives {why}"))
                        .with_hint(format!("cut it in the expression of field \"{}\": left(…, n)", self.name))),
                };
            }
            Origin::Constant(value) => return Ok(value.clone()),
            Origin::TargetOnly => return Ok(self.default.clone().unwrap_or(Value::Null)),
        };
        match found {
            None | Some(Value::Null) => Ok(self.default.clone().unwrap_or(Value::Null)),
            Some(value) => self.held(value, trail),
        }
    }

    /// The value as this column holds it.
    fn held(&self, value: &Value, trail: Option<&Trail<'_>>) -> Result<Value, MappingError> {
        let missing = || Ok(self.default.clone().unwrap_or(Value::Null));
        let typed = match cast::fits(value, self.ty) {
            true => Cow::Borrowed(value),
            false => match self.converted(value, trail) {
                Ok(converted) => Cow::Owned(converted),
                Err(_) if self.fit.drops_other_types() => return missing(),
                Err(error) => return Err(error),
            },
        };
        match self.fit.fitted(typed) {
            Ok(Some(fitted)) => Ok(fitted.into_owned()),
            Ok(None) => missing(),
            Err(why) => Err(MappingError::new("mapping/unfit", self.place(trail), format!("found {why}"))
                .with_hint(format!("say what becomes of it: unfit = \"cut\" or \"null\" for field \"{}\"", self.name))),
        }
    }

    /// The value, if the column can hold it, converted where the rule says so.
    fn checked(&self, value: Value, trail: Option<&Trail<'_>>) -> Result<Value, MappingError> {
        if value.is_null() || cast::fits(&value, self.ty) { Ok(value) } else { self.converted(&value, trail) }
    }

    fn converted(&self, value: &Value, trail: Option<&Trail<'_>>) -> Result<Value, MappingError> {
        let expected = self.ty.name();
        let error = |what: &str| {
            let message = format!("found {}{what} where {expected} was expected", value.type_name());
            MappingError::new("mapping/type", self.place(trail), message)
        };
        match self.conversion {
            Conversion::None => Err(error("").with_hint(format!(
                "declare type = \"json\" for field \"{}\", or cast = true to convert what converts exactly",
                self.name
            ))),
            Conversion::Exact => cast::exact(value, self.ty).ok_or_else(|| {
                error(" that does not convert exactly")
                    .with_hint(format!("declare type = \"json\" or \"text\" for field \"{}\"", self.name))
            }),
        }
    }

    /// Puts what this column gives back into the tree.
    fn back<'a>(
        &'a self,
        value: &'a Value,
        v2: &Document,
        fields: &mut Fields<'a>,
        trail: Option<&Trail<'_>>,
    ) -> Result<(), MappingError> {
        match &self.origin {
            Origin::Constant(_) | Origin::TargetOnly | Origin::Element => {}
            Origin::Path(path) => {
                if !value.is_null() || self.null_back == NullBack::Null {
                    base::set(fields, path.steps(), Node::Borrowed(value));
                }
            }
            Origin::KeyText(path) => {
                if let Some(value) = self.key_value(value, trail)? {
                    base::set(fields, path.steps(), Node::Owned(value));
                }
            }
            Origin::Sql { back, .. } => {
                for (path, expr) in back {
                    let value = expr.eval(v2).map_err(|error| self.failed(&error.0, trail))?;
                    if !value.is_null() || self.null_back == NullBack::Null {
                        base::set(fields, path.steps(), Node::Owned(value));
                    }
                }
            }
        }
        Ok(())
    }

    /// The value that a key's text stands for; `None` for null.
    pub(super) fn key_value(&self, text: &Value, trail: Option<&Trail<'_>>) -> Result<Option<Value>, MappingError> {
        let error = |message: String| MappingError::new("mapping/key", self.place_v2(trail), message);
        match text {
            Value::Null => Ok(None),
            Value::Text(text) => {
                let key =
                    Key::from_text(text, 1).map_err(|why| error(format!("found a text that is no key: {why}")))?;
                Ok(key.values().first().cloned())
            }
            other => Err(error(format!("found {} where the text of a key was expected", other.type_name()))),
        }
    }

    fn missing(&self, trail: Option<&Trail<'_>>) -> MappingError {
        let message = format!("found nothing or null where field \"{}\" requires {}", self.name, self.ty.name());
        MappingError::new("mapping/required", self.place(trail), message)
            .with_hint("declare a default, or leave out required = true")
    }

    fn failed(&self, why: &str, trail: Option<&Trail<'_>>) -> MappingError {
        MappingError::new("mapping/expression", self.place_v2(trail), why)
    }

    /// The place in v1.
    fn place(&self, trail: Option<&Trail<'_>>) -> String {
        match &self.origin {
            Origin::Path(path) | Origin::KeyText(path) => place_of(trail, path),
            Origin::Element => place(trail, []),
            Origin::Sql { .. } | Origin::Constant(_) | Origin::TargetOnly => self.place_v2(trail),
        }
    }

    fn place_v2(&self, trail: Option<&Trail<'_>>) -> String {
        place_of(trail, &Path::field(self.name.as_str()))
    }
}
