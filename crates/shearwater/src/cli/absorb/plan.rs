//! `plan` of an `absorb`: both stores are looked at, every record of the source
//! is tried, and nothing is written.

use std::path::Path;

use serde_json::json;
use shearwater_core::error::StoreError;
use shearwater_core::query::Filter;
use shearwater_core::spec::locate;
use shearwater_core::store::{Form, InspectedTable, Inspection, Side};
use shearwater_engine::absorb::Fault;
use shearwater_engine::absorb::census::{Found, Looking};

use super::AbsorbFile;
use crate::cli::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::render::{amount, table};
use crate::wiring;

/// Collisions shown; `--json` has all that are listed.
const SHOWN_MAX: usize = 10;

/// What planning found.
pub struct Planned {
    /// What keeps the migration from starting, each a sentence.
    pub problems: Vec<String>,
    /// What somebody should know before.
    pub hazards: Vec<String>,
    /// The census.
    pub found: Found,
}

/// Plans; `None`: the spec is of another kind.
pub async fn run(context: &Context, file: &Path) -> Outcome<Option<Exit>> {
    let wiring::AnySpec::Absorb(spec) = wiring::read_spec(file, context.console.colour)? else { return Ok(None) };
    let planned = look(&spec).await?;
    context.console.answer(&planned.json(&spec), &planned.text(&spec, &file.display().to_string()))?;
    Ok(Some(if planned.problems.is_empty() { Exit::Done } else { Exit::Problems }))
}

/// Looks at both stores and every record of the source.
pub async fn look(spec: &AbsorbFile) -> Outcome<Planned> {
    let base = &spec.spec.base;
    let inspect = async |name: &str, store: &shearwater_core::spec::StoreSpec| {
        shearwater_stores::inspect(&store.url)
            .await
            .map_err(|error| Failure::from(error).within(&format!("{name} {}", store.shown_url)))
    };
    let mut planned = Planned { problems: Vec::new(), hazards: Vec::new(), found: Found::default() };
    if spec.shapes.identity().is_some() && shearwater_stores::form(&base.target.url)? == Form::Documents {
        // Whatever else there is to say of the stores: no record could have a key.
        planned.problems.push(
            "the target keeps no tables, so [identity] has no place for the keys that it assigns; compute the key by \
             a rule with `back` instead"
                .to_owned(),
        );
        return Ok(planned);
    }
    let (source, target) = (inspect("source", &base.source).await?, inspect("target", &base.target).await?);
    planned.looks(spec, &source, &target);
    if planned.problems.is_empty() {
        let source = super::open(spec, Side::Source, spec.shapes.shape(Side::Source)).await?;
        let target = super::open(spec, Side::Target, spec.shapes.shape(Side::Target)).await?;
        planned.hazards.extend(super::lists::hazards(spec, &source, &target).await?);
        // Those to records of this migration are looked up once it has assigned their keys.
        let mut lookups = super::lookups(spec).await?;
        lookups.references.retain(|referred| !referred.reference().is_own());
        let looking = Looking {
            lookups: &lookups,
            shapes: &spec.shapes,
            source: source.as_ref(),
            only: Filter::All,
            target: target.as_ref(),
        };
        planned.found = looking.census(|| Ok(())).await.map_err(untried)?;
    }
    Ok(planned)
}

/// Why the records could not be tried.
fn untried(fault: Fault) -> Failure {
    let failure = Failure::new(Exit::Store, "plan/census", fault.to_string());
    match fault {
        Fault::Store(_, StoreError { hint: Some(hint), .. }) => failure.hint(hint),
        _ => failure,
    }
}

fn find<'i>(inspection: &'i Inspection, table: &str) -> Option<&'i InspectedTable> {
    inspection.tables.iter().find(|found| found.name.eq_ignore_ascii_case(table))
}

