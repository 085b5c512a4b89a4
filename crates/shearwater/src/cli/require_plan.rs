//! What `plan` says of a required field: every statement with its lock, what it
//! does with the rows and its expected time, and what outdated clients must know.

use std::sync::Arc;

use serde_json::{Value, json};
use shearwater_core::evolve::{Effect, Evolve, FillStatement, Stage, Statement};
use shearwater_core::fill::FillClass;
use shearwater_engine::Foreground;
use shearwater_engine::require::RANGES;
use shearwater_engine::throttle::Throttle;

use super::Context;
use super::exit::{Exit, Failure, Outcome};
use super::rehearsal::{self, Rehearsed};
use crate::render::{amount, table};
use crate::wiring::require::Looked;
use crate::wiring::{self, RequireFile};

/// What a plan found.
struct Planned {
    product: String,
    class: FillClass,
    records: u64,
    stages: Vec<(Stage, Vec<Timed>)>,
    /// The backfill, and what there is to say of its bounds; `None`: nothing is filled.
    fill: Option<(Timed, String)>,
    needs_no_backfill: bool,
    hazards: Vec<String>,
    /// On what times were measured.
    measured: Option<String>,
    /// Why times were not measured.
    unmeasured: Option<String>,
}

/// One line of the plan.
struct Timed {
    what: &'static str,
    sql: String,
    lock: String,
    effect: Effect,
    /// `None`: nobody knows.
    expected_ms: Option<u64>,
    measured: bool,
}

/// The table, and the store that is to change it.
async fn looked(context: &Context, file: &RequireFile) -> Outcome<(Looked, Arc<dyn Evolve>, Vec<String>)> {
    let looked = wiring::require::look(file, context.console.colour).await?;
    let wanted = looked.required.wanted.clone();
    let evolve = shearwater_stores::open_evolve(&file.spec.store.url, wanted).await.map_err(|e| within(file, e))?;
    let mut hazards = looked.required.hazards.clone();
    hazards.extend(evolve.hazards().await.map_err(|e| within(file, e))?);
    Ok((looked, evolve, hazards))
}

fn within(file: &RequireFile, error: shearwater_core::error::StoreError) -> Failure {
    Failure::from(error).within(&format!("store {}", file.spec.store.shown_url))
}

/// What outdated clients and other readers must know.
pub(super) async fn hazards(context: &Context, file: &RequireFile) -> Outcome<Vec<String>> {
    Ok(looked(context, file).await?.2)
}

/// Looks at everything; writes to nothing but a copy of some rows, which it drops.
async fn look(context: &Context, file: &RequireFile) -> Outcome<Planned> {
    let (looked, evolve, hazards) = looked(context, file).await?;
    let within = |error| within(file, error);
    let estimate = evolve.estimate().await.map_err(within)?;
    let rows_max = Throttle::inside_a_store(file.spec.pace, &Foreground::new()).chunk_max().records as u64;
    let (rehearsed, unmeasured) =
        match rehearsal::rehearse(&file.spec.store.url, &looked.required, evolve.as_ref(), estimate, rows_max).await {
            Ok(rehearsed) => (rehearsed, None),
            Err(why) => (Rehearsed::nothing(estimate), Some(why)),
        };
    let mut stages = Vec::new();
    for stage in Stage::ALL {
        let statements = evolve.statements(stage).await.map_err(within)?;
        stages.push((stage, statements.iter().map(|s| timed(stage, s, &statements, &rehearsed)).collect()));
    }
    let needs_no_backfill = evolve.needs_no_backfill();
    let mut fill = None;
    if !needs_no_backfill && let Some(first) = evolve.fill_ranges(RANGES).await.map_err(within)?.first() {
        let FillStatement { sql, bounds, lock } = evolve.fill_statement(first, rows_max).await.map_err(within)?;
        let expected_ms = rehearsed.fill_ms();
        let measured = expected_ms.is_some();
        fill = Some((Timed { what: "fill", sql, lock, effect: Effect::Fill, expected_ms, measured }, bounds));
    }
    Ok(Planned {
        product: looked.product,
        class: looked.required.fill.class(),
        records: rehearsed.records,
        stages,
        fill,
        needs_no_backfill,
        hazards,
        measured: rehearsed.how(),
        unmeasured,
    })
}

/// A statement with its share of its alteration's time.
fn timed(stage: Stage, statement: &Statement, beside: &[Statement], rehearsed: &Rehearsed) -> Timed {
    let same = |other: &&Statement| other.what == statement.what && other.effect == statement.effect;
    let share = beside.iter().filter(same).count() as u64;
    let rewrites = beside.iter().any(|other| other.what == statement.what && other.effect != Effect::Catalogue);
    let measured = match (rewrites, statement.effect) {
        // Beside a rewrite of the whole table nothing else of the alteration is seen.
        (true, Effect::Catalogue) => None,
        _ => rehearsed.alteration_ms(stage, statement.what, statement.effect),
    };
    Timed {
        what: statement.what.name(),
        sql: statement.sql.clone(),
        lock: statement.lock.clone(),
        effect: statement.effect,
        expected_ms: Some(measured.map_or(statement.expected_ms, |ms| ms.div_ceil(share.max(1)))),
        measured: measured.is_some(),
    }
}

