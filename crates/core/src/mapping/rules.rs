//! The compiled rules of one object: the record, or an element of a child array.

use super::fit::Fit;
use crate::expr::Expr;
use crate::path::{Path, Step};
use crate::shape::FieldType;
use crate::value::Value;

/// Rules of one object, in the order in which v2 shows the fields.
#[derive(Clone, Debug)]
pub(super) struct ObjectRules {
    pub columns: Vec<Column>,
    pub children: Vec<Child>,
    /// Both, in the order in which the spec declares them: so the inverse gives
    /// the fields back.
    pub declared: Vec<Declared>,
    /// The residue's name in v2, or `None` when unmapped fields are refused.
    pub residue: Option<String>,
}

/// A rule by its number among the columns, or among the children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    Column(usize),
    Child(usize),
}

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    pub ty: FieldType,
    pub presence: Presence,
    pub conversion: Conversion,
    pub fit: Fit,
    pub default: Option<Value>,
    pub origin: Origin,
    /// What a null column gives back in v1.
    pub null_back: NullBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Nullable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conversion {
    /// Only values of the declared type.
    None,
    /// Scalars of other types, where that is exact.
    Exact,
}

/// What v1 holds where the column is null: a document leaves the field out, a
/// table's column is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NullBack {
    Missing,
    Null,
}

/// Where a column's value comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Path(Path),
    /// A key field of any type, as the text of a key of this one value.
    KeyText(Path),
    Sql {
        expr: Expr,
        back: Vec<(Path, Expr)>,
    },
    Constant(Value),
    TargetOnly,
    /// The element of an array of scalars itself.
    Element,
}

/// An array that becomes child rows.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub field: String,
    pub path: Path,
    pub elements: Elements,
    pub rules: ObjectRules,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elements {
    Documents,
    Scalars,
}

impl ObjectRules {
    /// The column whose `back` writes this place, or a part of it, or around it.
    pub fn computed_back(&self, at: &[Seg<'_>]) -> Option<&Column> {
        self.columns.iter().find(|column| match &column.origin {
            Origin::Sql { back, .. } => back.iter().any(|(path, _)| related(path.steps(), at)),
            Origin::Path(_) | Origin::KeyText(_) | Origin::Constant(_) | Origin::TargetOnly | Origin::Element => false,
        })
    }

    /// The v1 paths that the inverse of these rules writes, with the column that does.
    pub fn written(&self) -> impl Iterator<Item = (&str, &Path)> {
        let columns = self.columns.iter().flat_map(|column| {
            let paths: Vec<&Path> = match &column.origin {
                Origin::Path(path) | Origin::KeyText(path) => vec![path],
                Origin::Sql { back, .. } => back.iter().map(|(path, _)| path).collect(),
                Origin::Constant(_) | Origin::TargetOnly | Origin::Element => Vec::new(),
            };
            paths.into_iter().map(|path| (column.name.as_str(), path))
        });
        columns.chain(self.children.iter().map(|child| (child.field.as_str(), &child.path)))
    }
}

/// A borrowed step, for walking without allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seg<'a> {
    Field(&'a str),
    Index(usize),
}

impl<'a> From<&'a Step> for Seg<'a> {
    fn from(step: &'a Step) -> Seg<'a> {
        match step {
            Step::Field(name) => Seg::Field(name),
            Step::Index(index) => Seg::Index(*index),
        }
    }
}

/// Whether one of the two begins with the other.
pub(super) fn related(path: &[Step], at: &[Seg<'_>]) -> bool {
    path.iter().zip(at).all(|(step, seg)| Seg::from(step) == *seg)
}

/// A place in a record for error messages, kept on the stack while walking.
#[derive(Clone, Copy)]
pub(super) struct Trail<'a> {
    parent: Option<&'a Trail<'a>>,
    here: Seg<'a>,
}

impl<'a> Trail<'a> {
    pub fn element(field: &'a Trail<'a>, index: usize) -> Trail<'a> {
        Trail { parent: Some(field), here: Seg::Index(index) }
    }

    pub fn field(parent: Option<&'a Trail<'a>>, field: &'a str) -> Trail<'a> {
        Trail { parent, here: Seg::Field(field) }
    }

    fn segs(&self, out: &mut Vec<Seg<'a>>) {
        if let Some(parent) = self.parent {
            parent.segs(out);
        }
        out.push(self.here);
    }
}

/// `addresses[1].zip` from a trail and what follows it.
pub(super) fn place<'a>(trail: Option<&Trail<'a>>, rest: impl IntoIterator<Item = Seg<'a>>) -> String {
    let mut segs = Vec::new();
    if let Some(trail) = trail {
        trail.segs(&mut segs);
    }
    segs.extend(rest);
    let mut text = String::new();
    for seg in segs {
        match seg {
            Seg::Index(index) => text.push_str(&format!("[{index}]")),
            Seg::Field(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_$@-".contains(c)) {
                    text.push_str(name);
                } else {
                    text.push_str(&format!("\"{}\"", name.replace('"', "\"\"")));
                }
            }
        }
    }
    text
}

/// As [`place`], for the steps of a path.
pub(super) fn place_of(trail: Option<&Trail<'_>>, path: &Path) -> String {
    place(trail, path.steps().iter().map(Seg::from))
}
