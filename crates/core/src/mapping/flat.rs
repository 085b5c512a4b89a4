//! The rules as they are for plain records: those of which each field is, in the
//! order of the rules, one column's value as it stands, a key's value as its text,
//! or one child table's array of such records. The inverse of the rules gives such a record back as it
//! is: with the same fields in the same order, and nothing left for a residue. So
//! the law needs no proof for it, and any other record is told to be none.

use std::collections::HashSet;

use super::rules::{self, Elements, NullBack, ObjectRules, Origin, Presence};
use super::{Mapping, cast};
use crate::flat::{ChildId, Entry, Flat, FlatCell, FlatElement, Plain, Tape};
use crate::key::Key;
use crate::path::{Path, Step};
use crate::shape::{ChildShape, FieldType, Layout};
use crate::value::order;

/// The rules for plain records.
#[derive(Clone, Debug)]
pub struct FlatRules {
    root: Object,
    /// The columns that are the target's key, in its order.
    key: Vec<usize>,
}

/// The rules of one object, in the order in which its fields must stand.
#[derive(Clone, Debug)]
struct Object {
    columns: Vec<Column>,
    children: Vec<Child>,
}

#[derive(Clone, Debug)]
struct Column {
    /// The source's field.
    name: Vec<u8>,
    ty: FieldType,
    chars_max: Option<u64>,
    absent: Absent,
    form: Form,
}

/// What a column has of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// It itself.
    AsItStands,
    /// The text of a key that it is.
    KeyText,
}

/// What a record without the field has in the column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    /// NULL, which goes back as no field.
    Null,
    /// A default, or nothing that is allowed: such a record is not plain.
    Special,
}

#[derive(Clone, Debug)]
struct Child {
    /// The source's field.
    name: Vec<u8>,
    /// The target's field, of which the rows' ids are made.
    field: String,
    /// Its number among the layout's child tables.
    table: usize,
    of: Of,
}

/// What an array's elements are.
#[derive(Clone, Debug)]
enum Of {
    Documents(Object),
    Scalars(Column),
}

/// The flat rules of a mapping: see [`Mapping::flat`].
pub(super) fn compile(mapping: &Mapping) -> Option<FlatRules> {
    let (Layout::Document(_), Layout::Rows(_)) = (&mapping.source, &mapping.target) else { return None };
    let mut tables = 0;
    let root = object(&mapping.rules, &mut tables)?;
    let named = |name: &String| mapping.rules.columns.iter().position(|column| column.name == *name);
    let key = mapping.keys.taken_over()?.iter().map(named).collect::<Option<_>>()?;
    Some(FlatRules { root, key })
}

fn object(rules: &ObjectRules, tables: &mut usize) -> Option<Object> {
    let columns: Vec<Column> = rules.columns.iter().map(column).collect::<Option<_>>()?;
    let mut children = Vec::with_capacity(rules.children.len());
    for rule in &rules.children {
        let table = *tables;
        *tables += 1;
        let name = field(&rule.path)?;
        let of = match rule.elements {
            Elements::Documents => Of::Documents(object(&rule.rules, tables)?),
            Elements::Scalars => Of::Scalars(scalar(&rule.rules)?),
        };
        children.push(Child { name, field: rule.field.clone(), table, of });
    }
    // Two rules of one field would give it back twice.
    are_distinct(columns.iter().map(|column| &column.name).chain(children.iter().map(|child| &child.name)))
        .then_some(Object { columns, children })
}

fn are_distinct<'a>(mut names: impl Iterator<Item = &'a Vec<u8>>) -> bool {
    let mut seen = HashSet::new();
    names.all(|name| seen.insert(name))
}

fn column(rule: &rules::Column) -> Option<Column> {
    match &rule.origin {
        Origin::Path(path) if rule.null_back == NullBack::Missing => of_rule(rule, field(path)?),
        Origin::KeyText(path) => Some(Column { form: Form::KeyText, ..of_rule(rule, field(path)?)? }),
        _ => None,
    }
}

/// The one column of an array of scalars.
fn scalar(rules: &ObjectRules) -> Option<Column> {
    match (rules.columns.as_slice(), rules.children.is_empty()) {
        ([column], true) if matches!(column.origin, Origin::Element) => of_rule(column, Vec::new()),
        _ => None,
    }
}

fn of_rule(rule: &rules::Column, name: Vec<u8>) -> Option<Column> {
    let absent = match (&rule.default, rule.presence) {
        (None, Presence::Nullable) => Absent::Null,
        _ => Absent::Special,
    };
    let chars_max = rule.fit.chars_max();
    let form = Form::AsItStands;
    (!rule.fit.changes()).then_some(Column { name, ty: rule.ty, chars_max, absent, form })
}

