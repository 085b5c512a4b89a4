//! A census of documents: which paths there are, of which types, how often.
//!
//! Documents are fed one by one; memory is bounded, and what a bound leaves out
//! is told. [`propose`] writes a spec from it.

mod names;
mod propose;

use std::collections::HashSet;

use crate::path::{Path, Step};
use crate::value::{Document, Value, hash};

pub use propose::{Proposal, propose};

/// Names of fields told apart in one document; more are a map, not a record.
const NAMES_MAX: usize = 256;

/// Places looked at in all, so that a census stays in a few MiB whatever it is fed.
const PLACES_MAX: usize = 4_096;

/// Levels of documents and arrays looked into; what is deeper counts as a whole.
const DEPTH_MAX: usize = 8;

/// Values remembered to see whether a field is unique; hashes of 8 bytes.
const UNIQUE_VALUES_MAX: usize = 100_000;

/// Fields of the record whose values are remembered.
const UNIQUE_FIELDS_MAX: usize = 32;

/// A census.
#[derive(Clone, Debug, Default)]
pub struct Census {
    root: Object,
    places: usize,
    remembered: usize,
}

/// Documents at one place.
#[derive(Clone, Debug, Default)]
struct Object {
    /// Documents seen.
    seen: u64,
    /// Their fields in the order of first sight.
    fields: Vec<(String, Place)>,
    /// Fields that were not told apart.
    left_out: u64,
}

/// Values at one place.
#[derive(Clone, Debug, Default)]
struct Place {
    /// Values seen, nulls included.
    present: u64,
    kinds: Kinds,
    text: Range,
    length: Range,
    /// Texts that are empty; texts with U+0000, which some stores cannot hold.
    empty_texts: u64,
    texts_with_nul: u64,
    /// Integers that no float holds exactly.
    ints_beyond_float: u64,
    unique: Unique,
    object: Option<Box<Object>>,
    elements: Option<Box<Place>>,
}

/// How many values of each type.
#[derive(Clone, Debug, Default)]
struct Kinds(Vec<(&'static str, u64)>);

impl Kinds {
    fn add(&mut self, kind: &'static str) {
        match self.0.iter_mut().find(|(name, _)| *name == kind) {
            Some((_, count)) => *count += 1,
            None => self.0.push((kind, 1)),
        }
    }

    fn count(&self, kind: &str) -> u64 {
        self.0.iter().find(|(name, _)| *name == kind).map_or(0, |(_, count)| *count)
    }

    /// The types but null.
    fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).filter(|name| *name != "null").collect()
    }
}

/// The lowest and the highest of some counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Range(Option<(u64, u64)>);

impl Range {
    fn add(&mut self, n: u64) {
        self.0 = Some(self.0.map_or((n, n), |(low, high)| (low.min(n), high.max(n))));
    }
}

/// Whether a field's values are different in every document.
#[derive(Clone, Debug, Default)]
enum Unique {
    /// Not looked at.
    #[default]
    Unknown,
    /// So far.
    SoFar(HashSet<u64>),
    /// Up to the bound.
    UpToBound,
    /// No.
    No,
}

/// What was seen at one path.
#[derive(Clone, Debug, PartialEq)]
pub struct PathReport {
    /// The path; `tags[]` stands for the elements of an array.
    pub path: String,
    /// Values seen, nulls included.
    pub present: u64,
    /// Documents (or elements) around it that do not have it.
    pub missing: u64,
    /// Explicit nulls.
    pub null: u64,
    /// Other types with their counts, the most frequent first.
    pub types: Vec<(&'static str, u64)>,
    /// The shortest and the longest text, in characters.
    pub text_chars: Option<(u64, u64)>,
    /// The shortest and the longest array.
    pub array_len: Option<(u64, u64)>,
    /// Whether no value came twice; `None` when that was not looked at.
    pub unique: Option<bool>,
}

impl Census {
    /// A census of nothing yet.
    pub fn new() -> Census {
        Census::default()
    }

    /// Counts one document.
    pub fn add(&mut self, document: &Document) {
        let mut bounds = Bounds { places: self.places, remembered: self.remembered };
        self.root.add(document, &mut bounds, 0);
        (self.places, self.remembered) = (bounds.places, bounds.remembered);
    }

    /// Documents counted.
    pub fn documents(&self) -> u64 {
        self.root.seen
    }

    /// What was seen at each path, in the order of first sight.
    pub fn report(&self) -> Vec<PathReport> {
        let mut out = Vec::new();
        self.root.report(&mut Vec::new(), &mut out);
        out
    }

