//! The two-way mapping between shape v1 (the source's) and shape v2 (the target's).
//!
//! Forward computes the columns and child rows by the rules. What the rules'
//! inverse would not give back exactly is kept in the residue, as fields where
//! that is enough and as conditional corrections where it is not, so that
//! `reverse(forward(r)) = r` holds by construction or the record is refused by
//! name. Fields that only v2 has are parked beside a v1 record.
//!
//! Every object (the record, and each element of a child array) is mapped by
//! the same functions with its own rules and its own residue.

mod base;
pub(crate) mod cast;
mod compile;
mod fit;
mod flat;
mod forward;
mod keys;
mod parked;
mod paths;
mod residue;
mod reverse;
mod rules;

#[cfg(test)]
mod flat_cases;
#[cfg(test)]
mod flat_tests;
#[cfg(test)]
mod law_tests;
#[cfg(test)]
pub(crate) mod tests;

use crate::key::Key;
use crate::path::Path;
use crate::shape::Layout;
use crate::spec::Spec;
use crate::store::{Image, Side};
use crate::value::Document;
use crate::verbatim::Passed;

pub use flat::FlatRules;
use keys::KeyRules;
use rules::ObjectRules;

/// A compiled mapping.
#[derive(Clone, Debug)]
pub struct Mapping {
    source: Layout,
    target: Layout,
    rules: ObjectRules,
    keys: KeyRules,
}

/// A record that the mapping refuses; always a definite refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct MappingError {
    /// The stable code, for example `mapping/type`.
    pub code: &'static str,
    /// Where in the record.
    pub path: String,
    /// What was found and what was expected, without row values.
    pub message: String,
    /// What the reader can do.
    pub hint: Option<String>,
}

impl MappingError {
    fn new(code: &'static str, path: impl Into<String>, message: impl Into<String>) -> MappingError {
        MappingError { code, path: path.into(), message: message.into(), hint: None }
    }

    fn with_hint(mut self, hint: impl Into<String>) -> MappingError {
        self.hint = Some(hint.into());
        self
    }
}

impl Mapping {
    /// Compiles the mapping of a checked spec.
    ///
    /// # Errors
    /// `mapping/spec`: an expression or a key rule that cannot be used.
    pub fn compile(spec: &Spec) -> Result<Mapping, MappingError> {
        compile::mapping(spec)
    }

    /// The source's layout (shape v1).
    pub fn source(&self) -> &Layout {
        &self.source
    }

    /// The target's layout (shape v2).
    pub fn target(&self) -> &Layout {
        &self.target
    }

    /// v1 → v2. Checks the law on the way: wherever a residue was needed, it is
    /// applied and the result compared with the record.
    ///
    /// Parked fields that the record has outgrown (a v1 client changed what
    /// they corrected) are void and left out. With [`crate::spec::Unmapped::Refuse`]
    /// the order of fields is not kept, and the law holds but for it.
    ///
    /// # Errors
    /// `mapping/type`, `mapping/required`, `mapping/expression`,
    /// `mapping/unmapped`, `mapping/key`, `mapping/law`.
    pub fn forward(&self, v1: &Image) -> Result<Image, MappingError> {
        let parked = (!v1.parked.is_empty()).then_some(&v1.parked);
        let record = self.rules.forward_record(&v1.record, parked)?;
        self.keys.check_forward(&v1.record, &record)?;
        Ok(Image::of(record))
    }

    /// v2 → v1; what v1 cannot hold comes out parked. A column that `v2` leaves
    /// out is taken as whatever forward makes of the rest.
    ///
    /// Corrections in the residue that a v2 client's change made void are not
    /// carried over; [`Mapping::settle`] gives the v2 record without them.
    ///
    /// # Errors
    /// `mapping/reverse` (v1 cannot hold this record, or it is no record of
    /// v2), `mapping/key`.
    pub fn reverse(&self, v2: &Image) -> Result<Image, MappingError> {
        let record = self.rules.reverse_record(&v2.record)?;
        self.keys.check_reverse(&record, &v2.record)?;
        let again = self.rules.forward_record(&record, None).map_err(refused)?;
        let parked = self.rules.park(&again, &v2.record, &record)?;
        Ok(Image { record, parked })
    }

    /// A record that a v2 client writes, as the target must hold it: columns
    /// left out are filled in, columns that only derive from others are computed
    /// anew, corrections that the change made void are gone.
    /// `forward(reverse(x)) = x` holds for what this returns.
    ///
    /// # Errors
    /// As [`Mapping::reverse`].
    pub fn settle(&self, v2: &Document) -> Result<Document, MappingError> {
        let v1 = self.reverse(&Image::of(v2.clone()))?;
        Ok(self.forward(&v1).map_err(refused)?.record)
    }

    /// Towards a side: forward to the target, reverse to the source.
    pub fn towards(&self, side: Side, image: &Image) -> Result<Image, MappingError> {
        match side {
            Side::Target => self.forward(image),
            Side::Source => self.reverse(image),
        }
    }

    /// The v2 key of a v1 key.
    pub fn key_forward(&self, v1: &Key) -> Result<Key, MappingError> {
        self.keys.forward(v1)
    }

    /// The v1 key of a v2 key.
    pub fn key_reverse(&self, v2: &Key) -> Result<Key, MappingError> {
        self.keys.reverse(v2)
    }

    /// A key towards a side.
    pub fn key_towards(&self, side: Side, key: &Key) -> Result<Key, MappingError> {
        match side {
            Side::Target => self.key_forward(key),
            Side::Source => self.key_reverse(key),
        }
    }

    /// The v2 path that holds exactly what this v1 path holds for every record
    /// that the mapping accepts, values unchanged: then filters and orders on
    /// the one can be asked of the other. `None` when there is none (computed,
    /// cast, or possibly in the residue).
    pub fn path_forward(&self, v1: &Path) -> Option<Path> {
        paths::forward(&self.rules, v1)
    }

    /// As [`Mapping::path_forward`], from v2 to v1.
    pub fn path_reverse(&self, v2: &Path) -> Option<Path> {
        paths::reverse(&self.rules, v2)
    }

    /// The columns of both shapes in pairs, in the order of the source's layout,
    /// key first, when that is all that the mapping does: no value is changed,
    /// none is added and none is left out. Then a row of the source is a row of
    /// the target.
    pub fn verbatim(&self) -> Option<Vec<Passed>> {
        paths::verbatim(&self.rules, &self.source, &self.target)
    }

    /// The rules as they are for plain records, which go from a document to rows
    /// with every value as it stands. `None`: they do more than that.
    pub fn flat(&self) -> Option<FlatRules> {
        flat::compile(self)
    }

    /// The key of a record in a side's shape, read from its key fields.
    ///
    /// # Errors
    /// `mapping/key`: a key field is missing or null.
    pub fn key_of(&self, side: Side, image: &Image) -> Result<Key, MappingError> {
        let fields = match side {
            Side::Source => self.source.key_fields(),
            Side::Target => self.target.key_fields(),
        };
        keys::of_record(fields, &image.record)
    }
}

/// A refusal of forward, met while going back.
fn refused(error: MappingError) -> MappingError {
    MappingError {
        code: "mapping/reverse",
        message: format!("the source's shape cannot hold this record: {}", error.message),
        ..error
    }
}
