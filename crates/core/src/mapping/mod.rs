//! The two-way mapping between shape v1 (the source's) and shape v2 (the target's).
//!
//! Forward computes the columns and child rows by the rules. What the rules'
//! inverse would not give back exactly is kept in the residue, as fields where
//! that is enough and as conditional corrections where it is not, so that
//! `reverse(forward(r)) = r` holds by construction or the record is refused by
//! name. Fields that only v2 has are parked beside a v1 record.

use crate::key::Key;
use crate::path::Path;
use crate::shape::Layout;
use crate::spec::Spec;
use crate::store::{Image, Side};

/// A compiled mapping.
#[derive(Clone, Debug)]
pub struct Mapping {
    source: Layout,
    target: Layout,
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

impl Mapping {
    /// Compiles the mapping of a checked spec.
    pub fn compile(_spec: &Spec) -> Result<Mapping, MappingError> {
        todo!()
    }

    /// The source's layout (shape v1).
    pub fn source(&self) -> &Layout {
        &self.source
    }

    /// The target's layout (shape v2).
    pub fn target(&self) -> &Layout {
        &self.target
    }

    /// v1 → v2. Checks the law on the way.
    pub fn forward(&self, _v1: &Image) -> Result<Image, MappingError> {
        todo!()
    }

    /// v2 → v1; what v1 cannot hold comes out parked.
    pub fn reverse(&self, _v2: &Image) -> Result<Image, MappingError> {
        todo!()
    }

    /// Towards a side: forward to the target, reverse to the source.
    pub fn towards(&self, side: Side, image: &Image) -> Result<Image, MappingError> {
        match side {
            Side::Target => self.forward(image),
            Side::Source => self.reverse(image),
        }
    }

    /// The v2 key of a v1 key.
    pub fn key_forward(&self, _v1: &Key) -> Result<Key, MappingError> {
        todo!()
    }

    /// The v1 key of a v2 key.
    pub fn key_reverse(&self, _v2: &Key) -> Result<Key, MappingError> {
        todo!()
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
    pub fn path_forward(&self, _v1: &Path) -> Option<Path> {
        todo!()
    }

    /// As [`Mapping::path_forward`], from v2 to v1.
    pub fn path_reverse(&self, _v2: &Path) -> Option<Path> {
        todo!()
    }

    /// The key of a record in a side's shape, read from its key fields.
    pub fn key_of(&self, _side: Side, _image: &Image) -> Result<Key, MappingError> {
        todo!()
    }
}
