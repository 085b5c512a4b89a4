//! Records as JSON, both ways. Documents are tagged JSON as core writes it.
//! Rows are typed by their columns: dates, times and UUIDs are plain strings
//! and decimals plain numbers, because the column says what they are; the
//! tagged form is always read as well.

use shearwater_core::path::{Path, Step};
use shearwater_core::shape::{ChildShape, ColumnShape, FieldType, Layout};
use shearwater_core::value::{Document, Value, json};

use super::json_split::{Malformed, Piece};
use super::problem::{Kind, Problem};
use super::select::{Rest, Select};
use super::typed;

/// How the records of one shape stand in JSON.
#[derive(Clone, Debug)]
pub struct Codec {
    /// The fields, in their usual order; `None` for documents.
    fields: Option<Vec<(String, FieldCodec)>>,
}

#[derive(Clone, Debug)]
enum FieldCodec {
    Typed(FieldType),
    List(Codec),
    Tagged,
}

/// What a body is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A whole record.
    Record,
    /// A merge patch, in which null stands for removal.
    Patch,
}

impl Codec {
    /// The codec of a layout.
    pub fn of(layout: &Layout) -> Codec {
        match layout {
            Layout::Document(_) => Codec { fields: None },
            Layout::Rows(table) => Codec::rows(&table.columns, &table.children, table.residue.as_deref()),
        }
    }

    fn rows(columns: &[ColumnShape], children: &[ChildShape], residue: Option<&str>) -> Codec {
        let columns = columns.iter().map(|column| {
            let codec = match column.ty {
                FieldType::Json | FieldType::Extended => FieldCodec::Tagged,
                ty => FieldCodec::Typed(ty),
            };
            (column.name.clone(), codec)
        });
        let children = children.iter().map(|child| {
            let codec = Codec::rows(&child.columns, &child.children, child.residue.as_deref());
            (child.field.clone(), FieldCodec::List(codec))
        });
        let residue = residue.map(|name| (name.to_owned(), FieldCodec::Tagged));
        Codec { fields: Some(columns.chain(children).chain(residue).collect()) }
    }

    fn field(&self, place: usize, name: &str) -> &FieldCodec {
        let Some(fields) = &self.fields else { return &FieldCodec::Tagged };
        // A record usually has its fields in the layout's order.
        match fields.get(place) {
            Some((n, codec)) if n == name => codec,
            _ => fields.iter().find(|(n, _)| n == name).map_or(&FieldCodec::Tagged, |(_, codec)| codec),
        }
    }

    fn at(&self, path: &Path) -> &FieldCodec {
        let mut codec = self.field(0, path.root());
        for step in &path.steps()[1..] {
            codec = match (codec, step) {
                // An element of a list is written like the list: field by field.
                (FieldCodec::List(_), Step::Index(_)) => codec,
                (FieldCodec::List(inner), Step::Field(name)) => inner.field(0, name),
                _ => return &FieldCodec::Tagged,
            };
        }
        codec
    }

    /// Writes a record, or the selected part of it.
    pub fn write(&self, record: &Document, select: Option<&Select>, out: &mut Vec<u8>) {
        match (select, &self.fields) {
            (Some(select), _) => self.write_selected(record, select, out),
            (None, None) => json::write_document(record, out),
            (None, Some(_)) => self.write_fields(record, out),
        }
    }

    fn write_fields(&self, record: &Document, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        for (place, (name, value)) in record.iter().enumerate() {
            self.field(place, name).write(value, None, object.value_of(name));
        }
        object.close();
    }

    fn write_selected(&self, record: &Document, select: &Select, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        if select.rest == Rest::Kept {
            for (place, (name, value)) in record.iter().enumerate() {
                if !select.items.iter().any(|item| item.name == name) {
                    self.field(place, name).write(value, None, object.value_of(name));
                }
            }
        }
        for item in &select.items {
            if let Some(value) = item.path.get(record) {
                self.at(&item.path).write(value, item.inner.as_ref(), object.value_of(&item.name));
            }
        }
        object.close();
    }

    /// Reads one record or one patch.
    pub fn read(&self, body: Body, text: &[u8]) -> Result<Document, Problem> {
        self.read_piece(body, Piece::of(text))
    }

