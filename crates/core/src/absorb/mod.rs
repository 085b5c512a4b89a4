//! Lazy moves as data: what a record is in the source and in the target, and
//! what stands beside it there. Pure; the engine does what this says.
//!
//! The source keeps a record's row after it has moved, with its flag set: the
//! row holds what the target cannot hold, and is where the record goes back
//! to. So nothing is ever stored twice as the truth: the flag says which of
//! the two rows is the record, field by field that the target has.

use crate::expr::Expr;
use crate::mapping::{Mapping, MappingError};
use crate::path::Path;
use crate::query::{Collation, CompareOp, Filter, Literal, OrderTerm};
use crate::shape::{ColumnShape, FieldType, Layout};
use crate::spec::{AbsorbSpec, Conflict, Joins, Merge, REST, Scope};
use crate::store::{Image, Side};
use crate::value::{Document, Value};
use crate::{Key, Stamp};

use identity::Identity;
pub use origin::{ChangedValue, Origin};
pub use references::Reference;

pub mod identity;
mod joins;
pub mod merge;
mod origin;
mod references;
pub mod stitch;
mod strays;

/// The one name of ours beside a record, in the sidecar of either store.
const NOTE: &str = "@absorb";

/// Where a record lives, as its flag in the source says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Home {
    /// In the source.
    Source,
    /// In the target.
    Target,
}

/// A record as the source's row has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// In shape v1, with the fields of v2 that are parked beside it.
    pub v1: Image,
    /// Where the record lives.
    pub home: Home,
    /// The version at which it left for the target: the name of that move, by
    /// which it lands at most once.
    pub left: Option<Stamp>,
    /// The target's version that is coming back; `None`: nothing is.
    pub returning: Option<Stamp>,
}

impl Held {
    /// A record that lives in the source.
    pub fn at_home(v1: Image) -> Held {
        Held { v1, home: Home::Source, left: None, returning: None }
    }
}

/// A record in shape v2, apart from what the target does not hold of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parted {
    /// What the target holds.
    pub v2: Document,
    /// What only the source's row holds.
    pub rest: Document,
}

/// The compiled rules of an `absorb`.
#[derive(Clone, Debug)]
pub struct Shapes {
    mapping: Mapping,
    source: Layout,
    target: Layout,
    flag: String,
    require: Vec<String>,
    conflicts: Vec<(String, Rule)>,
    scope: Scope,
    collation: Collation,
    identity: Option<Identity>,
    references: Vec<Reference>,
    joins: Joins,
}

/// A compiled [`Conflict`].
#[derive(Clone, Debug)]
enum Rule {
    Refuse,
    KeepTarget,
    KeepBoth(Expr),
    /// Settled where the two records meet under one key.
    Merge(Merge),
}

impl Shapes {
    /// Compiles the rules of a checked spec.
    ///
    /// # Errors
    /// As [`Mapping::compile`].
    pub fn compile(spec: &AbsorbSpec) -> Result<Shapes, MappingError> {
        let mapping = Mapping::compile(&spec.base)?;
        let mut target = mapping.target().clone();
        if let Layout::Rows(table) = &mut target {
            table.residue = None;
        }
        let source = with_flag(mapping.source(), &spec.flag);
        let compile = |(field, conflict): &(String, Conflict)| {
            let rule = match conflict {
                Conflict::Refuse => Rule::Refuse,
                Conflict::KeepTarget => Rule::KeepTarget,
                Conflict::Merge(merge) => Rule::Merge(merge.clone()),
                Conflict::KeepBoth { sql } => Rule::KeepBoth(Expr::parse(sql).map_err(|error| MappingError {
                    code: "mapping/spec",
                    path: field.clone(),
                    message: error.message,
                    hint: error.hint,
                })?),
            };
            Ok((field.clone(), rule))
        };
        let conflicts = spec.conflicts.iter().map(compile).collect::<Result<_, MappingError>>()?;
        let (flag, require, scope) = (spec.flag.clone(), spec.require.clone(), spec.scope);
        let (collation, identity) = (spec.lists.collation, Identity::of(spec));
        let references = spec.references.iter().map(|rule| Reference::of(rule, &spec.base.migration)).collect();
        let joins = spec.joins.clone();
        Ok(Shapes { mapping, source, target, flag, require, conflicts, scope, collation, identity, references, joins })
    }

