//! Plan: a spec checked against the live stores, with predictions and hazards.
//!
//! Pure: the caller looks at the stores, reads a sample, and measures; what it
//! all means is decided here.

mod bounds;
pub(crate) mod columns;
mod distinct;
mod foreign_keys;
mod limits;
pub mod require;
mod sample;
mod tables;
#[cfg(test)]
mod tests;

use crate::mapping::Mapping;
use crate::shape::{ChildShape, FieldType, Layout};
use crate::spec::{LayoutSpec, RuleFrom, Spec, Unmapped};
use crate::store::{Covers, Estimate, InspectedTable, Inspection};

pub use sample::{Refused, Sample};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The migration cannot start like this.
    Problem,
    /// It can start; somebody should know and decide.
    Hazard,
    /// Good to know.
    Note,
}

impl Weight {
    /// The word for output.
    pub fn word(self) -> &'static str {
        match self {
            Weight::Problem => "problem",
            Weight::Hazard => "hazard",
            Weight::Note => "note",
        }
    }
}

/// One thing that planning found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The stable code, for example `plan/table-absent`.
    pub code: &'static str,
    /// How much it weighs.
    pub weight: Weight,
    /// What was found and what was expected, without row values.
    pub message: String,
    /// What the reader can do.
    pub hint: Option<String>,
    /// The keys in the spec that it is about, for [`crate::spec::locate`].
    pub place: Vec<String>,
}

/// What the caller measured by writing the sample to a scratch store of the
/// target's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Records read, mapped and written.
    pub records: u64,
    /// How long that took on one worker, microseconds.
    pub elapsed_micros: u64,
    /// Bytes of the scratch store afterwards.
    pub bytes: u64,
    /// One durable write of one record, microseconds.
    pub commit_micros: u64,
}

/// What capture adds to a program's write, as the caller measured it on a
/// scratch table of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureCost {
    /// One update of one row without capture, microseconds.
    pub plain_micros: u64,
    /// The same with capture, microseconds.
    pub captured_micros: u64,
}

impl CaptureCost {
    /// What capture adds to an update, microseconds; 0 where it is lost in the noise.
    pub fn added_micros(&self) -> u64 {
        self.captured_micros.saturating_sub(self.plain_micros)
    }

    /// What capture adds to an update, percent of what it takes without.
    pub fn added_percent(&self) -> u64 {
        self.added_micros().saturating_mul(100).checked_div(self.plain_micros).unwrap_or(0)
    }
}

/// What the migration will come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// Records to copy.
    pub records: u64,
    /// Whether `records` was counted.
    pub exact: bool,
    /// Rows that each table of the target will have, root first.
    pub rows: Vec<(String, u64)>,
    /// Bytes of the source now.
    pub source_bytes: u64,
    /// Bytes of the target afterwards; `None` when nothing was measured.
    pub target_bytes: Option<u64>,
    /// Records per second of the backfill; `None` when nothing was measured.
    pub backfill_records_per_s: Option<u64>,
    /// Time of the backfill, ms; `None` when nothing was measured.
    pub backfill_ms: Option<u64>,
    /// The pause of writes in the cutover, ms; `None` when nothing was measured.
    pub pause_ms: Option<u64>,
    /// What capture costs the source's writers; `None` when nothing was measured.
    pub capture: Option<CaptureCost>,
}

/// A spec checked against live stores.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Everything found, problems first.
    pub findings: Vec<Finding>,
    /// What it will come to.
    pub predictions: Predictions,
}

impl Plan {
    /// Whether the migration can start.
    pub fn is_ready(&self) -> bool {
        self.count(Weight::Problem) == 0
    }

    /// How many findings have this weight.
    pub fn count(&self, weight: Weight) -> usize {
        self.findings.iter().filter(|finding| finding.weight == weight).count()
    }
}

/// Durable steps while writes are held: close, the last drain, `Switched`,
/// open, `Opened`, and one for whatever else holds the disk.
const PAUSE_COMMITS: u64 = 6;

/// Records whose marks are still to be drained when writes are held; the
/// cutover only starts when the backlog is about empty.
const PAUSE_RECORDS: u64 = 20;

