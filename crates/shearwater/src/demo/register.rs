//! The demo's register: which number stands for which key, which versions were
//! given out, and what each version of each record looked like.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use shearwater_core::Document;
use shearwater_core::value::hash;
use shearwater_engine::records::Shape;

use super::history::{KeyId, Version};

/// Parts of the map of contents, so that clients seldom wait for each other.
const PARTS: usize = 32;

/// Contents that disagree and are kept with their place; the rest are counted.
const KEPT_MAX: usize = 20;

/// A version of a record that looked different at two times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The record.
    pub key: KeyId,
    /// Its version.
    pub version: Version,
    /// In which shape.
    pub shape: Shape,
    /// Where the second look was taken.
    pub place: &'static str,
}

/// What one version looked like in one shape: key, version, shape → hash.
type Contents = HashMap<(KeyId, Version, Shape), u128>;

/// Shared by everybody in the demo.
pub struct Register {
    names: RwLock<Names>,
    next_version: AtomicU32,
    contents: Vec<Mutex<Contents>>,
    disagreements: AtomicU64,
    kept: Mutex<Vec<Disagreement>>,
}

#[derive(Default)]
struct Names {
    texts: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, KeyId>,
}

impl Register {
    /// A register of the initial keys, in order; versions begin at 1.
    pub fn new(initial: impl Iterator<Item = String>) -> Register {
        let register = Register {
            names: RwLock::default(),
            next_version: AtomicU32::new(1),
            contents: (0..PARTS).map(|_| Mutex::default()).collect(),
            disagreements: AtomicU64::new(0),
            kept: Mutex::default(),
        };
        for text in initial {
            register.add(&text);
        }
        register
    }

    /// The number of a key, new or known.
    pub fn add(&self, text: &str) -> KeyId {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&id) = names.ids.get(text) {
            return id;
        }
        let id = KeyId(names.texts.len() as u32);
        let text: Arc<str> = text.into();
        names.texts.push(text.clone());
        names.ids.insert(text, id);
        id
    }

    /// A new key, whose text is made from its number.
    pub fn add_new(&self, text: impl Fn(KeyId) -> String) -> (KeyId, Arc<str>) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let id = KeyId(names.texts.len() as u32);
        let text: Arc<str> = text(id).into();
        names.texts.push(text.clone());
        names.ids.insert(text.clone(), id);
        (id, text)
    }

    /// A key's text.
    pub fn text(&self, key: KeyId) -> Arc<str> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.texts[key.0 as usize].clone()
    }

    /// The number of a key, if it was ever used.
    pub fn find(&self, text: &str) -> Option<KeyId> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).ids.get(text).copied()
    }

    /// How many keys were ever used.
    pub fn len(&self) -> usize {
        self.names.read().unwrap_or_else(PoisonError::into_inner).texts.len()
    }

    /// A version that nobody has used.
    pub fn next_version(&self) -> Version {
        Version(self.next_version.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes note of what a version looks like; counts a disagreement when it
    /// looked otherwise before.
    pub fn looks(&self, place: &'static str, key: KeyId, version: Version, shape: Shape, record: &Document) {
        let found = hash::document(record);
        let part = &self.contents[(key.0 ^ version.0) as usize % PARTS];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if *part.entry((key, version, shape)).or_insert(found) != found {
            self.disagree(Disagreement { key, version, shape, place });
        }
    }

    /// What a version looked like, if anybody ever saw it in this shape.
    pub fn look_of(&self, key: KeyId, version: Version, shape: Shape) -> Option<u128> {
        let part = &self.contents[(key.0 ^ version.0) as usize % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner).get(&(key, version, shape)).copied()
    }

    /// Counts a disagreement that was found otherwise.
    pub fn disagree(&self, disagreement: Disagreement) {
        self.disagreements.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(disagreement);
        }
    }

    /// How many contents disagreed, and the first of them.
    pub fn disagreements(&self) -> (u64, Vec<Disagreement>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.disagreements.load(Ordering::Relaxed), kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_numbers() {
        let register = Register::new(["a".to_owned(), "b".to_owned()].into_iter());
        assert_eq!(register.add("b"), KeyId(1));
        let (new, text) = register.add_new(|id| format!("n{}", id.0));
        assert_eq!((new, &*text), (KeyId(2), "n2"));
        assert_eq!((register.find("n2"), register.find("x"), register.len()), (Some(KeyId(2)), None, 3));
        assert_ne!(register.next_version(), register.next_version());
    }

    #[test]
    fn a_version_that_changes_its_look_is_counted() {
        let register = Register::new(std::iter::empty());
        let document = |n: i64| Document::from_iter([("n", n)]);
        let look = |shape, n| register.looks("test", KeyId(0), Version(1), shape, &document(n));
        look(Shape::V1, 1);
        look(Shape::V2, 2);
        look(Shape::V1, 1);
        assert_eq!(register.disagreements().0, 0);
        look(Shape::V1, 3);
        let (count, kept) = register.disagreements();
        assert_eq!((count, kept[0].shape), (1, Shape::V1));
    }
}