    /// The mapping between the shapes, for keys and paths.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The layout of a shape as clients see it: v1 on the source's side, v2 on the target's.
    pub fn shape(&self, side: Side) -> &Layout {
        match side {
            Side::Source => self.mapping.source(),
            Side::Target => &self.target,
        }
    }

    /// The source's layout with the flag, as its store is opened from the preparation on.
    pub fn flagged(&self) -> &Layout {
        &self.source
    }

    /// The flag's name.
    pub fn flag(&self) -> &str {
        &self.flag
    }

    /// Which records v2 clients see.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// An order over a shape, as the spec has text ordered.
    pub fn collated(&self, side: Side, order: &[OrderTerm]) -> Vec<OrderTerm> {
        let may_be_text =
            |path: &Path| matches!(self.shape(side).type_of(path), None | Some(FieldType::Text | FieldType::Json));
        let term = |term: &OrderTerm| match may_be_text(&term.path) {
            true => OrderTerm { collation: self.collation, ..term.clone() },
            false => term.clone(),
        };
        order.iter().map(term).collect()
    }

    /// The required fields.
    pub fn require(&self) -> &[String] {
        &self.require
    }

    /// The source's rows whose records live there, or do not.
    pub fn lives_in(&self, home: Home) -> Filter {
        let path = Path::field(&self.flag);
        match (&self.source, home) {
            (Layout::Rows(_), _) => {
                let literal = Literal::Typed(Value::Bool(home == Home::Target));
                Filter::Compare { path, op: CompareOp::Eq, literal }
            }
            // A document that has never moved does not have the field.
            (Layout::Document(_), Home::Source) => Filter::Not(Box::new(is_true(path))),
            (Layout::Document(_), Home::Target) => is_true(path),
        }
    }

    /// A row of the source, read.
    pub fn held(&self, mut image: Image) -> Held {
        let home = match image.record.remove(&self.flag) {
            Some(Value::Bool(true)) => Home::Target,
            _ => Home::Source,
        };
        let note = image.parked.remove(NOTE);
        let stamp = |name: &str| text_of(note.as_ref(), name).and_then(|text| text.parse().ok());
        Held { v1: image, home, left: stamp("left"), returning: stamp("returning") }
    }

    /// The row of the source for a record.
    pub fn row(&self, held: Held) -> Image {
        let Held { v1: mut image, home, left, returning } = held;
        let is_rows = matches!(self.source, Layout::Rows(_));
        if is_rows || home == Home::Target {
            image.record.set(self.flag.as_str(), home == Home::Target);
        }
        let stamps = [("left", left), ("returning", returning)];
        let note: Document =
            stamps.into_iter().filter_map(|(name, stamp)| Some((name, Value::text(stamp?.to_string())))).collect();
        if !note.is_empty() {
            image.parked.set(NOTE, note);
        }
        image
    }

    /// v1 → v2, whose assigned key and references were looked up.
    ///
    /// # Errors
    /// As [`Mapping::forward`] and [`Shapes::referred`].
    pub fn forward(&self, v1: &Image) -> Result<Parted, MappingError> {
        self.referred(v1)?;
        self.forward_unreferred(v1)
    }

    /// The same before references were looked up.
    ///
    /// # Errors
    /// As [`Mapping::forward`].
    pub fn forward_unreferred(&self, v1: &Image) -> Result<Parted, MappingError> {
        let mut v2 = self.mapping.forward(v1)?.record;
        let rest = match v2.remove(REST) {
            Some(Value::Document(rest)) => rest,
            _ => Document::new(),
        };
        Ok(Parted { v2, rest })
    }

