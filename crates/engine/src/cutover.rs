//! Moving the authority, in either direction: fence, drain, decide, open. The
//! pause is predicted before, bounded, measured; out of budget it gives up.

use std::time::{Duration, Instant};

use serde_json::json;
use shearwater_core::error::Policy;
use shearwater_core::journal::{Event, Refusal};
use shearwater_core::lifecycle::Phase;
use shearwater_core::store::{Fence, Role, Side};

use crate::enter::{acknowledged, raise_fences, role, set_fence};
use crate::failpoint;
use crate::follow::{FOLLOW_KEYS_MAX, follow};
use crate::gates;
use crate::helm::{Course, Helm};
use crate::ledger::{Halt, side_name};
use crate::reconcile::{Take, pass};

/// Rounds of draining before the fence closes: under load the backlog shrinks
/// to what arrives during one round, and more rounds win nothing.
const PREDRAIN_ROUNDS_MAX: usize = 20;

/// A backlog this small is drained in one batch of a few milliseconds.
const PREDRAIN_KEYS_ENOUGH: u64 = 32;

/// Keys in one step of draining while writes are held: small, so that the
/// budget is looked at often.
const DRAIN_KEYS_MAX: usize = FOLLOW_KEYS_MAX;

/// Pauses between looks at marks that another member is clearing right now.
const DRAIN_POLL: Duration = Duration::from_millis(1);

/// Where the report of the last change of authority is kept:
/// `{"from": "source", "to": "target", "pause_micros": n, …}` as [`switch`] answers it.
pub const SWITCH_NOTE: &str = "switch";

/// Moves the authority to the other store.
///
/// Report: `{"phase": "…", "from": "source", "to": "target", "epoch": n, "drained": n,
/// "predicted_ms": n, "pause_micros": n}`.
pub async fn switch(helm: &Helm, from: Side) -> Result<serde_json::Value, Halt> {
    let to = from.other();
    let budget = Duration::from_millis(helm.setup.spec.gates.pause_ms_max);
    predrain(helm).await?;
    let fences = measure(helm, from).await?;
    let predicted = predict(helm, from, budget).await?;
    let epoch = helm.ledger.view().state.epoch + 1;

    // From here writes are held: members follow the entry as soon as they see it.
    let began = Instant::now();
    let budget_ms = budget.as_millis() as u64;
    let predicted_ms = predicted.as_millis() as u64;
    helm.ledger.append(Event::SwitchBegan { from, to, epoch, budget_ms, predicted_ms }).await?;
    helm.member.nudge();
    // A store that hangs must not hold writes beyond the budget either: what is
    // cut off here is guarded by the fence's compare-and-set and by stamps.
    let held = tokio::time::timeout_at((began + budget).into(), held(helm, from, epoch, fences)).await;
    let drained = match held.unwrap_or_else(|_| Err(out_of_budget(budget))) {
        Ok(drained) => drained,
        Err(halt) => return Err(abort_after(helm, halt).await?),
    };
    helm.ledger.append(Event::Switched { drained }).await?;
    let pause = open(helm, began).await?;
    let phase = helm.ledger.view().state.phase;
    let report = json!({
        "phase": phase, "from": side_name(from), "to": side_name(to), "epoch": epoch, "drained": drained,
        "predicted_ms": predicted_ms, "pause_micros": pause.as_micros() as u64,
    });
    helm.setup.journal.set_note(SWITCH_NOTE, &report.to_string()).await?;
    acknowledged(helm, epoch).await?;
    Ok(report)
}

/// Brings the backlog down while clients still write, so that little is left for the pause.
async fn predrain(helm: &Helm) -> Result<(), Halt> {
    let mut last = u64::MAX;
    for _ in 0..PREDRAIN_ROUNDS_MAX {
        let Some(course) = helm.course() else { return Ok(()) };
        pass(helm, course, Take::All).await?;
        let authority = course.authority;
        let left = helm.setup.store(authority).dirty_count().await.map_err(Halt::store(authority))?;
        if left <= PREDRAIN_KEYS_ENOUGH || left >= last {
            return Ok(());
        }
        last = left;
    }
    Ok(())
}

/// The fences as they are, after measuring what setting one costs.
async fn measure(helm: &Helm, from: Side) -> Result<Fence, Halt> {
    let epoch = helm.ledger.view().state.epoch;
    let now = Fence { role: Role::Authority, epoch };
    set_fence(helm, from, now).await?;
    let began = Instant::now();
    helm.setup.store(from).set_fence(now, now).await.map_err(Halt::store(from))?;
    helm.drain.fenced(began.elapsed());
    Ok(now)
}

/// The predicted pause; refused when it is longer than the budget.
async fn predict(helm: &Helm, from: Side, budget: Duration) -> Result<Duration, Halt> {
    let backlog = helm.setup.store(from).dirty_count().await.map_err(Halt::store(from))?;
    let predicted = helm.drain.pause(backlog);
    if predicted > budget {
        let (predicted, budget) = (predicted.as_millis(), budget.as_millis());
        let message =
            format!("a pause of {predicted} ms is predicted for {backlog} dirty keys, {budget} ms are allowed");
        return Err(Halt::refused("gate/pause", message, gates::PAUSE_HINT));
    }
    Ok(predicted)
}

