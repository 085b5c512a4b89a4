//! What must be different in each record of the target: whether the source
//! keeps it so, and which records of the source do not.

use std::collections::HashSet;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::bounds::pairs;
use super::columns::column_of;
use super::{Finding, Weight};
use crate::key::Key;
use crate::spec::{Spec, Unfit};
use crate::store::{InspectedTable, Inspection};
use crate::value::{Document, Value, hash};

/// Values that are remembered of each set of fields: 2,000,000 hashes are about
/// 70 MB, what a plan may take on anybody's machine. Of more records, those that
/// come later are compared with these only.
const VALUES_MAX: usize = 2_000_000;

/// Keys told of the records that clash: enough to look at some.
const KEYS_TOLD_MAX: usize = 5;

/// Characters of a key that is told.
const KEY_CHARS_MAX: usize = 60;

/// Everything that the target keeps unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Distinct {
    sets: Vec<FieldSet>,
}

/// Fields that must be different together.
#[derive(Clone, Debug, PartialEq)]
struct FieldSet {
    fields: Vec<String>,
    /// The fields whose column takes different texts for equal.
    folding: Vec<String>,
    is_key: bool,
    by_source: BySource,
    seen: HashSet<u128>,
    clashes: u64,
    keys: Vec<String>,
}

/// Whether the source keeps a set of fields unique, byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BySource {
    Kept,
    NotKept,
}

impl Distinct {
    /// From the spec, and from the table of the target that is there.
    pub(super) fn new(spec: &Spec, source: &Inspection, target: Option<&Inspection>) -> Distinct {
        let there =
            target.and_then(|look| look.tables.iter().find(|t| t.name.eq_ignore_ascii_case(&spec.target.table)));
        let mut all: Vec<(Vec<String>, bool)> = vec![(spec.target.key.clone(), true)];
        all.extend(spec.fields.iter().filter(|f| f.unique && f.child.is_none()).map(|f| (vec![f.name.clone()], false)));
        let field = |column: &String| spec.fields.iter().find(|field| field.name.eq_ignore_ascii_case(column));
        let of_table = there.into_iter().flat_map(|table| [&table.key].into_iter().chain(&table.unique));
        for columns in of_table.filter(|columns| !columns.is_empty()) {
            let fields: Option<Vec<String>> = columns.iter().map(|name| field(name).map(|f| f.name.clone())).collect();
            all.extend(fields.map(|fields| (fields, false)));
        }
        let mut sets: Vec<FieldSet> = Vec::new();
        for (fields, is_key) in all {
            if sets.iter().any(|set| set.is_over(&fields)) {
                continue;
            }
            let folds = |name: &&String| there.and_then(|t| column_of(t, name)).is_some_and(|column| column.folds);
            let folding = fields.iter().filter(folds).cloned().collect();
            let by_source = match is_key {
                true => BySource::Kept,
                false => by_source(spec, &fields, source),
            };
            sets.push(FieldSet { fields, folding, is_key, by_source, ..FieldSet::new() });
        }
        Distinct { sets }
    }

    /// Takes a record of the source as the target would have it.
    pub(super) fn add(&mut self, key: &Key, v2: &Document) {
        for set in self.sets.iter_mut().filter(|set| set.may_clash()) {
            set.add(key, v2);
        }
    }

    pub(super) fn findings(&self, findings: &mut Vec<Finding>) {
        self.sets.iter().for_each(|set| set.findings(findings));
    }
}

