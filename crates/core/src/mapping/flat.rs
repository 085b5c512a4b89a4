//! The rules as they are for plain records: those of which each field is, in the
//! order of the rules, one column's value as it stands, a key's value as its text,
//! a document of such fields, or one child table's array of such records. The
//! inverse of the rules gives such a record back as it is: with the same fields in
//! the same order, and nothing left for a residue. So the law needs no proof for
//! it, and any other record is told to be none.

use super::rules::{self, Declared, Elements, NullBack, ObjectRules, Origin, Presence};
use super::{Mapping, cast};
use crate::flat::{Entry, Flat, FlatCell, FlatElement, Plain, Tape};
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

/// The rules of one object.
#[derive(Clone, Debug)]
struct Object {
    /// How many columns it has.
    columns: usize,
    fields: Vec<Field>,
    children: Vec<Child>,
}

/// A field of the source, in the order in which they must stand.
#[derive(Clone, Debug)]
struct Field {
    name: Vec<u8>,
    is: Is,
}

/// What a field is.
#[derive(Clone, Debug)]
enum Is {
    /// The value of a column, of this number among the object's.
    Column(usize, Column),
    /// The array of a child table, of this number among the object's.
    Child(usize),
    /// A document.
    Nested(Vec<Field>),
}

#[derive(Clone, Debug)]
struct Column {
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
    let (mut fields, mut children) = (Vec::new(), Vec::with_capacity(rules.children.len()));
    for declared in &rules.declared {
        match *declared {
            Declared::Column(number) => {
                let (path, column) = column(&rules.columns[number])?;
                place(&mut fields, path.steps(), Is::Column(number, column))?;
            }
            Declared::Child(number) => {
                let rule = &rules.children[number];
                let table = *tables;
                *tables += 1;
                let of = match rule.elements {
                    Elements::Documents => Of::Documents(object(&rule.rules, tables)?),
                    Elements::Scalars => Of::Scalars(scalar(&rule.rules)?),
                };
                children.push(Child { field: rule.field.clone(), table, of });
                place(&mut fields, rule.path.steps(), Is::Child(number))?;
            }
        }
    }
    Some(Object { columns: rules.columns.len(), fields, children })
}

/// Puts a field where the inverse of the rules puts it: see [`super::base::set`].
/// `None`: two rules are of one field, or one is of what is inside another's.
fn place(fields: &mut Vec<Field>, steps: &[Step], is: Is) -> Option<()> {
    let (Step::Field(name), rest) = steps.split_first()? else { return None };
    let there = fields.iter_mut().find(|field| field.name == name.as_bytes());
    match (there, rest.is_empty()) {
        (None, true) => fields.push(Field { name: name.as_bytes().to_vec(), is }),
        (None, false) => {
            let mut inside = Vec::new();
            place(&mut inside, rest, is)?;
            fields.push(Field { name: name.as_bytes().to_vec(), is: Is::Nested(inside) });
        }
        (Some(Field { is: Is::Nested(inside), .. }), false) => return place(inside, rest, is),
        (Some(_), _) => return None,
    }
    Some(())
}

fn column(rule: &rules::Column) -> Option<(&Path, Column)> {
    match &rule.origin {
        Origin::Path(path) if rule.null_back == NullBack::Missing => Some((path, of_rule(rule)?)),
        Origin::KeyText(path) => Some((path, Column { form: Form::KeyText, ..of_rule(rule)? })),
        _ => None,
    }
}

/// The one column of an array of scalars.
fn scalar(rules: &ObjectRules) -> Option<Column> {
    match (rules.columns.as_slice(), rules.children.is_empty()) {
        ([column], true) if matches!(column.origin, Origin::Element) => of_rule(column),
        _ => None,
    }
}

fn of_rule(rule: &rules::Column) -> Option<Column> {
    let absent = match (&rule.default, rule.presence) {
        (None, Presence::Nullable) => Absent::Null,
        _ => Absent::Special,
    };
    let (chars_max, form) = (rule.fit.chars_max(), Form::AsItStands);
    (!rule.fit.changes()).then_some(Column { ty: rule.ty, chars_max, absent, form })
}

impl FlatRules {
    /// The cells of a record; `false`: it is not plain.
    pub fn flatten(&self, tape: &Tape<'_>, out: &mut Flat) -> bool {
        out.clear();
        self.record(tape, out).is_some()
    }