    /// v2 → v1, with what the source's row holds of the record.
    ///
    /// # Errors
    /// As [`Mapping::reverse`].
    pub fn reverse(&self, parted: &Parted) -> Result<Image, MappingError> {
        let mut v2 = parted.v2.clone();
        if !parted.rest.is_empty() {
            v2.set(REST, parted.rest.clone());
        }
        let mut v1 = self.mapping.reverse(&Image::of(v2))?;
        if let Layout::Rows(table) = self.mapping.source() {
            // Columns that no rule names are empty in a record that began in the target.
            for column in table.columns.iter().filter(|column| column.nullable) {
                if !v1.record.contains(&column.name) {
                    v1.record.set(column.name.as_str(), Value::Null);
                }
            }
        }
        Ok(v1)
    }

    /// The record in shape v1 whose row in the source is `row` and in the target `v2`.
    ///
    /// # Errors
    /// As [`Mapping::forward`] and [`Mapping::reverse`].
    pub fn together(&self, row: &Image, v2: &Document, origin: &Origin) -> Result<Image, MappingError> {
        let mut v2 = v2.clone();
        for (field, own, landed) in &origin.changed {
            if v2.get(field) == Some(landed) {
                v2.set(field.as_str(), own.clone());
            }
        }
        let rest = self.forward(row)?.rest;
        let mut v1 = self.reverse(&Parted { v2, rest })?;
        self.keep_strays(row, &mut v1);
        Ok(v1)
    }

    /// A record of the target in shape v1 where the source's row is gone, after the end.
    ///
    /// # Errors
    /// As [`Mapping::reverse`].
    pub fn alone(&self, v2: &Document) -> Result<Image, MappingError> {
        let v1 = self.reverse(&Parted { v2: v2.clone(), rest: Document::new() })?;
        self.key_of(Side::Source, &v1)?;
        Ok(v1)
    }

    /// The key of a record in a shape.
    ///
    /// # Errors
    /// As [`Mapping::key_of`].
    pub fn key_of(&self, side: Side, image: &Image) -> Result<Key, MappingError> {
        self.mapping.key_of(side, image)
    }

    /// Whether both stores have the records in the same order of keys.
    pub fn keys_in_order(&self) -> bool {
        let (source, target) = (self.mapping.source().key_fields(), self.mapping.target().key_fields());
        let same = |(source, target): (&String, &String)| {
            self.mapping.path_forward(&Path::field(source)) == Some(Path::field(target))
        };
        source.len() == target.len() && source.iter().zip(target).all(same)
    }

    /// Whether a conflict may have changed a field of the target, so that its
    /// value is not the source's.
    pub fn may_change(&self, field: &str) -> bool {
        let changes = |(name, rule): &(String, Rule)| match rule {
            Rule::Refuse => false,
            Rule::KeepTarget | Rule::KeepBoth(_) => name == field,
            Rule::Merge(_) => !self.target.key_fields().iter().any(|key| key == field),
        };
        self.conflicts.iter().any(changes)
    }

    /// How a record becomes one with the target's own under its key; `None`: it is refused.
    pub fn merge(&self) -> Option<&Merge> {
        self.conflicts.iter().find_map(|(_, rule)| match rule {
            Rule::Merge(merge) => Some(merge),
            Rule::Refuse | Rule::KeepTarget | Rule::KeepBoth(_) => None,
        })
    }

    /// The field whose value makes records one that have different keys, where
    /// keys are assigned; `None`: the key itself does, or nothing.
    pub fn merge_field(&self) -> Option<&str> {
        let is_key = |name: &String| self.target.key_fields().contains(name);
        let found = self.conflicts.iter().find(|(name, rule)| matches!(rule, Rule::Merge(_)) && !is_key(name));
        found.map(|(name, _)| name.as_str())
    }

    /// Whether a record and the target's own under its key become one.
    pub fn become_one(&self, v2: &Document, own: &Document) -> bool {
        match self.merge_field() {
            None => self.merge().is_some(),
            Some(field) => v2.get(field).is_some_and(|value| !value.is_null() && own.get(field) == Some(value)),
        }
    }