    /// Reads one record or an array of them.
    pub fn read_many(&self, text: &[u8]) -> Result<Many, Problem> {
        let piece = Piece::of(text);
        match piece.first() {
            b'[' => {
                let elements = piece.elements().map_err(malformed)?;
                let records = elements.into_iter().map(|element| self.read_piece(Body::Record, element));
                records.collect::<Result<_, _>>().map(Many::Array)
            }
            _ => self.read_piece(Body::Record, piece).map(Many::One),
        }
    }

    fn read_piece(&self, body: Body, piece: Piece<'_>) -> Result<Document, Problem> {
        if piece.first() != b'{' {
            return Err(Problem::new(Kind::BadJson, format!("expected a JSON object at byte {}", piece.at_byte)));
        }
        match &self.fields {
            None => json::parse_document(piece.text).map_err(|error| not_json(piece, error)),
            Some(fields) => read_fields(fields, body, piece, ""),
        }
    }
}

/// What the body of a POST holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Many {
    /// One record.
    One(Document),
    /// An array of records.
    Array(Vec<Document>),
}

impl FieldCodec {
    fn write(&self, value: &Value, inner: Option<&Select>, out: &mut Vec<u8>) {
        match (self, value) {
            (FieldCodec::Typed(_), Value::Date(v)) => plain(v, out),
            (FieldCodec::Typed(_), Value::Time(v)) => plain(v, out),
            (FieldCodec::Typed(_), Value::Local(v)) => plain(v, out),
            (FieldCodec::Typed(_), Value::Instant(v)) => plain(v, out),
            (FieldCodec::Typed(_), Value::Uuid(v)) => plain(v, out),
            (FieldCodec::Typed(_), Value::Decimal(v @ shearwater_core::value::Decimal::Finite { .. })) => {
                out.extend_from_slice(v.to_string().as_bytes());
            }
            (FieldCodec::List(_), Value::Array(elements)) => {
                out.push(b'[');
                for (place, element) in elements.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    self.write(element, inner, out);
                }
                out.push(b']');
            }
            (FieldCodec::List(codec), Value::Document(element)) => codec.write(element, inner, out),
            // Inside of plain documents and arrays a selection goes on, too.
            (_, Value::Document(document)) if inner.is_some() => Codec { fields: None }.write(document, inner, out),
            (_, Value::Array(elements)) if inner.is_some() => {
                FieldCodec::List(Codec { fields: None }).write(&Value::Array(elements.clone()), inner, out);
            }
            _ => json::write(value, out),
        }
    }

    fn read(&self, body: Body, piece: Piece<'_>, name: &str) -> Result<Value, Problem> {
        match self {
            FieldCodec::Tagged => json::parse(piece.text).map_err(|error| not_json(piece, error)),
            FieldCodec::Typed(ty) => read_typed(*ty, piece, name),
            FieldCodec::List(codec) => codec.read_list(body, piece, name),
        }
    }
}

impl Codec {
    fn read_list(&self, body: Body, piece: Piece<'_>, name: &str) -> Result<Value, Problem> {
        if piece.text == b"null" && body == Body::Patch {
            return Ok(Value::Null);
        }
        if piece.first() != b'[' {
            json::parse(piece.text).map_err(|error| not_json(piece, error))?;
            return Err(wrong_type(name, "a list of objects"));
        }
        let (elements, fields) = (piece.elements().map_err(malformed)?, self.fields.as_deref().unwrap_or_default());
        let mut list = Vec::with_capacity(elements.len());
        for (place, element) in elements.into_iter().enumerate() {
            if element.first() != b'{' {
                json::parse(element.text).map_err(|error| not_json(element, error))?;
                return Err(wrong_type(&format!("{name}[{place}]"), "an object"));
            }
            list.push(Value::Document(read_fields(fields, Body::Record, element, &format!("{name}[{place}]."))?));
        }
        Ok(Value::Array(list))
    }
}

