//! `plan`: a spec against the live stores; writes to nothing but scratch tables
//! of its own, which it drops.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::plan::{CaptureCost, Finding, Measured, Plan, Predictions, Sample, Weight};
use shearwater_core::spec::locate;
use shearwater_core::store::{Covers, Image, Inspection};

use super::exit::{Exit, Failure, Outcome};
use super::{Context, require_plan, scratch};
use crate::render::{amount, table};
use crate::wiring::{self, AnySpec, SpecFile, Which};

/// Arguments of `plan`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater plan users.toml\n  shearwater plan users.toml --thorough\n  shearwater plan users.toml --json | jq .predictions\n\nExit code 3 when the migration cannot start as it is: fit for a check in CI."
)]
pub struct PlanArgs {
    /// The spec
    pub(super) spec: PathBuf,
    /// Look at every record of the source, not at a sample: for values that a column
    /// of the target does not take, and for records that are not different where they must be
    #[arg(long)]
    thorough: bool,
}

/// How much of the source is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// At a sample, and measures in a file of its own only.
    Brief,
    /// At a sample.
    Sample,
    /// At every record.
    All,
}

/// A spec with what planning found.
pub(super) struct Planned {
    pub(super) plan: Plan,
    source: Option<Inspection>,
    target: Option<Inspection>,
    /// What was not measured, and why.
    unmeasured: Vec<String>,
}

/// Checks everything and says what it will come to.
pub async fn run(context: &Context, args: PlanArgs) -> Outcome<Exit> {
    let spec = match wiring::read_spec(&args.spec, context.console.colour)? {
        AnySpec::Move(spec) => spec,
        AnySpec::Require(file) => return require_plan::plan(context, &file, &args.spec.display().to_string()).await,
        // Those of another kind were answered before.
        other => other.into_move()?,
    };
    let planned = make(&spec, if args.thorough { Look::All } else { Look::Sample }).await?;
    let name = args.spec.display().to_string();
    context.console.answer(&planned.json(&spec), &planned.text(&name, &spec))?;
    Ok(if planned.plan.is_ready() { Exit::Done } else { Exit::Problems })
}

/// Looks at both stores, samples, measures, decides.
pub(super) async fn make(spec: &SpecFile, how_much: Look) -> Outcome<Planned> {
    let source = shearwater_stores::inspect(&spec.spec.source.url)
        .await
        .map_err(|error| Failure::from(error).within(&format!("source {}", spec.spec.source.shown_url)))?;
    let target = match shearwater_stores::inspect(&spec.spec.target.url).await {
        Ok(look) => Some(look),
        Err(error) if error.kind == StoreErrorKind::NotFound => None,
        Err(error) => return Err(Failure::from(error).within(&format!("target {}", spec.spec.target.shown_url))),
    };
    let decide = |sample: &Sample, measured| {
        shearwater_core::plan::plan(&spec.spec, &spec.mapping, &source, target.as_ref(), sample, measured)
    };
    // With problems in the tables there is nothing to sample.
    let new_sample = || Sample::new(&spec.spec, &spec.mapping, &source, target.as_ref());
    let by_looks = decide(&new_sample(), None);
    if !by_looks.is_ready() {
        return Ok(Planned { plan: by_looks, source: Some(source), target, unmeasured: Vec::new() });
    }
    let store = wiring::open_store(spec, Which::Source).await?;
    let mut sample = new_sample();
    let images = scratch::sample(store.as_ref(), &spec.mapping, &mut sample).await?;
    if how_much == Look::All {
        sample = new_sample();
        scratch::all(store.as_ref(), &spec.mapping, &mut sample).await?;
    }
    let mut unmeasured = Vec::new();
    let measured = backfill_rate(spec, how_much, images, &mut sample).await;
    let measured = measured.unwrap_or_else(|why| {
        unmeasured.push(format!("the backfill: {why}"));
        None
    });
    let mut plan = decide(&sample, measured.as_ref());
    if how_much != Look::Brief && store.covers() == Covers::Gateway {
        unmeasured.push("the cost of capture: it is the gateway's, and adds nothing to writes past it".to_owned());
    } else if how_much != Look::Brief {
        match capture_cost(&spec.spec.source.url).await {
            Ok(cost) => plan.predictions.capture = Some(cost),
            Err(why) => unmeasured.push(format!("the cost of capture: {why}")),
        }
    }
    Ok(Planned { plan, source: Some(source), target, unmeasured })
}

/// Measures how fast the sample is written in a scratch place of the target.
async fn backfill_rate(
    spec: &SpecFile,
    how_much: Look,
    images: Vec<Image>,
    sample: &mut Sample,
) -> Result<Option<Measured>, String> {
    let url = &spec.spec.target.url;
    if how_much == Look::Brief && !url.starts_with("sqlite:") {
        return Ok(None);
    }
    let place = scratch::Place::of(url, spec.mapping.target()).map_err(|error| error.to_string())?;
    place.clear().await.map_err(|error| told(&error))?;
    let measured = scratch::measure(&place, &spec.mapping, images, sample).await;
    let cleared = place.clear().await;
    let measured = measured.map_err(|error| told(&error))?;
    cleared.map_err(|error| format!("its scratch tables are left for the next `plan`: {}", told(&error)))?;
    Ok(measured)
}

