//! The inverse of the rules without the residue, as a tree that borrows what it can.

use std::borrow::Cow;

use super::rules::Seg;
use crate::path::Step;
use crate::value::{Document, Value};

/// One place of the tree.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Borrowed(&'a Value),
    Owned(Value),
    Document(Fields<'a>),
    Array(Vec<Node<'a>>),
}

/// The fields of a document of the tree, in the order in which rules make them.
pub(super) type Fields<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

/// Sets a path in a tree, making what leads there.
pub(super) fn set<'a>(fields: &mut Fields<'a>, steps: &'a [Step], value: Node<'a>) {
    let Some((Step::Field(name), rest)) = steps.split_first() else { return };
    match fields.iter().position(|(n, _)| n == name) {
        Some(at) => fields[at].1.put(rest, value),
        None => {
            let mut node = Node::Owned(Value::Null);
            node.put(rest, value);
            fields.push((Cow::Borrowed(name), node));
        }
    }
}

impl<'a> Node<'a> {
    fn put(&mut self, steps: &'a [Step], value: Node<'a>) {
        match steps.split_first() {
            None => *self = value,
            Some((Step::Field(_), _)) => set(self.open_document(), steps, value),
            Some((Step::Index(index), rest)) => {
                let items = self.open_array();
                while items.len() <= *index {
                    items.push(Node::Owned(Value::Null));
                }
                items[*index].put(rest, value);
            }
        }
    }

    /// This place as a document whose fields can be set; what is no document gives way.
    fn open_document(&mut self) -> &mut Fields<'a> {
        if !matches!(self, Node::Document(_)) {
            let fields = match std::mem::replace(self, Node::Owned(Value::Null)) {
                Node::Borrowed(Value::Document(d)) => {
                    d.iter().map(|(name, value)| (Cow::Borrowed(name), Node::Borrowed(value))).collect()
                }
                Node::Owned(Value::Document(d)) => {
                    d.into_iter().map(|(name, value)| (Cow::Owned(name), Node::Owned(value))).collect()
                }
                Node::Borrowed(_) | Node::Owned(_) | Node::Array(_) | Node::Document(_) => Vec::new(),
            };
            *self = Node::Document(fields);
        }
        match self {
            Node::Document(fields) => fields,
            Node::Borrowed(_) | Node::Owned(_) | Node::Array(_) => unreachable!("it was just opened"),
        }
    }

    fn open_array(&mut self) -> &mut Vec<Node<'a>> {
        if !matches!(self, Node::Array(_)) {
            let items = match std::mem::replace(self, Node::Owned(Value::Null)) {
                Node::Borrowed(Value::Array(items)) => items.iter().map(Node::Borrowed).collect(),
                Node::Owned(Value::Array(items)) => items.into_iter().map(Node::Owned).collect(),
                Node::Borrowed(_) | Node::Owned(_) | Node::Array(_) | Node::Document(_) => Vec::new(),
            };
            *self = Node::Array(items);
        }
        match self {
            Node::Array(items) => items,
            Node::Borrowed(_) | Node::Owned(_) | Node::Document(_) => unreachable!("it was just opened"),
        }
    }

    /// Whether it stands for exactly this value.
    pub fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Node::Borrowed(own), value) => std::ptr::eq(*own, value) || *own == value,
            (Node::Owned(own), value) => own == value,
            (Node::Document(fields), Value::Document(d)) => {
                fields.len() == d.len()
                    && fields.iter().zip(d.iter()).all(|((name, node), (n, v))| name == n && node.is(v))
            }
            (Node::Array(items), Value::Array(values)) => {
                items.len() == values.len() && items.iter().zip(values).all(|(node, v)| node.is(v))
            }
            (Node::Document(_) | Node::Array(_), _) => false,
        }
    }

    /// The value that it stands for.
    pub fn to_value(&self) -> Value {
        match self {
            Node::Borrowed(value) => (*value).clone(),
            Node::Owned(value) => value.clone(),
            Node::Document(fields) => Value::Document(to_document(fields)),
            Node::Array(items) => Value::Array(items.iter().map(Node::to_value).collect()),
        }
    }
}

impl Node<'_> {
    /// As [`Node::to_value`], without another copy of what is owned.
    fn into_value(self) -> Value {
        match self {
            Node::Borrowed(value) => value.clone(),
            Node::Owned(value) => value,
            Node::Document(fields) => Value::Document(into_document(fields)),
            Node::Array(items) => Value::Array(items.into_iter().map(Node::into_value).collect()),
        }
    }
}

/// As [`to_document`], without another copy of what is owned.
pub(super) fn into_document(fields: Fields<'_>) -> Document {
    fields.into_iter().map(|(name, node)| (name.into_owned(), node.into_value())).collect()
}

/// The document that the fields stand for.
pub(super) fn to_document(fields: &Fields<'_>) -> Document {
    fields.iter().map(|(name, node)| (name.as_ref(), node.to_value())).collect()
}

/// The value at a place of a value.
pub(super) fn get<'v>(value: &'v Value, at: &[Seg<'_>]) -> Option<&'v Value> {
    at.iter().try_fold(value, |value, seg| match (seg, value) {
        (Seg::Field(name), Value::Document(d)) => d.get(name),
        (Seg::Index(index), Value::Array(a)) => a.get(*index),
        _ => None,
    })
}

/// As [`get`], for change.
pub(super) fn get_mut<'v>(value: &'v mut Value, at: &[Seg<'_>]) -> Option<&'v mut Value> {
    at.iter().try_fold(value, |value, seg| match (seg, value) {
        (Seg::Field(name), Value::Document(d)) => d.get_mut(name),
        (Seg::Index(index), Value::Array(a)) => a.get_mut(*index),
        _ => None,
    })
}