/// Closes the authority and drains it; answers the keys drained.
async fn held(helm: &Helm, from: Side, epoch: u64, open: Fence) -> Result<u64, Halt> {
    let closed = Fence { role: Role::Closed, epoch };
    helm.check()?;
    let now = helm.setup.store(from).set_fence(open, closed).await.map_err(Halt::store(from))?;
    if now != closed {
        return Err(Halt::Lost);
    }
    failpoint::hit("switch-closed");
    let drained = drain(helm, Course { authority: from, epoch }).await?;
    failpoint::hit("switch-drained");
    followed_by_all(helm, epoch).await?;
    Ok(drained)
}

/// Waits until every live member follows the switch. One that still routes
/// reads by the old phase would answer from the store that is left, after the
/// new authority has taken writes.
async fn followed_by_all(helm: &Helm, epoch: u64) -> Result<(), Halt> {
    while helm.setup.journal.members().await?.iter().any(|member| member.epoch < epoch) {
        helm.member.nudge();
        tokio::time::sleep(DRAIN_POLL).await;
    }
    Ok(())
}

/// Brings every dirty key to the follower; the authority takes no writes meanwhile.
async fn drain(helm: &Helm, course: Course) -> Result<u64, Halt> {
    let authority = helm.setup.store(course.authority);
    let mut drained = 0;
    loop {
        let marks = authority.dirty(None, DRAIN_KEYS_MAX).await.map_err(Halt::store(course.authority))?;
        if marks.is_empty() {
            return Ok(drained);
        }
        let keys: Vec<_> = marks.into_iter().map(|mark| mark.key).collect();
        let followed = follow(helm, course, &keys).await?;
        drained += followed.cleared;
        if !followed.refused.is_empty() && followed.cleared == 0 {
            followed.bury(helm, course).await?;
            let message = format!("{} records are refused by the other store", followed.refused.len());
            let hint = "`dead-letters` lists them with reasons; mend them, then try again";
            return Err(Halt::refused("gate/dead-letters", message, hint));
        }
        if followed.cleared == 0 {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }
}

fn out_of_budget(budget: Duration) -> Halt {
    let message = format!(
        "the pause budget of {} ms was spent before everything was drained and every member followed",
        budget.as_millis()
    );
    Halt::refused("switch/budget", message, gates::PAUSE_HINT)
}

/// Gives the change up after `halt`, if this coordinator still may; answers what to tell.
async fn abort_after(helm: &Helm, halt: Halt) -> Result<Halt, Halt> {
    let refusal = halt.into_refusal()?;
    abort(helm, &refusal.message).await?;
    Ok(Halt::Refused(Refusal { message: format!("{}; the change was aborted", refusal.message), ..refusal }))
}

/// Gives an undecided change of authority up: says so, then opens the old
/// authority under a new epoch. In this order, so that a coordinator that was
/// asleep cannot journal its decision once the old authority takes writes again.
pub async fn abort(helm: &Helm, reason: &str) -> Result<(), Halt> {
    let before = helm.ledger.view();
    let epoch = before.state.epoch + 1;
    let view = helm.ledger.append(Event::SwitchAborted { reason: reason.into(), epoch }).await?;
    helm.member.nudge();
    if let Some(switch) = &before.state.switch {
        // First of all the store that clients wait for; the other one was never opened.
        set_fence(helm, switch.from, Fence { role: Role::Authority, epoch }).await?;
    }
    raise_fences(helm, &view.state).await
}

/// Finishes a decided change: opens the new authority, then says so; also
/// after a crash. Answers the pause.
pub async fn open(helm: &Helm, began: Instant) -> Result<Duration, Halt> {
    let state = helm.ledger.view().state.clone();
    let Some(switch) = state.switch.clone().filter(|switch| switch.decided) else {
        return Err(Halt::Broken("nothing is decided that could be opened".into()));
    };
    set_fence(helm, switch.to, Fence { role: Role::Authority, epoch: state.epoch }).await?;
    failpoint::hit("switch-opened");
    let pause = began.elapsed();
    let view = helm.ledger.append(Event::Opened { pause_micros: pause.as_micros() as u64 }).await?;
    helm.member.nudge();
    // The store that was left stays closed to everybody but us.
    if let Some(left) = role(&view.state, switch.from) {
        settle_left(helm, switch.from, Fence { role: left, epoch: view.state.epoch }).await?;
    }
    Ok(pause)
}

/// What is left to do after opening must not fail the change: recovery and the
/// next step bring the fence there again.
async fn settle_left(helm: &Helm, side: Side, fence: Fence) -> Result<(), Halt> {
    match set_fence(helm, side, fence).await {
        Err(Halt::Store { error, .. }) if error.policy() == Policy::Retry => {
            tracing::warn!(code = error.code(), "the fence of the {} store is set later", side_name(side));
            Ok(())
        }
        done => done,
    }
}

/// The step from `read-ramp`: its gates, then the switch.
pub async fn cutover(helm: &Helm) -> Result<serde_json::Value, Halt> {
    let state = helm.ledger.view().state.clone();
    let facts = gates::facts(&helm.setup, &state, |keys| helm.drain.pause(keys)).await?;
    let mut gates = gates::gates(Phase::Cutover, &state, &facts, &helm.setup.spec.gates);
    // The switch predicts the pause from what it measures then, and refuses by the
    // same gate; by what the last attempt measured it might stay closed for ever.
    gates.retain(|gate| gate.code != "gate/pause");
    gates::refuse_closed(&gates)?;
    switch(helm, Side::Source).await
}
