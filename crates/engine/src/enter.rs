//! Entering a phase: say so, wait until every live member follows, raise the
//! fences, say that it is done. And installing capture before the first time.

use std::time::{Duration, Instant};

use shearwater_core::error::{Policy, StoreError, StoreErrorKind};
use shearwater_core::journal::{Event, Journal};
use shearwater_core::lifecycle::{Lifecycle, Phase, State};
use shearwater_core::store::{Fence, Role, Side};

use crate::helm::Helm;
use crate::ledger::{Halt, Lease, side_name};
use crate::{Member, failpoint};

/// How often members' leases are looked at while they are waited for.
const MEMBERS_POLL: Duration = Duration::from_millis(5);

/// The lease under which capture is installed; `copy` holds it while it uses
/// the target without capture.
pub const CAPTURE_LEASE: &str = "capture";

/// How long the capture lease lasts without being renewed: a process that was
/// killed while it held it keeps others waiting for no longer.
const CAPTURE_TTL: Duration = Duration::from_secs(3);

/// How long capture waits for the lease: a dead holder's has ended by then.
const CAPTURE_WAIT: Duration = Duration::from_secs(4);

/// Enters a phase and returns when every live member follows it.
pub async fn enter(helm: &Helm, to: Phase) -> Result<(), Halt> {
    let epoch = helm.ledger.view().state.epoch + 1;
    helm.ledger.append(Event::Entering { to, epoch }).await?;
    helm.member.nudge();
    finish(helm, to).await
}

/// Finishes what `Entering` began; also after a crash.
pub async fn finish(helm: &Helm, to: Phase) -> Result<(), Halt> {
    let state = helm.ledger.view().state.clone();
    acknowledged(helm, state.epoch).await?;
    failpoint::hit("enter-acknowledged");
    raise_fences(helm, &state).await?;
    helm.ledger.append(Event::Entered { to }).await?;
    helm.member.nudge();
    Ok(())
}

/// Waits until all live members act on `epoch` or a later one. A member that
/// does not answer stops serving when its lease ends, so the wait is bounded.
pub async fn acknowledged(helm: &Helm, epoch: u64) -> Result<(), Halt> {
    acknowledged_by(helm.setup.journal.as_ref(), helm.ledger.lease(), &helm.member, epoch).await
}

/// As [`acknowledged`], for a migration of any kind.
pub async fn acknowledged_by<S: Lifecycle>(
    journal: &dyn Journal,
    lease: &Lease,
    own: &Member<S>,
    epoch: u64,
) -> Result<(), Halt> {
    loop {
        lease.check()?;
        let members = journal.members().await?;
        if members.iter().all(|member| member.epoch >= epoch) {
            return Ok(());
        }
        own.nudge();
        tokio::time::sleep(MEMBERS_POLL).await;
    }
}

/// Installs what the target needs and the sidecars of both stores.
pub async fn capture(helm: &Helm) -> Result<(), Halt> {
    let lease = Lease::new(helm.setup.journal.clone(), CAPTURE_LEASE, helm.ledger.lease().holder().into(), CAPTURE_TTL);
    let asked = Instant::now();
    while !lease.take().await? {
        if asked.elapsed() > CAPTURE_WAIT {
            return Err(Halt::refused(
                "busy/copy",
                "a copy without capture is using the target",
                "wait until the copy has ended, or stop it, then try again",
            ));
        }
        helm.check()?;
        tokio::time::sleep(MEMBERS_POLL).await;
    }
    let installed = tokio::select! {
        installed = install(helm) => installed,
        () = lease.keep() => Err(Halt::Lost),
    };
    lease.release().await?;
    installed
}

async fn install(helm: &Helm) -> Result<(), Halt> {
    let epoch = helm.ledger.append(Event::Capturing).await?.state.epoch;
    let (source, target) = (&helm.setup.source, &helm.setup.target);
    target.provision().await.map_err(Halt::store(Side::Target))?;
    failpoint::hit("capture-provisioned");
    helm.check()?;
    source.install(Fence { role: Role::Authority, epoch }).await.map_err(Halt::store(Side::Source))?;
    failpoint::hit("capture-source-installed");
    helm.check()?;
    target.install(Fence { role: Role::Follower, epoch }).await.map_err(Halt::store(Side::Target))?;
    failpoint::hit("capture-target-installed");
    helm.ledger.append(Event::Captured).await?;
    Ok(())
}

/// The role of a side's store in a settled state; `None` while the authority
/// is moving, and where no sidecar is.
pub fn role(state: &State, side: Side) -> Option<Role> {
    if !state.captured {
        return None;
    }
    match (state.effective_phase(), side) {
        (Phase::Planned | Phase::DualWrite | Phase::ShadowRead | Phase::ReadRamp, Side::Source) => {
            Some(Role::Authority)
        }
        // Once programs have written there, those that go on doing so after a
        // rollback must be told: what they wrote would be nobody's truth.
        (Phase::Planned | Phase::DualWrite | Phase::ShadowRead | Phase::ReadRamp, Side::Target) => {
            Some(if state.rolled_back { Role::Closed } else { Role::Follower })
        }
        (Phase::ReverseWindow, Side::Source) => Some(Role::Closed),
        (Phase::ReverseWindow, Side::Target) => Some(Role::Authority),
        (Phase::Cutover | Phase::Rollback | Phase::Complete | Phase::Withdrawn, _) => None,
    }
}

/// Brings both fences to where a settled state wants them. Never two
/// authorities: the store that loses the role goes first.
pub async fn raise_fences(helm: &Helm, state: &State) -> Result<(), Halt> {
    let (Some(source), Some(target)) = (role(state, Side::Source), role(state, Side::Target)) else {
        return Ok(());
    };
    let epoch = state.epoch;
    let mut wanted = [(Side::Source, source), (Side::Target, target)];
    // The authority's fence last, so that it opens only when the other is none.
    wanted.sort_by_key(|(_, role)| *role == Role::Authority);
    for (side, role) in wanted {
        match set_fence(helm, side, Fence { role, epoch }).await {
            // The way back must be open when the target is away. Nothing follows in
            // planned, and the next phase raises this fence before it is entered.
            Err(Halt::Store { error, .. })
                if side == Side::Target
                    && state.effective_phase() == Phase::Planned
                    && error.policy() == Policy::Retry =>
            {
                tracing::warn!(code = error.code(), "the target's fence is raised later: {}", error.message);
            }
            done => done?,
        }
        failpoint::hit("fence-one-set");
    }
    failpoint::hit("fences-set");
    Ok(())
}

/// Sets one fence from whatever it is now; does nothing when it stands there
/// already, and gives up when somebody has raised it beyond.
pub async fn set_fence(helm: &Helm, side: Side, new: Fence) -> Result<(), Halt> {
    let store = helm.setup.store(side);
    let mut now = store.fence().await.map_err(Halt::store(side))?.ok_or_else(|| no_fence(side))?;
    while now != new {
        if now.epoch > new.epoch {
            return Err(Halt::Lost);
        }
        helm.check()?;
        let began = Instant::now();
        now = store.set_fence(now, new).await.map_err(Halt::store(side))?;
        helm.drain.fenced(began.elapsed());
    }
    Ok(())
}

fn no_fence(side: Side) -> Halt {
    let message = format!("the sidecar is not installed in the {} store, though the journal says so", side_name(side));
    let error = StoreError::new(StoreErrorKind::Sidecar, message)
        .with_hint("somebody removed the sidecar's tables or triggers; restore them from a backup of the store");
    Halt::Store { side, error }
}