fn read_fields(
    fields: &[(String, FieldCodec)],
    body: Body,
    piece: Piece<'_>,
    prefix: &str,
) -> Result<Document, Problem> {
    let pairs = piece.fields().map_err(malformed)?;
    let mut document = Document::with_capacity(pairs.len());
    for (name, value) in pairs {
        let Value::Text(text) = json::parse(name.text).map_err(|error| not_json(name, error))? else {
            return Err(malformed(Malformed { at_byte: name.at_byte, expected: "a name in double quotes" }));
        };
        let Some((_, codec)) = fields.iter().find(|(n, _)| *n == text) else {
            let mut problem = Problem::new(Kind::Unprocessable, format!("there is no field {prefix}{text}"))
                .field(format!("{prefix}{text}"))
                .hint(format!(
                    "its fields are {}",
                    fields.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ")
                ));
            problem.code = Some("PGRST204".into());
            return Err(problem);
        };
        let value = codec.read(body, value, &format!("{prefix}{text}"))?;
        document
            .push(text, value)
            .map_err(|duplicate| Problem::new(Kind::BadJson, format!("{duplicate}, again at byte {}", name.at_byte)))?;
    }
    Ok(document)
}

/// Reads a value of a column's type: in JSON's own form, as a plain string
/// where the type has none, or tagged.
fn read_typed(ty: FieldType, piece: Piece<'_>, name: &str) -> Result<Value, Problem> {
    let value = json::parse(piece.text).map_err(|error| not_json(piece, error))?;
    let wrong = || wrong_type(name, typed::expected(ty));
    match (value, ty) {
        (value, _) if value.is_null() || is_of(&value, ty) => match (value, ty) {
            // The number's own text: its last zeros belong to a decimal.
            (Value::Decimal(_), _) if is_number(piece) => of_text(ty, piece, name),
            (value, _) => Ok(value),
        },
        (Value::Int(_) | Value::UInt(_) | Value::Float(_), FieldType::Decimal) if is_number(piece) => {
            of_text(ty, piece, name)
        }
        // Integers in this range are floats exactly.
        (Value::Int(n), FieldType::Float) if n.unsigned_abs() <= 1 << 53 => Ok(Value::Float(n as f64)),
        (Value::Text(text), _) if has_string_form(ty) => typed::read(ty, &text).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

fn is_number(piece: Piece<'_>) -> bool {
    matches!(piece.first(), b'-' | b'0'..=b'9')
}

fn of_text(ty: FieldType, piece: Piece<'_>, name: &str) -> Result<Value, Problem> {
    let text = std::str::from_utf8(piece.text).unwrap_or_default();
    typed::read(ty, text).map_err(|not| wrong_type(name, not.expected))
}

/// Types that JSON has no form of, which are written as strings instead.
fn has_string_form(ty: FieldType) -> bool {
    match ty {
        FieldType::Decimal
        | FieldType::Bytes
        | FieldType::Date
        | FieldType::Time
        | FieldType::Timestamp
        | FieldType::Instant
        | FieldType::Uuid => true,
        FieldType::Bool
        | FieldType::Int
        | FieldType::Float
        | FieldType::Text
        | FieldType::Json
        | FieldType::Extended => false,
    }
}

fn is_of(value: &Value, ty: FieldType) -> bool {
    value.type_name() == ty.name()
}

fn wrong_type(name: &str, expected: &str) -> Problem {
    let mut problem = Problem::new(Kind::Unprocessable, format!("{name}: expected {expected}")).field(name);
    problem.code = Some("22P02".into());
    problem
}

fn not_json(piece: Piece<'_>, error: json::JsonError) -> Problem {
    Problem::new(Kind::BadJson, format!("{} at byte {}", error.message, piece.at_byte + error.at_byte))
}

fn malformed(at: Malformed) -> Problem {
    Problem::new(Kind::BadJson, format!("expected {} at byte {}", at.expected, at.at_byte))
}

fn plain(value: &impl std::fmt::Display, out: &mut Vec<u8>) {
    use std::io::Write;
    // Writing to a Vec does not fail.
    let _ = write!(out, "\"{value}\"");
}

/// A JSON object that is being written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, empty: true }
    }

    fn value_of(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        write_text(name, self.out);
        self.out.push(b':');
        self.out
    }

    fn close(self) {
        self.out.push(b'}');
    }
}

/// Writes a JSON string.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[plain_from..at]);
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        plain_from = at + 1;
    }
    out.extend_from_slice(&text.as_bytes()[plain_from..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests;
