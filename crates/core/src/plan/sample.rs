//! What sampled records say about the mapping.

use super::distinct::Distinct;
use super::limits::Limits;
use super::{Finding, Weight};
use crate::mapping::{Mapping, MappingError};
use crate::shape::{ChildShape, Layout};
use crate::spec::Spec;
use crate::store::{BadRow, Image, Inspection, Side};
use crate::value::{Document, Value};

/// Kinds of refusal that are kept apart; more would not be read by anybody.
const REFUSED_KINDS_MAX: usize = 50;

/// What became of sampled records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Records read.
    pub records: u64,
    /// Records that the mapping took there and back.
    pub mapped: u64,
    /// Rows in each child table, in the order of the fields.
    pub child_rows: Vec<(String, u64)>,
    /// Records with fields that no rule names.
    pub with_residue: u64,
    /// Why records were refused, most frequent first.
    pub refused: Vec<Refused>,
    limits: Limits,
    distinct: Distinct,
}

/// Records that were refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The stable code.
    pub code: String,
    /// Where in the record, or empty.
    pub path: String,
    /// What was found and what was expected, without row values.
    pub message: String,
    /// What the reader can do.
    pub hint: Option<String>,
    /// How many of the records looked at.
    pub records: u64,
}

impl Refused {
    fn is_like(&self, other: &Refused) -> bool {
        self.code == other.code && self.path == other.path && self.message == other.message
    }
}

impl Sample {
    /// A sample for this mapping, with every child table at 0 rows, against what
    /// the two stores' columns hold and keep unique.
    pub fn new(spec: &Spec, mapping: &Mapping, source: &Inspection, target: Option<&Inspection>) -> Sample {
        let mut sample = Sample {
            limits: Limits::of(mapping.target(), target),
            distinct: Distinct::new(spec, source, target),
            ..Sample::default()
        };
        if let Layout::Rows(shape) = mapping.target() {
            sample.name_tables(&shape.children);
        }
        sample
    }

    fn name_tables(&mut self, children: &[ChildShape]) {
        for child in children {
            self.child_rows.push((child.table.clone(), 0));
            self.name_tables(&child.children);
        }
    }

    /// Takes one record of the source; answers what it becomes, if the mapping takes it.
    pub fn add(&mut self, mapping: &Mapping, v1: &Image) -> Option<Image> {
        self.records += 1;
        match mapping.forward(v1) {
            Ok(v2) => {
                if let Some((path, why)) = self.limits.misfit(&v2.record) {
                    let hint = "the target's column does not take it: give it a wider type, or say what becomes of \
                                such values (`unfit`, `default`)";
                    let code = "plan/limit".to_owned();
                    self.refuse(Refused { code, path, message: why, hint: Some(hint.to_owned()), records: 1 });
                    return None;
                }
                if let Ok(key) = mapping.key_of(Side::Source, v1) {
                    self.distinct.add(&key, &v2.record);
                }
                self.mapped += 1;
                if let Layout::Rows(shape) = mapping.target() {
                    self.count_rows(&shape.children, &v2.record);
                    let residue = shape.residue.as_deref().and_then(|name| v2.record.get(name));
                    self.with_residue += u64::from(residue.is_some_and(|value| !value.is_null()));
                }
                Some(v2)
            }
            Err(MappingError { code, path, message, hint }) => {
                self.refuse(Refused { code: code.to_owned(), path, message, hint, records: 1 });
                None
            }
        }
    }

    /// Takes a row that the layout cannot read.
    pub fn add_bad_row(&mut self, row: &BadRow) {
        self.records += 1;
        self.refuse_stored(&row.error);
    }

    /// Takes a record that the scratch store refused after mapping.
    pub fn refuse_stored(&mut self, error: &crate::error::StoreError) {
        self.refuse(Refused {
            code: error.code().to_owned(),
            path: String::new(),
            message: error.message.clone(),
            hint: error.hint.clone(),
            records: 1,
        });
    }

    fn refuse(&mut self, refused: Refused) {
        // Positions in arrays would make every record a reason of its own.
        let mut refused = Refused { path: without_positions(&refused.path), ..refused };
        if self.refused.len() >= REFUSED_KINDS_MAX && !self.refused.iter().any(|kind| kind.is_like(&refused)) {
            refused = Refused {
                code: "plan/more".to_owned(),
                path: String::new(),
                message: "for other reasons".to_owned(),
                hint: None,
                records: 1,
            };
        }
        match self.refused.iter_mut().find(|kind| kind.is_like(&refused)) {
            Some(kind) => kind.records += 1,
            None => self.refused.push(refused),
        }
    }

    fn count_rows(&mut self, children: &[ChildShape], parent: &Document) {
        for child in children {
            let Some(Value::Array(elements)) = parent.get(&child.field) else { continue };
            if let Some((_, rows)) = self.child_rows.iter_mut().find(|(table, _)| *table == child.table) {
                *rows += elements.len() as u64;
            }
            for element in elements {
                if let Value::Document(element) = element {
                    self.count_rows(&child.children, element);
                }
            }
        }
    }

    /// What the sample says to somebody who plans.
    pub(super) fn findings(&self, findings: &mut Vec<Finding>) {
        let mut refused: Vec<&Refused> = self.refused.iter().collect();
        refused.sort_by_key(|kind| std::cmp::Reverse(kind.records));
        for kind in refused {
            let place = if kind.path.is_empty() { String::new() } else { format!("{}: ", kind.path) };
            let message = format!(
                "refused: {} of {} records looked at ({}): {place}{}",
                kind.records, self.records, kind.code, kind.message
            );
            let hint = kind.hint.clone().unwrap_or_else(|| {
                "change the rule, or start all the same: such records become dead letters, which block the gates".into()
            });
            let root = kind.path.split(['.', '[']).next().unwrap_or_default();
            let weight = if kind.records == self.records { Weight::Problem } else { Weight::Hazard };
            findings.push(Finding::new("plan/refused", weight, message).hint(hint).at(&["fields", root]));
        }
        self.distinct.findings(findings);
        if self.with_residue > 0 {
            let message = format!(
                "the residue column keeps something for {} of the {} records looked at: fields that no rule names, \
                 or what makes the way back exact",
                self.with_residue, self.records
            );
            findings.push(Finding::new("plan/residue", Weight::Note, message).at(&["unmapped", "keep_in"]));
        }
    }
}

/// `a[3].b` as `a[].b`.
fn without_positions(path: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => {
                inside = true;
                out.push('[');
            }
            ']' => {
                inside = false;
                out.push(']');
            }
            c if inside && c.is_ascii_digit() => {}
            c => out.push(c),
        }
    }
    out
}
