//! Enforce: only with a durable proof that every record has its value, the
//! store is made to refuse records without one, in steps that each hold a lock
//! for an instant. When a row stands in the way all of it is taken back.

use shearwater_core::Key;
use shearwater_core::evolve::{Alteration, Stage};
use shearwater_core::journal::Event;
use shearwater_core::lifecycle::require::{Filling, State, Step};

use super::alter::{Climbed, climb};
use super::{Helm, expand};
use crate::gates::Gate;
use crate::ledger::Halt;

/// What must be true before enforce.
pub(super) fn gates(state: &State, mismatches_max: u64) -> Vec<Gate> {
    let filled = matches!(state.filling, Filling::Done { .. });
    let (verified, told) = match state.verified {
        None => (false, "no verification has ended since the backfill".to_owned()),
        Some((_, totals)) => (
            totals.mismatches() <= mismatches_max && totals.missing == 0,
            format!(
                "the last verification found {} records without a value, {} with a wrong one, {} that cannot be read; \
                 {mismatches_max} mismatches are allowed",
                totals.missing, totals.different, totals.refused
            ),
        ),
    };
    vec![
        Gate {
            code: "gate/backfill",
            open: filled,
            message: if filled { "the backfill has ended" } else { "the backfill has not ended" }.to_owned(),
            hint: Some("`status` shows how far it is"),
        },
        Gate { code: "gate/verified", open: verified, message: told, hint: Some("`verify`") },
    ]
}

/// From backfill into enforce.
pub(super) async fn enforce(helm: &Helm) -> Result<serde_json::Value, Halt> {
    let state = helm.state();
    if state.began.is_none() {
        crate::gates::refuse_closed(&gates(&state, helm.setup.spec.gates.mismatches_max))?;
        helm.ledger.append(Event::Require { step: Step::Began { stage: Stage::Enforce } }).await?;
    }
    expand::go_on(helm, Stage::Enforce).await
}

/// Takes back what a stage has added, because rows stand in its way.
pub(super) async fn abandon(
    helm: &Helm,
    stage: Stage,
    what: Alteration,
    keys: Vec<Key>,
) -> Result<serde_json::Value, Halt> {
    // Left behind, a check would refuse every write to those rows, of other columns too.
    for drop in [Alteration::DropCheck, Alteration::DropValues] {
        let drops = |stage: Stage| helm.setup.evolve.alterations(stage).contains(&drop);
        if drops(stage) || (stage == Stage::Enforce && drops(Stage::Back)) {
            match climb(helm, drop).await? {
                Climbed::Made { .. } => {}
                Climbed::Violated(_) => return Err(Halt::Broken("a check cannot be dropped".to_owned())),
            }
        }
    }
    let (found, then) = match what {
        Alteration::ValidateValues => (
            "records with a value that is not declared",
            "mend them, or declare the value; then `verify` and `advance`",
        ),
        _ => (
            "records without a value",
            "they are filled again by the backfill, which begins by itself; then `verify` and `advance`",
        ),
    };
    let reason = format!("{}: {found}", what.name());
    let shown: Vec<String> = keys.iter().map(Key::to_text).collect();
    let count = shown.len();
    helm.ledger.append(Event::Require { step: Step::Abandoned { stage, reason, keys: shown } }).await?;
    Err(Halt::refused(
        "enforce/violated",
        format!("{} found {found} ({count} of them are named in `history`); what it had added is gone", what.name()),
        then,
    ))
}