    /// The word for what becomes of a record whose value in a unique field is taken.
    pub fn becomes(&self, field: &str) -> &'static str {
        match self.conflicts.iter().find(|(name, _)| name == field) {
            None | Some((_, Rule::Refuse)) => "refuse",
            Some((_, Rule::KeepTarget)) => "keep-target",
            Some((_, Rule::KeepBoth(_))) => "keep-both",
            Some((_, Rule::Merge(_))) => "merge",
        }
    }

    /// Whether a record may land otherwise than it departed.
    pub fn alters(&self) -> bool {
        self.conflicts.iter().any(|(_, rule)| !matches!(rule, Rule::Refuse))
    }

    /// The required fields that a record of v2 does not have.
    pub fn lacks(&self, v2: &Document) -> Vec<&str> {
        let is_there = |name: &&str| v2.get(name).is_some_and(|value| !value.is_null());
        self.require.iter().map(String::as_str).filter(|name| !is_there(name)).collect()
    }

    /// What a record becomes whose value in `field` the target has already:
    /// with its changed values, or `None` where it is refused.
    ///
    /// # Errors
    /// `mapping/expression`: the rule gives no value for this record.
    pub fn settle_conflict(
        &self,
        field: &str,
        v2: &Document,
    ) -> Result<Option<(Document, ChangedValue)>, MappingError> {
        let Some((name, rule)) = self.conflicts.iter().find(|(name, _)| name == field) else { return Ok(None) };
        let landed = match rule {
            Rule::Refuse | Rule::Merge(_) => return Ok(None),
            Rule::KeepTarget => Value::Null,
            Rule::KeepBoth(expr) => expr.eval(v2).map_err(|error| MappingError {
                code: "mapping/expression",
                path: name.clone(),
                message: error.0,
                hint: None,
            })?,
        };
        let own = v2.get(name).cloned().unwrap_or(Value::Null);
        let mut changed = v2.clone();
        changed.set(name.as_str(), landed.clone());
        Ok(Some((changed, (name.clone(), own, landed))))
    }

    /// The fields that conflicts are looked for in, unique ones of the target.
    pub fn unique_fields(&self) -> Vec<&str> {
        let Layout::Rows(table) = &self.target else { return Vec::new() };
        let is_unique = |column: &&ColumnShape| {
            let named = self.conflicts.iter().any(|(name, _)| *name == column.name);
            (column.unique || named) && !table.key.contains(&column.name)
        };
        table.columns.iter().filter(is_unique).map(|column| column.name.as_str()).collect()
    }
}

fn is_true(path: Path) -> Filter {
    Filter::Is { path, what: crate::query::IsWhat::True }
}

fn text_of<'v>(note: Option<&'v Value>, name: &str) -> Option<&'v str> {
    match note {
        Some(Value::Document(note)) => match note.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn with_flag(source: &Layout, flag: &str) -> Layout {
    let mut layout = source.clone();
    if let Layout::Rows(table) = &mut layout {
        table.columns.push(ColumnShape {
            name: flag.to_owned(),
            ty: FieldType::Bool,
            nullable: false,
            unique: false,
            native: None,
            references: None,
        });
    }
    layout
}

/// The version of a record that clients see: stamps of the two stores count
/// apart, so the side goes into the number, and no version of the one is ever
/// taken for one of the other.
pub fn version(home: Home, stamp: Stamp) -> Stamp {
    match home {
        Home::Source => stamp,
        Home::Target => Stamp::new(stamp.epoch, stamp.counter | TARGET_BIT),
    }
}

/// The store that a version of [`version`] counts in.
pub fn home_of(version: Stamp) -> Home {
    if version.counter & TARGET_BIT == 0 { Home::Source } else { Home::Target }
}

/// Counters stay below 2^62: stores keep them in signed 64-bit columns, and
/// count by one or by microseconds.
const TARGET_BIT: u64 = 1 << 62;

#[cfg(test)]
mod tests;
