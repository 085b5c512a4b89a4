//! Lists: filters, order, keyset paging, with one meaning for every store.
//!
//! A filter is evaluated on values as [`Filter::matches`] does it; a store may
//! push it down only where that gives the same answer. Order is canonical
//! order ([`crate::value::order`]) of each term's value, where missing and
//! null are one thing and stand first or last as the term says, then canonical
//! order of the key, ascending. A term may order text by the root collation of
//! Unicode instead; comparisons of filters never do.

use std::cmp::Ordering;

use crate::Key;
use crate::path::Path;
use crate::store::Fetched;
use crate::value::{Document, Value, order};

mod like;
mod literal;
#[cfg(test)]
mod tests;

/// One page of a list, in the fields of the store's shape.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Which records.
    pub filter: Filter,
    /// In which order; the key breaks ties.
    pub order: Vec<OrderTerm>,
    /// Only records after this place.
    pub after: Option<Keyset>,
    /// Records in the page.
    pub limit: usize,
}

/// One term of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderTerm {
    /// What to sort by.
    pub path: Path,
    /// Whether the highest comes first.
    pub descending: bool,
    /// Whether null and missing stand before all values.
    pub nulls_first: bool,
    /// How text is ordered.
    pub collation: Collation,
}

/// How text is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Collation {
    /// By its UTF-8 bytes.
    #[default]
    Binary,
    /// By the root collation of Unicode, then by its UTF-8 bytes.
    Unicode,
}

impl Collation {
    /// Both, with the words of specs.
    pub const WORDS: [(&'static str, Collation); 2] = [("binary", Collation::Binary), ("unicode", Collation::Unicode)];
}

impl OrderTerm {
    /// By a path: rising, nulls last, text by its bytes.
    pub fn by(path: Path) -> OrderTerm {
        OrderTerm { path, descending: false, nulls_first: false, collation: Collation::Binary }
    }

    /// `a.desc.nullslast,b`, with the defaults of the API: nulls last when
    /// rising and first when falling. `None`: it says no order.
    pub fn parse_all(text: &str) -> Option<Vec<OrderTerm>> {
        text.split(',').map(|term| OrderTerm::parse(term.trim())).collect()
    }

    fn parse(text: &str) -> Option<OrderTerm> {
        let (rest, nulls_first) = match text.rsplit_once('.') {
            Some((rest, "nullsfirst")) => (rest, Some(true)),
            Some((rest, "nullslast")) => (rest, Some(false)),
            _ => (text, None),
        };
        let (path, descending) = match rest.rsplit_once('.') {
            Some((path, "asc")) => (path, false),
            Some((path, "desc")) => (path, true),
            _ => (rest, false),
        };
        let path = Path::parse(path).ok()?;
        Some(OrderTerm { descending, nulls_first: nulls_first.unwrap_or(descending), ..OrderTerm::by(path) })
    }
}

impl ListQuery {
    /// Whether all text is ordered by its bytes, as stores can.
    pub fn is_binary(&self) -> bool {
        self.order.iter().all(|term| term.collation == Collation::Binary)
    }
}

/// The place of one record in an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyset {
    /// The value of each order term; null where it is null or missing.
    pub values: Vec<Value>,
    /// The record's key.
    pub key: Key,
}

/// A page of records.
#[derive(Clone, Debug)]
pub struct ListPage {
    /// The records with their stamps.
    pub records: Vec<Fetched>,
    /// Whether there are records after these.
    pub more: bool,
}

/// A condition on a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Every record.
    All,
    /// Both.
    And(Vec<Filter>),
    /// Any.
    Or(Vec<Filter>),
    /// The opposite. Three-valued as in SQL: the negation of unknown is unknown.
    Not(Box<Filter>),
    /// A comparison; unknown when the path is null or missing.
    Compare {
        /// What to compare.
        path: Path,
        /// How.
        op: CompareOp,
        /// With what.
        literal: Literal,
    },
    /// One of several; unknown when the path is null or missing.
    In {
        /// What to compare.
        path: Path,
        /// With what.
        literals: Vec<Literal>,
    },
    /// `like` or `ilike` with `%` and `_`; unknown when the path is null or
    /// missing, false for values that are not text.
    Like {
        /// What to compare.
        path: Path,
        /// The pattern, `%` for any run and `_` for any one character; a
        /// backslash makes the character after it stand for itself.
        pattern: String,
        /// Whether to fold case (Unicode simple folding).
        fold_case: bool,
    },
    /// `is.null`, `is.true`, `is.false`; never unknown. Missing is null here.
    Is {
        /// What to look at.
        path: Path,
        /// What it must be.
        what: IsWhat,
    },
}

/// How to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
}

/// What `is` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsWhat {
    /// Null or missing.
    Null,
    /// True.
    True,
    /// False.
    False,
}

