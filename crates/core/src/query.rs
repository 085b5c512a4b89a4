//! Lists: filters, order, keyset paging, with one meaning for every store.
//!
//! A filter is evaluated on values as [`Filter::matches`] does it; a store may
//! push it down only where that gives the same answer. Order is canonical
//! order ([`crate::value::order`]) of each term's value, where missing and
//! null are one thing and stand first or last as the term says, then canonical
//! order of the key, ascending.

use crate::Key;
use crate::path::Path;
use crate::store::Fetched;
use crate::value::{Document, Value};

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
    /// `like` or `ilike` with `%` and `_`; false for values that are not text.
    Like {
        /// What to compare.
        path: Path,
        /// The pattern, `%` for any run and `_` for any one character.
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
    pub fn matches(&self, _record: &Document) -> bool {
        todo!()
    }
}

/// The place of a record in an order.
pub fn keyset_of(_order: &[OrderTerm], _key: &Key, _record: &Document) -> Keyset {
    todo!()
}

/// Bytes that compare as records do in this order: the order terms (inverted
/// byte by byte where descending, nulls ranked) and then the key.
pub fn sort_bytes(_order: &[OrderTerm], _place: &Keyset) -> Vec<u8> {
    todo!()
}
