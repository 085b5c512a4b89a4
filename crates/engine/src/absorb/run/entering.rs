//! From one phase to the next: the stores are prepared, members follow, fences
//! are raised, and what is ours goes where the way ends.

use std::time::Duration;

use shearwater_core::absorb::Home;
use shearwater_core::error::{StoreError, StoreErrorKind};
use shearwater_core::lifecycle::absorb::{Phase, Step};
use shearwater_core::store::{Fence, Role, Side, Store};

use super::Leading;
use super::ending::remain;
use crate::absorb::Fault;
use crate::absorb::census::{CENSUS_NOTE, Looking};
use crate::failpoint;
use crate::ledger::Halt;

/// How often members' leases are looked at while they are waited for.
const MEMBERS_POLL: Duration = Duration::from_millis(5);

impl Leading<'_> {
    /// Adds the flag and its index, installs both sidecars, and counts collisions.
    pub(super) async fn prepare(&mut self) -> Result<(), Halt> {
        let setup = &self.carrier.setup;
        self.step(Step::Preparing).await?;
        if let Some(flags) = setup.plain.flags() {
            flags.add_flag(setup.shapes.flag()).await.map_err(Halt::store(Side::Source))?;
        }
        failpoint::hit("absorb-flag-added");
        self.go_on()?;
        let fence = Fence { role: Role::Authority, epoch: self.state().epoch };
        setup
            .source()
            .await
            .map_err(Halt::store(Side::Source))?
            .install(fence)
            .await
            .map_err(Halt::store(Side::Source))?;
        failpoint::hit("capture-source-installed");
        self.go_on()?;
        setup.target.install_for_parked(fence).await.map_err(Halt::store(Side::Target))?;
        failpoint::hit("capture-target-installed");
        for referred in &setup.lookups.references {
            referred.claim(setup.journal.migration()).await?;
        }
        failpoint::hit("absorb-claimed");
        if let Some(crosswalk) = &setup.crosswalk {
            crosswalk.install().await?;
            failpoint::hit("absorb-keys-installed");
            let lease = self.ledger.lease().clone();
            self.carrier.assign_all(|| lease.check().map_err(|_| lost())).await?;
            self.go_on()?;
        }
        let lease = self.ledger.lease().clone();
        let source = setup.source().await.map_err(Halt::store(Side::Source))?;
        let looking = Looking {
            lookups: &setup.lookups,
            shapes: &setup.shapes,
            source: source.as_ref(),
            only: setup.shapes.lives_in(Home::Source),
            target: setup.target.as_ref(),
        };
        let found = looking.census(|| lease.check().map_err(|_| lost())).await?;
        let listed = serde_json::to_string(&found.listed).unwrap_or_default();
        setup.journal.set_note(CENSUS_NOTE, &listed).await?;
        self.step(Step::Prepared { census: found.census }).await
    }

    pub(super) async fn enter(&mut self, to: Phase) -> Result<(), Halt> {
        let epoch = self.state().epoch + 1;
        self.step(Step::Entering { to, epoch }).await?;
        self.finish(to).await
    }

    /// Finishes what `Entering` began; also after a crash.
    pub(super) async fn finish(&mut self, to: Phase) -> Result<(), Halt> {
        let state = self.state();
        self.acknowledged(state.epoch).await?;
        failpoint::hit("enter-acknowledged");
        let setup = &self.carrier.setup;
        // Removal begins with the source's sidecar: without it there is nothing left to settle.
        if state.closing {
            self.remove(to).await?;
            return self.step(Step::Entered { to }).await;
        }
        if state.prepared && setup.plain.fence().await.map_err(Halt::store(Side::Source))?.is_none() {
            self.remove(to).await?;
            return self.step(Step::Entered { to }).await;
        }
        if state.prepared {
            self.raise_fences(state.epoch).await?;
            failpoint::hit("fences-set");
        }
        match to {
            Phase::Prepare | Phase::Lazy | Phase::Drain => {}
            // Nobody moves records any more: what is on its way is finished first.
            Phase::Rollback => self.carrier.settle_all(&state).await?,
            Phase::Complete => {
                self.carrier.settle_all(&state).await?;
                let remaining = self.carrier.counts().await?.remaining;
                if remaining > 0 {
                    let reason = format!("{remaining} records came to the source meanwhile");
                    self.step(Step::Aborted { reason: reason.clone(), epoch: state.epoch + 1 }).await?;
                    self.raise_fences(state.epoch + 1).await?;
                    return Err(Halt::Refused(remain(&reason)));
                }
                self.step(Step::Closing { epoch: state.epoch + 1 }).await?;
                self.acknowledged(state.epoch + 1).await?;
                self.remove(to).await?;
            }
            Phase::Planned | Phase::Withdrawn => self.remove(to).await?,
        }
        self.step(Step::Entered { to }).await
    }

    pub(super) async fn acknowledged(&self, epoch: u64) -> Result<(), Halt> {
        loop {
            self.ledger.lease().check()?;
            let members = self.carrier.setup.journal.members().await?;
            if members.iter().all(|member| member.epoch >= epoch) {
                return Ok(());
            }
            self.member.nudge();
            tokio::time::sleep(MEMBERS_POLL).await;
        }
    }

    pub(super) async fn raise_fences(&self, epoch: u64) -> Result<(), Halt> {
        let source = self.carrier.setup.source().await.map_err(Halt::store(Side::Source))?;
        for (side, store) in [(Side::Source, source.as_ref()), (Side::Target, self.carrier.setup.target.as_ref())] {
            raise(side, store, Fence { role: Role::Authority, epoch }).await?;
            failpoint::hit("fence-one-set");
        }
        Ok(())
    }

    /// Removes everything of ours. The sidecars go before the flag: the flag
    /// says where records live, and is last known to be needed.
    /// The pairs of keys stay until there is no next move.
    async fn remove(&self, to: Phase) -> Result<(), Halt> {
        let setup = &self.carrier.setup;
        setup.plain.remove().await.map_err(Halt::store(Side::Source))?;
        failpoint::hit("remove-source");
        setup.target.remove().await.map_err(Halt::store(Side::Target))?;
        failpoint::hit("remove-target");
        self.ledger.lease().check()?;
        if let Some(flags) = setup.plain.flags() {
            flags.remove_flag(setup.shapes.flag()).await.map_err(Halt::store(Side::Source))?;
        }
        failpoint::hit("absorb-flag-removed");
        for referred in &setup.lookups.references {
            referred.give_up(setup.journal.migration()).await?;
        }
        failpoint::hit("absorb-claims-ended");
        match (&setup.crosswalk, to) {
            (Some(crosswalk), Phase::Complete) if crosswalk.is_kept() => {}
            (Some(crosswalk), Phase::Complete | Phase::Withdrawn) => crosswalk.remove().await?,
            _ => {}
        }
        Ok(())
    }
}

fn lost() -> Fault {
    Fault::Journal(shearwater_core::journal::JournalError::Conflict { at: 0 })
}

async fn raise(side: Side, store: &dyn Store, new: Fence) -> Result<(), Halt> {
    let mut now = store.fence().await.map_err(Halt::store(side))?.ok_or_else(|| no_fence(side))?;
    while now != new {
        if now.epoch > new.epoch {
            return Err(Halt::Lost);
        }
        now = store.set_fence(now, new).await.map_err(Halt::store(side))?;
    }
    Ok(())
}

fn no_fence(side: Side) -> Halt {
    let message =
        format!("the sidecar is not in the {} store, though the journal says so", crate::ledger::side_name(side));
    let error = StoreError::new(StoreErrorKind::Sidecar, message)
        .with_hint("somebody removed the sidecar's tables or triggers; restore them from a backup of the store");
    Halt::Store { side, error }
}