impl Planned {
    fn looks(&mut self, spec: &AbsorbFile, source: &Inspection, target: &Inspection) {
        let base = &spec.spec.base;
        match find(source, &base.source.table) {
            None => self.problems.push(format!("the source has no table {:?}", base.source.table)),
            Some(table) => {
                let flag = spec.shapes.flag();
                if table.columns.iter().any(|column| column.name.eq_ignore_ascii_case(flag)) {
                    self.problems.push(format!(
                        "table {:?} has a column {flag:?} already; name the flag otherwise: [source] flag = …",
                        table.name
                    ));
                }
                self.hazards.extend(table.hazards.iter().map(|hazard| format!("source: {hazard}")));
                self.hazards.push(format!(
                    "the start adds the column {flag:?} to table {:?}: programs that insert without naming columns, \
                     or read all of them by number, meet it",
                    table.name
                ));
            }
        }
        let Some(table) = find(target, &base.target.table) else {
            self.problems.push(format!(
                "the target has no table {:?}; absorb moves into a table that is in use",
                base.target.table
            ));
            return;
        };
        self.hazards.extend(table.hazards.iter().map(|hazard| format!("target: {hazard}")));
        for column in &table.columns {
            let is_given = base.fields.iter().any(|field| field.name.eq_ignore_ascii_case(&column.name));
            let fills_itself = column.nullable || column.default.is_some() || column.identity || column.generated;
            if !is_given && !fills_itself {
                self.problems.push(format!(
                    "column {:?} of the target is NOT NULL without a default, and neither [fields] nor [require] gives it",
                    column.name
                ));
            }
        }
        if !spec.shapes.keys_in_order() {
            self.hazards.push(
                "the rule of the key does not keep the order of keys, so a page of a list whose order ends in ties \
                 reads all records of a tie; sort by a field with few equal values"
                    .to_owned(),
            );
        }
    }

    fn json(&self, spec: &AbsorbFile) -> serde_json::Value {
        json!({
            "migration": spec.spec.base.migration,
            "ready": self.problems.is_empty(),
            "problems": self.problems,
            "hazards": self.hazards,
            "records": self.found.census.records,
            "collisions": self.found.census.collisions.iter()
                .map(|(field, count)| json!({ "field": field, "records": count })).collect::<Vec<_>>(),
            "refused": self.found.census.refused,
            "listed": self.found.listed,
        })
    }

    fn text(&self, spec: &AbsorbFile, file: &str) -> String {
        let base = &spec.spec.base;
        let mut text = table::pairs(&[
            ("migration", base.migration.clone()),
            ("from", format!("{} in {}", base.source.table, base.source.shown_url)),
            ("into", format!("{} in {}", base.target.table, base.target.shown_url)),
            ("requires", spec.shapes.require().join(", ")),
        ]);
        for problem in &self.problems {
            let (start, _) = locate(&spec.text, &["target", "table"]);
            let line = spec.text[..start.min(spec.text.len())].matches('\n').count() + 1;
            text.push_str(&format!("problem: {problem} ({file}:{line})\n"));
        }
        for hazard in &self.hazards {
            text.push_str(&format!("hazard: {hazard}\n"));
        }
        let census = &self.found.census;
        text.push_str(&format!("{} in the source\n", amount::counted(census.records, "record", "records")));
        for (field, count) in &census.collisions {
            let records = amount::counted(*count, "record has", "records have");
            text.push_str(&format!("{records} a value of {field} that the target has already\n"));
        }
        if census.refused > 0 {
            text.push_str(&format!(
                "{} refused by the rules\n",
                amount::counted(census.refused, "record is", "records are")
            ));
        }
        let rows: Vec<Vec<String>> = self
            .found
            .listed
            .iter()
            .take(SHOWN_MAX)
            .map(|one| vec![one.key.clone(), one.field.clone(), one.becomes.clone()])
            .collect();
        if !rows.is_empty() {
            text.push_str(&table::with_header(&["key", "because of", "becomes"], &rows));
        }
        text
    }
}
