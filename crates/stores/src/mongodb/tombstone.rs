//! Tombstones: documents that say that a record is gone.
//!
//! They stand in the user's collection, so that a put and a deletion of one key
//! meet in one document. The collection's unique indexes see them too: a field
//! that is missing counts as null there, and only one document may have it. So a
//! tombstone has a value of its own, its `_id`, in the first field of each
//! unique index; and the collection's validator is not asked.

use shearwater_core::Stamp;

use super::key::ID;
use super::raw::{Doc, Owned};
use super::record::{Dirty, RESERVED};

/// The path of a unique index's first field.
pub(super) type UniquePath = Vec<String>;

/// The document of a tombstone.
pub(super) fn document(id: &Owned, stamp: Stamp, dirty: Dirty, unique: &[UniquePath]) -> Vec<u8> {
    let mut doc = outside(id, unique);
    doc.begin(RESERVED).long("e", stamp.epoch as i64).long("c", stamp.counter as i64);
    if dirty == Dirty::Yes {
        doc.yes("d");
    }
    doc.yes("g").close();
    doc.end()
}

/// One that nobody has stamped, put where no document is so that what was read
/// before is not what stands there ([`super::intent`]).
pub(super) fn unstamped(id: &Owned, settled: &str, unique: &[UniquePath]) -> Vec<u8> {
    let mut doc = outside(id, unique);
    doc.begin(RESERVED).long("e", 0).long("c", 0).yes("g").text("n", settled).close();
    doc.end()
}

/// What stands outside our field.
fn outside(id: &Owned, unique: &[UniquePath]) -> Doc {
    let mut doc = Doc::new();
    doc.put(ID, id.get());
    for path in unique_roots(unique) {
        let [root, inner @ ..] = path.as_slice() else { continue };
        if inner.is_empty() {
            doc.put(root, id.get());
            continue;
        }
        doc.begin(root);
        for name in &inner[..inner.len() - 1] {
            doc.begin(name);
        }
        doc.put(&inner[inner.len() - 1], id.get());
        for _ in inner {
            doc.close();
        }
    }
    doc
}

/// One path for each root field: the first one keeps its document apart.
fn unique_roots(unique: &[UniquePath]) -> Vec<UniquePath> {
    let mut roots: Vec<UniquePath> = Vec::new();
    for path in unique {
        let is_new = path.first().is_some_and(|root| root != ID && roots.iter().all(|known| known[0] != *root));
        if is_new {
            roots.push(path.clone());
        }
    }
    roots
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, RawDocumentBuf, doc};

    use super::*;

    #[test]
    fn a_tombstone_has_a_value_of_its_own_in_each_unique_index() {
        let paths = [vec!["email".to_owned()], vec!["a".into(), "b".into(), "c".into()], vec!["_id".into()]];
        let bytes = document(&Owned::string("k"), Stamp::new(2, 7), Dirty::Yes, &paths);
        let found = Document::try_from(RawDocumentBuf::from_bytes(bytes).unwrap()).unwrap();
        let reserved = doc! { "e": 2i64, "c": 7i64, "d": true, "g": true };
        assert_eq!(found, doc! { "_id": "k", "email": "k", "a": { "b": { "c": "k" } }, "_shearwater": reserved });
    }
}
