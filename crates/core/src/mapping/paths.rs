//! Paths that mean the same in both shapes.

use super::rules::{Conversion, ObjectRules, Origin, Seg, related};
use crate::path::{Path, Step};
use crate::shape::FieldType;

pub(super) fn forward(rules: &ObjectRules, v1: &Path) -> Option<Path> {
    rules.columns.iter().find_map(|column| {
        let own = plain(rules, &column.name)?;
        let rest = v1.steps().strip_prefix(own.steps())?;
        goes_on(column.ty, rest).then(|| Path::field(column.name.as_str()).join(rest))
    })
}

pub(super) fn reverse(rules: &ObjectRules, v2: &Path) -> Option<Path> {
    let (Step::Field(name), rest) = v2.steps().split_first()? else { return None };
    let column = rules.columns.iter().find(|column| column.name == *name)?;
    let own = plain(rules, name)?;
    goes_on(column.ty, rest).then(|| own.join(rest))
}

/// Whether a path into a column's value means the same: only a json column has an inside.
fn goes_on(ty: FieldType, rest: &[Step]) -> bool {
    rest.is_empty() || ty == FieldType::Json
}

/// The v1 path of a column that holds exactly what is there: no cast, no
/// default, and nobody else writes that path back.
fn plain<'r>(rules: &'r ObjectRules, name: &str) -> Option<&'r Path> {
    let column = rules.columns.iter().find(|column| column.name == name)?;
    let Origin::Path(path) = &column.origin else { return None };
    if column.default.is_some() || column.conversion != Conversion::None || column.fit.changes() {
        return None;
    }
    let segs: Vec<Seg<'_>> = path.steps().iter().map(Seg::from).collect();
    let writers = rules.written().filter(|(_, other)| related(other.steps(), &segs)).count();
    (writers == 1).then_some(path)
}

impl Path {
    fn join(&self, rest: &[Step]) -> Path {
        let steps = self.steps().iter().chain(rest).cloned().collect();
        Path::from_steps(steps).unwrap_or_else(|| self.clone())
    }
}
