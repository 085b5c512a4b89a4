//! An ordered set of named values.

use super::Value;

/// Named values in the order in which they were put; names are unique.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    fields: Vec<(String, Value)>,
}

/// A field name that stood twice in one document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field name {0:?} stands twice in one document")]
pub struct DuplicateField(pub String);

impl Document {
    /// A document without fields.
    pub fn new() -> Document {
        Document::default()
    }

    /// An empty document with room for `fields` fields.
    pub fn with_capacity(fields: usize) -> Document {
        Document { fields: Vec::with_capacity(fields) }
    }

    /// A document of fields whose names are known to differ.
    pub(crate) fn from_unique(fields: Vec<(String, Value)>) -> Document {
        Document { fields }
    }

    /// The field's value, or `None` when it is missing.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// The field's value for change, or `None` when it is missing.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.fields.iter_mut().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Sets a field: in its place when it exists, else at the end. Returns the
    /// value that it replaced.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (name, value) = (name.into(), value.into());
        match self.get_mut(&name) {
            Some(old) => Some(std::mem::replace(old, value)),
            None => {
                self.fields.push((name, value));
                None
            }
        }
    }

    /// Adds a field at the end; refuses a name that is there already.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Value>) -> Result<(), DuplicateField> {
        let name = name.into();
        if self.contains(&name) {
            return Err(DuplicateField(name));
        }
        self.fields.push((name, value.into()));
        Ok(())
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.fields.iter().position(|(n, _)| n == name)?;
        Some(self.fields.remove(at).1)
    }

    /// Whether the field is present (a null counts as present).
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The fields in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + DoubleEndedIterator {
        self.fields.iter().map(|(n, v)| (n.as_str(), v))
    }

    /// The fields in their order, their values for change.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut Value)> {
        self.fields.iter_mut().map(|(n, v)| (n.as_str(), v))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether both hold the same fields with equal values, in any order (of
    /// this level only).
    pub fn same_fields(&self, other: &Document) -> bool {
        self.len() == other.len() && self.iter().all(|(n, v)| other.get(n) == Some(v))
    }
}

impl IntoIterator for Document {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.fields.into_iter()
    }
}

/// Collects fields; of equal names the last value wins, in the first one's place.
impl<N: Into<String>, V: Into<Value>> FromIterator<(N, V)> for Document {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Document {
        let mut document = Document::new();
        for (name, value) in fields {
            document.set(name, value);
        }
        document
    }
}