    /// Fields that are in every document, never null, scalar, and different in
    /// each: candidates for the key, the likeliest first.
    pub fn key_candidates(&self) -> Vec<String> {
        let scalar =
            |place: &Place| !place.kinds.0.iter().any(|(kind, _)| ["null", "array", "document"].contains(kind));
        let is_candidate =
            |place: &Place| place.present == self.root.seen && scalar(place) && place.is_unique() != Some(false);
        let mut names: Vec<&str> =
            self.root.fields.iter().filter(|(_, place)| is_candidate(place)).map(|(name, _)| name.as_str()).collect();
        let rank = |name: &str| ["_id", "id", "key", "uuid"].iter().position(|likely| *likely == name).unwrap_or(4);
        names.sort_by_key(|name| rank(name));
        names.into_iter().map(str::to_owned).collect()
    }
}

/// What is left of the bounds while a document is counted.
struct Bounds {
    places: usize,
    remembered: usize,
}

impl Bounds {
    fn take_place(&mut self) -> bool {
        let is_left = self.places < PLACES_MAX;
        self.places += usize::from(is_left);
        is_left
    }
}

impl Object {
    fn add(&mut self, document: &Document, bounds: &mut Bounds, depth: usize) {
        self.seen += 1;
        for (at, (name, value)) in document.iter().enumerate() {
            // Documents of one kind have their fields at the same places.
            let known = match self.fields.get(at) {
                Some((n, _)) if n == name => Some(at),
                _ => self.fields.iter().position(|(n, _)| n == name),
            };
            let place = match known {
                Some(at) => &mut self.fields[at].1,
                None if self.fields.len() < NAMES_MAX && bounds.take_place() => {
                    let mut place = Place::default();
                    if depth == 0 && bounds.remembered < UNIQUE_FIELDS_MAX {
                        bounds.remembered += 1;
                        place.unique = Unique::SoFar(HashSet::new());
                    }
                    self.fields.push((name.to_owned(), place));
                    let last = self.fields.len() - 1;
                    &mut self.fields[last].1
                }
                None => {
                    self.left_out += 1;
                    continue;
                }
            };
            place.add(value, bounds, depth);
        }
    }

    fn report(&self, at: &mut Vec<Step>, out: &mut Vec<PathReport>) {
        for (name, place) in &self.fields {
            at.push(Step::Field(name.clone()));
            let path = Path::from_steps(at.clone()).map(|path| path.to_string()).unwrap_or_default();
            place.report(path, self.seen, at, out);
            at.pop();
        }
    }
}

impl Place {
    fn add(&mut self, value: &Value, bounds: &mut Bounds, depth: usize) {
        self.present += 1;
        self.kinds.add(value.type_name());
        self.unique.add(value);
        match value {
            Value::Text(text) => {
                self.text.add(text.chars().count() as u64);
                self.empty_texts += u64::from(text.is_empty());
                self.texts_with_nul += u64::from(text.contains('\0'));
            }
            Value::Int(n) if n.unsigned_abs() > 1 << 53 => self.ints_beyond_float += 1,
            Value::UInt(_) => self.ints_beyond_float += 1,
            Value::Array(items) => {
                self.length.add(items.len() as u64);
                if depth < DEPTH_MAX && (self.elements.is_some() || bounds.take_place()) {
                    let elements = self.elements.get_or_insert_default();
                    for item in items {
                        elements.add(item, bounds, depth + 1);
                    }
                }
            }
            Value::Document(document) if depth < DEPTH_MAX => {
                self.object.get_or_insert_default().add(document, bounds, depth + 1);
            }
            _ => {}
        }
    }

    fn is_unique(&self) -> Option<bool> {
        match self.unique {
            Unique::Unknown | Unique::UpToBound => None,
            Unique::SoFar(_) => Some(true),
            Unique::No => Some(false),
        }
    }

    fn report(&self, path: String, around: u64, at: &mut Vec<Step>, out: &mut Vec<PathReport>) {
        let mut types: Vec<_> = self.kinds.0.iter().copied().filter(|(kind, _)| *kind != "null").collect();
        types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        out.push(PathReport {
            path: path.clone(),
            present: self.present,
            missing: around.saturating_sub(self.present),
            null: self.kinds.count("null"),
            types,
            text_chars: self.text.0,
            array_len: self.length.0,
            unique: self.is_unique(),
        });
        if let Some(object) = &self.object {
            object.report(at, out);
        }
        if let Some(elements) = &self.elements {
            elements.report(format!("{path}[]"), elements.present, &mut Vec::new(), out);
        }
    }
}

impl Unique {
    fn add(&mut self, value: &Value) {
        let Unique::SoFar(seen) = self else { return };
        if matches!(value, Value::Null | Value::Array(_) | Value::Document(_)) {
            *self = Unique::No;
        } else if seen.len() >= UNIQUE_VALUES_MAX {
            *self = Unique::UpToBound;
        } else {
            // Half of a 128-bit hash: among 100,000 values a false "twice" is one in 10^9.
            let low = hash::value(value) as u64;
            if !seen.insert(low) {
                *self = Unique::No;
            }
        }
    }
}
