//! Paths that mean the same in both shapes.

use super::rules::{Conversion, ObjectRules, Origin, Presence, Seg, related};
use crate::path::{Path, Step};
use crate::shape::{FieldType, Layout, TableShape};
use crate::verbatim::Passed;

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

/// See [`super::Mapping::verbatim`].
pub(super) fn verbatim(rules: &ObjectRules, source: &Layout, target: &Layout) -> Option<Vec<Passed>> {
    let (v1, v2) = (flat(source)?, flat(target)?);
    // Where every column has its place and no value is changed, nothing is left
    // for the target's residue; the source's would be.
    if v1.residue.is_some()
        || v1.columns.len() != v2.columns.len()
        || rules.columns.len() != v2.columns.len()
        || !rules.children.is_empty()
    {
        return None;
    }
    let is_key = |name: &String| v1.key.contains(name);
    let rest = v1.columns.iter().map(|column| &column.name).filter(|name| !is_key(name));
    let passed: Option<Vec<Passed>> = v1.key.iter().chain(rest).map(|name| passed(rules, v1, v2, name)).collect();
    // As many columns on either side, each of the source's in one of its own.
    let passed = passed?;
    let targets: std::collections::HashSet<&str> = passed.iter().map(|one| one.target.as_str()).collect();
    (targets.len() == v2.columns.len()).then_some(passed)
}

fn passed(rules: &ObjectRules, v1: &TableShape, v2: &TableShape, name: &str) -> Option<Passed> {
    let own = Path::field(name);
    let rule = rules.columns.iter().find(|column| plain(rules, &column.name) == Some(&own))?;
    let column = |shape: &TableShape, name: &str| shape.columns.iter().find(|column| column.name == name).cloned();
    let (source, target) = (column(v1, name)?, column(v2, &rule.name)?);
    (source.ty == rule.ty && target.ty == rule.ty).then(|| Passed {
        source: name.to_owned(),
        target: rule.name.clone(),
        ty: rule.ty,
        required: rule.presence == Presence::Required || !source.nullable || v1.key.iter().any(|key| key == name),
        chars_max: rule.fit.chars_max(),
    })
}

/// A layout of one table.
fn flat(layout: &Layout) -> Option<&TableShape> {
    match layout {
        Layout::Rows(shape) if shape.children.is_empty() => Some(shape),
        Layout::Rows(_) | Layout::Document(_) => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;

    const SPEC: &str = r#"
migration = "lane"
kind = "move"
entity = "users"
[source]
url = "sqlite:a.db"
table = "users"
key = "id"
[source.columns]
name = "text"
id = { type = "int", required = true }
age = "int"
[target]
url = "sqlite:b.db"
table = "people"
key = "number"
[fields]
title = { from = "name", type = "text" }
years = { from = "age", type = "int" }
number = { from = "id", type = "int" }
[unmapped]
refuse = true
"#;

    fn passed(spec: &str) -> Option<Vec<Passed>> {
        Mapping::compile(&crate::spec::parse_move(spec, &|_| None).unwrap()).unwrap().verbatim()
    }

    #[test]
    fn columns_that_only_change_their_names_pass() {
        let names: Vec<(String, String, bool, Option<u64>)> =
            passed(SPEC).unwrap().into_iter().map(|p| (p.source, p.target, p.required, p.chars_max)).collect();
        let expected = [("id", "number", true), ("name", "title", false), ("age", "years", false)];
        let expected =
            expected.map(|(source, target, required)| (source.to_owned(), target.to_owned(), required, None));
        assert_eq!(names, expected, "the source's order, its key first");
    }

    #[test]
    fn a_mapping_that_does_anything_more_passes_nothing() {
        let years = r#"years = { from = "age", type = "int" }"#;
        for (from, to) in [
            (years, r#"years = { from = "age", type = "int", default = 3 }"#),
            (years, r#"years = { from = "age", type = "text", cast = true }"#),
            (years, r#"years = { sql = "age + 1", type = "int", back = { age = "years - 1" } }"#),
            ("[fields]", "[fields]\nextra = { value = 1, type = \"int\" }"),
        ] {
            assert!(SPEC.contains(from));
            let spec = SPEC.replace(from, to);
            match crate::spec::parse_move(&spec, &|_| None) {
                Ok(spec) => assert_eq!(Mapping::compile(&spec).unwrap().verbatim(), None, "{to}"),
                Err(problems) => panic!("{to}: {problems:?}"),
            }
        }
        let kept = SPEC.replace("[unmapped]\nrefuse = true", "[unmapped]\nkeep_in = \"rest\"");
        assert_eq!(passed(&kept), passed(SPEC), "a residue that nothing goes into");
        let left = kept.replace("[source.columns]", "residue = \"more\"\n[source.columns]");
        assert_eq!(passed(&left), None);
        let limited = SPEC.replace(
            r#"from = "name", type = "text""#,
            r#"from = "name", type = "text", chars_max = 9, required = true"#,
        );
        let title = passed(&limited).unwrap().remove(1);
        assert_eq!((title.required, title.chars_max), (true, Some(9)));
    }
}