/// A value from a query string. With a declared type it was read as that type;
/// without one it is compared by the type of the value that it meets: as a
/// number with numbers, as `true`/`false` with booleans, as its text with text
/// and with the text forms of the other types.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// Of a declared type.
    Typed(Value),
    /// As it stands in the query string.
    Untyped(String),
}

impl Filter {
    /// Whether a record matches (unknown counts as no).
    pub fn matches(&self, record: &Document) -> bool {
        self.truth(record) == Some(true)
    }

    /// True, false, or unknown (`None`), as in SQL.
    fn truth(&self, record: &Document) -> Option<bool> {
        match self {
            Filter::All => Some(true),
            Filter::And(parts) => all(parts.iter().map(|part| part.truth(record))),
            Filter::Or(parts) => all(parts.iter().map(|part| part.truth(record).map(|t| !t))).map(|t| !t),
            Filter::Not(part) => part.truth(record).map(|t| !t),
            Filter::Compare { path, op, literal } => {
                let value = present(path, record)?;
                Some(op.holds(literal.compare(value)))
            }
            Filter::In { path, literals } => {
                let value = present(path, record)?;
                Some(literals.iter().any(|literal| literal.compare(value) == Some(Ordering::Equal)))
            }
            Filter::Like { path, pattern, fold_case } => {
                let value = present(path, record)?;
                let Value::Text(text) = value else { return Some(false) };
                let case = if *fold_case { like::Case::Folded } else { like::Case::Exact };
                Some(like::matches(pattern, text, case))
            }
            Filter::Is { path, what } => {
                let value = present(path, record);
                Some(match what {
                    IsWhat::Null => value.is_none(),
                    IsWhat::True => value == Some(&Value::Bool(true)),
                    IsWhat::False => value == Some(&Value::Bool(false)),
                })
            }
        }
    }
}

/// The value at a path, unless it is null or missing.
fn present<'a>(path: &Path, record: &'a Document) -> Option<&'a Value> {
    path.get(record).filter(|value| !value.is_null())
}

/// Three-valued AND: false wins over unknown.
fn all(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut truth = Some(true);
    for part in parts {
        match part {
            Some(false) => return Some(false),
            None => truth = None,
            Some(true) => {}
        }
    }
    truth
}

impl CompareOp {
    /// Whether the operator holds; `None` is for values that do not compare:
    /// they are not equal, and neither is the greater one.
    fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            CompareOp::Eq => ordering == Some(Ordering::Equal),
            CompareOp::Neq => ordering != Some(Ordering::Equal),
            CompareOp::Gt => ordering == Some(Ordering::Greater),
            CompareOp::Gte => ordering.is_some_and(Ordering::is_ge),
            CompareOp::Lt => ordering == Some(Ordering::Less),
            CompareOp::Lte => ordering.is_some_and(Ordering::is_le),
        }
    }
}

/// The place of a record in an order.
pub fn keyset_of(order: &[OrderTerm], key: &Key, record: &Document) -> Keyset {
    let values = order.iter().map(|term| term.path.get(record).cloned().unwrap_or(Value::Null)).collect();
    Keyset { values, key: key.clone() }
}

/// Bytes that compare as records do in this order: the order terms (inverted
/// byte by byte where descending, nulls ranked) and then the key. A keyset with
/// fewer values than there are terms counts as null in those.
pub fn sort_bytes(order: &[OrderTerm], place: &Keyset) -> Vec<u8> {
    let values = (0..order.len()).map(|i| place.values.get(i));
    write_sort_bytes(order, values, &place.key)
}

/// As [`sort_bytes`], straight from a record.
pub fn sort_bytes_of(order: &[OrderTerm], key: &Key, record: &Document) -> Vec<u8> {
    write_sort_bytes(order, order.iter().map(|term| term.path.get(record)), key)
}

/// Whether a record comes after a place in an order.
pub fn is_after(order: &[OrderTerm], place: &Keyset, key: &Key, record: &Document) -> bool {
    sort_bytes_of(order, key, record) > sort_bytes(order, place)
}

fn write_sort_bytes<'a>(order: &[OrderTerm], values: impl Iterator<Item = Option<&'a Value>>, key: &Key) -> Vec<u8> {
    const NULL_FIRST: u8 = 0;
    const VALUE: u8 = 1;
    const NULL_LAST: u8 = 2;
    let mut out = Vec::with_capacity(32 * (order.len() + 1));
    for (term, value) in order.iter().zip(values) {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            out.push(if term.nulls_first { NULL_FIRST } else { NULL_LAST });
            continue;
        };
        out.push(VALUE);
        let start = out.len();
        match term.collation {
            Collation::Binary => order::write(value, &mut out),
            Collation::Unicode => order::write_collated(value, &mut out),
        }
        if term.descending {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
    key.values().iter().for_each(|value| order::write(value, &mut out));
    out
}