/// Measures what capture adds to a write in a scratch place of the source.
async fn capture_cost(url: &str) -> Result<CaptureCost, String> {
    let place = scratch::Place::of_writes(url).map_err(|error| error.to_string())?;
    place.clear().await.map_err(|error| told(&error))?;
    let cost = scratch::capture_cost(&place).await;
    let cleared = place.clear().await;
    let cost = cost.map_err(|error| told(&error))?;
    cleared.map_err(|error| format!("its scratch table is left for the next `plan`: {}", told(&error)))?;
    Ok(cost)
}

fn told(error: &StoreError) -> String {
    match &error.hint {
        Some(hint) => format!("{} ({hint})", error.message),
        None => error.message.clone(),
    }
}

impl Planned {
    fn json(&self, spec: &SpecFile) -> Value {
        let predictions = &self.plan.predictions;
        json!({
            "migration": spec.spec.migration,
            "ready": self.plan.is_ready(),
            "source": self.source.as_ref().map(|look| &look.product),
            "target": self.target.as_ref().map(|look| &look.product),
            "findings": self.plan.findings.iter().map(|finding| finding_json(finding, &spec.text)).collect::<Vec<_>>(),
            "predictions": {
                "records": predictions.records,
                "exact": predictions.exact,
                "rows": predictions.rows.iter().map(|(table, rows)| json!({ "table": table, "rows": rows })).collect::<Vec<_>>(),
                "source_bytes": predictions.source_bytes,
                "target_bytes": predictions.target_bytes,
                "backfill_records_per_s": predictions.backfill_records_per_s,
                "backfill_ms": predictions.backfill_ms,
                "pause_ms": predictions.pause_ms,
                "capture": predictions.capture.map(|cost| json!({
                    "plain_us": cost.plain_micros,
                    "captured_us": cost.captured_micros,
                    "added_percent": cost.added_percent(),
                })),
            },
            "unmeasured": self.unmeasured,
        })
    }

    fn text(&self, file: &str, spec: &SpecFile) -> String {
        let spec_of = &spec.spec;
        let mut text = format!("{}: move {}\n\n", spec_of.migration, spec_of.entity);
        let store = |shown: &str, table: &str, look: Option<&Inspection>| {
            let product = look.map_or("not there yet", |look| look.product.as_str());
            format!("{shown}, table {table} ({product})")
        };
        text.push_str(&table::pairs(&[
            ("source", store(&spec_of.source.shown_url, &spec_of.source.table, self.source.as_ref())),
            ("target", store(&spec_of.target.shown_url, &spec_of.target.table, self.target.as_ref())),
        ]));
        text.push('\n');
        text.push_str(&findings_text(&self.plan, file, &spec.text));
        text.push_str(&predictions_text(&self.plan.predictions));
        for what in &self.unmeasured {
            text.push_str(&format!("not measured: {what}\n"));
        }
        text.push('\n');
        text.push_str(&match self.plan.count(Weight::Problem) {
            0 => format!("ready: shearwater start {file}\n"),
            problems => {
                format!("{}: it cannot start like this\n", amount::counted(problems as u64, "problem", "problems"))
            }
        });
        text
    }
}

/// Findings, problems first, each with its line in the spec.
pub(super) fn findings_text(plan: &Plan, file: &str, spec: &str) -> String {
    let mut text = String::new();
    for finding in &plan.findings {
        text.push_str(&format!("{}[{}]: {}\n", finding.weight.word(), finding.code, finding.message));
        if let Some(line) = line_of(finding, spec) {
            text.push_str(&format!("  --> {file}:{line}\n"));
        }
        if let Some(hint) = &finding.hint {
            text.push_str(&format!(" hint: {hint}\n"));
        }
        text.push('\n');
    }
    text
}

fn line_of(finding: &Finding, spec: &str) -> Option<usize> {
    let keys: Vec<&str> = finding.place.iter().map(String::as_str).collect();
    let (start, end) = locate(spec, &keys);
    (end > 0).then(|| spec[..start].matches('\n').count() + 1)
}

fn finding_json(finding: &Finding, spec: &str) -> Value {
    json!({
        "code": finding.code,
        "weight": finding.weight.word(),
        "message": finding.message,
        "hint": finding.hint,
        "line": line_of(finding, spec),
    })
}

fn predictions_text(predictions: &Predictions) -> String {
    let about = if predictions.exact { "" } else { "about " };
    let rows: Vec<String> =
        predictions.rows.iter().map(|(table, rows)| format!("{table} {}", amount::count(*rows))).collect();
    let mut lines = vec![
        (
            "records",
            format!("{about}{}, {}", amount::count(predictions.records), amount::bytes(predictions.source_bytes)),
        ),
        ("rows", rows.join(", ")),
    ];
    if let Some(bytes) = predictions.target_bytes {
        lines.push(("target", format!("about {}", amount::bytes(bytes))));
    }
    if let (Some(rate), Some(ms)) = (predictions.backfill_records_per_s, predictions.backfill_ms) {
        lines.push(("backfill", format!("about {}, at {} records/s", amount::span_ms(ms), amount::count(rate))));
    }
    if let Some(ms) = predictions.pause_ms {
        lines.push(("pause", format!("about {ms} ms of held writes at the cutover")));
    }
    if let Some(cost) = predictions.capture {
        let (plain, captured, percent) = (cost.plain_micros, cost.captured_micros, cost.added_percent());
        let of = "measured on a scratch table of the source, a read and an update of one row at a time";
        lines.push(("capture", format!("a write of {plain} µs takes {captured} µs, {percent} % more: {of}")));
    }
    format!("predicted\n{}", table::pairs(&lines))
}