/// The name of a path of one field.
fn field(path: &Path) -> Option<Vec<u8>> {
    match path.steps() {
        [Step::Field(name)] => Some(name.as_bytes().to_vec()),
        _ => None,
    }
}

impl FlatRules {
    /// The cells of a record; `false`: it is not plain.
    pub fn flatten(&self, tape: &Tape<'_>, out: &mut Flat) -> bool {
        out.cells.clear();
        out.texts.clear();
        out.elements.clear();
        out.path.clear();
        let Some(at) = columns(&self.root.columns, tape, 0, tape.len(), out) else { return false };
        for column in &self.key {
            match out.cells.get(*column) {
                Some(FlatCell::Text(number)) => order::write_text(&out.texts[*number], &mut out.path),
                Some(FlatCell::At(at)) => match tape.get(*at).map(|entry| &entry.value) {
                    Some(Plain::Text(text)) => order::write_text(text, &mut out.path),
                    Some(value) => match value.to_value() {
                        Some(value) => order::write(&value, &mut out.path),
                        None => return false,
                    },
                    None => return false,
                },
                Some(FlatCell::Null) | None => return false,
            }
        }
        children(&self.root.children, tape, at, tape.len(), None, out) == Some(tape.len())
    }
}

/// The entry at a place before `end`, when it has this name.
fn named<'t, 'a>(tape: &'t Tape<'a>, at: usize, end: usize, name: &[u8]) -> Option<&'t Entry<'a>> {
    tape.get(at).filter(|entry| at < end && entry.name == name)
}

/// Takes the cells of columns; the place after them. `None`: the object is not plain.
fn columns(columns: &[Column], tape: &Tape<'_>, mut at: usize, end: usize, out: &mut Flat) -> Option<usize> {
    for column in columns {
        match named(tape, at, end, &column.name) {
            Some(entry) => {
                let cell = column.cell(at, &entry.value, out)?;
                out.cells.push(cell);
                at += 1;
            }
            None if column.absent == Absent::Null => out.cells.push(FlatCell::Null),
            None => return None,
        }
    }
    Some(at)
}

/// Takes the elements of child tables; the place after them.
fn children(
    children: &[Child],
    tape: &Tape<'_>,
    mut at: usize,
    end: usize,
    parent: Option<ChildId>,
    out: &mut Flat,
) -> Option<usize> {
    for child in children {
        // Without the array it would go back as an empty one.
        let Plain::Array(reach) = named(tape, at, end, &child.name)?.value else { return None };
        at += 1;
        let mut position = 0;
        while at < reach {
            let path = out.path.len();
            ChildShape::write_step(&child.field, position, &mut out.path);
            at = child.element(tape, at, position, parent, out)?;
            out.path.truncate(path);
            position += 1;
        }
    }
    Some(at)
}

impl Child {
    fn element(
        &self,
        tape: &Tape<'_>,
        at: usize,
        position: usize,
        parent: Option<ChildId>,
        out: &mut Flat,
    ) -> Option<usize> {
        let id = ChildShape::key_of_path(&out.path);
        out.elements.push(FlatElement { table: self.table, id, parent, position, first: out.cells.len() });
        match (&self.of, &tape.get(at)?.value) {
            (Of::Documents(object), Plain::Document(end)) => {
                let at = columns(&object.columns, tape, at + 1, *end, out)?;
                children(&object.children, tape, at, *end, Some(id), out).filter(|at| at == end)
            }
            (Of::Scalars(column), Plain::Null) if column.absent == Absent::Null => {
                out.cells.push(FlatCell::Null);
                Some(at + 1)
            }
            (Of::Scalars(column), value) if column.takes(value) => {
                out.cells.push(FlatCell::At(at));
                Some(at + 1)
            }
            _ => None,
        }
    }
}

impl Column {
    /// What it has of the value at a place. An explicit null is none of its own: it
    /// would go back as no field.
    fn cell(&self, at: usize, value: &Plain<'_>, out: &mut Flat) -> Option<FlatCell> {
        match (self.form, value) {
            (Form::AsItStands, value) => self.takes(value).then_some(FlatCell::At(at)),
            (Form::KeyText, Plain::Null) => None,
            (Form::KeyText, value) => {
                out.texts.push(Key::single(value.to_value()?).to_text());
                Some(FlatCell::Text(out.texts.len() - 1))
            }
        }
    }

    /// Whether it holds this value as it stands; never null.
    fn takes(&self, value: &Plain<'_>) -> bool {
        match (self.ty, value) {
            (FieldType::Text, Plain::Text(text)) => self.chars_max.is_none_or(|max| chars_up_to(text, max)),
            (FieldType::Bool, Plain::Bool(_))
            | (FieldType::Int, Plain::Int(_))
            | (FieldType::Float, Plain::Float(_))
            | (FieldType::Bytes, Plain::Bytes(_))
            | (FieldType::Instant, Plain::Instant(_))
            | (FieldType::Uuid, Plain::Uuid(_)) => true,
            (_, Plain::Null | Plain::Document(_) | Plain::Array(_)) => false,
            (ty, Plain::Other(value)) => cast::fits(value, ty),
            (FieldType::Json, _) => self.chars_max.is_none(),
            _ => false,
        }
    }
}