/// `plan`.
pub(super) async fn plan(context: &Context, file: &RequireFile, name: &str) -> Outcome<Exit> {
    let planned = look(context, file).await?;
    context.console.answer(&planned.json(file), &planned.text(file, name))?;
    Ok(Exit::Done)
}

impl Timed {
    fn json(&self) -> Value {
        json!({
            "what": self.what, "sql": self.sql, "lock": self.lock, "effect": self.effect,
            "expected_ms": self.expected_ms, "measured": self.measured,
        })
    }

    fn row(&self) -> Vec<String> {
        let expected = match (self.expected_ms, self.measured) {
            (Some(ms), true) => format!("about {}", amount::span_ms(ms)),
            (Some(ms), false) => format!("about {}, not measured here", amount::span_ms(ms)),
            (None, _) => "not measured".to_owned(),
        };
        vec![self.sql.clone(), self.lock.clone(), self.effect.what().to_owned(), expected]
    }
}

fn lines(statements: &[&Timed]) -> String {
    let rows: Vec<Vec<String>> = statements.iter().map(|statement| statement.row()).collect();
    table::with_header(&["statement", "lock", "rows", "expected"], &rows)
}

impl Planned {
    fn json(&self, file: &RequireFile) -> Value {
        let mut stages = Vec::new();
        for (stage, statements) in &self.stages {
            let statements: Vec<Value> = statements.iter().map(Timed::json).collect();
            stages.push(json!({ "stage": stage, "statements": statements }));
            if let (Stage::Expand, Some((fill, bounds))) = (stage, &self.fill) {
                stages.push(json!({ "stage": "backfill", "statements": [fill.json()], "bounds": bounds }));
            }
        }
        json!({
            "migration": file.spec.migration, "kind": "require", "ready": true, "store": self.product,
            "field": file.spec.field.name, "fill": self.class_word(), "needs_backfill": !self.needs_no_backfill,
            "records": self.records, "stages": stages, "hazards": self.hazards,
            "measured": self.measured, "unmeasured": self.unmeasured,
        })
    }

    fn class_word(&self) -> &'static str {
        match self.class {
            FillClass::Constant => "constant",
            FillClass::RowPure => "row-pure",
        }
    }

    fn text(&self, file: &RequireFile, name: &str) -> String {
        let spec = &file.spec;
        let fill = match (self.class, self.needs_no_backfill) {
            (FillClass::Constant, true) => {
                "a constant: the store adds it to every record at once, so there is nothing to fill".to_owned()
            }
            (FillClass::Constant, false) => "a constant, filled in batches".to_owned(),
            (FillClass::RowPure, _) => format!(
                "made from each record's own fields, in batches of about {} ms; about {}",
                spec.pace.chunk_ms_target,
                amount::counted(self.records, "record", "records")
            ),
        };
        let mut text = format!("{}: require {} in {}\n\n", spec.migration, spec.field.name, spec.entity);
        text.push_str(&table::pairs(&[
            ("store", format!("{}, table {} ({})", spec.store.shown_url, spec.store.table, self.product)),
            ("fill", fill),
        ]));
        text.push('\n');
        for hazard in &self.hazards {
            text.push_str(&format!("hazard: {hazard}\n"));
        }
        if let Some(how) = &self.measured {
            text.push_str(&format!("measured: {how}\n"));
        }
        if let Some(why) = &self.unmeasured {
            text.push_str(&format!("not measured: {why}\n"));
        }
        for (stage, statements) in &self.stages {
            text.push_str(&format!("\n{}: {}\n", stage.name(), when(*stage)));
            match statements.as_slice() {
                [] => text.push_str("  this store needs no statement for it\n"),
                some => text.push_str(&lines(&some.iter().collect::<Vec<_>>())),
            }
            if let (Stage::Expand, Some((fill, bounds))) = (stage, &self.fill) {
                text.push_str("\nbackfill: while clients are served, rested when they suffer\n");
                text.push_str(&lines(&[fill]));
                text.push_str(&format!("  {bounds}\n"));
            }
        }
        text.push_str(&format!("\nready: shearwater start {name}\n"));
        text
    }
}

/// When the statements of a stage are run.
fn when(stage: Stage) -> &'static str {
    match stage {
        Stage::Expand => "before members follow expand",
        Stage::Enforce => "after the backfill and a clean verification",
        Stage::Contract => "when no gateway repairs reads any more",
        Stage::Complete => "at complete; the last exit",
        Stage::Back => "a rollback from backfill, enforce or contract, to expand",
        Stage::Remove => "a rollback from expand, to planned",
    }
}