/// Makes the plan. `target` is `None` when its database does not exist yet.
pub fn plan(
    spec: &Spec,
    mapping: &Mapping,
    source: &Inspection,
    target: Option<&Inspection>,
    sample: &Sample,
    measured: Option<&Measured>,
) -> Plan {
    let mut findings = Vec::new();
    let root = tables::check_source(spec, mapping.source(), source, &mut findings);
    tables::check_target(spec, mapping.target(), target, &mut findings);
    columns::check_source(mapping.source(), source, &mut findings);
    columns::check_target(mapping.target(), target.unwrap_or(&Inspection::default()), &mut findings);
    bounds::check(&bounds::pairs(spec, source, target), target, &mut findings);
    if let Some(target) = target {
        foreign_keys::check_existing(mapping.target(), target, &mut findings);
    }
    foreign_keys::check_asked(mapping.target(), target, &mut findings);
    foreign_keys::check_cascades(mapping.source(), source, &mut findings);
    sample.findings(&mut findings);
    of_spec(spec, &mut findings);
    of_capture(source, target, &mut findings);
    of_store("source", mapping.source(), source, &mut findings);
    target.into_iter().for_each(|look| {
        of_store("target", mapping.target(), look, &mut findings);
        of_types(spec, mapping.target(), look, &mut findings);
    });
    let predictions = predict(spec, mapping.target(), root.unwrap_or_default(), sample, measured);
    of_predictions(spec, &predictions, &mut findings);
    if root.is_some_and(|table| table.records == 0) {
        findings.push(Finding::new("plan/empty", Weight::Note, "the source has no records").at(&["source", "table"]));
    }
    findings.sort_by_key(|finding| finding.weight);
    Plan { findings, predictions }
}

/// What a store says of itself and of the tables that take part.
fn of_store(side: &str, layout: &Layout, look: &Inspection, findings: &mut Vec<Finding>) {
    let mut names = vec![layout.table()];
    if let Layout::Rows(shape) = layout {
        let mut open: Vec<&ChildShape> = shape.children.iter().collect();
        while let Some(child) = open.pop() {
            names.push(&child.table);
            open.extend(&child.children);
        }
    }
    let takes_part = |table: &&InspectedTable| names.iter().any(|name| name.eq_ignore_ascii_case(&table.name));
    let of_tables = look.tables.iter().filter(takes_part).flat_map(|table| &table.hazards);
    for hazard in look.hazards.iter().chain(of_tables) {
        findings.push(Finding::new("plan/store", Weight::Hazard, format!("{side}: {hazard}")));
    }
}

/// Fields of a document whose types the target has not.
fn of_types(spec: &Spec, layout: &Layout, look: &Inspection, findings: &mut Vec<Finding>) {
    if matches!(layout, Layout::Rows(_)) {
        return;
    }
    for rule in spec.fields.iter().filter(|rule| rule.child.is_none() && look.lacks.contains(&rule.ty)) {
        let (name, ty) = (&rule.name, rule.ty.name());
        let message = format!(
            "the target has no values of type {ty}: from `complete` on, `{name}` is read as it is written there"
        );
        let hint = match rule.ty {
            FieldType::Float => {
                "give the rule type = \"decimal\" and cast = true: then clients see the same before and after"
            }
            _ => "give the rule type = \"text\" and cast = true: then clients see the same before and after",
        };
        findings.push(Finding::new("plan/type-lost", Weight::Hazard, message).hint(hint).at(&["fields", name]));
    }
}

impl Finding {
    fn new(code: &'static str, weight: Weight, message: impl Into<String>) -> Finding {
        Finding { code, weight, message: message.into(), hint: None, place: Vec::new() }
    }

    fn hint(mut self, hint: impl Into<String>) -> Finding {
        self.hint = Some(hint.into());
        self
    }

    fn at(mut self, place: &[&str]) -> Finding {
        self.place = place.iter().map(|key| (*key).to_owned()).collect();
        self
    }

    fn at_owned(mut self, place: &[String]) -> Finding {
        self.place = place.to_vec();
        self
    }
}