fn chars_up_to(text: &str, max: u64) -> bool {
    text.len() as u64 <= max || text.chars().count() as u64 <= max
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::json;

    const SPEC: &str = r#"
migration = "flat"
kind = "move"
entity = "users"
[source]
url = "sqlite:a.db"
table = "users"
key = "_id"
layout = "document"
[target]
url = "sqlite:b.db"
table = "people"
key = "id"
[fields]
id   = { from = "_id", type = "text" }
name = { from = "name", type = "text", chars_max = 5 }
age  = { from = "age", type = "int" }
[unmapped]
keep_in = "extra"
"#;

    fn mapping(spec: &str) -> Mapping {
        Mapping::compile(&crate::spec::parse_move(spec, &|_| None).unwrap_or_else(|e| panic!("{e:?}"))).unwrap()
    }

    #[test]
    fn rules_that_do_anything_more_have_no_flat_form() {
        assert!(mapping(SPEC).flat().is_some());
        for (from, to) in [
            (r#"from = "age", type = "int""#, r#"sql = "age + 1", type = "int", back = { age = "age - 1" }"#),
            (r#"from = "age", type = "int""#, r#"from = "a.age", type = "int""#),
            (r#"from = "age", type = "int""#, r#"from = "name", type = "text""#),
            (r#"from = "age", type = "int""#, r#"value = 1, type = "int""#),
            (r#"chars_max = 5"#, r#"chars_max = 5, unfit = "cut""#),
            (r#"from = "age", type = "int""#, r#"target_only = true, type = "int""#),
        ] {
            assert!(SPEC.contains(from), "{from}");
            let changed = SPEC.replace(from, to);
            match crate::spec::parse_move(&changed, &|_| None) {
                Ok(spec) => assert!(Mapping::compile(&spec).unwrap().flat().is_none(), "{to}"),
                Err(problems) => panic!("{to}: {problems:?}"),
            }
        }
    }

    #[test]
    fn plain_records_are_told_from_others() {
        let rules = mapping(SPEC).flat().unwrap();
        let check = |text: &str, expected: bool| {
            let (mut tape, mut flat) = (Tape::new(), Flat::default());
            assert!(json::read_tape(text.as_bytes(), &mut tape), "{text}");
            assert_eq!(rules.flatten(&tape, &mut flat), expected, "{text}");
        };
        check(r#"{"_id":"a","name":"b","age":1}"#, true);
        check(r#"{"_id":"a","name":"bücü5","age":1}"#, true);
        check(r#"{"_id":"a"}"#, true);
        check(r#"{"_id":"a","age":1}"#, true);
        check(r#"{"name":"b","age":1}"#, false);
        check(r#"{"_id":null,"name":"b","age":1}"#, false);
        check(r#"{"_id":"a","name":"b","age":null}"#, false);
        check(r#"{"_id":"a","name":"b","age":1.0}"#, false);
        check(r#"{"_id":"a","name":"b","age":"1"}"#, false);
        check(r#"{"_id":"a","name":"bcdefg","age":1}"#, false);
        check(r#"{"_id":"a","age":1,"name":"b"}"#, false);
        check(r#"{"name":"b","_id":"a","age":1}"#, false);
        check(r#"{"_id":"a","name":"b","age":1,"more":2}"#, false);
        check(r#"{"_id":"a","_id":"b","age":1}"#, false);
    }

    #[test]
    fn a_key_of_any_type_is_its_text() {
        let cast = SPEC.replace(r#"from = "_id", type = "text""#, r#"from = "_id", type = "text", cast = true"#);
        let rules = mapping(&cast).flat().unwrap();
        let text = |text: &str| {
            let (mut tape, mut flat) = (Tape::new(), Flat::default());
            assert!(json::read_tape(text.as_bytes(), &mut tape), "{text}");
            rules.flatten(&tape, &mut flat).then(|| flat.text(0).map(str::to_owned)).flatten()
        };
        assert_eq!(text(r#"{"_id":5}"#).as_deref(), Some("5"));
        assert_eq!(text(r#"{"_id":"5"}"#).as_deref(), Some("\"5\""));
        assert_eq!(text(r#"{"_id":"a"}"#).as_deref(), Some("a"));
        assert_eq!(text(r#"{"_id":{"a":1}}"#), None);
        assert_eq!(text(r#"{"_id":null}"#), None);
    }
}
