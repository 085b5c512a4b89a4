//! A record as its cells.

use shearwater_core::error::StoreResult;
use shearwater_core::shape::Layout;
use shearwater_core::{Document, Key};

use super::{Codec, Tree, document, rows};

/// One element of a child table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Element<C> {
    /// Its key.
    pub(crate) id: C,
    /// Its parent's key; NULL directly below the root.
    pub(crate) parent_id: C,
    /// Its place in the array.
    pub(crate) position: C,
    /// The columns of its shape, and its residue.
    pub(crate) values: Vec<C>,
}

/// A record as the tables hold it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RawRecord<C> {
    /// The key columns.
    pub(crate) key: Vec<C>,
    /// The other columns of the root, as [`Tree::values`].
    pub(crate) values: Vec<C>,
    /// The elements of each child table, as [`Tree::children`].
    pub(crate) children: Vec<Vec<Element<C>>>,
}

impl<C> RawRecord<C> {
    /// Every cell but those of keys and places.
    pub(crate) fn content(&self) -> impl Iterator<Item = &C> {
        let elements = self.children.iter().flatten().flat_map(|element| &element.values);
        self.key.iter().chain(&self.values).chain(elements)
    }

    /// Its size, bytes, approximately.
    pub(crate) fn size(&self, codec: &impl Codec<Cell = C>) -> usize {
        self.content().map(|cell| codec.size(cell)).sum()
    }
}

impl Tree {
    /// The cells of a key.
    pub(crate) fn key_to_cells<K: Codec>(&self, codec: &K, key: &Key) -> StoreResult<Vec<K::Cell>> {
        match &self.layout {
            Layout::Document(layout) => document::key_to_cells(codec, layout, key),
            Layout::Rows(shape) => rows::key_to_cells(codec, shape, key),
        }
    }

    /// The key of its cells.
    pub(crate) fn key_from_cells<K: Codec>(&self, codec: &K, cells: &[K::Cell]) -> StoreResult<Key> {
        match &self.layout {
            Layout::Document(layout) => document::key_from_cells(codec, layout, cells),
            Layout::Rows(shape) => rows::key_from_cells(codec, shape, cells),
        }
    }

    /// The cells of a record.
    pub(crate) fn to_raw<K: Codec>(&self, codec: &K, key: &Key, record: &Document) -> StoreResult<RawRecord<K::Cell>> {
        match &self.layout {
            Layout::Document(layout) => Ok(RawRecord {
                key: document::key_to_cells(codec, layout, key)?,
                values: vec![document::record_to_cell(codec, layout, key, record)?],
                children: Vec::new(),
            }),
            Layout::Rows(shape) => rows::to_raw(codec, self, shape, key, record),
        }
    }

    /// The record of its cells.
    pub(crate) fn record_of<K: Codec>(&self, codec: &K, key: &Key, raw: &RawRecord<K::Cell>) -> StoreResult<Document> {
        match &self.layout {
            Layout::Document(layout) => document::record_from_cell(codec, layout, key, raw.values.first()),
            Layout::Rows(shape) => rows::from_raw(codec, self, shape, raw),
        }
    }
}