/// Choices in the spec that somebody should have made knowingly.
fn of_spec(spec: &Spec, findings: &mut Vec<Finding>) {
    for field in &spec.fields {
        let place = ["fields", field.name.as_str()];
        match &field.from {
            RuleFrom::Sql { back, .. } if back.is_empty() => findings.push(
                Finding::new(
                    "plan/derived",
                    Weight::Note,
                    format!("`{}` is derived: v2 clients cannot set it", field.name),
                )
                .at(&place),
            ),
            RuleFrom::TargetOnly => findings.push(
                Finding::new(
                    "plan/target-only",
                    Weight::Note,
                    format!("only v2 has `{}`; beside records of the source it is parked", field.name),
                )
                .at(&place),
            ),
            RuleFrom::Path(_) | RuleFrom::Sql { .. } | RuleFrom::Constant(_) => {}
        }
    }
    // Tables of declared columns have no other fields.
    let has_others = !matches!(&spec.source.layout, LayoutSpec::Rows { residue: None, .. });
    if spec.unmapped == Unmapped::Refuse && has_others {
        findings.push(
            Finding::new(
                "plan/refuse",
                Weight::Hazard,
                "records with fields that no rule names are refused, also those that clients write from now on",
            )
            .hint("keep them instead: [unmapped] keep_in = \"extra\"")
            .at(&["unmapped", "refuse"]),
        );
    }
}

/// What capture does to every write.
fn of_capture(source: &Inspection, target: Option<&Inspection>, findings: &mut Vec<Finding>) {
    let covered = |look: &Inspection| look.covers == Covers::Everyone;
    let message = match covered(source) && target.is_none_or(covered) {
        true => {
            "from the start to complete, triggers on both stores write one sidecar row with every write, \
             in the same transaction"
        }
        false => {
            "from the start to complete, every write through the gateway sets a mark in the same transaction; \
             where a store has no triggers, writes past the gateway are noticed only when they are looked at"
        }
    };
    findings.push(Finding::new("plan/capture", Weight::Note, message));
}

fn predict(
    spec: &Spec,
    target: &Layout,
    source: Estimate,
    sample: &Sample,
    measured: Option<&Measured>,
) -> Predictions {
    let scaled = |part: u64, of: u64| match of {
        0 => 0,
        of => u64::try_from(u128::from(part) * u128::from(source.records) / u128::from(of)).unwrap_or(u64::MAX),
    };
    let mut rows = vec![(target.table().to_owned(), source.records)];
    rows.extend(sample.child_rows.iter().map(|(table, rows)| (table.clone(), scaled(*rows, sample.mapped))));
    // Writers queue for the store's one writer, so workers overlap reading and
    // mapping only; the rate of one worker is the honest prediction.
    let rate = measured.filter(|m| m.records > 0 && m.elapsed_micros > 0).map(|m| {
        let per_second = u128::from(m.records) * 1_000_000 / u128::from(m.elapsed_micros);
        let paced = per_second * u128::from(spec.pace.duty_percent_max) / 100;
        u64::try_from(paced).unwrap_or(u64::MAX).max(1)
    });
    Predictions {
        records: source.records,
        exact: source.exact,
        rows,
        source_bytes: source.bytes,
        target_bytes: measured.map(|m| scaled(m.bytes, m.records)),
        backfill_records_per_s: rate,
        backfill_ms: rate.map(|rate| source.records.saturating_mul(1_000) / rate),
        pause_ms: measured.map(|m| {
            let drain_micros = m.elapsed_micros.saturating_mul(PAUSE_RECORDS).checked_div(m.records).unwrap_or(0);
            (m.commit_micros * PAUSE_COMMITS + drain_micros).div_ceil(1_000)
        }),
        capture: None,
    }
}

fn of_predictions(spec: &Spec, predictions: &Predictions, findings: &mut Vec<Finding>) {
    if let Some(pause_ms) = predictions.pause_ms.filter(|ms| *ms > spec.gates.pause_ms_max) {
        findings.push(
            Finding::new(
                "plan/pause",
                Weight::Hazard,
                format!(
                    "the cutover will hold writes for about {pause_ms} ms; allowed are {} ms",
                    spec.gates.pause_ms_max
                ),
            )
            .hint("a cutover over its budget gives itself up; raise pause_ms_max or use a faster disk")
            .at(&["gates", "pause_ms_max"]),
        );
    }
}
