//! What identifies a record.

use crate::value::{Value, order};

/// One value per key field (usually one), none of them null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Vec<Value>);

/// Why values cannot be a key, or a text cannot be read as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub String);

impl Key {
    /// A key of one value.
    pub fn single(value: impl Into<Value>) -> Key {
        Key(vec![value.into()])
    }

    /// A key of several values, in the order of the key fields.
    pub fn composite(values: Vec<Value>) -> Key {
        Key(values)
    }

    /// The values in the order of the key fields.
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    /// Canonical order bytes; equal keys, and only they, give equal bytes.
    pub fn order_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        for value in &self.0 {
            order::write(value, &mut out);
        }
        out
    }

    /// A stable 64-bit hash; the read ramp takes `hash % 100 < percent`.
    pub fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.order_bytes())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> std::cmp::Ordering {
        self.order_bytes().cmp(&other.order_bytes())
    }
}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(&self.order_bytes());
    }
}

impl Key {
    /// The key as text, for URLs (before percent-encoding), messages and the
    /// journal: text stands as it is, integers in decimal, everything else as
    /// tagged JSON. Text that would read as something else is quoted as JSON;
    /// the parts of a composite key are joined by commas, and commas and
    /// backslashes inside a part are escaped with a backslash.
    pub fn to_text(&self) -> String {
        todo!()
    }

    /// Reads [`Key::to_text`]'s form back; `parts` is the number of key fields.
    pub fn from_text(_text: &str, _parts: usize) -> Result<Key, KeyError> {
        todo!()
    }
}