    fn record(&self, tape: &Tape<'_>, out: &mut Flat) -> Option<()> {
        self.root.take_columns(tape, 0, tape.len(), out)?;
        for column in &self.key {
            match out.cells.get(*column)? {
                FlatCell::Text(number) => order::write_text(out.texts.get(*number)?, &mut out.path),
                FlatCell::At(at) => match &tape.get(*at)?.value {
                    Plain::Text(text) => order::write_text(text, &mut out.path),
                    value => order::write(&value.to_value()?, &mut out.path),
                },
                FlatCell::Null => return None,
            }
        }
        self.root.take_children(tape, 0, None, out)
    }
}

impl Object {
    /// Takes the cells of an object's columns, and notes where its arrays begin.
    fn take_columns(&self, tape: &Tape<'_>, at: usize, end: usize, out: &mut Flat) -> Option<()> {
        let first = out.cells.len();
        out.cells.resize(first + self.columns, FlatCell::Null);
        (fields(&self.fields, tape, at, end, first, out)? == end).then_some(())
    }

    /// Takes the rows of the arrays that were noted from this one on.
    fn take_children(&self, tape: &Tape<'_>, noted: usize, parent: Option<usize>, out: &mut Flat) -> Option<()> {
        for number in noted..out.arrays.len() {
            let (child, at) = *out.arrays.get(number)?;
            self.children.get(child)?.take_rows(tape, at, parent, out)?;
        }
        out.arrays.truncate(noted);
        Some(())
    }
}

/// Takes fields in their order; the place after them.
fn fields(rules: &[Field], tape: &Tape<'_>, at: usize, end: usize, first: usize, out: &mut Flat) -> Option<usize> {
    let mut at = at;
    for field in rules {
        let entry = tape.get(at).filter(|entry| at < end && entry.name == field.name);
        let Some(Entry { value, .. }) = entry else {
            if field.is.may_be_absent() {
                continue;
            }
            return None;
        };
        at = match (&field.is, value) {
            (Is::Column(number, column), value) => {
                out.cells[first + number] = column.cell(at, value, out)?;
                value.after(at)
            }
            (Is::Child(number), Plain::Array(reach)) => {
                out.arrays.push((*number, at));
                *reach
            }
            // Of a document without any of these fields nothing would be left.
            (Is::Nested(inside), Plain::Document(reach)) if at + 1 < *reach => {
                fields(inside, tape, at + 1, *reach, first, out).filter(|at| at == reach)?
            }
            _ => return None,
        };
    }
    Some(at)
}

impl Is {
    /// Whether a record without the field is plain all the same.
    fn may_be_absent(&self) -> bool {
        match self {
            Is::Column(_, column) => column.absent == Absent::Null,
            Is::Nested(inside) => inside.iter().all(|field| field.is.may_be_absent()),
            // It would go back as an empty array.
            Is::Child(_) => false,
        }
    }
}

impl Child {
    /// Takes the rows of the array at this place.
    fn take_rows(&self, tape: &Tape<'_>, at: usize, parent: Option<usize>, out: &mut Flat) -> Option<()> {
        let Plain::Array(reach) = tape.get(at)?.value else { return None };
        let (mut at, mut position) = (at + 1, 0);
        while at < reach {
            let path = out.path.len();
            ChildShape::write_step(&self.field, position, &mut out.path);
            at = self.take_row(tape, at, position, parent, out)?;
            out.path.truncate(path);
            position += 1;
        }
        Some(())
    }

    /// Takes the row of an element; the place after it.
    fn take_row(
        &self,
        tape: &Tape<'_>,
        at: usize,
        position: usize,
        parent: Option<usize>,
        out: &mut Flat,
    ) -> Option<usize> {
        let (id, number) = (ChildShape::key_of_path(&out.path), out.elements.len());
        let parent = parent.and_then(|parent| out.elements.get(parent)).map(|parent| parent.id);
        out.elements.push(FlatElement { table: self.table, id, parent, position, first: out.cells.len() });
        match (&self.of, &tape.get(at)?.value) {
            (Of::Documents(object), Plain::Document(end)) => {
                let noted = out.arrays.len();
                object.take_columns(tape, at + 1, *end, out)?;
                object.take_children(tape, noted, Some(number), out)?;
                Some(*end)
            }
            (Of::Scalars(column), Plain::Null) if column.absent == Absent::Null => {
                out.cells.push(FlatCell::Null);
                Some(at + 1)
            }
            (Of::Scalars(column), value) if column.takes(value) => {
                out.cells.push(FlatCell::At(at));
                Some(value.after(at))
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
            (_, Plain::Null) => false,
            (FieldType::Json, _) => self.chars_max.is_none(),
            (ty, Plain::Other(value)) => cast::fits(value, ty),
            _ => false,
        }
    }
}

fn chars_up_to(text: &str, max: u64) -> bool {
    text.len() as u64 <= max || text.chars().count() as u64 <= max
}