/// Whether the source has a unique constraint over (some of) the columns that
/// these fields come from.
fn by_source(spec: &Spec, fields: &[String], source: &Inspection) -> BySource {
    let pairs = pairs(spec, source, None);
    // What is cut may be the same afterwards.
    let as_it_is = pairs.iter().filter(|pair| pair.rule.unfit != Some(Unfit::Cut));
    let from = |field: &String| as_it_is.clone().find(|pair| pair.rule.name == *field).map(|pair| &pair.source.name);
    let columns: Vec<&String> = fields.iter().filter_map(from).collect();
    let table: Option<&InspectedTable> = source.tables.iter().find(|t| t.name.eq_ignore_ascii_case(&spec.source.table));
    let mut constraints = table.into_iter().flat_map(|table| [&table.key].into_iter().chain(&table.unique));
    let within = |constraint: &Vec<String>| {
        let has = |name: &String| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
        !constraint.is_empty() && constraint.iter().all(has)
    };
    if constraints.any(within) { BySource::Kept } else { BySource::NotKept }
}

impl FieldSet {
    fn new() -> FieldSet {
        FieldSet {
            fields: Vec::new(),
            folding: Vec::new(),
            is_key: false,
            by_source: BySource::Kept,
            seen: HashSet::new(),
            clashes: 0,
            keys: Vec::new(),
        }
    }

    fn is_over(&self, fields: &[String]) -> bool {
        self.fields.len() == fields.len() && fields.iter().all(|field| self.fields.contains(field))
    }

    fn may_clash(&self) -> bool {
        self.by_source == BySource::NotKept || !self.folding.is_empty()
    }

    fn add(&mut self, key: &Key, v2: &Document) {
        let mut values = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            match v2.get(field) {
                // To SQL, one NULL is never another.
                None | Some(Value::Null) => return,
                Some(Value::Text(text)) if self.folding.contains(field) => values.push(Value::Text(folded(text))),
                Some(value) => values.push(value.clone()),
            }
        }
        let hash = hash::value(&Value::Array(values));
        let is_new = match self.seen.len() < VALUES_MAX {
            true => self.seen.insert(hash),
            false => !self.seen.contains(&hash),
        };
        if !is_new {
            self.clashes += 1;
            if self.keys.len() < KEYS_TOLD_MAX {
                self.keys.push(key.to_text().chars().take(KEY_CHARS_MAX).collect());
            }
        }
    }

    fn findings(&self, findings: &mut Vec<Finding>) {
        let fields = self.fields.join(", ");
        let place = ["fields", self.fields.first().map_or("", String::as_str)];
        if self.clashes > 0 {
            let like = if self.folding.is_empty() { "the same" } else { "to the target the same" };
            let message = format!(
                "{} of the records looked at have {like} `{fields}` as one before them, and the target keeps it unique; their keys: {}",
                self.clashes,
                self.keys.join(", ")
            );
            let (weight, hint) = match self.is_key {
                true => (Weight::Problem, "two records would become one: give the target's key a collation of bytes"),
                false => (
                    Weight::Hazard,
                    "all but one of them become dead letters, which block the gates: mend them in the source",
                ),
            };
            findings.push(Finding::new("plan/not-unique", weight, message).hint(hint).at(&place));
        } else if !self.folding.is_empty() {
            let message = format!(
                "the target takes different texts in `{}` for equal (letter case, accents, or blanks at the end), and keeps `{fields}` unique",
                self.folding.join(", ")
            );
            findings.push(
                Finding::new("plan/collation", Weight::Hazard, message)
                    .hint("`plan --thorough` looks through all records; a collation of bytes (\"C\", utf8mb4_bin, BINARY) tells all texts apart")
                    .at(&place),
            );
        }
        if self.by_source == BySource::NotKept {
            let message = format!(
                "only the target keeps `{fields}` unique: until the read ramp, a client can write a record to the source that the target refuses"
            );
            findings.push(
                Finding::new("plan/unique", Weight::Hazard, message)
                    .hint("such records become dead letters, which block the gates; from the read ramp on clients get 422")
                    .at(&place),
            );
        }
    }
}

/// A text as a collation that folds most compares it: without letter case,
/// accents, and blanks at the end.
fn folded(text: &str) -> String {
    text.trim_end_matches(' ').nfd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).collect()
}
